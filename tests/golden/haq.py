# SPDX-License-Identifier: Apache-2.0
"""What HAQ published of its MobileNetV2 on a bit-serial accelerator, beside the same from a device file; see data/README.md."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mpsearch.catalog import HardwareModel
from mpsearch.cost.latency import layer_roofline
from mpsearch.cost.work import LayerWork
from mpsearch.records import DeviceWidths, LayerShape, MetricCost, Precision, SearchProblem, SearchResult

BATCH = 16
WIDTHS = range(1, 9)
SEARCHED = tuple(itertools.product(range(2, 9), range(2, 9)))
"""Weight and activation bits that HAQ chose from."""

Bits = tuple[tuple[int, int], ...]
"""Weight and activation bits of every layer."""

Floats = npt.NDArray[np.float64]
Sensitivity = Literal["values", "macs"]

# fmt: off
STRATEGY: Bits = (
    (8, 8), (7, 7), (5, 6), (4, 6), (5, 6), (5, 7), (5, 6), (7, 4), (4, 6), (4, 6), (7, 7), (5, 6), (4, 6), (7, 3), (5, 7), (4, 7), (7, 3), (5, 7),
    (4, 7), (7, 7), (4, 7), (4, 7), (6, 4), (6, 7), (4, 7), (7, 4), (6, 7), (5, 7), (7, 4), (6, 7), (5, 7), (7, 4), (6, 7), (6, 7), (6, 4), (5, 7),
    (6, 7), (6, 4), (5, 7), (6, 7), (7, 7), (4, 7), (7, 7), (7, 7), (4, 7), (7, 7), (7, 7), (4, 7), (7, 7), (7, 7), (4, 7), (7, 7), (8, 8),
)
# fmt: on
"""Weight and activation bits of each layer that HAQ published for 0.6 of the latency; the input image, not quantised there, is one of 8 bits."""

RATIO = 0.5914
"""Its cycles over those of 8 bits everywhere, by the published table, in HAQ's own count: its code marks the activations of the first layer with
-1, which as an index reads the column of 7 bits. With 8 bits there the ratio is 0.5965."""

EIGHT_BITS: Bits = ((8, 8),) * len(STRATEGY)
AS_COUNTED: Bits = ((8, 7), *STRATEGY[1:])
"""The published bits with the first layer as HAQ counted it."""


def published_cycles() -> Floats:
    """Return float64 (53, 8, 8): layer, weight bits - 1, activation bits - 1."""
    return np.asarray(np.load(Path(__file__).parent / "data" / "haq_mobilenetv2_cycles.npy"), dtype=np.float64)


@cache
def mobilenet_v2() -> tuple[LayerShape, ...]:
    """Return the 53 layers with weights of MobileNetV2 1.0 at 224 x 224 (Sandler et al. 2018, table 2), batch 16."""
    shapes = [_convolution(224, 3, 32, kernel=3, stride=2)]
    size, channels = 112, 32
    for expansion, output, blocks, first_stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for block in range(blocks):
            stride, wide = first_stride if block == 0 else 1, channels * expansion
            if expansion > 1:
                shapes.append(_convolution(size, channels, wide))
            shapes.append(_convolution(size, wide, wide, kernel=3, stride=stride, groups=wide))
            size, channels = size // stride, output
            shapes.append(_convolution(size, wide, channels))
    shapes.append(_convolution(size, channels, 1280))
    shapes.append(LayerShape(operator="dense", input=(1, 1, 1280), output=(1, 1, 1000), batch=BATCH))
    return tuple(shapes)


def _convolution(size: int, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> LayerShape:
    return LayerShape(
        operator="depthwise" if groups > 1 else "conv2d",
        input=(size, size, inputs),
        output=(size // stride, size // stride, outputs),
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=(kernel // 2,) * 4,
        groups=groups,
        batch=BATCH,
    )


def predicted_cycles(hardware: HardwareModel) -> Floats:
    """Return the same from a device file."""
    cycles = [
        layer_roofline(_work(shape, DeviceWidths(weight_bits=weight, activation_bits=activation)), hardware).total
        for shape in mobilenet_v2()
        for weight in WIDTHS
        for activation in WIDTHS
    ]
    return np.array(cycles).reshape(-1, len(WIDTHS), len(WIDTHS))


def _work(shape: LayerShape, widths: DeviceWidths) -> LayerWork:
    return LayerWork(
        name=shape.operator,
        shape=shape,
        precision=widths,
        constant_bytes=-(-shape.weights * widths.weight_bits // 8),
        input_bytes=-(-shape.input_values * widths.activation_bits // 8),
        output_bytes=-(-shape.output_values * widths.activation_bits // 8),
        live_bytes=0,
    )


def noise(sensitivity: Sensitivity) -> Floats:
    """Return float64 (53, 8, 8): how much noise each choice brings in, by a rule of thumb, for no accuracy of these layers is published.

    Rounding to b bits has a variance of 4^-b, as part of the range. It counts by the layer's share of all weights for weights and of all input
    values for activations ("values"), or by the layer's share of all MACs for both ("macs").
    """
    shapes, variance = mobilenet_v2(), 4.0 ** -np.arange(1, 9)
    counts = [(shape.weights, shape.input_values) if sensitivity == "values" else (shape.macs, shape.macs) for shape in shapes]
    shares = np.array(counts) / np.sum(counts, axis=0)
    weights, activations = shares[:, 0, None, None], shares[:, 1, None, None]
    return np.asarray(weights * variance[:, None] + activations * variance[None, :])


def total(table: Floats, bits: Bits) -> float:
    """Return the sum over layers at these bits."""
    return float(sum(layer[weight - 1, activation - 1] for layer, (weight, activation) in zip(table, bits, strict=True)))


def choose_bits_problem(minimised: Floats, limited: Floats, limit: float) -> SearchProblem:
    """Return the problem of the least sum of one table with the sum of the other within a limit; first and last layer stay at 8 bits."""
    score, cost = (table[:, 1:, 1:].reshape(len(table), -1) for table in (minimised, limited))
    score = score.copy()
    score[[0, -1], :-1] = np.nan
    return SearchProblem(
        groups=tuple(str(index) for index in range(len(score))),
        precisions=tuple(Precision(weight_bits=weight, activation_bits=activation) for weight, activation in SEARCHED),
        score=score,
        costs=(MetricCost(metric="limited", unit="", cost=cost[None], fixed=np.zeros(1)),),
        limits=(limit,),
    )


def bits_of(result: SearchResult) -> Bits:
    """Return the bits of the best answer to such a problem."""
    return tuple(SEARCHED[index] for index in result.solutions[0].choice)
