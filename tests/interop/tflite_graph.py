# SPDX-License-Identifier: Apache-2.0
"""An 8-bit QuantizedGraph as a TensorFlow Lite model, and that model's outputs by the package's reference kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from mpsearch.quant.requantize import requantize_params
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
    Quantization,
    QuantizedGraph,
    Requantize,
    Reshape,
    Rounding,
    Slice,
    Transpose,
)
from tests.interop.tflite_file import Scales, TfliteFile

ACTIVATIONS = {"NONE": (-np.inf, np.inf), "RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}


# ---------------------------------------------------------------- scales as TensorFlow Lite stores them


def in_float32(quantized: QuantizedGraph, rounding: Rounding = "tflite_double") -> QuantizedGraph:
    """Round every scale to float32, as a file must, and derive the multipliers from them as TensorFlow Lite does.

    Integers (weights, biases, zero points, clamps) stay as they are.
    """
    rounded = tuple(replace(item, scale=float(np.float32(item.scale))) for item in quantized.quantizations)
    base = replace(quantized, quantizations=rounded, rounding=rounding)
    constants = tuple(_derive(base, layer, item) for layer, item in zip(quantized.graph.layers, quantized.constants, strict=True))
    return replace(base, constants=constants)


def _derive(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> LayerConstants:
    sources = [quantized.quantization(name) for name in layer.inputs]
    scales, output = [np.float32(item.scale) for item in sources], np.float32(quantized.quantization(layer.output).scale)
    reach = [max(127 - item.zero_point, item.zero_point + 128) for item in sources]
    match layer.op:
        case Conv2d() | Linear():
            weight, weight_scale = np.asarray(constants.weight), np.float32(constants.weight_scale)
            largest = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(axis=1) * reach[0] + np.abs(np.asarray(constants.bias, np.int64))
            params = (requantize_params(np.float64(scales[0]) * weight_scale.astype(np.float64) / np.float64(output), largest),)
            return replace(constants, requantize=params, weight_scale=weight_scale.astype(np.float64))
        case Add():
            shared = 2 * max(np.float64(scales[0]), np.float64(scales[1]))
            real = (np.float64(scales[0]) / shared, np.float64(scales[1]) / shared, shared / (2.0**20 * np.float64(output)))
            return replace(constants, requantize=tuple(requantize_params(scale, 255 << 20) for scale in real))
        case Mul():
            return replace(constants, requantize=(requantize_params(np.float64(scales[0] * scales[1] / output), reach[0] * reach[1]),))
        case Mean():
            return replace(constants, requantize=(_mean_params(quantized, layer) or constants.requantize[0],))
        case AvgPool2d(kernel=kernel):
            windows = np.asarray(constants.requantize[0].multiplier).size
            counts = [kernel[0] * kernel[1]] if windows == 1 else range(1, windows + 1)
            return replace(constants, requantize=(requantize_params([1 / count for count in counts], reach[0] * max(counts)),))
    return constants


def mean_params(source: float, output: float, extents: Sequence[int]) -> Requantize | None:
    """Return the multiplier of a mean: that of the two scales, divided by the count and cut off, as TensorFlow Lite does.

    None if the quotient has fewer bits than our constants hold.
    """
    count = int(np.prod(extents))
    whole = requantize_params(source / output, 0)
    exponent = count.bit_length() - 1
    multiplier = (int(whole.multiplier[0]) << exponent) // count
    if multiplier < 1 << 30:
        return None
    down = int(whole.right_shift[0]) + exponent - whole.left_shift
    left_shift = max(0, 1 - down)
    return Requantize(multiplier=np.array([multiplier]), right_shift=np.array([down + left_shift]), left_shift=left_shift)


def is_expressible(quantized: QuantizedGraph, layer: Layer) -> bool:
    """Whether our constants hold the multiplier of the layer's operator: those of some means have too few bits."""
    return not isinstance(layer.op, Mean) or _mean_params(quantized, layer) is not None


def _mean_params(quantized: QuantizedGraph, layer: Layer) -> Requantize | None:
    assert isinstance(layer.op, Mean)
    shape = quantized.graph.tensor(layer.inputs[0]).shape
    source, output = (float(np.float32(quantized.quantization(name).scale)) for name in (layer.inputs[0], layer.output))
    return mean_params(source, output, [shape[axis] for axis in layer.op.axes])


# ---------------------------------------------------------------- translation


def translate(quantized: QuantizedGraph, dense: str = "CONV_2D") -> bytes:
    """Return the model of a graph whose scales fit float32; a batch axis of 1 stands before our axes.

    Args:
        quantized: The graph.
        dense: What a Linear becomes: a 1x1 CONV_2D over its rows, or FULLY_CONNECTED.
    """
    file, graph = TfliteFile(), quantized.graph
    index: dict[str, int] = {}
    for name in graph.inputs:
        index[name] = _activation(file, quantized, name)
    for layer, constants in zip(graph.layers, quantized.constants, strict=True):
        sources = [index[name] for name in layer.inputs]
        if isinstance(layer.op, Linear) and dense == "CONV_2D":
            index[layer.output] = _pointwise(file, quantized, layer, constants, sources[0])
        else:
            index[layer.output] = _operator(file, quantized, layer, constants, sources)
    return file.finish([index[name] for name in graph.inputs], index[graph.output])


