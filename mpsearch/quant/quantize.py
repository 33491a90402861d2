# SPDX-License-Identifier: Apache-2.0
"""Every integer of a network at a given bit-width config: scales, zero points, weights, biases, multipliers, tables."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mpsearch.errors import QuantizationError, nearest_names
from mpsearch.quant.activation_bits import DEFAULT_BITS, activation_bits
from mpsearch.quant.correction import input_importance, mean_output_shift, mean_patch
from mpsearch.quant.functions import apply_unary
from mpsearch.quant.gptq import prepare_compensation, round_jointly
from mpsearch.quant.packed_size import is_wide
from mpsearch.quant.ranges import INTERVALS, WEIGHT_RANGES, activation_quantization, minmax_interval, round_weight, weight_scale
from mpsearch.quant.requantize import ACCUMULATOR_LIMIT, WIDE_ACCUMULATOR_LIMIT, requantize_params
from mpsearch.records import (
    Add,
    AvgPool2d,
    BitWidthConfig,
    CalibrationStats,
    Conv2d,
    Layer,
    LayerConstants,
    LayerGraph,
    Linear,
    Mean,
    Mul,
    Pad,
    Quantization,
    QuantizedGraph,
    Requantize,
    Unary,
)

ADD_SHIFT = 20
"""Both inputs of an add are scaled up by 2^20 before they meet, as in TensorFlow Lite."""

_LARGEST_BIAS = 1 << 22
"""A bias of more than this many accumulator units is finer than any output step, and would leave no room for the shared left shift."""

ROUNDINGS = ("nearest", "gptq")
"""How real weights become integers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizerSettings:
    """How ranges are set and rounding is corrected.

    Attributes:
        weight_range: "minmax", "percentile" or "mse" (weighted by the variance of the input each weight meets).
        activation_range: "minmax", "percentile", "mse", or "measured": least change of the network's output where calibration measured it, "mse"
            elsewhere.
        bias_correction: Take the mean shift of rounding out of the bias.
        rounding: "nearest", or "gptq": the rounded weights of a channel make up for each other, by the covariance of their inputs. Layers whose
            covariance calibration did not keep (more than `quant.moments.LARGEST_FAN_IN` weights a channel) are rounded to nearest.
    """

    weight_range: str = "mse"
    activation_range: str = "measured"
    bias_correction: bool = True
    rounding: str = "gptq"

    def __post_init__(self) -> None:
        """Check the method names."""
        for name, known in (("weight_range", WEIGHT_RANGES), ("activation_range", INTERVALS), ("rounding", ROUNDINGS)):
            if getattr(self, name) not in known:
                raise QuantizationError(f"Quantizer settings: {name} is {getattr(self, name)!r}.", nearest_names(getattr(self, name), known))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundedWeight:
    """A layer's weights at one bit-width.

    Attributes:
        weight: int8, the weight's shape.
        scale: float64 (out,).
        bias: float64 (out,), real units, corrected.
    """

    weight: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]

    @property
    def dequantized(self) -> npt.NDArray[np.float32]:
        """The weights as real numbers."""
        scale = self.scale.reshape(-1, *([1] * (self.weight.ndim - 1)))
        return (self.weight * scale).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredWeight:
    """A weight as it is stored: layers that share it share this.

    Attributes:
        integers: int8, the weight's shape.
        scale: float64 (out,).
    """

    integers: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float64]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread inside: rounding is many small steps, and one thread always adds in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Quantizer:
    """Quantises one graph at any number of configs; what a (layer, bit-width) needs is computed once and kept."""

    def __init__(self, graph: LayerGraph, stats: CalibrationStats, settings: QuantizerSettings | None = None) -> None:
        """Choose the activation ranges.

        Raises:
            QuantizationError: The statistics belong to another model.
        """
        if stats.model_digest != graph.model_digest:
            raise QuantizationError(
                f"The calibration belongs to model {stats.model_digest[:12]}, this one is {graph.model_digest[:12]}.", "calibrate again."
            )
        self.graph = graph
        self.stats = stats
        self.settings = settings or QuantizerSettings()
        self.quantizations = self._activation_quantizations()
        self._rounded: dict[tuple[str, int], RoundedWeight] = {}
        self._stored: dict[tuple[str, int], StoredWeight] = {}
        self._other_quantizations: dict[tuple[str, int], Quantization] = {}

    def prepare(self, widths: Mapping[str, Collection[int]], progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Round many weights at once, one layer on each core.

        Args:
            widths: Layer name -> the bit-widths that will be asked for.
            progress: Called with (weights done, weights in all).
        """
        wanted: dict[str, set[int]] = {}
        for layer in self.graph.weighted_layers:
            missing = {bits for bits in widths.get(layer.name, ()) if (layer.weight_key, bits) not in self._stored}
            wanted.setdefault(layer.weight_key, set()).update(missing)
        tasks = sorted((key, sorted(bits)) for key, bits in wanted.items() if bits)
        with _one_thread(), ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for done, rounded in enumerate(pool.map(lambda task: self._round_stored(*task), tasks), 1):
                self._stored.update(rounded)
                progress(done, len(tasks))

    def rounded(self, layer: Layer, bits: int) -> RoundedWeight:
        """Return a layer's weights at a bit-width; layers that store one weight get the same integers."""
        key = (layer.name, bits)
        if key not in self._rounded:
            self._rounded[key] = self._round(layer, bits)
        return self._rounded[key]

    def quantize(self, config: BitWidthConfig) -> QuantizedGraph:
        """Return every integer of the network.

        Raises:
            RecordError: The config belongs to another model.
            QuantizationError: A scale or an accumulator leaves its range.
        """
        config.check_model(self.graph)
        quantizations = self.quantizations_of(activation_bits(self.graph, config))
        return QuantizedGraph(
            graph=self.graph,
            config=config,
            quantizations=tuple(quantizations[tensor.name] for tensor in self.graph.tensors),
            constants=tuple(self._constants(layer, config, quantizations) for layer in self.graph.layers),
        )

    # ------------------------------------------------------------ activations

    def quantizations_of(self, bits: Mapping[str, int]) -> dict[str, Quantization]:
        """Return scale and zero point of every tensor.

        Args:
            bits: Tensor name -> its bits; a tensor of other bits than 8 shares its scale with none.
        """
        return {name: self.quantizations[name] if count == DEFAULT_BITS else self._narrow_or_wide(name, count) for name, count in bits.items()}

    def _narrow_or_wide(self, name: str, bits: int) -> Quantization:
        if (name, bits) not in self._other_quantizations:
            interval = INTERVALS[self.settings.activation_range](self.stats.tensor(name), bits)
            self._other_quantizations[name, bits] = activation_quantization([interval], bits)
        return self._other_quantizations[name, bits]

    def _activation_quantizations(self) -> dict[str, Quantization]:
        choose = INTERVALS[self.settings.activation_range]
        intervals: dict[int, list[tuple[float, float]]] = {}
        for tensor, seen in zip(self.graph.tensors, self.stats.tensors, strict=True):
            # Clipped logits tie; a tie at the top is an error, so the output keeps its whole range.
            method = minmax_interval if tensor.name == self.graph.output else choose
            intervals.setdefault(tensor.quantizer, []).append(method(seen, DEFAULT_BITS))
        return {tensor.name: activation_quantization(intervals[tensor.quantizer], DEFAULT_BITS) for tensor in self.graph.tensors}

    # ------------------------------------------------------------ weights

    def _round(self, layer: Layer, bits: int) -> RoundedWeight:
        assert layer.weight is not None
        assert layer.bias is not None
        self.prepare({layer.name: (bits,)})
        stored = self._stored[layer.weight_key, bits]
        weight = layer.weight.astype(np.float64)
        bias = layer.bias.astype(np.float64)
        if self.settings.bias_correction:
            difference = stored.integers * stored.scale.reshape(-1, *([1] * (weight.ndim - 1))) - weight
            patch = mean_patch(layer, self.stats.tensor(layer.inputs[0]).mean)
            bias = bias - mean_output_shift(layer, difference, patch)
        return RoundedWeight(weight=stored.integers, scale=stored.scale, bias=bias)

    def _round_stored(self, weight_key: str, widths: Sequence[int]) -> dict[tuple[str, int], StoredWeight]:
        """Return a stored weight at several bit-widths; the first layer that uses it decides its range."""
        owner = self.graph.layer(weight_key)
        assert owner.weight is not None
        rows = owner.weight.astype(np.float64).reshape(len(owner.weight), -1)
        seen = self.stats.tensor(owner.inputs[0])
        smallest = self._smallest_scale(weight_key)
        importance = input_importance(owner, seen.mean_square, seen.mean)
        covariance = self._covariance(weight_key) if self.settings.rounding == "gptq" else None
        compensation = None if covariance is None else prepare_compensation(covariance)
        result = {}
        for bits in widths:
            scale = np.maximum(weight_scale(rows, bits, self.settings.weight_range, importance), smallest)
            if compensation is None:
                integers = round_weight(rows, scale, bits)
            else:
                scale, integers = round_jointly(rows, scale, compensation, bits, smallest)
            result[weight_key, bits] = StoredWeight(integers=integers.astype(np.int8).reshape(owner.weight.shape), scale=scale)
        return result

    def _covariance(self, weight_key: str) -> npt.NDArray[np.float64] | None:
        users = {layer.name for layer in self.graph.weighted_layers if layer.weight_key == weight_key}
        kept = [moments.covariance.astype(np.float64) for moments in self.stats.moments if moments.layer in users]
        if not kept:
            return None
        total: npt.NDArray[np.float64] = np.sum([one for one in kept if one.shape == kept[0].shape], axis=0)
        return total

    def _smallest_scale(self, weight_key: str) -> npt.NDArray[np.float64]:
        """Return the smallest weight step whose bias still fits the accumulator: it matters for dead channels with a live bias."""
        users = [layer for layer in self.graph.weighted_layers if layer.weight_key == weight_key]
        floors = [np.abs(layer.bias) / (self.quantizations[layer.inputs[0]].scale * _LARGEST_BIAS) for layer in users if layer.bias is not None]
        smallest: npt.NDArray[np.float64] = np.max(floors, axis=0)
        return smallest

    # ------------------------------------------------------------ constants

    def _constants(self, layer: Layer, config: BitWidthConfig, quantizations: Mapping[str, Quantization]) -> LayerConstants:
        inputs = [quantizations[name] for name in layer.inputs]
        output = quantizations[layer.output]
        lowest, highest = _clamp_integers(layer.clamp, output)
        match layer.op:
            case Conv2d() | Linear():
                return self._weighted_constants(layer, config[layer.name].weight_bits, inputs[0], output, (lowest, highest))
            case Add():
                params = _add_params(inputs, output)
            case Mul():
                reach = _reach(inputs[0]) * _reach(inputs[1])
                params = (requantize_params(inputs[0].scale * inputs[1].scale / output.scale, reach),)
            case Mean(axes=axes):
                shape = self.graph.tensor(layer.inputs[0]).shape
                params = (_mean_params(inputs[0], output, [math.prod(shape[axis] for axis in axes)]),)
            case AvgPool2d(kernel=kernel, padding=padding, count_padding=count_padding):
                window = kernel[0] * kernel[1]
                counts = [window] if count_padding or not any(padding) else range(1, window + 1)
                params = (_mean_params(inputs[0], output, counts),)
            case Unary():
                return LayerConstants(layer=layer.name, table=_table(layer.op, inputs[0], output))
            case Pad(value=value):
                pad_value = int(np.clip(np.rint(value / output.scale) + output.zero_point, output.lowest, output.highest))
                return LayerConstants(layer=layer.name, pad_value=pad_value)
            case _:
                return LayerConstants(layer=layer.name)
        return LayerConstants(layer=layer.name, requantize=params, lowest=lowest, highest=highest)

    def _weighted_constants(self, layer: Layer, bits: int, source: Quantization, output: Quantization, clamp: tuple[int, int]) -> LayerConstants:
        rounded = self.rounded(layer, bits)
        bias = np.rint(rounded.bias / (source.scale * rounded.scale))
        reach = np.abs(rounded.weight.reshape(len(bias), -1).astype(np.int64)).sum(axis=1) * _reach(source) + np.abs(bias)
        limit = WIDE_ACCUMULATOR_LIMIT if is_wide(source.bits, output.bits) else ACCUMULATOR_LIMIT
        if reach.max() >= limit:
            raise QuantizationError(
                f"Layer '{layer.name}': an accumulator can reach {reach.max():.4g}, wanted less than 2^{limit.bit_length() - 1}.",
                "the layer sums too many products for its accumulator; split it, or lower its bits.",
            )
        if np.abs(bias).max() >= ACCUMULATOR_LIMIT:
            raise QuantizationError(
                f"Layer '{layer.name}': a bias is {np.abs(bias).max():.4g} steps of its accumulator, wanted less than 2^31.",
                "give the layer fewer activation bits, or check the calibration data.",
            )
        return LayerConstants(
            layer=layer.name,
            weight=rounded.weight,
            weight_bits=bits,
            weight_scale=rounded.scale,
            bias=bias.astype(np.int32),
            requantize=(requantize_params(source.scale * rounded.scale / output.scale, reach, limit),),
            lowest=clamp[0],
            highest=clamp[1],
        )


def _reach(quantization: Quantization) -> int:
    """Return the largest |q - zero_point|."""
    return max(quantization.highest - quantization.zero_point, quantization.zero_point - quantization.lowest)


def _clamp_integers(clamp: tuple[float, float] | None, output: Quantization) -> tuple[int, int]:
    if clamp is None:
        return output.lowest, output.highest
    bounds = [np.clip(bound / output.scale + output.zero_point, output.lowest, output.highest) for bound in clamp]
    return int(np.rint(bounds[0])), int(np.rint(bounds[1]))


def _add_params(inputs: Sequence[Quantization], output: Quantization) -> tuple[Requantize, ...]:
    shared = 2 * max(quantization.scale for quantization in inputs)
    reach = 255 << ADD_SHIFT
    first, second = (requantize_params(quantization.scale / shared, reach) for quantization in inputs)
    return first, second, requantize_params(shared / (output.scale * (1 << ADD_SHIFT)), reach)


def _mean_params(source: Quantization, output: Quantization, counts: Sequence[int]) -> Requantize:
    scales = [source.scale / (output.scale * count) for count in counts]
    return requantize_params(scales, [_reach(source) * max(counts)])


def _table(op: Unary, source: Quantization, output: Quantization) -> npt.NDArray[np.int8]:
    real = (torch.arange(source.lowest, source.highest + 1, dtype=torch.float64) - source.zero_point) * source.scale
    values = apply_unary(op, real).numpy()
    table: npt.NDArray[np.int8] = np.clip(np.rint(values / output.scale) + output.zero_point, output.lowest, output.highest).astype(np.int8)
    return table
