# SPDX-License-Identifier: Apache-2.0
"""ATen nodes become draft layers in memory order, one lowering function per family of ops."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from mpsearch.errors import GraphError
from mpsearch.graph.draft import ChannelAffine, Draft, DraftGraph
from mpsearch.graph.layout import Value, channels_last_order, plain_order, reshape_order, same_memory
from mpsearch.graph.trace import TRACED_BATCH, Trace, module_path, source_line
from mpsearch.records import Op, Reshape, Transpose

Arguments = dict[str, Any]
"""An ATen call's arguments by schema name: Values, constant tensors, numbers and lists of these. It never leaves this file."""


Rule = Callable[["Lowering", Arguments], Any]
"""How one ATen op becomes layers: a Value, or a tuple of them for an op with several results."""

SUPPORTED = (
    "conv1d/2d, linear, batch norm, add, sub, mul, concat, relu, relu6, leaky_relu, hardswish, hardsigmoid, sigmoid, tanh, silu, gelu, clamp, "
    "max/avg/adaptive pooling, amax, mean, pad, slice, split, stack, reshape, flatten, permute, squeeze, pixel_shuffle"
)


class Lowering:
    """State of one lowering: the draft graph, and what each fx node stands for."""

    def __init__(self, trace: Trace, rules: Mapping[str, Rule]) -> None:
        """Start with an empty graph; `rules` says how each op is lowered."""
        self.trace = trace
        self.rules = rules
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
            )
        )
        return value

    def with_order(self, value: Value, order: tuple[int, ...]) -> Value:
        """Return the value laid out in another order, moving memory only if it has to."""
        if value.order == order:
            return value
        if same_memory(value.shape, value.order, order):
            return self.emit(Reshape(), [value], value.shape, order)
        return self.emit(Transpose(permutation=tuple(value.order.index(axis) for axis in order)), [value], value.shape, order)

    def reshape(self, value: Value, wanted: tuple[int, ...]) -> Value:
        """Return the value under another logical shape."""
        if value.shape == wanted:
            return value
        order = reshape_order(value.shape, value.order, wanted)
        if order is None:
            value, order = self.with_order(value, plain_order(len(value.shape))), plain_order(len(wanted))
        return self.emit(Reshape(), [value], wanted, order)

    def permute(self, value: Value, axes: Sequence[int]) -> Value:
        """Return the value with its logical axes (batch included in `axes`) permuted; moves nothing."""
        rank = len(value.shape) + 1
        axes = [axis % rank for axis in axes]
        if axes[0] != 0:
            raise self.fail(f"permutation {axes} moves the batch axis.")
        logical = [axis - 1 for axis in axes[1:]]
        return Value(
            tensor=value.tensor, shape=tuple(value.shape[axis] for axis in logical), order=tuple(logical.index(axis) for axis in value.order)
        )

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
        last = len(shape) == 3 or (len(shape) == 2 and _meets_sequence_op(node))
        order = channels_last_order(len(shape)) if last else plain_order(len(shape))
        name = self._unique(node.name)
        result = Value(tensor=name, shape=shape, order=order)
        self.graph.shapes[name] = result.memory_shape
        self.graph.inputs.append(name)
        self.graph.input_orders.append(order)
        return result

    def _call(self, node: fx.Node) -> Any:
        if node.target is operator.getitem:
            source, index = node.args
            return self.environment[source][index]  # type: ignore[index]
        arguments = self._arguments(node)
        if not any(isinstance(item, Value) for item in _flat(arguments.values())):
            return self._constant(node)
        name = op_name(node)
        if name not in self.rules:
            raise self.fail(
                "it is not supported.",
                f"supported: {SUPPORTED}. Move it out of the deployed part of the network, or replace it.",
            )
        result = self.rules[name](self, arguments)
        if isinstance(result, Value) and name != "expand":
            self._check_shape(result, node)
        return result

    def _check_shape(self, value: Value, node: fx.Node) -> None:
        wanted = tuple(node.meta["val"].shape)
        if (TRACED_BATCH, *value.shape) != wanted:
            raise self.fail(f"its result has shape {wanted}, which was read as {(TRACED_BATCH, *value.shape)}.", "the batch axis must stay first.")

    def _arguments(self, node: fx.Node) -> Arguments:
        if not hasattr(node.target, "_schema"):
            raise self.fail("it is not a tensor operation.", "control flow that depends on data has no fixed schedule.")
        values: Arguments = {}
        for index, argument in enumerate(node.target._schema.arguments):
            raw = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name, argument.default_value)
            values[argument.name] = fx.node.map_arg(raw, lambda item: self.environment[item])
        return values

    def _constant(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda item: self.environment[item])
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


_SEQUENCE_OPS = ("conv1d", "max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d")
_ORDER_BLIND_OPS = ("pad", "constant_pad_nd", "slice", "clone", "dropout", "_native_batch_norm_legit_no_training", "add", "sub", "mul", "div", "to")


def _meets_sequence_op(node: fx.Node) -> bool:
    """Whether the first op that cares for the order of (C, L) axes is one over sequences, which wants channels last."""
    waiting = list(node.users)
    for user in waiting:
        if op_name(user) in _SEQUENCE_OPS:
            return True
        if op_name(user) in _ORDER_BLIND_OPS or user.target is operator.getitem:
            waiting += [reader for reader in user.users if reader not in waiting]
    return False


def op_name(node: fx.Node) -> str:
    """Return the ATen name without namespace and overload."""
    parts = str(node.target).split(".")
    return parts[1] if parts[0] == "aten" and len(parts) > 1 else getattr(node.target, "__name__", str(node.target))


def _flat(items: Any) -> list[Any]:
    flat: list[Any] = []
    for item in items:
        flat += _flat(item) if isinstance(item, (list, tuple)) else [item]
    return flat


def channel_affine(low: Lowering, value: Value, scale: npt.NDArray[np.float64], offset: npt.NDArray[np.float64], axis: int) -> Value:
    """Return scale[c] * x + offset[c] over one logical axis."""
    rank = len(value.shape)
    if value.order[-1] != axis:
        value = low.with_order(value, (*(index for index in range(rank) if index != axis), axis))
    return low.emit(ChannelAffine(), [value], value.shape, value.order, weight=scale, bias=offset)
