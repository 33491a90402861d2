# SPDX-License-Identifier: Apache-2.0
"""Integer execution: exactly what the C kernels compute, vectorised in torch. The error that mpsearch reports is this one's.

Integers travel as float32 and products are summed by float32 convolutions, which is exact while no partial sum can pass 2^24; a layer
whose weights allow more is computed over slices of its input channels that cannot, or in float64, which is exact up to 2^53: 16-bit activations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from mpsearch.evaluate.operations import convolve, move, pad, window_counts, window_sum
from mpsearch.evaluate.walk import Inputs, from_memory, to_memory, walk
from mpsearch.quant.native import native_library, native_requantize
from mpsearch.quant.packed_size import is_wide
from mpsearch.quant.quantize import ADD_SHIFT
from mpsearch.quant.requantize import ACCUMULATOR_LIMIT, requantize
from mpsearch.records import (
    Add,
    AvgPool2d,
    Conv2d,
    Layer,
    LayerConstants,
    Linear,
    Mean,
    Mul,
    Pad,
    Quantization,
    QuantizedGraph,
    Requantize,
    Rounding,
    Unary,
)

EXACT_FLOAT32 = 1 << 24
"""Integers up to this magnitude, and sums that stay within it, are exact in float32."""

_SAMPLES_AT_ONCE = 8
"""Samples requantised at a time by NumPy, so that the 64-bit temporaries stay in cache."""


class IntegerNetwork:
    """A QuantizedGraph that runs on batches."""

    def __init__(self, quantized: QuantizedGraph) -> None:
        """Lay out the constants for torch."""
        self.graph = quantized.graph
        self._quantizations = {tensor.name: item for tensor, item in zip(quantized.graph.tensors, quantized.quantizations, strict=True)}
        self._constants = {constants.layer: constants for constants in quantized.constants}
        self._weights = {
            layer.name: _exact_slices(layer, self._constants[layer.name], self._quantizations[layer.inputs[0]])
            for layer in quantized.graph.weighted_layers
        }
        self._shapes = {tensor.name: tensor.shape for tensor in quantized.graph.tensors}
        self._rounding = quantized.rounding

    def output(self, inputs: Inputs) -> torch.Tensor:
        """Return the real output (memory order) of a batch of real inputs."""
        integers = self.integer_output(self.quantize_inputs(inputs))
        quantization = self._quantizations[self.graph.output]
        return (integers - quantization.zero_point) * quantization.scale

    def quantize_inputs(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Return the integers (as float32, memory order) of a batch of real inputs, by tensor name."""
        return {name: quantize_tensor(value, self._quantizations[name]) for name, value in to_memory(self.graph, inputs).items()}

    def integer_output(self, integers: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the output integers (as float32, memory order)."""
        # NNPACK convolves by transforms, which leave fractions where a direct sum of integers is exact.
        with torch.no_grad(), torch.backends.nnpack.flags(enabled=False):
            return walk(self.graph, self._run, integers)

    def torch_output(self, inputs: Inputs) -> torch.Tensor:
        """Return the real output in torch's axis order."""
        return from_memory(self.graph, self.output(inputs))

    def _run(self, layer: Layer, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        shape = self._shapes[layer.output]
        moved = move(layer, inputs, shape)
        if moved is not None:
            return moved
        constants = self._constants[layer.name]
        sources = [self._quantizations[name] for name in layer.inputs]
        zero_point = self._quantizations[layer.output].zero_point
        x = inputs[0] - sources[0].zero_point
        match layer.op:
            case Unary():
                return torch.tensor(constants.table, dtype=torch.float32)[(inputs[0] - sources[0].lowest).to(torch.int64)]
            case Pad() as op:
                return pad(op, inputs[0], constants.pad_value)
            case Conv2d() | Linear():
                wide = is_wide(sources[0].bits, self._quantizations[layer.output].bits)
                accumulator = self._accumulate(layer, x, torch.int64 if wide else torch.int32).add_(torch.tensor(constants.bias))
            case Add():
                first, second = (
                    _scaled_input(value, source, params, self._rounding)
                    for value, source, params in zip(inputs, sources, constants.requantize, strict=False)
                )
                accumulator = first + second
            case Mul():
                accumulator = (x * (inputs[1] - sources[1].zero_point)).to(torch.int32)
            case Mean(axes=axes):
                accumulator = x.to(torch.int32).sum([axis + 1 for axis in axes], dtype=torch.int32).reshape(len(x), *shape)
            case AvgPool2d() as op:
                return _average(op, x, constants, zero_point, self._rounding)
        return _output_integers(accumulator, constants.requantize[-1], zero_point, constants, self._rounding)

    def _accumulate(self, layer: Layer, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        total: torch.Tensor | None = None
        for start, stop, weight in self._weights[layer.name]:
            part = x if weight.shape[-1] == x.shape[-1] or stop is None else x[..., start:stop]
            if part.dtype != weight.dtype:
                part = part.to(weight.dtype)
            product = convolve(layer.op, part, weight, None) if isinstance(layer.op, Conv2d) else F.linear(part, weight)
            total = product.to(dtype) if total is None else total + product.to(dtype)
        assert total is not None
        return total


def quantize_tensor(values: torch.Tensor, quantization: Quantization) -> torch.Tensor:
    """Return the nearest integers (as float32) of real values, clamped to the range."""
    integers = torch.round(values.to(torch.float64) / quantization.scale) + quantization.zero_point
    return integers.clamp(quantization.lowest, quantization.highest).to(torch.float32)


Slices = list[tuple[int, int | None, torch.Tensor]]
"""(first input channel, end or None for all, weight) of each part of a convolution that float32 computes exactly."""


def _exact_slices(layer: Layer, constants: LayerConstants, source: Quantization) -> Slices:
    assert constants.weight is not None
    weight = constants.weight
    reach = max(source.highest - source.zero_point, source.zero_point - source.lowest)
    channel_reach = np.abs(weight.astype(np.int64)).reshape(len(weight), -1, weight.shape[-1]).sum(axis=1) * reach  # (out, in)
    if channel_reach.sum(axis=1).max() <= EXACT_FLOAT32:
        return [(0, None, torch.tensor(weight, dtype=torch.float32))]
    if channel_reach.max() > EXACT_FLOAT32 or (isinstance(layer.op, Conv2d) and layer.op.groups > 1):
        return [(0, None, torch.tensor(weight, dtype=torch.float64))]
    slices: Slices = []
    start = 0
    while start < weight.shape[-1]:
        cumulative = np.cumsum(channel_reach[:, start:], axis=1).max(axis=0)
        stop = start + int(np.searchsorted(cumulative, EXACT_FLOAT32, side="right"))
        slices.append((start, stop, torch.tensor(weight[..., start:stop], dtype=torch.float32)))
        start = stop
    return slices


def _scaled_input(integers: torch.Tensor, source: Quantization, params: Requantize, rounding: Rounding) -> torch.Tensor:
    """Return an add's input on the scale that both inputs share: 256 possible values, so a table."""
    values = np.arange(source.lowest, source.highest + 1, dtype=np.int64) - source.zero_point
    table = requantize(values << ADD_SHIFT, params, 0, -ACCUMULATOR_LIMIT, ACCUMULATOR_LIMIT - 1, rounding).astype(np.int32)
    return torch.from_numpy(table)[(integers - source.lowest).to(torch.int32)]


def _output_integers(accumulator: torch.Tensor, params: Requantize, zero_point: int, constants: LayerConstants, rounding: Rounding) -> torch.Tensor:
    """Requantise an accumulator, channels last, int64 where activations have 16 bits; the result is float32 as everywhere here."""
    flat = accumulator.contiguous().numpy()
    if flat.dtype == np.int32 and native_library() is not None:
        return torch.from_numpy(native_requantize(flat, params, zero_point, constants.lowest, constants.highest, rounding)).to(torch.float32)
    result = np.empty(flat.shape, dtype=np.float32)
    for start in range(0, len(flat), _SAMPLES_AT_ONCE):
        part = slice(start, start + _SAMPLES_AT_ONCE)
        result[part] = requantize(flat[part].astype(np.int64), params, zero_point, constants.lowest, constants.highest, rounding)
    return torch.from_numpy(result)


def _average(op: AvgPool2d, x: torch.Tensor, constants: LayerConstants, zero_point: int, rounding: Rounding) -> torch.Tensor:
    accumulator = window_sum(op, x.to(torch.float64)).round().to(torch.int32)
    params = constants.requantize[0]
    if params.multiplier.size == 1:
        return _output_integers(accumulator, params, zero_point, constants, rounding)
    index = window_counts(op, x.shape[1], x.shape[2]).to(torch.int64).sub(1).expand(1, *accumulator.shape[1:]).reshape(-1).numpy()
    by_position = Requantize(multiplier=params.multiplier[index], right_shift=params.right_shift[index], left_shift=params.left_shift)
    return _output_integers(accumulator.reshape(len(x), -1), by_position, zero_point, constants, rounding).reshape(accumulator.shape)
