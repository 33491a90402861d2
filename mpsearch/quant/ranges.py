# SPDX-License-Identifier: Apache-2.0
"""Range setting: which real interval the integers cover, for activations (from histograms) and weights (per output channel)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mpsearch.errors import QuantizationError, nearest_names
from mpsearch.records import Quantization, TensorStats

PERCENTILE = 99.99
"""Share of the values, in percent, that the percentile range keeps on each side."""

_ACTIVATION_SHRINKS = np.linspace(1.0, 0.2, 81)
_WEIGHT_SHRINKS = np.linspace(1.1, 0.2, 91)

Interval = tuple[float, float]


def minmax_interval(stats: TensorStats, bits: int) -> Interval:
    """Return the interval that was seen."""
    return stats.minimum, stats.maximum


def percentile_interval(stats: TensorStats, bits: int) -> Interval:
    """Return the interval that leaves out the rarest values on each side."""
    cumulative = np.cumsum(stats.histogram) / stats.histogram.sum()
    edges = np.linspace(stats.minimum, stats.maximum, stats.histogram.size + 1)
    lowest = edges[np.searchsorted(cumulative, 1 - PERCENTILE / 100, side="right")]
    highest = edges[np.searchsorted(cumulative, PERCENTILE / 100) + 1]
    return float(lowest), float(highest)


def mse_interval(stats: TensorStats, bits: int) -> Interval:
    """Return the interval of least mean squared error: rounding noise (step^2 / 12) inside against clipping outside.

    Both ends shrink by one factor first, then each by its own.
    """
    centers = _bin_centers(stats)
    low, high = min(stats.minimum, 0.0), max(stats.maximum, 0.0)
    best = min(((low * shrink, high * shrink) for shrink in _ACTIVATION_SHRINKS), key=lambda ends: _interval_error(stats, centers, ends, bits))
    for side in (0, 1):
        shrunk = [(best[0] * shrink, best[1]) if side == 0 else (best[0], best[1] * shrink) for shrink in _ACTIVATION_SHRINKS]
        best = min([best, *shrunk], key=lambda ends: _interval_error(stats, centers, ends, bits))
    return best


def measured_interval(stats: TensorStats, bits: int) -> Interval:
    """Return the interval that calibration measured to move the network's output least at 8 bits; that of least squared error elsewhere."""
    return mse_interval(stats, bits) if stats.interval is None or bits != 8 else stats.interval


INTERVALS: dict[str, Callable[[TensorStats, int], Interval]] = {
    "minmax": minmax_interval,
    "percentile": percentile_interval,
    "mse": mse_interval,
    "measured": measured_interval,
}
"""How an activation's interval is chosen."""

WEIGHT_RANGES = ("minmax", "percentile", "mse")
"""How a weight's interval is chosen."""


def activation_quantization(intervals: list[Interval], bits: int) -> Quantization:
    """Return the asymmetric scale and zero point that cover all intervals and 0 exactly."""
    lowest = min(0.0, *(low for low, _ in intervals))
    highest = max(0.0, *(high for _, high in intervals))
    scale = (highest - lowest) / (2**bits - 1)
    bottom = -(1 << (bits - 1))
    zero_point = int(np.clip(np.round(bottom - lowest / scale), bottom, -bottom - 1))
    return Quantization(scale=scale, zero_point=zero_point, bits=bits)


def weight_scale(
    weight: npt.NDArray[np.float64], bits: int, method: str, importance: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    """Return one symmetric step per output channel.

    Args:
        weight: (out, inputs).
        bits: Signed bits, 2 to 8.
        method: "minmax", "percentile" or "mse".
        importance: (out, inputs) or (1, inputs), weight of each squared error under "mse"; None for equal weights.

    Returns:
        Shape (out,), > 0; channels that are all zero get the largest step of the layer.
    """
    largest_integer = (1 << (bits - 1)) - 1
    magnitude = np.abs(weight).max(axis=1)
    if method == "percentile":
        magnitude = np.percentile(np.abs(weight), PERCENTILE, axis=1)
    scale = magnitude / largest_integer
    scale = np.where(scale > 0, scale, scale.max() if scale.max() > 0 else 1.0)
    if method != "mse":
        if method not in WEIGHT_RANGES:
            raise QuantizationError(f"Weight range: unknown method {method!r}.", nearest_names(method, WEIGHT_RANGES))
        return scale
    best, least = scale, np.full(scale.shape, np.inf)
    factor = 1.0 if importance is None else importance
    for shrink in _WEIGHT_SHRINKS:
        candidate = scale * shrink
        step = candidate[:, None]
        error = (factor * (round_weight(weight, candidate, bits) * step - weight) ** 2).sum(axis=1)
        best, least = np.where(error < least, candidate, best), np.minimum(error, least)
    return best


def integer_range(bits: int) -> tuple[int, int]:
    """Return the smallest and largest weight integer: the whole two's complement range, but -127 at 8 bits as TensorFlow Lite has it."""
    return (-127, 127) if bits == 8 else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def round_weight(weight: npt.NDArray[np.float64], scale: npt.NDArray[np.float64], bits: int) -> npt.NDArray[np.float64]:
    """Return weights of shape (out, inputs) rounded to nearest, as integers in float64."""
    lowest, highest = integer_range(bits)
    return np.clip(np.rint(weight / scale[:, None]), lowest, highest)


def _bin_centers(stats: TensorStats) -> npt.NDArray[np.float64]:
    edges = np.linspace(stats.minimum, stats.maximum, stats.histogram.size + 1)
    return (edges[:-1] + edges[1:]) / 2


def _interval_error(stats: TensorStats, centers: npt.NDArray[np.float64], ends: Interval, bits: int) -> float:
    step = (ends[1] - ends[0]) / (2**bits - 1)
    outside = np.maximum(0, np.maximum(ends[0] - centers, centers - ends[1]))
    counts = stats.histogram
    return float(((outside**2 + (outside == 0) * step**2 / 12) * counts).sum())
