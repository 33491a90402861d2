# SPDX-License-Identifier: Apache-2.0
"""What a layer's shape tells, by name: the things that the terms of a hardware model are paid for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from mpsearch.records import LayerShape


def laid_pixels(shape: LayerShape) -> int:
    """Return how many windows (rows, for a dense layer) a layer lays out for its products: one for each output pixel and group."""
    if shape.operator not in ("conv2d", "dense"):
        return 0
    return shape.batch * math.prod(shape.output[:2]) * shape.groups


def laid_values(shape: LayerShape) -> int:
    """Return how many values a layer lays out, once for all output channels; depthwise kernels have a way of their own."""
    return laid_pixels(shape) * shape.window_values


def gathered_values(shape: LayerShape) -> int:
    """Return how many values a convolution copies out of its input first, window by window; 1x1 kernels read them where they lie."""
    return laid_values(shape) if shape.operator == "conv2d" and not shape.is_pointwise else 0


COUNTED: Mapping[str, Callable[[LayerShape], int]] = {
    "call": lambda shape: 1,
    "output": lambda shape: shape.output_values,
    "input": lambda shape: shape.input_values * shape.operands,
    "step": lambda shape: shape.steps,
    "pixel": laid_pixels,
    "channel": lambda shape: shape.output[2],
    "weight": lambda shape: shape.weights,
    "laid_value": laid_values,
    "gathered_value": gathered_values,
}
"""Name -> count; the names are `mpsearch.catalog.COUNTABLE`."""
