# SPDX-License-Identifier: Apache-2.0
"""Every frozen type that crosses a stage, in path order. Read this first.

capture -> LayerGraph; calibrate -> CalibrationStats; score -> SensitivityTable; cost -> CostTable; search -> SearchResult;
(quantize -> QuantizedGraph); evaluate -> Evaluation; export -> ExportBundle.

Arrays are copied on the way in and read-only afterwards. Tensors carry no batch axis and are described in *memory order*: what torch
calls (C, H, W) is stored, and recorded here, as (H, W, C). Objectives are minimised.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from mpsearch.errors import GraphError, QuantizationError, RecordError, nearest_names

SCHEMA = 1
"""Version of the saved form of every record; it grows when a field changes its meaning."""

FloatArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int8] | npt.NDArray[np.int32] | npt.NDArray[np.int64]


def _frozen_array(record: object, name: str, dtype: npt.DTypeLike) -> None:
    """Replace an array field by a read-only copy with the dtype that the record promises."""
    value = getattr(record, name)
    if value is None:
        return
    array = np.array(value, dtype=dtype, order="C", copy=True)
    array.setflags(write=False)
    object.__setattr__(record, name, array)


def digest_of(value: object) -> str:
    """Return the SHA-256 of a record, array, tuple or scalar: equal values give equal digests in every process."""
    hasher = hashlib.sha256()
    _feed(hasher, value)
    return hasher.hexdigest()


def _feed(hasher: hashlib._Hash, value: object) -> None:
    if isinstance(value, np.ndarray):
        hasher.update(f"array {value.dtype.str} {value.shape} ".encode())
        hasher.update(np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value) and not isinstance(value, type):
        hasher.update(f"record {type(value).__name__} ".encode())
        for item in fields(value):
            hasher.update(f"{item.name} ".encode())
            _feed(hasher, getattr(value, item.name))
    elif isinstance(value, tuple):
        hasher.update(f"tuple {len(value)} ".encode())
        for item in value:
            _feed(hasher, item)
    else:
        hasher.update(f"{value!r} ".encode())


# ---------------------------------------------------------------- capture


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv2d:
    """2-D convolution over an (H, W, C) tensor; the layer's weight is (out, kernel_h, kernel_w, in / groups).

    Attributes:
        padding: Zeros added at the (top, bottom, left, right).
        groups: Channel groups; equal to the input channels for a depthwise convolution.
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """Dense layer over the last axis; the layer's weight is (out, in)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """Elementwise sum of two tensors of equal rank; an axis of length 1 is broadcast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mul:
    """Elementwise product of two tensors of equal rank; an axis of length 1 is broadcast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat:
    """Inputs joined along one axis."""

    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unary:
    """Elementwise function of one variable, run as a table of 256 entries.

    Attributes:
        function: relu, relu6, leaky_relu, hardswish, hardsigmoid, sigmoid, tanh, silu, gelu, clamp, affine (parameters[0] * x + parameters[1]).
        parameters: The function's constants, e.g. the negative slope.
    """

    function: str
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool2d:
    """Maximum over windows of an (H, W, C) tensor; padding never wins."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AvgPool2d:
    """Average over windows of an (H, W, C) tensor.

    Attributes:
        count_padding: Whether padded zeros count in the divisor.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    count_padding: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """Average over whole axes (global average pooling); the output shape says whether they are kept."""

    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad:
    """Constant padding: before[i] and after[i] entries of `value` along axis i."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape:
    """Another shape for the same memory; moves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose:
    """Axes in another order: output axis i is input axis permutation[i]."""

    permutation: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """start[i] : stop[i] : step[i] along axis i."""

    start: tuple[int, ...]
    stop: tuple[int, ...]
    step: tuple[int, ...]


Op = Conv2d | Linear | Add | Mul | Concat | Unary | MaxPool2d | AvgPool2d | Mean | Pad | Reshape | Transpose | Slice

PASS_THROUGH = (Concat, MaxPool2d, Pad, Reshape, Transpose, Slice)
"""Ops whose output holds the very integers of their inputs, so that both share one scale and zero point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One activation.

    Attributes:
        name: Unique in the graph.
        shape: Memory order, without the batch axis.
        quantizer: Index of the scale and zero point it uses; tensors with the same index share them.
        precision_group: Index of the set of tensors whose activation bit-width must agree (inputs of an add or concat, shared inputs,
            pass-through ops).
    """

    name: str
    shape: tuple[int, ...]
    quantizer: int
    precision_group: int

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def stored_bytes(self, bits: int) -> int:
        """Return its length in memory: of 4 bits two values share a byte, and every pixel (innermost axis) starts at a new one."""
        return math.prod(self.shape[:-1]) * -(-(self.shape[-1] if self.shape else 1) * bits // 8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """One folded, fused operation.

    Attributes:
        name: Unique in the graph; the module path where there is one ("layer1.0.conv1").
        op: What it does.
        inputs: Names of the tensors it reads, in order.
        output: Name of the tensor it writes.
        weight: float32; (out, kernel_h, kernel_w, in / groups) for Conv2d, (out, in) for Linear, None otherwise. Batch norm is folded in.
        bias: float32 (out,); zeros where the model has none; None for layers without weight.
        clamp: Lower and upper bound of the fused activation, in real units ((0, inf) for relu, (0, 6) for relu6); None if there is none.
        weight_key: Layers with the same key store one weight (reused modules, tied parameters); empty for layers without weight.
        macs: Multiply-accumulates for one sample.
        module_path: Where the op stands in the model ("" for the top).
        source: "file:line" of the call, or "".
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    output: str
    weight: npt.NDArray[np.float32] | None = None
    bias: npt.NDArray[np.float32] | None = None
    clamp: tuple[float, float] | None = None
    weight_key: str = ""
    macs: int = 0
    module_path: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        """Freeze the arrays and refuse weights that are not numbers."""
        _frozen_array(self, "weight", np.float32)
        _frozen_array(self, "bias", np.float32)
        for name in ("weight", "bias"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise GraphError(
                    f"Layer '{self.name}': its {name} holds {int((~np.isfinite(value)).sum())} values that are NaN or infinite (batch norm folded).",
                    "check the checkpoint, and the running variance of its batch norm.",
                )

    @property
    def weight_count(self) -> int:
        """Number of weights; 0 for layers without."""
        return 0 if self.weight is None else int(self.weight.size)

    @property
    def is_depthwise(self) -> bool:
        """Whether every output channel reads one input channel."""
        return isinstance(self.op, Conv2d) and self.op.groups > 1 and self.weight is not None and self.weight.shape[3] == 1

    @property
    def operator_class(self) -> str:
        """The class that device files give rates for: one of OPERATOR_CLASSES, or "view" for a reshape, which moves nothing."""
        match self.op:
            case Conv2d():
                return "depthwise" if self.is_depthwise else "conv2d"
            case Linear():
                return "dense"
            case Reshape():
                return "view"
            case Pad() | Concat() | Slice() | Transpose():
                return "copy"
            case Unary():
                return "lookup"
            case MaxPool2d():
                return "max_pool"
            case AvgPool2d():
                return "avg_pool"
            case _:
                return type(self.op).__name__.lower()  # add, mul, mean


OPERATOR_CLASSES = ("conv2d", "depthwise", "dense", "add", "mul", "max_pool", "avg_pool", "mean", "copy", "lookup")
"""Operator classes that hardware models give rates for; the first WEIGHTED_CLASSES of them have weights."""

WEIGHTED_CLASSES = ("conv2d", "depthwise", "dense")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """What a layer computes on, whatever its weights are: all that a hardware model needs to know, and the key of a measurement.

    Attributes:
        operator: One of OPERATOR_CLASSES, or "view".
        input: Height, width and channels of the (first) input. A tensor of one axis has height and width 1; of two axes (rows, features) the first
            is the height; of more than three all but the last two are folded into the height.
        output: Likewise.
        kernel: Height and width of the window.
        stride: Down and across.
        dilation: Down and across.
        padding: Zeros above, below, left and right.
        groups: Of a convolution; its channels for a depthwise one.
        operands: How many inputs there are.
        batch: Samples that are computed together; the kernels of bundles take 1.
    """

    operator: str
    input: tuple[int, int, int]
    output: tuple[int, int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    operands: int = 1
    batch: int = 1

    def __str__(self) -> str:
        """Return e.g. "conv2d 8x8x16 to 4x4x32, kernel 3x3, stride 2x2, padding 1 1 1 1": what is not as usual."""
        parts = [f"{self.operator} {'x'.join(map(str, self.input))} to {'x'.join(map(str, self.output))}"]
        for name in ("kernel", "stride", "dilation"):
            if (sizes := getattr(self, name)) != (1, 1):
                parts.append(f"{name} {sizes[0]}x{sizes[1]}")
        if any(self.padding):
            parts.append(f"padding {' '.join(map(str, self.padding))}")
        if self.groups > 1 and self.operator != "depthwise":
            parts.append(f"{self.groups} groups")
        if self.operands > 1:
            parts.append(f"{self.operands} operands")
        if self.batch > 1:
            parts.append(f"batch {self.batch}")
        return ", ".join(parts)

    @property
    def has_weights(self) -> bool:
        """Whether a precision must be chosen."""
        return self.operator in WEIGHTED_CLASSES

    @property
    def input_values(self) -> int:
        """Values of the first input."""
        return self.batch * math.prod(self.input)

    @property
    def output_values(self) -> int:
        """Values of the output."""
        return self.batch * math.prod(self.output)

    @property
    def window_values(self) -> int:
        """Values that one output needs: taps times input channels of its group; the taps for a pooling; 1 for elementwise operators."""
        taps = math.prod(self.kernel)
        return taps * self.input[2] // self.groups if self.operator in ("conv2d", "dense") else taps

    @property
    def weights(self) -> int:
        """Number of weights; 0 without."""
        return self.window_values * self.output[2] if self.has_weights else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates, those with padding included; 0 without weights."""
        return self.output_values * self.window_values if self.has_weights else 0

    @property
    def steps(self) -> int:
        """What a rate counts: MACs with weights; else values handled, of a pooling every value of every window, of a copy those it writes."""
        if self.operator in ("max_pool", "avg_pool", *WEIGHTED_CLASSES):
            return self.output_values * self.window_values
        if self.operator == "copy":
            return self.output_values
        return max(self.output_values, self.input_values)

    @property
    def is_pointwise(self) -> bool:
        """Whether a convolution has a 1x1 kernel whose windows stay inside its input."""
        inside = all((self.output[axis] - 1) * self.stride[axis] < self.input[axis] for axis in (0, 1))
        return self.operator == "conv2d" and self.kernel == (1, 1) and inside and not (self.padding[0] or self.padding[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizerGroup:
    """Layers that share one precision: one decision of the search.

    Attributes:
        name: The first layer's name.
        layers: Names of its layers, in graph order.
    """

    name: str
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerGraph:
    """A model as folded, fused layers in execution order.

    Attributes:
        inputs: Names of the input tensors.
        input_permutations: For each input, memory axis i is axis permutation[i] of the torch input without its batch axis.
        output: Name of the output tensor.
        output_permutation: Axis i of torch's output (without batch) is memory axis permutation[i].
        tensors: Every activation, inputs first, then in the order they are written.
        layers: Execution order.
        groups: Decision units over the layers that have weights.
        model_digest: SHA-256 over layers and weights.
    """

    inputs: tuple[str, ...]
    input_permutations: tuple[tuple[int, ...], ...]
    output: str
    output_permutation: tuple[int, ...]
    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    groups: tuple[QuantizerGroup, ...]
    model_digest: str = ""

    def __post_init__(self) -> None:
        """Check that every tensor is written before it is read, and stamp the digest."""
        written = set(self.inputs)
        names = {tensor.name for tensor in self.tensors}
        for layer in self.layers:
            for name in (*layer.inputs, layer.output):
                if name not in names:
                    raise GraphError(f"Layer '{layer.name}' uses tensor '{name}', which the graph does not list.")
            for name in layer.inputs:
                if name not in written:
                    raise GraphError(f"Layer '{layer.name}' reads tensor '{name}' before it is written.")
            written.add(layer.output)
        if self.output not in written:
            raise GraphError(f"The output tensor '{self.output}' is never written.")
        if not self.model_digest:
            object.__setattr__(self, "model_digest", digest_of((self.inputs, self.output, self.tensors, self.layers)))

    def tensor(self, name: str) -> Tensor:
        """Return the tensor of that name."""
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def layer(self, name: str) -> Layer:
        """Return the layer of that name."""
        return next(layer for layer in self.layers if layer.name == name)

    @property
    def weighted_layers(self) -> tuple[Layer, ...]:
        """Layers that have weights, in execution order."""
        return tuple(layer for layer in self.layers if layer.weight is not None)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample."""
        return sum(layer.macs for layer in self.layers)


# ---------------------------------------------------------------- precision


class Widths(Protocol):
    """Bits of a layer's operands as a device sees them: a Precision, or DeviceWidths beyond what a search offers."""

    @property
    def weight_bits(self) -> int:
        """Bits per weight."""

    @property
    def activation_bits(self) -> int:
        """Bits per input activation."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class DeviceWidths:
    """Bits of a layer's operands on a device that computes more widths than a Precision names, binary ones for instance.

    Attributes:
        weight_bits: Bits per weight, 1 to 32.
        activation_bits: Bits per input activation, 1 to 32.
    """

    weight_bits: int
    activation_bits: int

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("weight_bits", "activation_bits"):
            if not 1 <= getattr(self, name) <= 32:
                raise QuantizationError(f"DeviceWidths: {name} is {getattr(self, name)}, wanted 1 to 32.")

    def __str__(self) -> str:
        """Return the printed form, that of a Precision."""
        return f"w{self.weight_bits}a{self.activation_bits}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Precision:
    """Bit-widths of one layer; printed as "w4a8".

    Attributes:
        weight_bits: Bits per weight, 2 to 16.
        activation_bits: Bits per input activation, 2 to 16.
        group_size: Weights along the input that share a scale; None for one scale per output channel.
    """

    weight_bits: int
    activation_bits: int = 8
    group_size: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("weight_bits", "activation_bits"):
            if not 2 <= getattr(self, name) <= 16:
                raise QuantizationError(f"Precision: {name} is {getattr(self, name)}, wanted 2 to 16.")

    def __str__(self) -> str:
        """Return the printed form."""
        return f"w{self.weight_bits}a{self.activation_bits}" + (f"g{self.group_size}" if self.group_size else "")

    @classmethod
    def parse(cls, text: str) -> Precision:
        """Read the printed form.

        Raises:
            QuantizationError: The text is not of the form "w4a8" or "w4a8g32".
        """
        import re

        match = re.fullmatch(r"w(\d+)a(\d+)(?:g(\d+))?", text)
        if match is None:
            raise QuantizationError(f"Precision: got {text!r}, wanted the form w4a8 or w4a8g32.")
        weight_bits, activation_bits, group_size = match.groups()
        return cls(weight_bits=int(weight_bits), activation_bits=int(activation_bits), group_size=int(group_size) if group_size else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class BitWidthConfig:
    """Layer name -> precision, for every layer with weights, with the digest of the model it belongs to."""

    model_digest: str
    precisions: tuple[tuple[str, Precision], ...]

    def __getitem__(self, layer: str) -> Precision:
        """Return a layer's precision."""
        for name, precision in self.precisions:
            if name == layer:
                return precision
        raise RecordError(f"The config has no layer '{layer}'.", "it was made for another model.")

    def check_model(self, graph: LayerGraph) -> None:
        """Refuse a config that was made for another model.

        Raises:
            RecordError: Another digest, or other layers.
        """
        wanted = {layer.name for layer in graph.weighted_layers}
        got = {name for name, _ in self.precisions}
        if self.model_digest != graph.model_digest or wanted != got:
            raise RecordError(
                f"The config was made for model {self.model_digest[:12]}, this one is {graph.model_digest[:12]}"
                + (f"; layers that differ: {', '.join(sorted(wanted ^ got)[:5])}." if wanted != got else "."),
                "run `mpsearch optimize` on this model, or pass the model that the config was made for.",
            )


# ---------------------------------------------------------------- calibrate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TensorStats:
    """What calibration saw of one tensor.

    Attributes:
        name: The tensor.
        minimum: Smallest value seen.
        maximum: Largest value seen.
        histogram: int64 (bins,), counts of equal bins between minimum and maximum.
        mean: float64, the tensor's shape: mean over samples. With it the mean output of a layer is known exactly, padding included.
        mean_square: float64, the tensor's shape: mean of the squares over samples.
        interval: The (low, high) that moves the network's output least when the tensor is rounded to 8 bits; None where it was not measured.
    """

    name: str
    minimum: float
    maximum: float
    histogram: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float64]
    mean_square: npt.NDArray[np.float64]
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        _frozen_array(self, "histogram", np.int64)
        _frozen_array(self, "mean", np.float64)
        _frozen_array(self, "mean_square", np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InputMoments:
    """How the inputs of one layer's weights vary together.

    Attributes:
        layer: A layer with weights.
        covariance: float32 (groups, fan_in, fan_in), of the input patches of each channel group, in the order of a row of weights
            (kernel_h, kernel_w, in / groups).
        patches: How many patches of each group were seen.
    """

    layer: str
    covariance: npt.NDArray[np.float32]
    patches: int

    def __post_init__(self) -> None:
        """Freeze the matrices and check their shape."""
        _frozen_array(self, "covariance", np.float32)
        if self.covariance.ndim != 3 or self.covariance.shape[1] != self.covariance.shape[2]:
            raise RecordError(f"InputMoments '{self.layer}': covariance of shape {self.covariance.shape}, wanted (groups, fan_in, fan_in).")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibrationStats:
    """What a few batches tell about the activations.

    Attributes:
        tensors: One entry a tensor, in graph order.
        samples: How many samples were seen.
        model_digest: The graph they belong to.
        moments: One entry for each layer with weights whose matrix was kept.
    """

    tensors: tuple[TensorStats, ...]
    samples: int
    model_digest: str
    moments: tuple[InputMoments, ...] = ()

    def tensor(self, name: str) -> TensorStats:
        """Return what was seen of one tensor."""
        return next(tensor for tensor in self.tensors if tensor.name == name)


# ---------------------------------------------------------------- quantize


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """real = scale * (q - zero_point), q a signed integer of `bits` bits."""

    scale: float
    zero_point: int
    bits: int = 8

    def __post_init__(self) -> None:
        """Check scale and zero point."""
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise QuantizationError(f"Quantization: the scale is {self.scale}, wanted a finite number above 0.")
        if not self.lowest <= self.zero_point <= self.highest:
            raise QuantizationError(f"Quantization: the zero point {self.zero_point} is outside [{self.lowest}, {self.highest}].")

    @property
    def lowest(self) -> int:
        """Smallest integer."""
        return -(1 << (self.bits - 1))

    @property
    def highest(self) -> int:
        """Largest integer."""
        return (1 << (self.bits - 1)) - 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requantize:
    """Fixed-point form of real scales: scale = multiplier * 2^-(32 + right_shift - left_shift).

    Attributes:
        multiplier: int32 (n,), in [2^30, 2^31); n is 1 or the number of channels.
        right_shift: int8 (n,), in [1, 31].
        left_shift: The accumulator is shifted left by this first; it must not overflow int32, or 48 bits where activations have 16.
    """

    multiplier: npt.NDArray[np.int32]
    right_shift: npt.NDArray[np.int8]
    left_shift: int = 0

    def __post_init__(self) -> None:
        """Freeze and check the ranges."""
        _frozen_array(self, "multiplier", np.int32)
        _frozen_array(self, "right_shift", np.int8)
        if self.multiplier.shape != self.right_shift.shape or self.multiplier.ndim != 1:
            raise QuantizationError(
                f"Requantize: multiplier {self.multiplier.shape} and right_shift {self.right_shift.shape} must be equal and flat."
            )
        if (self.multiplier < 1 << 30).any() or (self.right_shift < 1).any() or (self.right_shift > 31).any() or not 0 <= self.left_shift <= 30:
            raise QuantizationError("Requantize: wanted multiplier >= 2^30, right_shift in [1, 31] and left_shift in [0, 30].")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerConstants:
    """The integers that one layer needs at run time.

    Attributes:
        layer: Name of the layer.
        weight: int8, the layer's weight shape, values of `weight_bits` signed bits; None without weights.
        weight_bits: Bits per stored weight; 0 without weights.
        weight_scale: float64 (out,), real step per output channel, for reports and re-training; None without weights.
        bias: int32 (out,), in units of input scale x weight scale; None without weights. Where activations have 16 bits these units are small:
            the quantizer keeps a bias below 2^31 of them.
        requantize: One entry for Conv2d, Linear, Mul, Mean; AvgPool2d has one whose n-th element serves windows of n + 1 counted values
            (one element if every window counts the same); Add has three: first input, second input, sum. Empty for the other ops.
        table: int8 (256,), output for input q at index q + 128; Unary only.
        lowest: Smallest output integer (fused activation included).
        highest: Largest output integer.
        pad_value: Integer that Pad writes.
    """

    layer: str
    weight: npt.NDArray[np.int8] | None = None
    weight_bits: int = 0
    weight_scale: npt.NDArray[np.float64] | None = None
    bias: npt.NDArray[np.int32] | None = None
    requantize: tuple[Requantize, ...] = ()
    table: npt.NDArray[np.int8] | None = None
    lowest: int = -128
    highest: int = 127
    pad_value: int = 0

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        _frozen_array(self, "weight", np.int8)
        _frozen_array(self, "weight_scale", np.float64)
        _frozen_array(self, "bias", np.int32)
        _frozen_array(self, "table", np.int8)


Rounding = Literal["single", "tflite_double"]
"""How accumulators become outputs; quant/requantize.py defines both."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantizedGraph:
    """A LayerGraph with every integer decided: what the integer execution runs and the exporter writes.

    Attributes:
        graph: Structure.
        config: Precision of every layer with weights.
        quantizations: One per tensor, in the order of graph.tensors.
        constants: One per layer, in the order of graph.layers.
        rounding: How every accumulator is rounded, in the integer execution and in the C alike.
    """

    graph: LayerGraph
    config: BitWidthConfig
    quantizations: tuple[Quantization, ...]
    constants: tuple[LayerConstants, ...]
    rounding: Rounding = "single"

    def __post_init__(self) -> None:
        """Check the rounding."""
        if self.rounding not in get_args(Rounding):
            raise QuantizationError(f"QuantizedGraph: the rounding is {self.rounding!r}.", nearest_names(self.rounding, get_args(Rounding)))

    def quantization(self, tensor: str) -> Quantization:
        """Return the scale and zero point of a tensor."""
        for record, quantization in zip(self.graph.tensors, self.quantizations, strict=True):
            if record.name == tensor:
                return quantization
        raise QuantizationError(f"No tensor '{tensor}' in the graph.")

    def activation_bits(self, layer: Layer) -> tuple[int, int]:
        """Return the bits of a layer's first input and of its output."""
        return self.quantization(layer.inputs[0]).bits, self.quantization(layer.output).bits


# ---------------------------------------------------------------- score and cost


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SensitivityTable:
    """Expected rise of the loss when one group is lowered to a precision.

    Attributes:
        proxy: Name of the proxy.
        groups: Group names, G of them.
        precisions: P of them, rising in bits.
        score: float64 (G, P), >= 0 and finite, never rising with the bits; NaN where the search space does not offer the precision.
        forward_passes: Cost of the scoring, in forward passes over the calibration data (a backward pass counts as two).
        model_digest: The graph it belongs to.
    """

    proxy: str
    groups: tuple[str, ...]
    precisions: tuple[Precision, ...]
    score: npt.NDArray[np.float64]
    forward_passes: float
    model_digest: str

    def __post_init__(self) -> None:
        """Freeze the scores and check shape and sign."""
        _frozen_array(self, "score", np.float64)
        if self.score.shape != (len(self.groups), len(self.precisions)):
            raise RecordError(f"SensitivityTable: scores of shape {self.score.shape}, wanted ({len(self.groups)}, {len(self.precisions)}).")
        if np.isinf(self.score).any() or (self.score < 0).any():
            raise RecordError("SensitivityTable: scores must be finite and at least 0.")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricCost:
    """One metric's cost of every (group, precision): total = max over rows r of fixed[r] + sum over groups of cost[r, group, chosen].

    A summed metric has one row; peak RAM has one row per schedule step.

    Attributes:
        metric: "flash", "ram", "latency", "energy", "bops", "bits" or "macs".
        unit: "byte", "s", "J", "op", "bit".
        cost: float64 (R, G, P); NaN where the space does not offer the precision.
        fixed: float64 (R,), what does not depend on any decision.
        rows: What each row stands for ("" for a sum; the schedule step's layer for RAM).
    """

    metric: str
    unit: str
    cost: npt.NDArray[np.float64]
    fixed: npt.NDArray[np.float64]
    rows: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        """Freeze the arrays and check the shapes."""
        _frozen_array(self, "cost", np.float64)
        _frozen_array(self, "fixed", np.float64)
        if self.cost.ndim != 3 or self.fixed.shape != (self.cost.shape[0],) or len(self.rows) != self.cost.shape[0]:
            raise RecordError(
                f"MetricCost '{self.metric}': cost {self.cost.shape}, fixed {self.fixed.shape} and {len(self.rows)} rows do not fit together."
            )

    def total(self, choice: npt.NDArray[np.int64]) -> float:
        """Return the cost of one config.

        Args:
            choice: int64 (G,), index of the chosen precision of each group.
        """
        return float((self.fixed + self.cost[:, np.arange(self.cost.shape[1]), choice].sum(axis=1)).max())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CostTable:
    """Every metric's cost of every (group, precision).

    Attributes:
        groups: Group names, as in the SensitivityTable.
        precisions: As in the SensitivityTable.
        metrics: One entry a metric.
        target: Name of the hardware model, or "".
        model_digest: The graph it belongs to.
    """

    groups: tuple[str, ...]
    precisions: tuple[Precision, ...]
    metrics: tuple[MetricCost, ...]
    target: str
    model_digest: str

    def metric(self, name: str) -> MetricCost:
        """Return the metric of that name."""
        for metric in self.metrics:
            if metric.metric == name:
                return metric
        raise RecordError(f"The cost table has no metric '{name}'; it has {', '.join(m.metric for m in self.metrics)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLayer:
    """What one layer took on a target.

    Attributes:
        shape: What it computed on.
        precision: None without weights.
        cycles: Core cycles; None where only something else could be measured.
        instructions: Executed; None where they cannot be counted.
        seconds: Wall time; None where only counts are known.
    """

    shape: LayerShape
    precision: Precision | None
    cycles: float | None = None
    instructions: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredTable:
    """What layers took on a target, one row for each (shape, precision).

    Attributes:
        target: Name of what was measured.
        method: How: the emulator or board, the compiler and its options.
        clock_hz: Core clock; None where it means nothing.
        rows: In the order they were measured.
        like: Name or path of the hardware model whose clock, memories and capacities it shares; None if nothing says.
    """

    target: str
    method: str
    clock_hz: float | None
    rows: tuple[MeasuredLayer, ...]
    like: str | None = None


# ---------------------------------------------------------------- search


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """An upper bound on one metric, in its base unit (bytes, seconds, joules, ops, bits)."""

    metric: str
    value: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the user allows, all at once."""

    limits: tuple[Limit, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchProblem:
    """Choose one precision per group: least total score with every cost within its limit.

    Attributes:
        groups: G names.
        precisions: P precisions.
        score: float64 (G, P), NaN where a precision is not offered.
        costs: The metrics that are limited.
        limits: One upper bound per entry of `costs`.
    """

    groups: tuple[str, ...]
    precisions: tuple[Precision, ...]
    score: npt.NDArray[np.float64]
    costs: tuple[MetricCost, ...]
    limits: tuple[float, ...]

    def __post_init__(self) -> None:
        """Freeze the scores and check that every group has an option."""
        _frozen_array(self, "score", np.float64)
        for name, row in zip(self.groups, self.score, strict=True):
            if np.isnan(row).all():
                raise RecordError(f"SearchProblem: group '{name}' is offered no precision.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """One answer: `choice[i]` is the index of group i's precision; `objective` its total score."""

    choice: tuple[int, ...]
    objective: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Answers of a solver, best first.

    Attributes:
        status: "optimal" (the gap is closed), "feasible" (an answer, not proven best), "infeasible", or "failed" (stopped without an answer).
        solutions: Distinct answers, rising objective; empty unless optimal or feasible.
        bound: Lower bound on the objective.
        gap: (objective - bound) / max(|bound|, tiny); 0 when proven.
        solver: Name of the solver.
    """

    status: Literal["optimal", "feasible", "infeasible", "failed"]
    solutions: tuple[Solution, ...]
    bound: float
    gap: float
    solver: str


# ---------------------------------------------------------------- evaluate and export


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """True error of a model on the evaluation data.

    Attributes:
        error: In the workload metric's unit, lower is better.
        metric: Name of the metric.
        samples: How many samples were evaluated.
        execution: "real", "simulated" or "integer".
    """

    error: float
    metric: str
    samples: int
    execution: Literal["real", "simulated", "integer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportBundle:
    """What the exporter wrote.

    Attributes:
        path: The bundle's folder.
        flash_bytes: Length of the exported constants.
        arena_bytes: Activations, inputs, outputs and scratch.
        macs: Multiply-accumulates for one inference.
        digests: File name -> SHA-256.
    """

    path: str
    flash_bytes: int
    arena_bytes: int
    macs: int
    digests: tuple[tuple[str, str], ...] = field(default=())
