# SPDX-License-Identifier: Apache-2.0
"""ATen nodes become draft layers in memory order, one lowering function per family of ops."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from mpsearch.errors import GraphError
from mpsearch.graph.draft import ChannelAffine, Draft, DraftGraph
from mpsearch.graph.layout import Value, channels_last_order, plain_order, reshape_order, same_memory
from mpsearch.graph.trace import TRACED_BATCH, Trace, module_path, source_line
from mpsearch.records import Add, AvgPool2d, Concat, Conv2d, Linear, MaxPool2d, Mean, Mul, Op, Pad, Reshape, Slice, Transpose, Unary

Arguments = dict[str, Any]
"""An ATen call's arguments by schema name: Values, constant tensors, numbers and lists of these. It never leaves this file."""


class Lowering:
    """State of one lowering: the draft graph, and what each fx node stands for."""

    def __init__(self, trace: Trace) -> None:
        """Start with an empty graph."""
        self.trace = trace
        self.graph = DraftGraph()
        self.environment: dict[fx.Node, Any] = {}
        self.node: fx.Node = trace.nodes[0]
        self.constant_names: dict[int, str] = {}
        self._names: set[str] = set()

    def run(self) -> DraftGraph:
        """Lower every node.

        Raises:
            GraphError: An op is not supported; the message names op, module and line.
        """
        for node in self.trace.nodes:
            self.node = node
            if node.op == "placeholder":
                self.environment[node] = self._placeholder(node)
            elif node.op == "output":
                self._finish(node)
            elif node.op == "call_function":
                self.environment[node] = self._call(node)
        return self.graph

    def fail(self, reason: str, hint: str = "") -> GraphError:
        """Return the error for the current node, with op, module path and source line."""
        module = module_path(self.node)
        where = f"module '{module}'" if module else "the top module"
        line = source_line(self.node)
        return GraphError(f"Op '{op_name(self.node)}' in {where}{f' ({line})' if line else ''}: {reason}", hint)

    def emit(
        self,
        op: Op | ChannelAffine,
        inputs: Sequence[Value],
        shape: tuple[int, ...],
        order: tuple[int, ...],
        *,
        weight: npt.NDArray[np.float64] | None = None,
        bias: npt.NDArray[np.float64] | None = None,
        weight_name: str = "",
        internal: bool = False,
    ) -> Value:
        """Append a draft layer and return its output; `shape` is logical, without batch."""
        name = self._unique(self._layer_name(op))
        value = Value(tensor=name, shape=shape, order=order)
        self.graph.shapes[name] = value.memory_shape
        self.graph.drafts.append(
            Draft(
                name=name,
                op=op,
                inputs=[item.tensor for item in inputs],
                output=name,
                weight=weight,
                bias=bias,
                weight_name=weight_name,
                module_path=module_path(self.node),
                source=source_line(self.node),
                internal=internal,
            )
        )
        return value

    def with_order(self, value: Value, order: tuple[int, ...]) -> Value:
        """Return the value laid out in another order, moving memory only if it has to."""
        if value.order == order:
            return value
        if same_memory(value.shape, value.order, order):
            return self.emit(Reshape(), [value], value.shape, order, internal=True)
        return self.emit(Transpose(permutation=tuple(value.order.index(axis) for axis in order)), [value], value.shape, order)

    def reshape(self, value: Value, wanted: tuple[int, ...], *, internal: bool = False) -> Value:
        """Return the value under another logical shape."""
        if value.shape == wanted:
            return value
        order = reshape_order(value.shape, value.order, wanted)
        if order is None:
            value, order = self.with_order(value, plain_order(len(value.shape))), plain_order(len(wanted))
        return self.emit(Reshape(), [value], wanted, order, internal=internal)

    def permute(self, value: Value, axes: Sequence[int]) -> Value:
        """Return the value with its logical axes (batch included in `axes`) permuted; moves nothing."""
        rank = len(value.shape) + 1
        axes = [axis % rank for axis in axes]
        if axes[0] != 0:
            raise self.fail(f"permutation {axes} moves the batch axis.")
        logical = [axis - 1 for axis in axes[1:]]
        return Value(tensor=value.tensor, shape=tuple(value.shape[axis] for axis in logical), order=tuple(logical.index(axis) for axis in value.order))

    def feature_axis(self, value: Value, axis: int) -> int:
        """Return a torch axis (batch counted) as a logical axis.

        Raises:
            GraphError: It is the batch axis.
        """
        axis %= len(value.shape) + 1
        if axis == 0:
            raise self.fail("it works along the batch axis, which a deployed network does not have.")
        return axis - 1

    # ------------------------------------------------------------ nodes

    def _placeholder(self, node: fx.Node) -> Value | torch.Tensor:
        if node.name in self.trace.constants:
            constant = self.trace.constants[node.name]
            self.constant_names[id(constant)] = self.trace.constant_names[node.name]
            return constant
        value = node.meta["val"]
        if not value.dtype.is_floating_point:
            raise GraphError(
                f"Input '{node.name}' holds {str(value.dtype).removeprefix('torch.')} values, wanted float32.",
                "token ids and embeddings are not supported yet.",
            )
        shape = tuple(int(size) for size in value.shape[1:])
        last = len(shape) == 3 or (len(shape) == 2 and any("conv1d" in op_name(user) for user in node.users))
        order = channels_last_order(len(shape)) if last else plain_order(len(shape))
        name = self._unique(node.name)
        result = Value(tensor=name, shape=shape, order=order)
        self.graph.shapes[name] = result.memory_shape
        self.graph.inputs.append(name)
        self.graph.input_orders.append(order)
        return result

    def _call(self, node: fx.Node) -> Any:  # noqa: ANN401 - whatever the op returns: a Value, a tuple of them, or a constant
        if node.target is operator.getitem:
            source, index = node.args
            return self.environment[source][index]  # type: ignore[index]
        arguments = self._arguments(node)
        if not any(isinstance(item, Value) for item in _flat(arguments.values())):
            return self._constant(node)
        name = op_name(node)
        if name not in LOWERINGS:
            raise self.fail(
                "it is not supported.",
                f"supported: {', '.join(sorted(SUPPORTED))}. Move it out of the deployed part of the network, or replace it.",
            )
        return LOWERINGS[name](self, arguments)

    def _arguments(self, node: fx.Node) -> Arguments:
        if not hasattr(node.target, "_schema"):
            raise self.fail("it is not a tensor operation.", "control flow that depends on data has no fixed schedule.")
        values: Arguments = {}
        for index, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
            raw = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name, argument.default_value)
            values[argument.name] = fx.node.map_arg(raw, lambda item: self.environment[item])  # type: ignore[arg-type]
        return values

    def _constant(self, node: fx.Node) -> Any:  # noqa: ANN401 - as above
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda item: self.environment[item])  # type: ignore[misc]
        with torch.no_grad():
            return node.target(*args, **kwargs)  # type: ignore[operator]

    def _finish(self, node: fx.Node) -> None:
        outputs = node.args[0]
        if not isinstance(outputs, (tuple, list)) or len(outputs) != 1:
            raise GraphError(f"The model returns {len(outputs)} values, wanted one tensor.", "wrap it in a module that returns the tensor to deploy.")  # type: ignore[arg-type]
        result = self.environment[outputs[0]]  # type: ignore[index]
        if not isinstance(result, Value):
            raise GraphError("The model's output does not depend on its input.")
        self.graph.output, self.graph.output_order = result.tensor, result.order

    # ------------------------------------------------------------ names

    def _layer_name(self, op: Op | ChannelAffine) -> str:
        stack = list((self.node.meta.get("nn_module_stack") or {}).values())
        path = module_path(self.node)
        if stack and path and str(stack[-1][1]).startswith("torch.nn.modules") and not isinstance(op, (Reshape, Transpose)):
            return path
        kind = type(op).__name__.lower()
        return f"{path}.{kind}" if path else kind

    def _unique(self, name: str) -> str:
        unique, count = name, 1
        while unique in self._names:
            count += 1
            unique = f"{name}#{count}"
        self._names.add(unique)
        return unique


