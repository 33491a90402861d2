# SPDX-License-Identifier: Apache-2.0
"""A plain int64 NumPy interpreter of QuantizedGraph: slow, short, and the oracle for the C that the exporter writes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mpsearch.quant.requantize import requantize
from mpsearch.records import (
    Add,
    AvgPool2d,
    Concat,
    Conv2d,
    Layer,
    LayerConstants,
    Linear,
    MaxPool2d,
    Mean,
    Mul,
    Pad,
    QuantizedGraph,
    Requantize,
    Reshape,
    Rounding,
    Slice,
    Transpose,
    Unary,
)

Integers = npt.NDArray[np.int64]
_INT32 = np.iinfo(np.int32)


def run_reference(quantized: QuantizedGraph, inputs: Sequence[npt.NDArray[np.int8]]) -> npt.NDArray[np.int8]:
    """Return the output integers of one sample."""
    graph = quantized.graph
    values = {name: np.asarray(item, dtype=np.int64) for name, item in zip(graph.inputs, inputs, strict=True)}
    for layer, constants in zip(graph.layers, quantized.constants, strict=True):
        operands = [values[name] for name in layer.inputs]
        zeros = [quantized.quantization(name).zero_point for name in layer.inputs]
        result = _run(
            layer, constants, operands, zeros, quantized.quantization(layer.output).zero_point, graph.tensor(layer.output).shape, quantized.rounding
        )
        assert result.shape == graph.tensor(layer.output).shape, layer.name
        values[layer.output] = result
    return values[graph.output].astype(np.int8)


def _run(
    layer: Layer, constants: LayerConstants, x: list[Integers], zeros: list[int], zero_point: int, shape: tuple[int, ...], rounding: Rounding
) -> Integers:
    op = layer.op

    def finish(accumulator: Integers, index: int = 0) -> Integers:
        return requantize(accumulator, constants.requantize[index], zero_point, constants.lowest, constants.highest, rounding)

    match op:
        case Conv2d():
            return finish(_convolve(op, constants, x[0] - zeros[0], shape))
        case Linear():
            return finish((x[0] - zeros[0]) @ constants.weight.astype(np.int64).T + constants.bias)
        case Add():
            parts = [requantize((x[i] - zeros[i]) << 20, constants.requantize[i], 0, _INT32.min, _INT32.max, rounding) for i in (0, 1)]
            return finish(parts[0] + parts[1], 2)
        case Mul():
            return finish((x[0] - zeros[0]) * (x[1] - zeros[1]))
        case Mean():
            return finish((x[0] - zeros[0]).sum(axis=op.axes)).reshape(shape)
        case AvgPool2d():
            return _average(op, constants, x[0] - zeros[0], zero_point, shape, rounding)
        case MaxPool2d():
            filled = _pad_image(x[0], op.padding, op.kernel, op.stride, shape, -1000)
            windows = [_window(filled, y, x_, op.stride, shape) for y in range(op.kernel[0]) for x_ in range(op.kernel[1])]
            return np.clip(np.max(windows, axis=0), constants.lowest, constants.highest)
        case Unary():
            return constants.table.astype(np.int64)[x[0] + 128]
        case Pad():
            return np.pad(x[0], tuple(zip(op.before, op.after, strict=True)), constant_values=constants.pad_value)
        case Concat():
            return np.concatenate(x, axis=op.axis)
        case Slice():
            return x[0][tuple(slice(*item) for item in zip(op.start, op.stop, op.step, strict=True))]
        case Transpose():
            return x[0].transpose(op.permutation)
        case Reshape():
            return x[0].reshape(shape)


def _pad_image(
    image: Integers, padding: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int], shape: tuple[int, ...], value: int
) -> Integers:
    """Pad as asked, and further where windows hang over."""
    extra = [max(0, (shape[i] - 1) * stride[i] + kernel[i] - image.shape[i] - padding[2 * i] - padding[2 * i + 1]) for i in (0, 1)]
    return np.pad(image, ((padding[0], padding[1] + extra[0]), (padding[2], padding[3] + extra[1]), (0, 0)), constant_values=value)


def _window(image: Integers, y: int, x: int, stride: tuple[int, int], shape: tuple[int, ...]) -> Integers:
    """Return, for every output pixel, the value at (y, x) of its window."""
    return image[y : y + (shape[0] - 1) * stride[0] + 1 : stride[0], x : x + (shape[1] - 1) * stride[1] + 1 : stride[1]]


def _convolve(op: Conv2d, constants: LayerConstants, image: Integers, shape: tuple[int, ...]) -> Integers:
    weight = constants.weight.astype(np.int64)
    outputs, kernel_h, kernel_w, per_group = weight.shape
    reach = ((kernel_h - 1) * op.dilation[0] + 1, (kernel_w - 1) * op.dilation[1] + 1)
    image = _pad_image(image, op.padding, reach, op.stride, shape, 0)
    result = np.zeros(shape, dtype=np.int64) + constants.bias
    for channel in range(outputs):
        start = channel // (outputs // op.groups) * per_group
        for y in range(kernel_h):
            for x in range(kernel_w):
                seen = _window(image, y * op.dilation[0], x * op.dilation[1], op.stride, shape)[:, :, start : start + per_group]
                result[:, :, channel] += seen @ weight[channel, y, x]
    return result


def _average(op: AvgPool2d, constants: LayerConstants, image: Integers, zero_point: int, shape: tuple[int, ...], rounding: Rounding) -> Integers:
    filled = _pad_image(image, op.padding, op.kernel, op.stride, shape, 0)
    ones = _pad_image(np.ones_like(image), op.padding, op.kernel, op.stride, shape, 0)
    taps = [(y, x) for y in range(op.kernel[0]) for x in range(op.kernel[1])]
    total = np.sum([_window(filled, y, x, op.stride, shape) for y, x in taps], axis=0)
    count = np.sum([_window(ones, y, x, op.stride, shape) for y, x in taps], axis=0)
    rescale = constants.requantize[0]
    index = np.zeros_like(count) if rescale.multiplier.size == 1 else count - 1
    result = np.zeros_like(total)
    for entry in np.unique(index):
        one = Requantize(multiplier=rescale.multiplier[[entry]], right_shift=rescale.right_shift[[entry]], left_shift=rescale.left_shift)
        here = index == entry
        result[here] = requantize(total[here], one, zero_point, constants.lowest, constants.highest, rounding)
    return result
