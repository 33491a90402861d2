# SPDX-License-Identifier: Apache-2.0
"""The bytes of a layer, counted once: the solver, the report and the exporter all ask here, and the exported file is exactly that long.

A layer's constants are one C struct without pointers: its parameters, then its arrays. The sizes of the parameter structs are those of
kernels/include/mps/mps_params.h, where _Static_assert repeats them.
"""

from __future__ import annotations

import math

from mpsearch.errors import QuantizationError
from mpsearch.quant.bitpack import row_bytes
from mpsearch.records import (
    Add,
    AvgPool2d,
    Concat,
    Conv2d,
    Layer,
    LayerGraph,
    Linear,
    MaxPool2d,
    Mean,
    Mul,
    Pad,
    Precision,
    Reshape,
    Slice,
    Transpose,
    Unary,
)

PACKED_WEIGHT_BITS = (2, 3, 4, 5, 6, 7, 8)
"""Weight bit-widths that the kernel library unpacks."""

ACTIVATION_BITS = (4, 8, 16)
"""Activation bit-widths that convolutions, depthwise ones excepted, and dense layers take; all other ops take 8."""

PARAMS_BYTES: dict[type, int] = {
    Conv2d: 44,
    Linear: 24,
    Add: 44,
    Mul: 32,
    Mean: 28,
    AvgPool2d: 32,
    MaxPool2d: 24,
    Pad: 88,
    Concat: 80,
    Slice: 80,
    Transpose: 80,
    Unary: 4,
    Reshape: 0,
}
"""sizeof the parameter struct of each op; Concat has one for each input."""

ALIGNMENT = 4
"""Every layer's constants, and every buffer in the arena, start at a multiple of this."""

_LARGEST_UINT16 = 65535
_TILE_VALUES = 64
_PIXELS_OF_PLANES = 4
_PIXELS_AS_PACKED = 3
_MULTIPLIED_AS_PACKED = (2, 4, 8)
_DEPTHWISE_TILE = 32
_DEPTHWISE_UNPACKED = 16


