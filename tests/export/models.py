# SPDX-License-Identifier: Apache-2.0
"""Quantized graphs out of thin air: random integers in, random integers everywhere, every op of the records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpsearch.quant.requantize import ACCUMULATOR_LIMIT, WIDE_ACCUMULATOR_LIMIT, requantize_params
from mpsearch.records import (
    Add,
    AvgPool2d,
    BitWidthConfig,
    Concat,
    Conv2d,
    Layer,
    LayerConstants,
    LayerGraph,
    Linear,
    MaxPool2d,
    Mean,
    Mul,
    Op,
    Pad,
    Precision,
    Quantization,
    QuantizedGraph,
    QuantizerGroup,
    Requantize,
    Reshape,
    Slice,
    Tensor,
    Transpose,
    Unary,
)


class GraphMaker:
    """Collects layers; every method returns the name of the tensor that the layer writes.

    Args:
        seed: Of every random integer.
        extreme: Draw weights and zero points from the ends of their ranges.
    """

    def __init__(self, seed: int, extreme: bool = False) -> None:
        self.random = np.random.default_rng(seed)
        self.extreme = extreme
        self.tensors: list[Tensor] = []
        self.quantizations: list[Quantization] = []
        self.layers: list[Layer] = []
        self.constants: list[LayerConstants] = []
        self.inputs: list[str] = []
        self.precisions: list[tuple[str, Precision]] = []

    def input(self, *shape: int) -> str:
        self.inputs.append(self._tensor(shape))
        return self.inputs[-1]

    def conv(self, source: str, outputs: int, kernel: tuple[int, int], bits: int = 8, key: str = "", output_bits: int = 8, **options: object) -> str:
        op = Conv2d(**options)  # type: ignore[arg-type]
        height, width, channels = self.shape(source)
        shape = (outputs, *kernel, channels // op.groups)
        size = [((height, width)[i] + sum(op.padding[2 * i : 2 * i + 2]) - op.dilation[i] * (kernel[i] - 1) - 1) // op.stride[i] + 1 for i in (0, 1)]
        return self._weighted(op, source, shape, (*size, outputs), bits, key, output_bits)

    def linear(self, source: str, outputs: int, bits: int = 8, key: str = "", output_bits: int = 8) -> str:
        shape = self.shape(source)
        return self._weighted(Linear(), source, (outputs, shape[-1]), (*shape[:-1], outputs), bits, key, output_bits)

    def add(self, first: str, second: str) -> str:
        shape = np.broadcast_shapes(self.shape(first), self.shape(second))
        scales = (self.random.uniform(0.05, 0.49, 2), self.random.uniform(2**-19, 2**-18))
        rescale = tuple(requantize_params(scale, 255 << 20) for scale in (*scales[0], scales[1]))
        return self._layer(Add(), (first, second), shape, requantize=rescale, **self._limits())

    def mul(self, first: str, second: str) -> str:
        shape = np.broadcast_shapes(self.shape(first), self.shape(second))
        return self._layer(Mul(), (first, second), shape, requantize=(self._rescale(1, 255 * 255),), **self._limits())

    def unary(self, source: str) -> str:
        table = self.random.integers(-128, 128, 256)
        return self._layer(Unary(function="relu"), (source,), self.shape(source), table=table)

    def mean(self, source: str, axes: tuple[int, ...], keep: bool = False) -> str:
        shape = self.shape(source)
        count = int(np.prod([shape[axis] for axis in axes]))
        target = tuple(1 if axis in axes else size for axis, size in enumerate(shape) if keep or axis not in axes)
        return self._layer(Mean(axes=axes), (source,), target, requantize=(requantize_params(0.9 / count, 255 * count),), **self._limits())

    def avg_pool(self, source: str, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int, int, int], whole: bool) -> str:
        op = AvgPool2d(kernel=kernel, stride=stride, padding=padding, count_padding=whole)
        area = kernel[0] * kernel[1]
        counts = np.array([area]) if whole else np.arange(1, area + 1)
        rescale = requantize_params(0.9 / counts, 255 * area if area < 1 << 20 else 0)
        return self._layer(op, (source,), self._pooled(source, kernel, stride, padding), requantize=(rescale,), **self._limits())

    def max_pool(self, source: str, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int, int, int]) -> str:
        op = MaxPool2d(kernel=kernel, stride=stride, padding=padding)
        return self._layer(op, (source,), self._pooled(source, kernel, stride, padding))

    def pad(self, source: str, before: Sequence[int], after: Sequence[int]) -> str:
        shape = tuple(b + size + a for b, size, a in zip(before, self.shape(source), after, strict=True))
        return self._layer(Pad(before=tuple(before), after=tuple(after)), (source,), shape, pad_value=int(self.random.integers(-128, 128)))

    def concat(self, sources: Sequence[str], axis: int) -> str:
        shape = list(self.shape(sources[0]))
        shape[axis] = sum(self.shape(name)[axis] for name in sources)
        return self._layer(Concat(axis=axis), tuple(sources), tuple(shape))

    def slice(self, source: str, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> str:
        shape = tuple(len(range(*item)) for item in zip(start, stop, step, strict=True))
        return self._layer(Slice(start=tuple(start), stop=tuple(stop), step=tuple(step)), (source,), shape)

    def transpose(self, source: str, permutation: Sequence[int]) -> str:
        shape = tuple(self.shape(source)[axis] for axis in permutation)
        return self._layer(Transpose(permutation=tuple(permutation)), (source,), shape)

    def reshape(self, source: str, *shape: int) -> str:
        return self._layer(Reshape(), (source,), shape)

    def shape(self, name: str) -> tuple[int, ...]:
        return next(tensor.shape for tensor in self.tensors if tensor.name == name)

    def finish(self, output: str) -> QuantizedGraph:
        graph = LayerGraph(
            inputs=tuple(self.inputs),
            input_permutations=tuple(tuple(range(len(self.shape(name)))) for name in self.inputs),
            output=output,
            output_permutation=tuple(range(len(self.shape(output)))),
            tensors=tuple(self.tensors),
            layers=tuple(self.layers),
            groups=tuple(QuantizerGroup(name=layer.name, layers=(layer.name,)) for layer in self.layers if layer.weight is not None),
        )
        config = BitWidthConfig(model_digest=graph.model_digest, precisions=tuple(self.precisions))
        return QuantizedGraph(graph=graph, config=config, quantizations=tuple(self.quantizations), constants=tuple(self.constants))

    def samples(self, count: int) -> list[np.ndarray]:
        return [self.random.integers(-128, 128, (count, *self.shape(name))).astype(np.int8) for name in self.inputs]

    def _pooled(self, source: str, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int, int, int]) -> tuple[int, ...]:
        shape = self.shape(source)
        return (*((shape[i] + sum(padding[2 * i : 2 * i + 2]) - kernel[i]) // stride[i] + 1 for i in (0, 1)), shape[2])

    def _weighted(self, op: Op, source: str, shape: tuple[int, ...], target: tuple[int, ...], bits: int, key: str, output_bits: int) -> str:
        input_bits = next(item.bits for item, tensor in zip(self.quantizations, self.tensors, strict=True) if tensor.name == source)
        half = 1 << (bits - 1)
        stored = next((c for c, layer in zip(self.constants, self.layers, strict=True) if key and layer.weight_key == key), None)
        if stored is not None:
            weight = np.asarray(stored.weight)
        elif self.extreme:
            weight = self.random.choice([-half, half - 1], shape)
        else:
            weight = self.random.integers(-half, half, shape)
        values = int(np.prod(shape[1:]))
        bias = self.random.integers(-1000, 1000, shape[0])
        name = f"layer{len(self.layers)}"
        self.precisions.append((name, Precision(weight_bits=bits, activation_bits=input_bits)))
        return self._layer(
            op,
            (source,),
            target,
            weight_floats=weight,
            key=key or name,
            weight=weight,
            weight_bits=bits,
            weight_scale=np.ones(shape[0]),
            bias=bias,
            requantize=(self._rescale(shape[0], (2**input_bits - 1) * half * values + 1000, output_bits, 16 in (input_bits, output_bits)),),
            output_bits=output_bits,
            **self._limits(output_bits),
        )

    def _layer(
        self,
        op: Op,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        weight_floats: object = None,
        key: str = "",
        output_bits: int = 8,
        **constants: object,
    ) -> str:
        name = f"layer{len(self.layers)}"
        output = self._tensor(shape, output_bits)
        bias = None if weight_floats is None else constants["bias"]
        self.layers.append(Layer(name=name, op=op, inputs=inputs, output=output, weight=weight_floats, bias=bias, weight_key=key, macs=1))  # type: ignore[arg-type]
        self.constants.append(LayerConstants(layer=name, **constants))  # type: ignore[arg-type]
        return output

    def _tensor(self, shape: tuple[int, ...], bits: int = 8) -> str:
        index = len(self.tensors)
        half = 1 << (min(bits, 8) - 1)  # of 16 bits small ones, so that no folded bias overflows
        zero_point = int(self.random.choice([-half, 0, half - 1]) if self.extreme else self.random.integers(-half, half))
        self.tensors.append(Tensor(name=f"t{index}", shape=tuple(shape), quantizer=index, precision_group=index))
        self.quantizations.append(Quantization(scale=0.05, zero_point=zero_point, bits=bits))
        return f"t{index}"

    def _rescale(self, channels: int, reach: int, bits: int = 8, wide: bool = False) -> Requantize:
        """Scales that spread the accumulators over the output range, some channels clamping."""
        scale = self.random.uniform(20, 300, channels) * 2.0 ** (bits - 8) / (0.3 * reach)
        return requantize_params(np.minimum(scale, 0.49), reach, WIDE_ACCUMULATOR_LIMIT if wide else ACCUMULATOR_LIMIT)

    def _limits(self, bits: int = 8) -> dict[str, int]:
        half = 1 << (bits - 1)
        lowest = int(self.random.choice([-half, -half, -half // 6, 0]))
        return {"lowest": lowest, "highest": int(self.random.choice([half - 1, half - 1, half // 2 - 1]))}
