# SPDX-License-Identifier: Apache-2.0
"""Stage 2: activation statistics from a few batches, in two streaming passes (ranges and means, then histograms and covariances)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch

from mpsearch.errors import QuantizationError
from mpsearch.quant.moments import LARGEST_FAN_IN, MomentObserver
from mpsearch.records import CalibrationStats, LayerGraph, TensorStats

HISTOGRAM_BINS = 2048

Activations = Mapping[str, torch.Tensor]
"""Tensor name -> (batch, *memory shape) float32."""


class Observer:
    """What has been seen of one tensor so far; nothing but sums is kept between batches."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Start with nothing seen."""
        self.minimum, self.maximum = np.inf, -np.inf
        self.total = np.zeros(shape)
        self.total_square = np.zeros(shape)
        self.histogram = np.zeros(HISTOGRAM_BINS, dtype=np.int64)
        self.samples = 0

    def see_range(self, name: str, values: torch.Tensor) -> None:
        """First pass: range and means.

        Raises:
            QuantizationError: A value is NaN or infinite.
        """
        if not torch.isfinite(values).all():
            raise QuantizationError(
                f"Tensor '{name}' holds values that are NaN or infinite on the calibration data.",
                "check the calibration inputs; the first such tensor is named here.",
            )
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))
        wide = values.to(torch.float64)
        self.total += wide.sum(0).numpy()
        self.total_square += wide.square().sum(0).numpy()
        self.samples += len(values)

    def see_histogram(self, values: torch.Tensor) -> None:
        """Second pass: counts between the range's ends."""
        self.histogram += torch.histc(values.to(torch.float32), HISTOGRAM_BINS, self.minimum, self.maximum).to(torch.int64).numpy()


def calibrate(graph: LayerGraph, runs: Callable[[], Iterable[Activations]], seed: int = 0) -> CalibrationStats:
    """Gather ranges, histograms and means of every tensor, and the covariance of the inputs that each layer's weights meet.

    Args:
        graph: The captured graph.
        runs: Called twice; yields the float activations of each calibration batch, in the same order.
        seed: Seed of the positions at which input patches are drawn.

    Raises:
        QuantizationError: There is no calibration data, or a tensor is NaN, infinite or constant on it.
    """
    observers = {tensor.name: Observer(tensor.shape) for tensor in graph.tensors}
    for activations in runs():
        for name, observer in observers.items():
            observer.see_range(name, activations[name])
    samples = observers[graph.inputs[0]].samples
    if samples == 0:
        raise QuantizationError("The calibration data is empty, wanted at least one batch.")
    for name, observer in observers.items():
        if observer.minimum == observer.maximum:
            raise QuantizationError(
                f"Tensor '{name}' is constant ({observer.minimum:g}) over {samples} calibration samples: it has no range to quantise.",
                "calibrate with real, varied inputs; if they are, the layer that writes it is dead and should be removed.",
            )
    moments = _moment_observers(graph, observers, samples, seed)
    for activations in runs():
        for name, observer in observers.items():
            observer.see_histogram(activations[name])
        for moment in moments:
            moment.see(activations[moment.layer.inputs[0]])
    return CalibrationStats(
        tensors=tuple(
            TensorStats(
                name=name,
                minimum=observer.minimum,
                maximum=observer.maximum,
                histogram=observer.histogram,
                mean=observer.total / observer.samples,
                mean_square=observer.total_square / observer.samples,
            )
            for name, observer in observers.items()
        ),
        samples=samples,
        model_digest=graph.model_digest,
        moments=tuple(moment.moments() for moment in moments),
    )


def _moment_observers(graph: LayerGraph, observers: Mapping[str, Observer], samples: int, seed: int) -> list[MomentObserver]:
    result = []
    for index, layer in enumerate(graph.weighted_layers):
        assert layer.weight is not None
        if layer.weight[0].size <= LARGEST_FAN_IN:
            result.append(MomentObserver(layer, observers[layer.inputs[0]].total / samples, samples, seed + index))
    return result