def aligned(count: int) -> int:
    """Return the count rounded up to the alignment."""
    return -(-count // ALIGNMENT) * ALIGNMENT


def constant_bytes(graph: LayerGraph, layer: Layer, precision: Precision | None) -> int:
    """Return what a layer puts into flash: sizeof its struct in model.c.

    Args:
        graph: The graph; of the layers that share a weight_key only the first pays for the packed weights.
        layer: One of its layers.
        precision: None for layers without weights.

    Raises:
        QuantizationError: No kernel for that precision.
    """
    _check(layer, precision)
    fixed = PARAMS_BYTES[type(layer.op)]
    match layer.op:
        case Conv2d() | Linear():
            channels = _weight_shape(layer)[0]
            return aligned(fixed + 4 * channels + 4 * channels + packed_weight_bytes(graph, layer, precision) + channels)
        case AvgPool2d():
            divisors = divisor_count(graph, layer)
            return aligned(fixed + 4 * divisors + divisors)
        case Concat():
            return fixed * len(layer.inputs)
        case Unary():
            return fixed + 256
        case _:
            return fixed


def packed_weight_bytes(graph: LayerGraph, layer: Layer, precision: Precision | None) -> int:
    """Return the bytes of a layer's packed weights; 0 when an earlier layer already stores them."""
    if precision is None or layer.weight is None or weight_owner(graph, layer).name != layer.name:
        return 0
    shape = _weight_shape(layer)
    rows, values = shape[0], math.prod(shape[1:])
    if layer.is_depthwise:
        rows, values = values, rows
    return rows * row_bytes(values, precision.weight_bits)


def weight_owner(graph: LayerGraph, layer: Layer) -> Layer:
    """Return the first layer that has the same weight_key: the one that stores the weights."""
    if not layer.weight_key:
        return layer
    return next(other for other in graph.layers if other.weight_key == layer.weight_key)


def header_bytes(graph: LayerGraph) -> int:
    """Return the constants that belong to the whole model: none."""
    del graph
    return 0


def scratch_bytes(graph: LayerGraph, layer: Layer, precision: Precision | None, output_bits: int = 8) -> int:
    """Return the arena bytes that a layer's kernel needs while it runs; equal to its mps_<op>_scratch_bytes in C, rounded up to the alignment.

    Args:
        graph: Gives the shapes.
        layer: One of its layers.
        precision: None for layers without weights.
        output_bits: Of the layer's output.

    Raises:
        QuantizationError: No kernel for that precision.
    """
    _check(layer, precision)
    if precision is None or layer.weight is None:
        return 0
    shape, bits = layer.weight.shape, precision.weight_bits
    if layer.is_depthwise:
        return aligned(_strip_bytes(graph, layer) + (shape[1] * shape[2] * _DEPTHWISE_UNPACKED if bits < 8 else 0))
    values, pixels = math.prod(shape[1:]), graph.tensor(layer.output).size // shape[0]
    if is_wide(precision.activation_bits, output_bits):
        return _wide_bytes(values, pixels, bits)
    in_place = precision.activation_bits == 8 and (isinstance(layer.op, Linear) or _is_pointwise(graph, layer))
    window = 0 if in_place else aligned(values)
    return aligned(_tile_bytes(values, pixels, bits) + window)


def is_wide(input_bits: int, output_bits: int) -> bool:
    """Return whether a layer is one for the wide kernels, mps_conv2d_wide and mps_linear_wide."""
    return 16 in (input_bits, output_bits)


def _wide_bytes(values: int, pixels: int, bits: int) -> int:
    """Return the bytes of two windows of int16 (one for a single pixel) and of an unpacked row of weights: mps_wide_bytes in C."""
    return aligned(values) * ((4 if pixels > 1 else 2) + (1 if bits < 8 else 0))


def _strip_bytes(graph: LayerGraph, layer: Layer) -> int:
    """Return the bytes of a depthwise convolution's prepared weights and of its strip of the input, 16 for each column of each row."""
    assert isinstance(layer.op, Conv2d)
    kernel_h, kernel_w = _weight_shape(layer)[1:3]
    width = min(graph.tensor(layer.output).shape[1], _DEPTHWISE_TILE)
    columns = (width - 1) * layer.op.stride[1] + (kernel_w - 1) * layer.op.dilation[1] + 1
    return (kernel_h // 2 + 1) * kernel_w * 32 + kernel_h * columns * 16


def _tile_bytes(values: int, pixels: int, bits: int) -> int:
    """Return the bytes of a few of the layer's pixels, of that many values, laid out for the products: mps_tile_bytes in C."""
    most, largest = (_PIXELS_AS_PACKED, 6) if bits in _MULTIPLIED_AS_PACKED else (_PIXELS_OF_PLANES, 8)
    each = largest if pixels >= most else 4 if pixels > 1 else 2
    return -(-values // _TILE_VALUES) * _TILE_VALUES * each


def kernel_supports(layer: Layer, precision: Precision | None) -> bool:
    """Return whether the kernel library has this layer at this precision (None for layers without weights)."""
    if layer.weight is None:
        return precision is None and type(layer.op) in PARAMS_BYTES
    if precision is None or precision.weight_bits not in PACKED_WEIGHT_BITS or precision.group_size is not None:
        return False
    if precision.activation_bits not in ((8,) if layer.is_depthwise else ACTIVATION_BITS):
        return False
    limits = [0]
    if isinstance(layer.op, Conv2d):
        limits = [*layer.weight.shape, *layer.op.stride, *layer.op.padding, *layer.op.dilation, layer.op.groups]
    return max(limits) <= _LARGEST_UINT16


def _check(layer: Layer, precision: Precision | None) -> None:
    if not kernel_supports(layer, precision):
        raise QuantizationError(
            f"Layer '{layer.name}': there is no kernel for {type(layer.op).__name__} at {precision or 'no precision'}.",
            "weights take 2 to 8 bits with one scale per output channel, activations 8 (4 and 16 too in dense layers and convolutions that are not "
            "depthwise); layers without weights take no precision.",
        )


def _weight_shape(layer: Layer) -> tuple[int, ...]:
    assert layer.weight is not None
    return layer.weight.shape


def _is_pointwise(graph: LayerGraph, layer: Layer) -> bool:
    """Return whether a convolution reads its input where it lies: a 1x1 kernel whose windows stay inside."""
    op, shape = layer.op, _weight_shape(layer)
    if not isinstance(op, Conv2d) or shape[1:3] != (1, 1) or op.padding[0] or op.padding[2]:
        return False
    source, target = graph.tensor(layer.inputs[0]).shape, graph.tensor(layer.output).shape
    return all((target[i] - 1) * op.stride[i] < source[i] for i in (0, 1))


def divisor_count(graph: LayerGraph, layer: Layer) -> int:
    """Return how many requantisation entries an average pooling stores: one if all its windows count the same, else one for each count.

    Args:
        graph: Gives the shapes.
        layer: A layer whose op is AvgPool2d.
    """
    op = layer.op
    assert isinstance(op, AvgPool2d)
    source, target = graph.tensor(layer.inputs[0]).shape, graph.tensor(layer.output).shape
    overhang = any((target[i] - 1) * op.stride[i] + op.kernel[i] > source[i] + sum(op.padding[2 * i : 2 * i + 2]) for i in (0, 1))
    same = not overhang and (op.count_padding or not any(op.padding))
    return 1 if same else math.prod(op.kernel)
