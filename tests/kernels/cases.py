# SPDX-License-Identifier: Apache-2.0
"""One call of one kernel: every byte that goes in, and every byte that the NumPy interpreter says must come out.

Each maker below decides shapes, values and scales through `Choices`, ends of every range included, and lets the exporter write the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpsearch.export.constants import ConstantBlock, build_blocks
from mpsearch.quant.bitpack import pack
from mpsearch.quant.requantize import requantize_params
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
    Slice,
    Tensor,
    Transpose,
    Unary,
)
from tests.export.reference import run_reference
from tests.kernels.choices import Choices

Int8Array = npt.NDArray[np.int8]
WIDTHS = tuple(range(2, 9))
_INT32_MAX = 2**31 - 1
_ANYTHING = ("any", "any", "any", "lowest", "highest", "ends", "ones", "zeros")
_DTYPES = {"i1": np.int8, "u1": np.uint8, "i4": np.int32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """The arrays of a layer with weights, in the order of mps_channels."""

    bias: npt.NDArray[np.int32]
    multiplier: npt.NDArray[np.int32]
    right_shift: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.uint8]

    @property
    def arrays(self) -> tuple[npt.NDArray[np.generic], ...]:
        """The arrays, in order."""
        return (self.bias, self.multiplier, self.right_shift, self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCase:
    """One call.

    Attributes:
        function: Name of the kernel; its reference has the suffix "_ref".
        params: Its parameter struct.
        packed: As the kernel takes them: zero point folded into the bias, weights packed. None without weights.
        plain: As the reference takes them.
        arrays: The other constant arrays, in the order of the arguments.
        inputs: Activations.
        before: What the output buffer holds before the call.
        expected: What it must hold afterwards.
        skew: Low two bits each: how far input, output and bytes of weights start from a multiple of 4.
    """

    function: str
    params: bytes
    packed: Channels | None = None
    plain: Channels | None = None
    arrays: tuple[npt.NDArray[np.generic], ...] = ()
    inputs: tuple[Int8Array, ...]
    before: Int8Array
    expected: Int8Array
    skew: int = 0


# ---------------------------------------------------------------- ops with weights


def conv2d(choices: Choices, bits: int) -> KernelCase:
    groups, per_group, out_per_group = choices.pick(
        [(1, 1, 1), (1, 3, 5), (1, 8, 4), (1, 16, 16), (1, 67, 3), (1, 64, 2), (2, 2, 3), (3, 4, 2), (2, 33, 1), (4, 1, 1), (5, 1, 3)]
    )
    if choices.pick([False, True]):
        groups, per_group, out_per_group = 1, choices.integer(1, 70), choices.integer(1, 19)
    kernel = choices.pick([(1, 1), (1, 1), (3, 3), (1, 4), (4, 1), (2, 3), (5, 5), (10, 4)])
    stride, dilation = _pair(choices, 1, 3), _pair(choices, 1, 2)
    padding = choices.pick([(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 0, 1), (2, 0, 0, 2), (1, 3, 2, 0)])
    op = Conv2d(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return _convolution(choices, "mps_conv2d", op, kernel, groups * out_per_group, per_group, bits)


def depthwise2d(choices: Choices, bits: int) -> KernelCase:
    channels, multiplicity = choices.pick([(1, 1), (1, 3), (2, 1), (3, 2), (5, 1), (16, 1), (63, 1), (64, 1), (65, 1), (131, 1), (40, 3)])
    kernel = choices.pick([(1, 1), (3, 3), (3, 3), (3, 3), (1, 3), (3, 1), (2, 3), (5, 5), (4, 2), (7, 1), (2, 6)])
    stride, dilation = choices.pick([(1, 1), (1, 1), (2, 2), (1, 2), (2, 1), (3, 1), (3, 3)]), choices.pick([(1, 1), (1, 1), (1, 2), (2, 1), (3, 2)])
    padding = choices.pick([(0, 0, 0, 0), (1, 1, 1, 1), (1, 1, 1, 1), (0, 1, 0, 1), (3, 0, 0, 3), (2, 2, 2, 2), (0, 0, 5, 5)])
    op = Conv2d(stride=stride, padding=padding, dilation=dilation, groups=channels)
    # Some inputs are wider than the strip that a kernel lays out.
    extra_width = choices.pick([0, 1, 2, 3, 4, 6, 31, 34, 70]) if channels * multiplicity < 40 else None
    return _convolution(choices, "mps_depthwise2d", op, kernel, channels * multiplicity, 1, bits, extra_width)


def linear(choices: Choices, bits: int) -> KernelCase:
    rows, inputs = choices.pick([1, 1, 2, 3, 4, 5, 9]), choices.pick([1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 127, 130, 257])
    outputs = choices.pick([1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33])
    return _weighted(choices, "mps_linear", Linear(), (rows, inputs), (rows, outputs), (outputs, inputs), bits)


def linear_at_the_ends(choices: Choices, bits: int, sizes: tuple[int, int, int], weights: str, activations: str) -> KernelCase:
    """Return a dense layer of (rows, inputs, outputs) whose weights and activations are all "lowest" or all "highest"."""
    rows, inputs, outputs = sizes
    return _weighted(choices, "mps_linear", Linear(), (rows, inputs), (rows, outputs), (outputs, inputs), bits, ((weights,), (activations,)))


def _convolution(
    choices: Choices, function: str, op: Conv2d, kernel: tuple[int, int], outputs: int, per_group: int, bits: int, extra_width: int | None = None
) -> KernelCase:
    reach = [op.dilation[i] * (kernel[i] - 1) + 1 - sum(op.padding[2 * i : 2 * i + 2]) for i in (0, 1)]
    extra = [choices.pick([0, 1, 2, 4, 6]), choices.pick([0, 1, 2, 4, 6]) if extra_width is None else extra_width]
    size = [max(1, least) + more for least, more in zip(reach, extra, strict=True)]
    target = [(size[i] - reach[i]) // op.stride[i] + 1 for i in (0, 1)]
    shape = (outputs, *kernel, per_group)
    return _weighted(choices, function, op, (*size, op.groups * per_group), (*target, outputs), shape, bits)


def _weighted(
    choices: Choices,
    function: str,
    op: Op,
    source: tuple[int, ...],
    target: tuple[int, ...],
    shape: tuple[int, ...],
    bits: int,
    patterns: tuple[Sequence[str], Sequence[str]] = (_ANYTHING, _ANYTHING),
) -> KernelCase:
    """Return a case whose weights and activations follow one of the patterns each."""
    random, half, values = _random(choices), 1 << (bits - 1), int(np.prod(shape[1:]))
    weight = _fill(choices, random, shape, -half, half - 1, patterns[0]).astype(np.int8)
    largest = _INT32_MAX - 2 * 256 * 256 * (values + 64)  # whatever order a kernel sums in, it stays within int32
    bias = _fill(choices, random, (shape[0],), *choices.pick([(-1000, 1000), (-1000, 1000), (-largest, largest)]))
    reach = np.abs(bias) + 255 * np.abs(weight.reshape(shape[0], -1).astype(np.int64)).sum(axis=1)
    quantized = _one_layer(
        choices,
        op,
        [source],
        target,
        weight=weight,
        weight_bits=bits,
        weight_scale=np.ones(shape[0]),
        bias=bias,
        requantize=(_rescale(choices, random, reach),),
    )
    block, constants = build_blocks(quantized)[0], quantized.constants[0]
    assert constants.bias is not None
    rows = weight.reshape(shape[0], -1)
    rows = np.ascontiguousarray(rows.T if function == "mps_depthwise2d" else rows)
    multiplier, right_shift = _array(block, "multiplier"), _array(block, "right_shift")
    packed = Channels(bias=_array(block, "bias"), multiplier=multiplier, right_shift=right_shift, weights=pack(rows, bits))
    plain = Channels(bias=constants.bias, multiplier=multiplier, right_shift=right_shift, weights=rows.view(np.uint8))
    return _case(choices, random, quantized, function, packed=packed, plain=plain, patterns=patterns[1])


# ---------------------------------------------------------------- ops without weights


def add(choices: Choices) -> KernelCase:
    random = _random(choices)
    operands = [_rescale(choices, random, np.array([255 << 20])) for _ in range(2)]
    reach = sum((((255 << 20) << part.left_shift) * int(part.multiplier[0]) >> (32 + int(part.right_shift[0]))) + 1 for part in operands)
    return _elementwise(choices, random, Add(), (*operands, _rescale(choices, random, np.array([reach]))))


def mul(choices: Choices) -> KernelCase:
    random = _random(choices)
    return _elementwise(choices, random, Mul(), (_rescale(choices, random, np.array([255 * 255])),))


def _elementwise(choices: Choices, random: np.random.Generator, op: Op, rescale: tuple[Requantize, ...]) -> KernelCase:
    shape = [choices.pick([1, 2, 3, 4, 5, 7]) for _ in range(choices.integer(1, 4))]
    ones = [choices.pick([0, 0, 0, *range(16)]) for _ in range(2)]
    operands = [tuple(1 if mask >> axis & 1 else size for axis, size in enumerate(shape)) for mask in ones]
    quantized = _one_layer(choices, op, operands, np.broadcast_shapes(*operands), requantize=rescale)
    return _case(choices, random, quantized, "mps_add" if isinstance(op, Add) else "mps_mul")


def unary(choices: Choices) -> KernelCase:
    random, size = _random(choices), choices.pick([1, 2, 3, 5, 16, 255, 1000])
    quantized = _one_layer(choices, Unary(function="relu"), [(size,)], (size,), clamped=False, table=random.integers(-128, 128, 256))
    return _case(choices, random, quantized, "mps_unary")


def mean(choices: Choices) -> KernelCase:
    random, shape = _random(choices), tuple(choices.pick([1, 2, 3, 4, 6]) for _ in range(choices.integer(1, 4)))
    if choices.pick([False, False, False, True]):
        shape = (choices.pick([255, 256, 300, 700]), *shape[:1])  # more values than the halves of a word can sum
    mask = choices.integer(1, (1 << len(shape)) - 1)
    axes = tuple(axis for axis in range(len(shape)) if mask >> axis & 1)
    target = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    count = int(np.prod([shape[axis] for axis in axes]))
    quantized = _one_layer(choices, Mean(axes=axes), [shape], target, requantize=(_rescale(choices, random, np.array([255 * count])),))
    return _case(choices, random, quantized, "mps_mean")


def max_pool2d(choices: Choices) -> KernelCase:
    kernel = _pair(choices, 1, 4)
    source, target, stride, padding = _pooled(choices, kernel, (0, 0, 1, *kernel))
    return _case(
        choices, _random(choices), _one_layer(choices, MaxPool2d(kernel=kernel, stride=stride, padding=padding), [source], target), "mps_max_pool2d"
    )


def avg_pool2d(choices: Choices) -> KernelCase:
    random, kernel = _random(choices), choices.pick([_pair(choices, 1, 4)] * 6 + [(17, 16), (1, 300)])  # the last: more than a half can sum
    source, target, stride, padding = _pooled(choices, kernel, (0, 0, 1, 2))
    area, whole = kernel[0] * kernel[1], choices.pick([False, True])
    rescale = _rescale(choices, random, np.full(1 if whole else area, 255 * area))
    op = AvgPool2d(kernel=kernel, stride=stride, padding=padding, count_padding=whole)
    return _case(choices, random, _one_layer(choices, op, [source], target, requantize=(rescale,)), "mps_avg_pool2d")


def _pooled(
    choices: Choices, kernel: tuple[int, int], pads: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, int], tuple[int, int, int, int]]:
    """Return the shapes of input and output, stride and padding; windows of an average touch the input, those of a maximum need not."""
    stride, limit = _pair(choices, 1, 3), [max(kernel[axis] - 1, 0) for axis in (0, 0, 1, 1)]
    top, bottom, left, right = (choices.pick(pads) if max(pads) > 2 else min(choices.pick(pads), most) for most in limit)
    size = [max(1, kernel[i] - pad) + choices.pick([0, 1, 2, 4]) for i, pad in ((0, top + bottom), (1, left + right))]
    channels = choices.pick([1, 2, 3, 4, 5, 8, 17])
    target = ((size[0] + top + bottom - kernel[0]) // stride[0] + 1, (size[1] + left + right - kernel[1]) // stride[1] + 1, channels)
    return (*size, channels), target, stride, (top, bottom, left, right)


def copy(choices: Choices) -> KernelCase:
    random, rank = _random(choices), choices.integer(1, 6)
    shape = tuple(choices.pick([1, 2, 3, 4] if rank > 3 else [1, 2, 3, 5, 8]) for _ in range(rank))
    kind = choices.pick(["transpose", "slice", "concat"])
    if kind == "transpose":
        order = list(range(rank))
        for i in range(rank - 1):
            j = choices.integer(i, rank - 1)
            order[i], order[j] = order[j], order[i]
        quantized = _one_layer(choices, Transpose(permutation=tuple(order)), [shape], tuple(shape[axis] for axis in order), clamped=False)
        return _case(choices, random, quantized, "mps_copy")
    if kind == "slice":
        start = [choices.integer(0, size - 1) for size in shape]
        stop = [choices.integer(low + 1, size) for low, size in zip(start, shape, strict=True)]
        step = [choices.integer(1, 3) for _ in shape]
        target = tuple(len(range(*item)) for item in zip(start, stop, step, strict=True))
        quantized = _one_layer(choices, Slice(start=tuple(start), stop=tuple(stop), step=tuple(step)), [shape], target, clamped=False)
        return _case(choices, random, quantized, "mps_copy")
    return _concat(choices, random, shape)


def _concat(choices: Choices, random: np.random.Generator, shape: tuple[int, ...]) -> KernelCase:
    """One of the copies that a concatenation takes; it leaves alone what the others write."""
    axis, parts = choices.integer(0, len(shape) - 1), [choices.integer(1, 3) for _ in range(3)]
    sources = [(*shape[:axis], part, *shape[axis + 1 :]) for part in parts]
    target = (*shape[:axis], sum(parts), *shape[axis + 1 :])
    quantized, index = _one_layer(choices, Concat(axis=axis), sources, target, clamped=False), choices.integer(0, 2)
    inputs = [_activations(choices, random, source) for source in sources]
    everything, before = run_reference(quantized, inputs), random.integers(-128, 128, target).astype(np.int8)
    where = (slice(None),) * axis + (slice(sum(parts[:index]), sum(parts[: index + 1])),)
    expected = before.copy()
    expected[where] = everything[where]
    params = [field.data() for field in build_blocks(quantized)[0].params if field.designator.startswith(f"params[{index}]")]
    return KernelCase(
        function="mps_copy", params=b"".join(params), inputs=(inputs[index],), before=before, expected=expected, skew=choices.integer(0, 63)
    )


def pad(choices: Choices) -> KernelCase:
    random, shape = _random(choices), tuple(choices.integer(1, 4) for _ in range(choices.integer(1, 4)))
    before, after = (tuple(choices.integer(0, 2) for _ in shape) for _ in range(2))
    target = tuple(b + size + a for b, size, a in zip(before, shape, after, strict=True))
    quantized = _one_layer(choices, Pad(before=before, after=after), [shape], target, clamped=False, pad_value=choices.pick([-128, -1, 0, 127]))
    return _case(choices, random, quantized, "mps_pad")


WEIGHTED: dict[str, Callable[[Choices, int], KernelCase]] = {"conv2d": conv2d, "depthwise2d": depthwise2d, "linear": linear}
"""Makers of cases at a weight bit-width."""

UNWEIGHTED: dict[str, Callable[[Choices], KernelCase]] = {
    "add": add,
    "mul": mul,
    "unary": unary,
    "mean": mean,
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "copy": copy,
    "pad": pad,
}
"""Makers of the other cases."""


# ---------------------------------------------------------------- pieces


def _random(choices: Choices) -> np.random.Generator:
    return np.random.default_rng(choices.integer(0, 2**32 - 1))


def _pair(choices: Choices, low: int, high: int) -> tuple[int, int]:
    return choices.integer(low, high), choices.integer(low, high)


def _fill(
    choices: Choices, random: np.random.Generator, shape: Sequence[int], low: int, high: int, patterns: Sequence[str] = _ANYTHING
) -> npt.NDArray[np.int64]:
    """Return integers of a range: anything, one end of it, both ends, or all the same small number."""
    match choices.pick(patterns):
        case "any":
            return random.integers(low, high + 1, shape)
        case "ends":
            return random.choice(np.array([low, high]), tuple(shape))
        case "lowest":
            return np.full(shape, low)
        case "highest":
            return np.full(shape, high)
        case "ones":
            return np.full(shape, 1)
        case _:
            return np.zeros(shape, dtype=np.int64)


def _activations(choices: Choices, random: np.random.Generator, shape: Sequence[int], patterns: Sequence[str] = _ANYTHING) -> Int8Array:
    return _fill(choices, random, shape, -128, 127, patterns).astype(np.int8)


def _rescale(choices: Choices, random: np.random.Generator, reach: npt.NDArray[np.int64]) -> Requantize:
    """Return scales for accumulators up to `reach` each: some that spread them over the output, and the ends of what the fields can hold."""
    most, count = int(reach.max()), reach.size
    left = min(30, 31 - most.bit_length())
    spread = requantize_params(np.minimum(random.uniform(20, 300, count) / (0.3 * max(most, 1)), 0.49), most)
    match choices.pick(["spread", "spread", "ties", "any", "smallest", "largest"]):
        case "spread":
            return spread
        case "ties":  # powers of two: many accumulators lie halfway between two outputs
            return Requantize(multiplier=np.full(count, 1 << 30), right_shift=spread.right_shift, left_shift=spread.left_shift)
        case "any":
            shifts = random.integers(1, 32, count)
            return Requantize(multiplier=random.integers(1 << 30, 1 << 31, count), right_shift=shifts, left_shift=choices.integer(0, left))
        case "smallest":
            return Requantize(multiplier=np.full(count, 1 << 30), right_shift=np.full(count, 31))
        case _:
            return Requantize(multiplier=np.full(count, _INT32_MAX), right_shift=np.ones(count), left_shift=left)


def _limits(choices: Choices) -> dict[str, int]:
    lowest, highest = choices.pick([(-128, 127), (-128, 127), (0, 127), (-128, 60), (-20, 60), (5, 5), (127, 127), (-128, -128)])
    return {"lowest": lowest, "highest": highest}


def _one_layer(
    choices: Choices, op: Op, sources: Sequence[tuple[int, ...]], target: tuple[int, ...], clamped: bool = True, **constants: object
) -> QuantizedGraph:
    """Return a graph of one layer, with zero points and clamp decided here."""
    shapes = (*sources, target)
    tensors = tuple(Tensor(name=f"t{i}", shape=tuple(shape), quantizer=i, precision_group=i) for i, shape in enumerate(shapes))
    names, weight = tuple(tensor.name for tensor in tensors), constants.get("weight")
    layer = Layer(name="layer", op=op, inputs=names[:-1], output=names[-1], weight=weight, bias=constants.get("bias"), macs=1)  # type: ignore[arg-type]
    graph = LayerGraph(
        inputs=names[:-1],
        input_permutations=tuple(tuple(range(len(shape))) for shape in sources),
        output=names[-1],
        output_permutation=tuple(range(len(target))),
        tensors=tensors,
        layers=(layer,),
        groups=() if weight is None else (QuantizerGroup(name="layer", layers=("layer",)),),
        model_digest="case",
    )
    precisions = () if weight is None else (("layer", Precision(weight_bits=constants["weight_bits"])),)  # type: ignore[arg-type]
    limits = _limits(choices) if clamped else {}
    return QuantizedGraph(
        graph=graph,
        config=BitWidthConfig(model_digest="case", precisions=precisions),
        quantizations=tuple(Quantization(scale=0.05, zero_point=choices.pick([-128, 0, 127, -3, 41])) for _ in shapes),
        constants=(LayerConstants(layer="layer", **constants, **limits),),  # type: ignore[arg-type]
        rounding=choices.rounding,
    )


def _case(
    choices: Choices,
    random: np.random.Generator,
    quantized: QuantizedGraph,
    function: str,
    packed: Channels | None = None,
    plain: Channels | None = None,
    patterns: Sequence[str] = _ANYTHING,
) -> KernelCase:
    graph, block = quantized.graph, build_blocks(quantized)[0]
    inputs = tuple(_activations(choices, random, graph.tensor(name).shape, patterns) for name in graph.inputs)
    expected = run_reference(quantized, inputs)
    arrays = () if packed is not None else tuple(_array(block, field.designator) for field in block.arrays)
    return KernelCase(
        function=function,
        params=b"".join(field.data() for field in block.params),
        packed=packed,
        plain=plain,
        arrays=arrays,
        inputs=inputs,
        before=~expected,
        expected=expected,
        skew=choices.integer(0, 63),
    )


def _array(block: ConstantBlock, designator: str) -> npt.NDArray[np.generic]:
    field = next(field for field in block.arrays if field.designator == designator)
    return np.frombuffer(field.data(), dtype=_DTYPES[field.kind])
