# SPDX-License-Identifier: Apache-2.0
"""Elementwise ops: activations, sums, products, and constants that become affine functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mpsearch.graph.layout import Value
from mpsearch.graph.lower import Arguments, Lowering, channel_affine
from mpsearch.records import Add, Mul, Unary


def lower_unary(function: str, *names: str) -> Callable[[Lowering, Arguments], Value]:
    """Return the rule of a function whose constants are the named arguments."""

    def lower(low: Lowering, arguments: Arguments) -> Value:
        value = arguments["self"] if "self" in arguments else arguments["input"]
        return low.emit(Unary(function=function, parameters=tuple(float(arguments[name]) for name in names)), [value], value.shape, value.order)

    return lower


def lower_prelu(low: Lowering, arguments: Arguments) -> Value:
    """Lower a leaky relu whose one slope was learned."""
    value, slope = arguments["self"], arguments["weight"]
    if not isinstance(slope, torch.Tensor) or slope.numel() != 1:
        raise low.fail("it has a slope per channel.", "wanted one slope: nn.PReLU(1).")
    return low.emit(Unary(function="leaky_relu", parameters=(float(slope),)), [value], value.shape, value.order)


def lower_softmax(low: Lowering, arguments: Arguments) -> Value:
    """Refuse a softmax, which has no integer kernel.

    Raises:
        GraphError: Always.
    """
    raise low.fail("it is not supported.", "return the logits: softmax does not change which class is largest.")


def lower_gelu(low: Lowering, arguments: Arguments) -> Value:
    """Lower gelu, exact or by tanh."""
    value = arguments["self"]
    function = "gelu_tanh" if arguments.get("approximate") == "tanh" else "gelu"
    return low.emit(Unary(function=function), [value], value.shape, value.order)


def lower_clamp(low: Lowering, arguments: Arguments) -> Value:
    """Lower clamp and hardtanh."""
    value = arguments["self"]
    bounds = [arguments.get(name) for name in (("min_val", "max_val") if "min_val" in arguments else ("min", "max"))]
    if any(isinstance(bound, (torch.Tensor, Value)) for bound in bounds):
        raise low.fail("the bounds are tensors, wanted numbers.")
    lowest, highest = (default if bound is None else float(bound) for bound, default in zip(bounds, (-math.inf, math.inf), strict=True))
    return low.emit(Unary(function="clamp", parameters=(lowest, highest)), [value], value.shape, value.order)


def lower_add(low: Lowering, arguments: Arguments) -> Value:
    """Lower x + alpha * y."""
    return _sum(low, arguments["self"], arguments["other"], float(arguments.get("alpha", 1)))


def lower_sub(low: Lowering, arguments: Arguments) -> Value:
    """Lower x - alpha * y."""
    return _sum(low, arguments["self"], arguments["other"], -float(arguments.get("alpha", 1)))


def lower_rsub(low: Lowering, arguments: Arguments) -> Value:
    """Lower y - alpha * x."""
    return _sum(low, arguments["other"], arguments["self"], -float(arguments.get("alpha", 1)))


def _sum(low: Lowering, first: Any, second: Any, alpha: float) -> Value:
    if isinstance(first, Value) and isinstance(second, Value):
        if alpha != 1:
            second = _affine(low, second, alpha, 0.0)
        return _binary(low, Add(), first, second)
    if isinstance(first, Value):
        return _constant_affine(low, first, scale=None, offset=_scaled(second, alpha))
    return _constant_affine(low, _affine(low, second, alpha, 0.0), scale=None, offset=_scaled(first, 1.0))


def _scaled(constant: float | torch.Tensor, factor: float) -> torch.Tensor:
    return torch.as_tensor(constant, dtype=torch.float64) * factor


def lower_mul(low: Lowering, arguments: Arguments) -> Value:
    """Lower a product of two activations, or with a constant."""
    first, second = arguments["self"], arguments["other"]
    if isinstance(first, Value) and isinstance(second, Value):
        return _binary(low, Mul(), first, second)
    value, constant = (first, second) if isinstance(first, Value) else (second, first)
    return _constant_affine(low, value, scale=_scaled(constant, 1.0), offset=None)


def lower_div(low: Lowering, arguments: Arguments) -> Value:
    """Lower a division by a constant."""
    value, divisor = arguments["self"], arguments["other"]
    if not isinstance(value, Value) or isinstance(divisor, Value) or arguments.get("rounding_mode"):
        raise low.fail("only division by a constant is supported.")
    return _constant_affine(low, value, scale=1 / _scaled(divisor, 1.0), offset=None)


def lower_neg(low: Lowering, arguments: Arguments) -> Value:
    """Lower a change of sign."""
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
        raise low.fail(
            f"a constant of shape {tuple(constant.shape)} meets a tensor of shape {value.shape}; wanted a number or one value per channel."
        )
    vector = constant.reshape(-1).numpy()
    neutral = np.ones_like(vector), np.zeros_like(vector)
    return channel_affine(low, value, vector if scale is not None else neutral[0], vector if offset is not None else neutral[1], wide[0] - 1)


def _binary(low: Lowering, op: Add | Mul, first: Value, second: Value) -> Value:
    rank = max(len(first.shape), len(second.shape))
    first, second = (low.reshape(value, (1,) * (rank - len(value.shape)) + value.shape) for value in (first, second))
    shape = tuple(max(a, b) for a, b in zip(first.shape, second.shape, strict=True))
    order = max(first, second, key=lambda value: math.prod(value.shape)).order
    return low.emit(op, [low.with_order(first, order), low.with_order(second, order)], shape, order)
