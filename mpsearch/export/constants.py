# SPDX-License-Identifier: Apache-2.0
"""The constants of each layer as fields of a C struct: one description that yields both the initializer in model.c and the bytes of model.bin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpsearch.errors import ExportError
from mpsearch.export.shapes import collapse_broadcast, collapse_copy, collapse_mean, contiguous_strides
from mpsearch.quant.bitpack import pack, weight_rows
from mpsearch.quant.packed_size import ALIGNMENT, divisor_count, weight_owner
from mpsearch.records import (
    Add,
    AvgPool2d,
    Concat,
    Conv2d,
    Layer,
    LayerConstants,
    LayerGraph,
    Linear,
    MaxPool2d,
    Mean,
    Mul,
    Pad,
    QuantizedGraph,
    Requantize,
    Reshape,
    Slice,
    Transpose,
    Unary,
)

_C_TYPES = {"u1": "uint8_t", "i1": "int8_t", "u2": "uint16_t", "i2": "int16_t", "u4": "uint32_t", "i4": "int32_t"}
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One member of a constant struct.

    Attributes:
        designator: Where it stands, e.g. "params.stride_h".
        kind: "u1", "i1", "u2", "i2", "u4" or "i4".
        values: A number, or the flat array.
    """

    designator: str
    kind: str
    values: int | tuple[int, ...]

    def data(self) -> bytes:
        """Return the little-endian bytes.

        Raises:
            ExportError: A value does not fit the member's type.
        """
        values, range_of = np.asarray(self.values, dtype=np.int64), np.iinfo(self.kind)
        if values.size and not range_of.min <= values.min() <= values.max() <= range_of.max:
            raise ExportError(f"Constant '{self.designator}' holds {values.max()} or {values.min()}, wanted {range_of.min} to {range_of.max}.")
        return values.astype(f"<{self.kind}").tobytes()

    @property
    def c_type(self) -> str:
        """The C type of one element."""
        return _C_TYPES[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantBlock:
    """What one layer puts into flash.

    Attributes:
        layer: Name of the layer.
        params_type: C type of the parameters; "" for a layer without constants.
        params_count: How many parameter structs stand at the front (concat has one for each input).
        params: Their members.
        arrays: The arrays that follow.
    """

    layer: str
    params_type: str = ""
    params_count: int = 1
    params: tuple[Field, ...] = ()
    arrays: tuple[Field, ...] = ()

    def data(self) -> bytes:
        """Return the bytes of the struct, padding included."""
        content = b""
        for item in (*self.params, *self.arrays):
            content += bytes(-len(content) % int(item.kind[1])) + item.data()
        return content + bytes(-len(content) % ALIGNMENT)


def build_blocks(quantized: QuantizedGraph) -> tuple[ConstantBlock, ...]:
    """Return the constants of every layer, in graph order.

    Raises:
        ExportError: A layer that no kernel can run.
    """
    return tuple(_build_block(quantized, layer, constants) for layer, constants in zip(quantized.graph.layers, quantized.constants, strict=True))


def _build_block(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> ConstantBlock:
    builders = {
        Conv2d: _conv2d,
        Linear: _linear,
        Add: _add,
        Mul: _mul,
        Mean: _mean,
        AvgPool2d: _avg_pool2d,
        MaxPool2d: _max_pool2d,
        Unary: _unary,
        Pad: _pad,
        Concat: _concat,
        Slice: _slice,
        Transpose: _transpose,
    }
    if isinstance(layer.op, Concat | Slice | Transpose | Pad | Reshape) and (constants.lowest > -128 or constants.highest < 127):
        raise ExportError(
            f"Layer '{layer.name}': {type(layer.op).__name__} has no kernel with a fused activation.", "apply the activation as a layer of its own."
        )
    if isinstance(layer.op, Reshape):
        return ConstantBlock(layer=layer.name)
    builder = builders.get(type(layer.op))
    if builder is None:
        raise ExportError(f"Layer '{layer.name}': there is no kernel for {type(layer.op).__name__}.", "replace the op in the model.")
    return builder(quantized, layer, constants)


# ---------------------------------------------------------------- layers with weights


def _conv2d(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> ConstantBlock:
    op = layer.op
    assert isinstance(op, Conv2d)
    assert constants.weight is not None
    source, target = (quantized.graph.tensor(name).shape for name in (layer.inputs[0], layer.output))
    shape = (*source, *target, *constants.weight.shape[1:3], *op.stride, *op.dilation, op.padding[0], op.padding[2], op.groups)
    names = "input_h input_w input_c output_h output_w output_c kernel_h kernel_w stride_h stride_w dilation_h dilation_w pad_top pad_left groups"
    if max(shape) > np.iinfo(np.uint16).max:
        raise ExportError(f"Layer '{layer.name}': Conv2d has a dimension of {max(shape)}, but its kernel counts to 65535.", "tile the input.")
    params = _numbers("u2", names, shape) + _ending(quantized, layer, constants) + _reserved(2)
    return ConstantBlock(layer=layer.name, params_type="mps_conv2d_params", params=params, arrays=_channel_arrays(quantized, layer, constants))


def _linear(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> ConstantBlock:
    assert constants.weight is not None
    outputs, inputs = constants.weight.shape
    rows = quantized.graph.tensor(layer.inputs[0]).size // inputs
    params = _numbers("u4", "rows input_c output_c", (rows, inputs, outputs)) + _ending(quantized, layer, constants)
    return ConstantBlock(layer=layer.name, params_type="mps_linear_params", params=params, arrays=_channel_arrays(quantized, layer, constants))


def _ending(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> tuple[Field, ...]:
    """Return the members that close the parameters of every layer with weights."""
    source, target = (quantized.quantization(name) for name in (layer.inputs[0], layer.output))
    zero_points = (source.zero_point, target.zero_point)
    return _numbers("i2", "input_zero_point output_zero_point lowest highest", (*zero_points, constants.lowest, constants.highest)) + _numbers(
        "u1", "weight_bits left_shift input_bits output_bits", (constants.weight_bits, constants.requantize[0].left_shift, source.bits, target.bits)
    )


def _channel_arrays(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> tuple[Field, ...]:
    """Return bias, multipliers, packed weights (unless another layer stores them) and shifts."""
    assert constants.weight is not None
    assert constants.bias is not None
    channels = constants.weight.shape[0]
    multiplier, right_shift = _spread(constants.requantize[0], channels)
    owner = weight_owner(quantized.graph, layer)
    arrays = [
        Field(designator="bias", kind="i4", values=_folded_bias(quantized, layer, constants)),
        Field(designator="multiplier", kind="i4", values=multiplier),
    ]
    if owner.name == layer.name:
        packed = pack(weight_rows(layer, constants.weight), constants.weight_bits)
        arrays.append(Field(designator="weights", kind="u1", values=tuple(packed.ravel().tolist())))
    else:
        _check_shared(quantized, layer, constants, owner)
    return (*arrays, Field(designator="right_shift", kind="u1", values=right_shift))


def _folded_bias(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> tuple[int, ...]:
    """Fold the input's zero point into the bias, so that kernels multiply the stored integers; padding then feeds the zero point."""
    assert constants.weight is not None
    assert constants.bias is not None
    sums = constants.weight.astype(np.int64).reshape(constants.weight.shape[0], -1).sum(axis=1)
    bias = constants.bias.astype(np.int64) - _zero_points(quantized, layer)[0] * sums
    if bias.min() < _INT32.min or bias.max() > _INT32.max:
        raise ExportError(f"Layer '{layer.name}': its bias with the zero point folded in leaves int32.", "check the calibration data.")
    return tuple(bias.tolist())


def _check_shared(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants, owner: Layer) -> None:
    index = next(i for i, other in enumerate(quantized.graph.layers) if other.name == owner.name)
    stored = quantized.constants[index]
    assert stored.weight is not None
    assert constants.weight is not None
    if stored.weight_bits != constants.weight_bits or not np.array_equal(stored.weight, constants.weight):
        raise ExportError(
            f"Layer '{layer.name}' shares the weights of '{owner.name}', but was given other integers.", "give both layers the same precision."
        )
    if layer.is_depthwise != owner.is_depthwise:
        raise ExportError(f"Layer '{layer.name}' shares the weights of '{owner.name}', but reads them in another order.", "store them twice.")


# ---------------------------------------------------------------- layers without weights


def _add(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> ConstantBlock:
    rescale = constants.requantize
    params = (
        Field(designator="params.multiplier", kind="i4", values=tuple(int(item.multiplier[0]) for item in rescale)),
        Field(designator="params.right_shift", kind="u1", values=tuple(int(item.right_shift[0]) for item in rescale)),
        Field(designator="params.left_shift", kind="u1", values=tuple(item.left_shift for item in rescale)),
    )
    return _elementwise(quantized, layer, constants, "mps_add_params", params)


def _mul(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> ConstantBlock:
    return _elementwise(quantized, layer, constants, "mps_mul_params", _rescale(constants))


def _elementwise(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants, params_type: str, rescale: tuple[Field, ...]) -> ConstantBlock:
    graph = quantized.graph
    shape, broadcast = collapse_broadcast(layer.name, graph.tensor(layer.output).shape, [graph.tensor(name).shape for name in layer.inputs])
    first, second, output = _zero_points(quantized, layer)
    params = (
        Field(designator="params.shape", kind="u4", values=shape),
        *rescale,
        Field(designator="params.broadcast", kind="u1", values=broadcast),
        Field(designator="params.input_zero_point", kind="i1", values=(first, second)),
        *_numbers("i1", "output_zero_point lowest highest", (output, constants.lowest, constants.highest)),
        *_reserved(3),
    )
    return ConstantBlock(layer=layer.name, params_type=params_type, params=params)


def _mean(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> ConstantBlock:
    assert isinstance(layer.op, Mean)
    shape, reduced = collapse_mean(layer.name, quantized.graph.tensor(layer.inputs[0]).shape, layer.op.axes)
    params = (
        Field(designator="params.shape", kind="u4", values=shape),
        *_rescale(constants),
        *_numbers("u1", "reduced", (reduced,)),
        *_numbers("i1", "input_zero_point output_zero_point lowest highest", (*_zero_points(quantized, layer), constants.lowest, constants.highest)),
        *_numbers("u1", "reserved", (0,)),
    )
    return ConstantBlock(layer=layer.name, params_type="mps_mean_params", params=params)


def _avg_pool2d(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> ConstantBlock:
    rescale = constants.requantize[0]
    divisors = divisor_count(quantized.graph, layer)
    if divisors == 1 and rescale.multiplier.size > 1:  # every window is whole
        rescale = Requantize(multiplier=rescale.multiplier[-1:], right_shift=rescale.right_shift[-1:], left_shift=rescale.left_shift)
    multiplier, right_shift = _spread(rescale, divisors)
    params = (
        *_window(quantized.graph, layer),
        *_numbers("u2", "divisors", (divisors,)),
        *_numbers("i1", "input_zero_point output_zero_point lowest highest", (*_zero_points(quantized, layer), constants.lowest, constants.highest)),
        *_numbers("u1", "left_shift", (rescale.left_shift,)),
        *_reserved(3),
    )
    arrays = (Field(designator="multiplier", kind="i4", values=multiplier), Field(designator="right_shift", kind="u1", values=right_shift))
    return ConstantBlock(layer=layer.name, params_type="mps_avg_pool2d_params", params=params, arrays=arrays)


def _max_pool2d(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> ConstantBlock:
    params = _window(quantized.graph, layer) + _numbers("i1", "lowest highest", (constants.lowest, constants.highest))
    return ConstantBlock(layer=layer.name, params_type="mps_max_pool2d_params", params=params)


def _window(graph: LayerGraph, layer: Layer) -> tuple[Field, ...]:
    op = layer.op
    assert isinstance(op, AvgPool2d | MaxPool2d)
    values = (*graph.tensor(layer.inputs[0]).shape, *graph.tensor(layer.output).shape[:2], *op.kernel, *op.stride, op.padding[0], op.padding[2])
    names = "input_h input_w channels output_h output_w kernel_h kernel_w stride_h stride_w pad_top pad_left"
    if max(values) > np.iinfo(np.uint16).max:
        raise ExportError(f"Layer '{layer.name}': pooling has a dimension of {max(values)}, but its kernel counts to 65535.", "tile the input.")
    return _numbers("u2", " ".join(f"window.{name}" for name in names.split()), values)


def _unary(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> ConstantBlock:
    assert constants.table is not None
    table = np.clip(constants.table, constants.lowest, constants.highest)
    params = _numbers("u4", "size", (quantized.graph.tensor(layer.output).size,))
    arrays = (Field(designator="table", kind="i1", values=tuple(table.tolist())),)
    return ConstantBlock(layer=layer.name, params_type="mps_unary_params", params=params, arrays=arrays)


# ---------------------------------------------------------------- copies


def _pad(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> ConstantBlock:
    op = layer.op
    assert isinstance(op, Pad)
    source, target = (quantized.graph.tensor(name).shape for name in (layer.inputs[0], layer.output))
    strides = contiguous_strides(target)
    offset = sum(before * stride for before, stride in zip(op.before, strides, strict=True))
    params = (
        *_copy(layer, "copy.", source, contiguous_strides(source), strides, (0, offset)),
        *_numbers("u4", "output_size", (math.prod(target),)),
        *_numbers("i1", "value", (constants.pad_value,)),
        *_reserved(3),
    )
    return ConstantBlock(layer=layer.name, params_type="mps_pad_params", params=params)


def _concat(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> ConstantBlock:
    del constants
    op = layer.op
    assert isinstance(op, Concat)
    strides = contiguous_strides(quantized.graph.tensor(layer.output).shape)
    axis, at = op.axis % len(strides), 0
    params: list[Field] = []
    for index, name in enumerate(layer.inputs):
        shape = quantized.graph.tensor(name).shape
        params.extend(_copy(layer, "", shape, contiguous_strides(shape), strides, (0, at * strides[axis]), index=index))
        at += shape[axis]
    return ConstantBlock(layer=layer.name, params_type="mps_copy_params", params_count=len(layer.inputs), params=tuple(params))


def _slice(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> ConstantBlock:
    del constants
    op = layer.op
    assert isinstance(op, Slice)
    source, target = (quantized.graph.tensor(name).shape for name in (layer.inputs[0], layer.output))
    strides = contiguous_strides(source)
    offset = sum(start * stride for start, stride in zip(op.start, strides, strict=True))
    steps = tuple(step * stride for step, stride in zip(op.step, strides, strict=True))
    params = _copy(layer, "", target, steps, contiguous_strides(target), (offset, 0))
    return ConstantBlock(layer=layer.name, params_type="mps_copy_params", params=params)


def _transpose(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> ConstantBlock:
    del constants
    op = layer.op
    assert isinstance(op, Transpose)
    source, target = (quantized.graph.tensor(name).shape for name in (layer.inputs[0], layer.output))
    strides = contiguous_strides(source)
    params = _copy(layer, "", target, tuple(strides[axis] for axis in op.permutation), contiguous_strides(target), (0, 0))
    return ConstantBlock(layer=layer.name, params_type="mps_copy_params", params=params)


def _copy(
    layer: Layer,
    prefix: str,
    shape: Sequence[int],
    input_strides: Sequence[int],
    output_strides: Sequence[int],
    offsets: tuple[int, int],
    index: int | None = None,
) -> tuple[Field, ...]:
    base = f"params{'' if index is None else f'[{index}]'}.{prefix}"
    collapsed = collapse_copy(layer.name, shape, input_strides, output_strides)
    return (
        Field(designator=f"{base}shape", kind="u4", values=collapsed[0]),
        Field(designator=f"{base}input_stride", kind="i4", values=collapsed[1]),
        Field(designator=f"{base}output_stride", kind="i4", values=collapsed[2]),
        Field(designator=f"{base}input_offset", kind="u4", values=offsets[0]),
        Field(designator=f"{base}output_offset", kind="u4", values=offsets[1]),
    )


# ---------------------------------------------------------------- pieces


def _numbers(kind: str, names: str, values: Sequence[int]) -> tuple[Field, ...]:
    return tuple(Field(designator=f"params.{name}", kind=kind, values=int(value)) for name, value in zip(names.split(), values, strict=True))


def _reserved(count: int) -> tuple[Field, ...]:
    return (Field(designator="params.reserved", kind="u1", values=(0,) * count),)


def _rescale(constants: LayerConstants) -> tuple[Field, ...]:
    """Return the members of a single requantisation."""
    rescale = constants.requantize[0]
    return _numbers("i4", "multiplier", (rescale.multiplier[0],)) + _numbers(
        "u1", "right_shift left_shift", (rescale.right_shift[0], rescale.left_shift)
    )


def _spread(rescale: Requantize, count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return one multiplier and one shift for each of `count` entries."""

    def spread(values: npt.NDArray[np.int32] | npt.NDArray[np.int8]) -> tuple[int, ...]:
        return tuple(np.broadcast_to(values, (count,)).tolist())

    return spread(rescale.multiplier), spread(rescale.right_shift)


def _zero_points(quantized: QuantizedGraph, layer: Layer) -> tuple[int, ...]:
    """Return the zero points of a layer's inputs, then of its output."""
    return tuple(quantized.quantization(name).zero_point for name in (*layer.inputs, layer.output))