def activation_of(constants: LayerConstants, output: Quantization) -> str:
    """Return the name of the fused activation that clamps so."""
    for name, bounds in ACTIVATIONS.items():
        if limits_of(bounds, output) == (constants.lowest, constants.highest):
            return name
    raise ValueError(f"layer '{constants.layer}' clamps to [{constants.lowest}, {constants.highest}]: no fused activation does")


def limits_of(bounds: tuple[float, float], output: Quantization) -> tuple[int, int]:
    """Return the integers that clamp a fused activation, in float32 as TensorFlow Lite computes them."""
    scale = np.float32(output.scale)
    low, high = (float(np.sign(bound)) * np.floor(np.abs(np.float32(bound) / scale) + np.float32(0.5)) + output.zero_point for bound in bounds)
    return int(max(low, -128)), int(min(high, 127))


def _scales(quantization: Quantization) -> Scales:
    return Scales(scale=np.array([quantization.scale], np.float32), zero_point=quantization.zero_point)


def _activation(file: TfliteFile, quantized: QuantizedGraph, name: str) -> int:
    return file.activation((1, *quantized.graph.tensor(name).shape), _scales(quantized.quantization(name)), name)


def _fused(quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> int:
    name = activation_of(constants, quantized.quantization(layer.output))
    return int(getattr(schema.ActivationFunctionType, name))


def _operator(file: TfliteFile, quantized: QuantizedGraph, layer: Layer, constants: LayerConstants, inputs: list[int]) -> int:
    output, fused = _activation(file, quantized, layer.output), _fused(quantized, layer, constants)
    source, shape = quantized.graph.tensor(layer.inputs[0]).shape, quantized.graph.tensor(layer.output).shape
    match layer.op:
        case Conv2d() | Linear():
            return _weighted(file, quantized, layer, constants, inputs[0], output)
        case Add() | Mul():
            return file.operator(type(layer.op).__name__.upper(), inputs, output, fusedActivationFunction=fused)
        case Mean(axes=axes):
            names = file.constant(np.array([axis % len(source) + 1 for axis in axes], np.int32))
            return file.operator("MEAN", [inputs[0], names], output, keepDims=len(shape) == len(source))
        case AvgPool2d() | MaxPool2d() as op:
            x, padding = _padded(file, quantized, layer, inputs[0], op.kernel, None if isinstance(op, AvgPool2d) else -128)
            name = "AVERAGE_POOL_2D" if isinstance(op, AvgPool2d) else "MAX_POOL_2D"
            window = {"filterHeight": op.kernel[0], "filterWidth": op.kernel[1], "strideH": op.stride[0], "strideW": op.stride[1]}
            return file.operator(name, [x], output, padding=padding, fusedActivationFunction=fused, **window)
        case Pad(before=before, after=after):
            return _pad(file, quantized, layer, inputs[0], output, list(zip(before, after, strict=True)), constants.pad_value)
        case Concat(axis=axis):
            return file.operator("CONCATENATION", inputs, output, axis=axis % len(shape) + 1)
        case Slice(start=start, stop=stop, step=step):
            bounds = [file.constant(np.array([first, *values], np.int32)) for first, values in ((0, start), (1, stop), (1, step))]
            return file.operator("STRIDED_SLICE", [inputs[0], *bounds], output)
        case Transpose(permutation=permutation):
            order = file.constant(np.array([0, *(axis + 1 for axis in permutation)], np.int32))
            return file.operator("TRANSPOSE", [inputs[0], order], output)
        case Reshape():
            return _reshape(file, inputs[0], output, (1, *shape))
    raise ValueError(f"layer '{layer.name}': {type(layer.op).__name__} was not translated")


def _reshape(file: TfliteFile, x: int, output: int, shape: Sequence[int]) -> int:
    return file.operator("RESHAPE", [x, file.constant(np.array(shape, np.int32))], output, newShape=list(shape))


def _pointwise(file: TfliteFile, quantized: QuantizedGraph, layer: Layer, constants: LayerConstants, x: int) -> int:
    """Return a dense layer as a convolution of an image with one pixel a row."""
    shape = quantized.graph.tensor(layer.output).shape
    source, target = (_scales(quantized.quantization(name)) for name in (layer.inputs[0], layer.output))
    weight, rows = np.asarray(constants.weight), int(np.prod(shape[:-1]))
    image = file.activation((1, rows, 1, weight.shape[1]), source)
    _reshape(file, x, image, (1, rows, 1, weight.shape[1]))
    output = file.activation((1, rows, 1, weight.shape[0]), target)
    filters = file.constant(weight[:, np.newaxis, np.newaxis], Scales(scale=np.asarray(constants.weight_scale)))
    _convolve(file, [image, filters, _bias(file, quantized, layer, constants)], output, _fused(quantized, layer, constants))
    return _reshape(file, output, _activation(file, quantized, layer.output), (1, *shape))


def _convolve(file: TfliteFile, inputs: Sequence[int], output: int, fused: int, **options: int) -> int:
    defaults = {"padding": schema.Padding.VALID, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    return file.operator("CONV_2D", inputs, output, fusedActivationFunction=fused, **{**defaults, **options})


def _bias(file: TfliteFile, quantized: QuantizedGraph, layer: Layer, constants: LayerConstants) -> int:
    scale = np.float32(quantized.quantization(layer.inputs[0]).scale) * np.float32(constants.weight_scale)
    return file.constant(np.asarray(constants.bias, np.int32), Scales(scale=scale))


def _weighted(file: TfliteFile, quantized: QuantizedGraph, layer: Layer, constants: LayerConstants, x: int, output: int) -> int:
    weight, scale = np.asarray(constants.weight), np.asarray(constants.weight_scale, np.float32)
    assert constants.weight_bits == 8
    bias, fused = _bias(file, quantized, layer, constants), _fused(quantized, layer, constants)
    if isinstance(layer.op, Linear):
        rows = file.constant(weight, Scales(scale=scale))
        return file.operator("FULLY_CONNECTED", [x, rows, bias], output, fusedActivationFunction=fused, keepNumDims=True)
    op = layer.op
    assert isinstance(op, Conv2d)
    reach = (weight.shape[1] - 1) * op.dilation[0] + 1, (weight.shape[2] - 1) * op.dilation[1] + 1
    x, padding = _padded(file, quantized, layer, x, reach, quantized.quantization(layer.inputs[0]).zero_point)
    window = {"strideH": op.stride[0], "strideW": op.stride[1], "dilationHFactor": op.dilation[0], "dilationWFactor": op.dilation[1]}
    if layer.is_depthwise:
        filters = file.constant(weight.transpose(3, 1, 2, 0), Scales(scale=scale, axis=3))
        multiplier = len(weight) // op.groups
        return file.operator(
            "DEPTHWISE_CONV_2D", [x, filters, bias], output, padding=padding, fusedActivationFunction=fused, depthMultiplier=multiplier, **window
        )
    return _convolve(file, [x, file.constant(weight, Scales(scale=scale)), bias], output, fused, padding=padding, **window)


def same_padding(size: Sequence[int], reach: tuple[int, int], stride: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the padding (top, bottom, left, right) that TensorFlow Lite calls SAME."""
    totals = [max((-(-size[i] // stride[i]) - 1) * stride[i] + reach[i] - size[i], 0) for i in (0, 1)]
    return totals[0] // 2, totals[0] - totals[0] // 2, totals[1] // 2, totals[1] - totals[1] // 2


def _padded(file: TfliteFile, quantized: QuantizedGraph, layer: Layer, x: int, reach: tuple[int, int], value: int | None) -> tuple[int, int]:
    """Return the input of a window and the kind of padding left to do: SAME where that is what the layer asks for, else padded by hand."""
    op = layer.op
    assert isinstance(op, Conv2d | AvgPool2d | MaxPool2d)
    if not any(op.padding):
        return x, schema.Padding.VALID
    source = quantized.graph.tensor(layer.inputs[0]).shape
    same = same_padding(source, reach, op.stride)
    if same == op.padding:
        return x, schema.Padding.SAME
    if value is None:
        raise ValueError(f"layer '{layer.name}': padding {op.padding} is not TensorFlow Lite's {same}")
    pads = [(op.padding[0], op.padding[1]), (op.padding[2], op.padding[3]), (0, 0)]
    shape = [size + sum(ends) for size, ends in zip(source, pads, strict=True)]
    padded = file.activation((1, *shape), _scales(quantized.quantization(layer.inputs[0])))
    return _pad(file, quantized, layer, x, padded, pads, value), schema.Padding.VALID


def _pad(file: TfliteFile, quantized: QuantizedGraph, layer: Layer, x: int, output: int, pads: list[tuple[int, int]], value: int) -> int:
    amounts = file.constant(np.array([(0, 0), *pads], np.int32))
    filler = file.constant(np.array([value], np.int8), _scales(quantized.quantization(layer.inputs[0])))
    return file.operator("PADV2", [x, amounts, filler], output)


# ---------------------------------------------------------------- running


class TfliteModel:
    """A translated model, ready to run."""

    def __init__(self, quantized: QuantizedGraph, dense: str = "CONV_2D") -> None:
        self._shape = quantized.graph.tensor(quantized.graph.output).shape
        content = translate(quantized, dense)
        self._interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1)
        self._interpreter.allocate_tensors()

    def output(self, inputs: Sequence[npt.NDArray[np.int8]]) -> npt.NDArray[np.int8]:
        """Return the output of one sample."""
        for details, values in zip(self._interpreter.get_input_details(), inputs, strict=True):
            self._interpreter.set_tensor(details["index"], values[np.newaxis])
        self._interpreter.invoke()
        (details,) = self._interpreter.get_output_details()
        return self._interpreter.get_tensor(details["index"]).reshape(self._shape)
