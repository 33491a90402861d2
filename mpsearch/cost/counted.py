# SPDX-License-Identifier: Apache-2.0
"""What a layer's shape tells, by name: the things that the terms of a hardware model are paid for.

Convolutions and dense layers lay out a tile of a few windows (pixels, or rows of a dense layer) and multiply it with every row of weights, which
ends within a word or vector or does not. Depthwise convolutions go through blocks of channels; a strip of input lines is laid out for each block,
and kernels of 3x3 have loops of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache

from mpsearch.records import LayerShape

STRIP_COLUMNS = 32
"""Output columns that share a strip of a depthwise convolution."""

CHANNEL_TILE = 32
"""Output channels whose sums are finished together."""


def output_pixels(shape: LayerShape) -> int:
    """Return how many pixels the output has."""
    return shape.batch * math.prod(shape.output[:2])


def laid_pixels(shape: LayerShape) -> int:
    """Return how many windows (rows, for a dense layer) a layer lays out for its products: one for each output pixel and group."""
    return output_pixels(shape) * shape.groups if _lays_out(shape) else 0


def laid_values(shape: LayerShape) -> int:
    """Return how many values a layer lays out, once for all output channels; depthwise kernels have a way of their own."""
    return laid_pixels(shape) * shape.window_values


def gathered_values(shape: LayerShape) -> int:
    """Return how many values a convolution copies out of its input first, window by window; 1x1 kernels read them where they lie."""
    return laid_values(shape) if _gathers(shape) else 0


@lru_cache(maxsize=4096)
def gathered_runs(shape: LayerShape) -> int:
    """Return in how many runs a convolution copies or fills its windows.

    A row of a window is one run if it lies inside the input, side by side in memory, or if it lies above or below it; else each of its columns
    is one.
    """
    if not _gathers(shape):
        return 0
    height, width, _ = shape.input
    rows, columns = shape.kernel
    tops = [row * shape.stride[0] - shape.padding[0] for row in range(shape.output[0])]
    lefts = [column * shape.stride[1] - shape.padding[2] for column in range(shape.output[1])]
    inside = sum(0 <= top + row * shape.dilation[0] < height for top in tops for row in range(rows))
    whole = sum(left >= 0 and left + columns <= width for left in lefts) if shape.groups == 1 and shape.dilation[1] == 1 else 0
    filled = (len(tops) * rows - inside) * len(lefts)
    return shape.batch * shape.groups * (filled + inside * (whole + (len(lefts) - whole) * columns))


def idle_steps(shape: LayerShape, tile: int) -> int:
    """Return how many more MACs the last tile of windows would hold."""
    return -output_pixels(shape) % tile * shape.window_values * shape.output[2] if _lays_out(shape) else 0


def filled_steps(shape: LayerShape, multiple: int) -> int:
    """Return by how many MACs rows of weights, filled up to a multiple of so many values, would be longer."""
    return shape.output_values * (-shape.window_values % multiple) if _lays_out(shape) else 0


def ragged_outputs(shape: LayerShape, multiple: int) -> int:
    """Return how many outputs have a row of weights that ends within a group of so many values."""
    return shape.output_values if _lays_out(shape) and shape.window_values % multiple else 0


def is_transposition(shape: LayerShape) -> bool:
    """Return whether a copy puts its values in another order, as far as two shapes tell: as many values, another shape."""
    return shape.operator == "copy" and shape.operands == 1 and shape.input != shape.output and shape.input_values == shape.output_values


def copied_runs(shape: LayerShape) -> int:
    """Return in how many runs a copy moves its values, as far as two shapes tell: images, rows or pixels; 0 for a transposition."""
    if shape.operator != "copy" or is_transposition(shape):
        return 0
    (height, width, channels), (new_height, new_width, new_channels) = shape.input, shape.output
    if channels != new_channels or 2 * new_width <= width + 1:  # every pixel, or every other one
        runs = min(height * width, new_height * new_width)
    elif width == new_width:
        runs = 1
    else:
        runs = min(height, new_height)
    return shape.batch * shape.operands * runs


def blocks(shape: LayerShape, channels: int) -> int:
    """Return how many blocks of so many channels a depthwise convolution has; 0 for other layers."""
    return -(-shape.output[2] // channels) * shape.batch if shape.operator == "depthwise" else 0


def strip_rows(shape: LayerShape) -> int:
    """Return how many rows of outputs a block computes, each strip of columns by itself."""
    return shape.output[0] * -(-shape.output[1] // STRIP_COLUMNS)


def strip_lines(shape: LayerShape) -> int:
    """Return how many lines of the input, padding included, a block needs."""
    return min((shape.output[0] - 1) * shape.stride[0] + shape.kernel[0], shape.input[0] + shape.padding[0] + shape.padding[1])


def _lays_out(shape: LayerShape) -> bool:
    return shape.operator in ("conv2d", "dense")


def _gathers(shape: LayerShape) -> bool:
    return shape.operator == "conv2d" and not shape.is_pointwise


def _other_kernel(shape: LayerShape) -> bool:
    return shape.operator == "depthwise" and shape.kernel != (3, 3)


def _plane(shape: LayerShape) -> int:
    return math.prod(shape.output[:2])


COUNTED: Mapping[str, Callable[[LayerShape], int]] = {
    "call": lambda shape: 1,
    "output": lambda shape: shape.output_values,
    "output_pixel": output_pixels,
    "input": lambda shape: shape.input_values * shape.operands,
    "input_pixel": lambda shape: shape.batch * math.prod(shape.input[:2]),
    "step": lambda shape: shape.steps,
    "channel": lambda shape: shape.output[2],
    "weight": lambda shape: shape.weights,
    # Convolutions and dense layers.
    "pixel": laid_pixels,
    "laid_value": laid_values,
    "laid_vector": lambda shape: laid_pixels(shape) * -(-shape.window_values // 16),
    "gathered_value": gathered_values,
    "gathered_run": gathered_runs,
    "idle_step_2": lambda shape: idle_steps(shape, 2),
    "idle_step_3": lambda shape: idle_steps(shape, 3),
    "idle_step_4": lambda shape: idle_steps(shape, 4),
    "filled_step_8": lambda shape: filled_steps(shape, 8),
    "filled_step_16": lambda shape: filled_steps(shape, 16),
    "ragged_output_8": lambda shape: ragged_outputs(shape, 8),
    "ragged_output_16": lambda shape: ragged_outputs(shape, 16),
    "ragged_channel_step": lambda shape: laid_values(shape) * (shape.output[2] // shape.groups % 4),
    "channel_tile": lambda shape: laid_pixels(shape) * -(-shape.output[2] // (shape.groups * CHANNEL_TILE)),
    # Depthwise convolutions.
    "block_4": lambda shape: blocks(shape, 4),
    "block_4_row": lambda shape: blocks(shape, 4) * strip_rows(shape),
    "block_4_line": lambda shape: blocks(shape, 4) * strip_lines(shape),
    "block_16_line": lambda shape: blocks(shape, 16) * strip_lines(shape),
    "block_16_tap": lambda shape: blocks(shape, 16) * math.prod(shape.kernel),
    "block_16_pixel": lambda shape: blocks(shape, 16) * _plane(shape),
    "block_16_step": lambda shape: blocks(shape, 16) * _plane(shape) * math.prod(shape.kernel),
    "strided_output": lambda shape: shape.output_values if shape.operator == "depthwise" and shape.stride[0] > 1 else 0,
    "odd_column_output": lambda shape: blocks(shape, 1) * shape.output[0] * (shape.output[1] % 2),
    "odd_row_output": lambda shape: blocks(shape, 1) * shape.output[1] * (shape.output[0] % 2) if shape.stride[0] == 1 else 0,
    "other_kernel_row": lambda shape: blocks(shape, 4) * strip_rows(shape) if _other_kernel(shape) else 0,
    "other_kernel_step": lambda shape: shape.steps if _other_kernel(shape) else 0,
    "other_kernel_odd_step": lambda shape: (
        blocks(shape, 1) * shape.output[0] * (shape.output[1] % 4) * math.prod(shape.kernel) if _other_kernel(shape) else 0
    ),
    "other_kernel_pixel": lambda shape: blocks(shape, 16) * _plane(shape) if _other_kernel(shape) else 0,
    "other_kernel_run": lambda shape: blocks(shape, 16) * _plane(shape) * shape.kernel[0] if _other_kernel(shape) else 0,
    # Poolings and copies.
    "window_row": lambda shape: shape.output_values * shape.kernel[0] if shape.operator in ("max_pool", "avg_pool") else 0,
    "copied_run": copied_runs,
    "transposed_value": lambda shape: shape.output_values if is_transposition(shape) else 0,
}
"""Name -> count; the names are `mpsearch.catalog.COUNTABLE`."""