def op_name(node: fx.Node) -> str:
    """Return the ATen name without namespace and overload."""
    parts = str(node.target).split(".")
    return parts[1] if parts[0] == "aten" and len(parts) > 1 else getattr(node.target, "__name__", str(node.target))


def _flat(items: Any) -> list[Any]:  # noqa: ANN401 - nested lists of arguments
    flat: list[Any] = []
    for item in items:
        flat += _flat(item) if isinstance(item, (list, tuple)) else [item]
    return flat


def _numpy(tensor: torch.Tensor) -> npt.NDArray[np.float64]:
    return tensor.detach().to(torch.float64).numpy()


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return (value, value)
    return (int(value[0]), int(value[-1]))


def _spatial(low: Lowering, value: Value) -> Value:
    """Return a (C, H, W) or (C, L) value, channels last."""
    if len(value.shape) not in (2, 3):
        raise low.fail(f"the input has {len(value.shape) + 1} axes, wanted 3 or 4.")
    return low.with_order(value, channels_last_order(len(value.shape)))


# ---------------------------------------------------------------- layers with weights


def _lower_conv(low: Lowering, arguments: Arguments) -> Value:
    value, weight = arguments["input"], arguments["weight"]
    if not isinstance(value, Value) or not isinstance(weight, torch.Tensor):
        raise low.fail("the weight is computed from the input.")
    value = _spatial(low, value)
    one_dimensional = len(value.shape) == 2
    if one_dimensional:
        value = low.reshape(value, (value.shape[0], 1, value.shape[1]), internal=True)
        value = low.with_order(value, (1, 2, 0))
        weight_4d = weight[:, :, None, :]
    else:
        weight_4d = weight
    kernel = (int(weight_4d.shape[2]), int(weight_4d.shape[3]))
    stride, dilation = _along(arguments["stride"], one_dimensional), _along(arguments["dilation"], one_dimensional)
    if isinstance(arguments["padding"], str):
        padding = _same_padding(kernel, dilation) if arguments["padding"] == "same" else (0, 0, 0, 0)
    else:
        vertical, horizontal = _along(arguments["padding"], one_dimensional, neutral=0)
        padding = (vertical, vertical, horizontal, horizontal)
    channels, height, width = value.shape
    out_height = (height + padding[0] + padding[1] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    out_width = (width + padding[2] + padding[3] - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    bias = arguments["bias"]
    result = low.emit(
        Conv2d(stride=stride, padding=padding, dilation=dilation, groups=int(arguments["groups"])),
        [value],
        (int(weight.shape[0]), out_height, out_width),
        (1, 2, 0),
        weight=np.ascontiguousarray(_numpy(weight_4d).transpose(0, 2, 3, 1)),
        bias=np.zeros(weight.shape[0]) if bias is None else _numpy(bias),
        weight_name=low.constant_names.get(id(weight), ""),
    )
    if not one_dimensional:
        return result
    flat = low.emit(Reshape(), [result], (result.shape[0], result.shape[2]), (1, 0), internal=True)
    return flat


def _along(value: int | Sequence[int], one_dimensional: bool, neutral: int = 1) -> tuple[int, int]:
    return (neutral, _pair(value)[0]) if one_dimensional else _pair(value)


def _same_padding(kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    vertical, horizontal = (d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
    return (vertical // 2, vertical - vertical // 2, horizontal // 2, horizontal - horizontal // 2)


def _lower_linear(low: Lowering, arguments: Arguments) -> Value:
    value, weight, bias = arguments["input"], arguments["weight"], arguments.get("bias")
    if not isinstance(value, Value) or not isinstance(weight, torch.Tensor):
        raise low.fail("the weight is computed from the input.")
    return _dense(low, value, weight, bias)


def _lower_matmul(low: Lowering, arguments: Arguments) -> Value:
    value, weight = (arguments[name] for name in (("self", "mat2") if "mat2" in arguments else ("self", "other")))
    if not isinstance(value, Value) or not isinstance(weight, torch.Tensor) or weight.ndim != 2:
        raise low.fail("only a product with one constant matrix on the right is supported.")
    return _dense(low, value, weight.t(), None)


def _dense(low: Lowering, value: Value, weight: torch.Tensor, bias: torch.Tensor | None) -> Value:
    rank = len(value.shape)
    if value.order[-1] != rank - 1:
        value = low.with_order(value, plain_order(rank))
    return low.emit(
        Linear(),
        [value],
        (*value.shape[:-1], int(weight.shape[0])),
        value.order,
        weight=_numpy(weight).copy(),
        bias=np.zeros(weight.shape[0]) if bias is None else _numpy(bias),
        weight_name=low.constant_names.get(id(weight), ""),
    )


def _lower_batch_norm(low: Lowering, arguments: Arguments) -> tuple[Value]:
    mean, variance = (_numpy(arguments[name]) for name in ("running_mean", "running_var"))
    scale = 1 / np.sqrt(variance + float(arguments["eps"]))
    if arguments["weight"] is not None:
        scale = scale * _numpy(arguments["weight"])
    offset = -mean * scale + (0 if arguments["bias"] is None else _numpy(arguments["bias"]))
    return (_channel_affine(low, arguments["input"], scale, offset, axis=0),)


def _channel_affine(low: Lowering, value: Value, scale: npt.NDArray[np.float64], offset: npt.NDArray[np.float64], axis: int) -> Value:
    rank = len(value.shape)
    if value.order[-1] != axis:
        value = low.with_order(value, (*(index for index in range(rank) if index != axis), axis))
    return low.emit(ChannelAffine(), [value], value.shape, value.order, weight=scale, bias=offset)


# ---------------------------------------------------------------- elementwise


def _lower_unary(function: str, *names: str) -> Callable[[Lowering, Arguments], Value]:
    def lower(low: Lowering, arguments: Arguments) -> Value:
        value = arguments["self"] if "self" in arguments else arguments["input"]
        return low.emit(Unary(function=function, parameters=tuple(float(arguments[name]) for name in names)), [value], value.shape, value.order)

    return lower


def _lower_gelu(low: Lowering, arguments: Arguments) -> Value:
    value = arguments["self"]
    function = "gelu_tanh" if arguments.get("approximate") == "tanh" else "gelu"
    return low.emit(Unary(function=function), [value], value.shape, value.order)


def _lower_clamp(low: Lowering, arguments: Arguments) -> Value:
    value = arguments["self"]
    bounds = [arguments.get(name) for name in (("min_val", "max_val") if "min_val" in arguments else ("min", "max"))]
    if any(isinstance(bound, (torch.Tensor, Value)) for bound in bounds):
        raise low.fail("the bounds are tensors, wanted numbers.")
    lowest, highest = (default if bound is None else float(bound) for bound, default in zip(bounds, (-math.inf, math.inf), strict=True))
    return low.emit(Unary(function="clamp", parameters=(lowest, highest)), [value], value.shape, value.order)


def _lower_add(low: Lowering, arguments: Arguments) -> Value:
    return _sum(low, arguments["self"], arguments["other"], float(arguments.get("alpha", 1)))


def _lower_sub(low: Lowering, arguments: Arguments) -> Value:
    return _sum(low, arguments["self"], arguments["other"], -float(arguments.get("alpha", 1)))


def _lower_rsub(low: Lowering, arguments: Arguments) -> Value:
    return _sum(low, arguments["other"], arguments["self"], -float(arguments.get("alpha", 1)))


def _sum(low: Lowering, first: Any, second: Any, alpha: float) -> Value:  # noqa: ANN401 - Values, constants or numbers
    if isinstance(first, Value) and isinstance(second, Value):
        if alpha != 1:
            second = _affine(low, second, alpha, 0.0)
        return _binary(low, Add(), first, second)
    if isinstance(first, Value):
        return _constant_affine(low, first, scale=None, offset=_scaled(second, alpha))
    return _constant_affine(low, _affine(low, second, alpha, 0.0), scale=None, offset=_scaled(first, 1.0))


def _scaled(constant: float | torch.Tensor, factor: float) -> torch.Tensor:
    return torch.as_tensor(constant, dtype=torch.float64) * factor


def _lower_mul(low: Lowering, arguments: Arguments) -> Value:
    first, second = arguments["self"], arguments["other"]
    if isinstance(first, Value) and isinstance(second, Value):
        return _binary(low, Mul(), first, second)
    value, constant = (first, second) if isinstance(first, Value) else (second, first)
    return _constant_affine(low, value, scale=_scaled(constant, 1.0), offset=None)


def _lower_div(low: Lowering, arguments: Arguments) -> Value:
    value, divisor = arguments["self"], arguments["other"]
    if not isinstance(value, Value) or isinstance(divisor, Value) or arguments.get("rounding_mode"):
        raise low.fail("only division by a constant is supported.")
    return _constant_affine(low, value, scale=1 / _scaled(divisor, 1.0), offset=None)


def _lower_neg(low: Lowering, arguments: Arguments) -> Value:
    return _affine(low, arguments["self"], -1.0, 0.0)


def _affine(low: Lowering, value: Value, scale: float, offset: float) -> Value:
    return low.emit(Unary(function="affine", parameters=(scale, offset)), [value], value.shape, value.order)


def _constant_affine(low: Lowering, value: Value, scale: torch.Tensor | None, offset: torch.Tensor | None) -> Value:
    """Scale or shift by a constant: a number, or one value per entry of a single axis."""
    constant = scale if scale is not None else offset
    assert constant is not None
    if constant.numel() == 1:
        return _affine(low, value, *(float(constant), 0.0) if scale is not None else (1.0, float(constant)))
    shape = (1,) * (len(value.shape) + 1 - constant.ndim) + tuple(constant.shape)
    wide = [axis for axis, size in enumerate(shape) if size != 1]
    if len(shape) != len(value.shape) + 1 or len(wide) != 1 or wide[0] == 0:
        raise low.fail(f"a constant of shape {tuple(constant.shape)} meets a tensor of shape {value.shape}; wanted a number or one value per channel.")
    vector = constant.reshape(-1).numpy()
    neutral = np.ones_like(vector), np.zeros_like(vector)
    return _channel_affine(low, value, vector if scale is not None else neutral[0], vector if offset is not None else neutral[1], wide[0] - 1)


def _binary(low: Lowering, op: Add | Mul, first: Value, second: Value) -> Value:
    rank = max(len(first.shape), len(second.shape))
    first, second = (low.reshape(value, (1,) * (rank - len(value.shape)) + value.shape) for value in (first, second))
    shape = tuple(max(a, b) for a, b in zip(first.shape, second.shape, strict=True))
    if math.prod(first.shape) < math.prod(second.shape):
        order = second.order
    else:
        order = first.order
    return low.emit(op, [low.with_order(first, order), low.with_order(second, order)], shape, order)


# ---------------------------------------------------------------- pools and means


def _lower_max_pool(low: Lowering, arguments: Arguments) -> Value:
    value, one_dimensional = _pool_input(low, arguments["self"])
    if _pair(arguments["dilation"]) != (1, 1):
        raise low.fail("dilated pooling is not supported.")
    kernel, stride, padding, size = _window(arguments, value, one_dimensional)
    result = low.emit(MaxPool2d(kernel=kernel, stride=stride, padding=padding), [value], (value.shape[0], *size), (1, 2, 0))
    return _pool_output(low, result, one_dimensional)


def _lower_avg_pool(low: Lowering, arguments: Arguments) -> Value:
    value, one_dimensional = _pool_input(low, arguments["self"])
    if arguments.get("divisor_override") is not None:
        raise low.fail("divisor_override is not supported.")
    kernel, stride, padding, size = _window(arguments, value, one_dimensional)
    count_padding = bool(arguments["count_include_pad"])
    declared = _along(arguments["padding"], one_dimensional, neutral=0)
    grown = padding != (declared[0], declared[0], declared[1], declared[1])
    if grown and count_padding and any(declared):
        raise low.fail("ceil_mode with counted padding is not supported.", "set count_include_pad=False or ceil_mode=False.")
    op = AvgPool2d(kernel=kernel, stride=stride, padding=padding, count_padding=count_padding and not grown)
    return _pool_output(low, low.emit(op, [value], (value.shape[0], *size), (1, 2, 0)), one_dimensional)


def _pool_input(low: Lowering, value: Value) -> tuple[Value, bool]:
    value = _spatial(low, value)
    if len(value.shape) == 3:
        return value, False
    return low.with_order(low.reshape(value, (value.shape[0], 1, value.shape[1]), internal=True), (1, 2, 0)), True


def _pool_output(low: Lowering, value: Value, one_dimensional: bool) -> Value:
    if not one_dimensional:
        return value
    return low.emit(Reshape(), [value], (value.shape[0], value.shape[2]), (1, 0), internal=True)


def _window(
    arguments: Arguments, value: Value, one_dimensional: bool
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int], tuple[int, int]]:
    kernel = _along(arguments["kernel_size"], one_dimensional)
    stride = _along(arguments["stride"] or arguments["kernel_size"], one_dimensional)
    pads = _along(arguments["padding"], one_dimensional, neutral=0)
    sizes, after = [], []
    for length, window, step, pad in zip(value.shape[1:], kernel, stride, pads, strict=True):
        reach = length + 2 * pad - window
        count = (-(-reach // step) if arguments["ceil_mode"] else reach // step) + 1
        if arguments["ceil_mode"] and (count - 1) * step >= length + pad:
            count -= 1  # a window must start inside the input or its leading padding
        sizes.append(count)
        after.append(pad + max(0, (count - 1) * step + window - length - 2 * pad))
    return kernel, stride, (pads[0], after[0], pads[1], after[1]), (sizes[0], sizes[1])


def _lower_adaptive_avg_pool(low: Lowering, arguments: Arguments) -> Value:
    value, one_dimensional = _pool_input(low, arguments["self"])
    channels, height, width = value.shape
    wanted = arguments["output_size"]
    wanted = _along(wanted, one_dimensional) if isinstance(wanted, int) or None not in wanted else (height, width)
    if wanted == (1, 1):
        result = low.emit(Mean(axes=(0, 1)), [value], (channels, 1, 1), (1, 2, 0))
    elif height % wanted[0] or width % wanted[1]:
        raise low.fail(f"windows differ in size: {(height, width)} into {wanted}.", "wanted an output size that divides the input.")
    else:
        kernel = (height // wanted[0], width // wanted[1])
        result = low.emit(AvgPool2d(kernel=kernel, stride=kernel), [value], (channels, *wanted), (1, 2, 0))
    return _pool_output(low, result, one_dimensional)


def _lower_mean(low: Lowering, arguments: Arguments) -> Value:
    value = arguments["self"]
    axes = arguments.get("dim")
    if not axes:
        raise low.fail("it averages over the batch axis too.", "name the axes: x.mean((2, 3)).")
    logical = sorted(low.feature_axis(value, axis) for axis in ([axes] if isinstance(axes, int) else axes))
    kept = tuple(1 if axis in logical else size for axis, size in enumerate(value.shape))
    result = low.emit(Mean(axes=tuple(sorted(value.memory_axis(axis) for axis in logical))), [value], kept, value.order)
    if arguments["keepdim"]:
        return result
    return low.reshape(result, tuple(size for axis, size in enumerate(value.shape) if axis not in logical))


# ---------------------------------------------------------------- movement


def _lower_pad(low: Lowering, arguments: Arguments) -> Value:
    value, pads = arguments["self"], list(arguments["pad"])
    if arguments.get("mode", "constant") != "constant":
        raise low.fail(f"padding mode {arguments['mode']!r} is not supported.", "wanted 'constant'.")
    if any(pad < 0 for pad in pads):
        raise low.fail(f"negative padding {pads} is not supported.", "slice instead.")
    rank = len(value.shape)
    if len(pads) > 2 * rank and any(pads[2 * rank :]):
        raise low.fail("it pads the batch axis.")
    before, after = [0] * rank, [0] * rank
    for index in range(min(len(pads) // 2, rank)):
        axis = value.memory_axis(rank - 1 - index)
        before[axis], after[axis] = pads[2 * index], pads[2 * index + 1]
    shape = list(value.shape)
    for memory_axis, logical_axis in enumerate(value.order):
        shape[logical_axis] += before[memory_axis] + after[memory_axis]
    constant = float(arguments.get("value") or 0.0)
    return low.emit(Pad(before=tuple(before), after=tuple(after), value=constant), [value], tuple(shape), value.order)


def _slice(low: Lowering, value: Value, axis: int, start: int, stop: int, step: int) -> Value:
    size = value.shape[axis]
    start, stop, step = slice(start, stop, step).indices(size)
    length = max(0, -(-(stop - start) // step))
    if length == 0:
        raise low.fail(f"the slice {start}:{stop}:{step} of an axis of {size} is empty.")
    if (start, length, step) == (0, size, 1):
        return value
    memory_axis, shape = value.memory_axis(axis), value.memory_shape
    op = Slice(
        start=tuple(start if index == memory_axis else 0 for index in range(len(shape))),
        stop=tuple(start + (length - 1) * step + 1 if index == memory_axis else extent for index, extent in enumerate(shape)),
        step=tuple(step if index == memory_axis else 1 for index in range(len(shape))),
    )
    return low.emit(op, [value], tuple(length if index == axis else extent for index, extent in enumerate(value.shape)), value.order)


def _lower_slice(low: Lowering, arguments: Arguments) -> Value:
    value = arguments["self"]
    if arguments["dim"] % (len(value.shape) + 1) == 0 and arguments["start"] in (None, 0) and (arguments["end"] or TRACED_BATCH) >= TRACED_BATCH:
        return value
    axis = low.feature_axis(value, arguments["dim"])
    end = arguments["end"]
    return _slice(low, value, axis, arguments["start"] or 0, value.shape[axis] if end is None else end, arguments["step"])


def _lower_select(low: Lowering, arguments: Arguments) -> Value:
    value = arguments["self"]
    axis = low.feature_axis(value, arguments["dim"])
    index = arguments["index"] % value.shape[axis]
    picked = _slice(low, value, axis, index, index + 1, 1)
    return low.reshape(picked, tuple(size for position, size in enumerate(value.shape) if position != axis))


def _lower_split(low: Lowering, arguments: Arguments) -> tuple[Value, ...]:
    value = arguments["self"]
    axis = low.feature_axis(value, arguments["dim"])
    length = value.shape[axis]
    if "chunks" in arguments:
        sizes: Any = -(-length // arguments["chunks"])
    else:
        sizes = arguments["split_size"] if "split_size" in arguments else arguments["split_sizes"]
    if isinstance(sizes, int):
        sizes = [min(sizes, length - start) for start in range(0, length, sizes)]
    starts = np.cumsum([0, *sizes])
    return tuple(_slice(low, value, axis, int(a), int(b), 1) for a, b in zip(starts[:-1], starts[1:], strict=True))


def _lower_concat(low: Lowering, arguments: Arguments) -> Value:
    values = arguments["tensors"]
    if not all(isinstance(value, Value) for value in values):
        raise low.fail("it joins a constant to an activation.")
    first = values[0]
    axis = low.feature_axis(first, arguments["dim"])
    shape = tuple(sum(value.shape[axis] for value in values) if index == axis else size for index, size in enumerate(first.shape))
    inputs = [low.with_order(value, first.order) for value in values]
    return low.emit(Concat(axis=first.memory_axis(axis)), inputs, shape, first.order)


def _lower_reshape(low: Lowering, arguments: Arguments) -> Value:
    value = arguments["self"]
    wanted = list(arguments["size"] if "size" in arguments else arguments["shape"])
    if -1 in wanted:
        known = math.prod(size for size in wanted if size != -1)
        wanted[wanted.index(-1)] = TRACED_BATCH * math.prod(value.shape) // known
    if not wanted or wanted[0] != TRACED_BATCH:
        raise low.fail(f"the new shape {wanted} mixes the batch axis with others.", "keep the batch first: x.flatten(1), x.view(x.shape[0], ...).")
    return low.reshape(value, tuple(wanted[1:]))


def _lower_flatten(low: Lowering, arguments: Arguments) -> Value:
    value = arguments["self"]
    start = low.feature_axis(value, arguments["start_dim"])
    stop = arguments["end_dim"] % (len(value.shape) + 1)
    return low.reshape(value, (*value.shape[:start], math.prod(value.shape[start:stop]), *value.shape[stop:]))


def _lower_permute(low: Lowering, arguments: Arguments) -> Value:
    return low.permute(arguments["self"], arguments["dims"])


def _lower_swap(low: Lowering, arguments: Arguments) -> Value:
    value = arguments["self"]
    axes = list(range(len(value.shape) + 1))
    first, second = (arguments.get(name, default) % len(axes) for name, default in (("dim0", 0), ("dim1", 1)))
    axes[first], axes[second] = axes[second], axes[first]
    return low.permute(value, axes)


def _lower_unsqueeze(low: Lowering, arguments: Arguments) -> Value:
    value = arguments["self"]
    axis = arguments["dim"] % (len(value.shape) + 2)
    if axis == 0:
        raise low.fail("it adds an axis before the batch axis.")
    return low.reshape(value, (*value.shape[: axis - 1], 1, *value.shape[axis - 1 :]))


def _lower_squeeze(low: Lowering, arguments: Arguments) -> Value:
    value = arguments["self"]
    axes = arguments.get("dim")
    if axes is None:
        chosen = set(range(len(value.shape)))
    else:
        chosen = {low.feature_axis(value, axis) for axis in ([axes] if isinstance(axes, int) else axes)}
    return low.reshape(value, tuple(size for axis, size in enumerate(value.shape) if size != 1 or axis not in chosen))


def _lower_expand(low: Lowering, arguments: Arguments) -> Value:
    value = arguments["self"]
    wanted = [size if given == -1 else given for given, size in zip(arguments["size"], (TRACED_BATCH, *value.shape), strict=False)]
    if tuple(wanted[1:]) != value.shape:
        raise low.fail(f"it repeats values ({value.shape} to {tuple(wanted[1:])}).", "an addition or product broadcasts by itself.")
    return value


def _lower_identity(low: Lowering, arguments: Arguments) -> Value:
    result: Value = arguments["self"] if "self" in arguments else arguments["input"]
    return result


LOWERINGS: dict[str, Callable[[Lowering, Arguments], Any]] = {
    "conv1d": _lower_conv,
    "conv2d": _lower_conv,
    "linear": _lower_linear,
    "matmul": _lower_matmul,
    "mm": _lower_matmul,
    "_native_batch_norm_legit_no_training": _lower_batch_norm,
    "relu": _lower_unary("relu"),
    "relu6": _lower_unary("relu6"),
    "leaky_relu": _lower_unary("leaky_relu", "negative_slope"),
    "hardswish": _lower_unary("hardswish"),
    "hardsigmoid": _lower_unary("hardsigmoid"),
    "sigmoid": _lower_unary("sigmoid"),
    "tanh": _lower_unary("tanh"),
    "silu": _lower_unary("silu"),
    "gelu": _lower_gelu,
    "hardtanh": _lower_clamp,
    "clamp": _lower_clamp,
    "clamp_min": _lower_clamp,
    "add": _lower_add,
    "sub": _lower_sub,
    "rsub": _lower_rsub,
    "mul": _lower_mul,
    "div": _lower_div,
    "neg": _lower_neg,
    "max_pool1d": _lower_max_pool,
    "max_pool2d": _lower_max_pool,
    "max_pool2d_with_indices": lambda low, arguments: (_lower_max_pool(low, arguments),),
    "avg_pool1d": _lower_avg_pool,
    "avg_pool2d": _lower_avg_pool,
    "adaptive_avg_pool1d": _lower_adaptive_avg_pool,
    "adaptive_avg_pool2d": _lower_adaptive_avg_pool,
    "_adaptive_avg_pool2d": _lower_adaptive_avg_pool,
    "mean": _lower_mean,
    "pad": _lower_pad,
    "constant_pad_nd": _lower_pad,
    "slice": _lower_slice,
    "select": _lower_select,
    "split": _lower_split,
    "split_with_sizes": _lower_split,
    "chunk": _lower_split,
    "cat": _lower_concat,
    "concat": _lower_concat,
    "view": _lower_reshape,
    "reshape": _lower_reshape,
    "_unsafe_view": _lower_reshape,
    "flatten": _lower_flatten,
    "permute": _lower_permute,
    "transpose": _lower_swap,
    "unsqueeze": _lower_unsqueeze,
    "squeeze": _lower_squeeze,
    "expand": _lower_expand,
    **dict.fromkeys(("clone", "contiguous", "alias", "detach", "dropout", "feature_dropout", "lift_fresh_copy", "identity"), _lower_identity),
}
"""ATen op -> how it becomes layers."""

SUPPORTED = (
    "conv1d/2d, linear, batch norm, add, sub, mul, concat, relu, relu6, leaky_relu, hardswish, hardsigmoid, sigmoid, tanh, silu, gelu, clamp, "
    "max/avg/adaptive pooling, mean, pad, slice, split, reshape, flatten, permute, squeeze"
).split(", ")
