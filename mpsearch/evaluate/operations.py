# SPDX-License-Identifier: Apache-2.0
"""What each op computes on real numbers, on (batch, *memory shape) tensors; all of it differentiable."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from mpsearch.quant.functions import apply_unary
from mpsearch.records import Add, AvgPool2d, Concat, Conv2d, Layer, Linear, MaxPool2d, Mean, Mul, Pad, Reshape, Slice, Transpose, Unary


def convolve(op: Conv2d, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Convolve an (N, H, W, C) tensor with an (out, kernel_h, kernel_w, in / groups) weight."""
    top, bottom, left, right = op.padding
    if (top, left) != (bottom, right):
        x, top, left = F.pad(x, (0, 0, left, right, top, bottom)), 0, 0
    y = F.conv2d(x.permute(0, 3, 1, 2), weight.permute(0, 3, 1, 2), bias, op.stride, (top, left), op.dilation, op.groups)
    return y.permute(0, 2, 3, 1)


def window_sum(op: AvgPool2d, x: torch.Tensor) -> torch.Tensor:
    """Return the sum over each window of an (N, H, W, C) tensor, padding as zeros."""
    top, bottom, left, right = op.padding
    padded = F.pad(x, (0, 0, left, right, top, bottom)).permute(0, 3, 1, 2)
    return F.avg_pool2d(padded, op.kernel, op.stride, divisor_override=1).permute(0, 2, 3, 1)


def window_counts(op: AvgPool2d, height: int, width: int) -> torch.Tensor:
    """Return how many values each window averages, shape (1, out_h, out_w, 1)."""
    if op.count_padding:
        ones = torch.ones(1, height + sum(op.padding[:2]), width + sum(op.padding[2:]), 1)
        return window_sum(AvgPool2d(kernel=op.kernel, stride=op.stride), ones)
    return window_sum(op, torch.ones(1, height, width, 1))


def pool_maximum(op: MaxPool2d, x: torch.Tensor) -> torch.Tensor:
    """Return the maximum over each window of an (N, H, W, C) tensor; padding never wins."""
    top, bottom, left, right = op.padding
    if any(op.padding):
        x = F.pad(x, (0, 0, left, right, top, bottom), value=-math.inf)
    return F.max_pool2d(x.permute(0, 3, 1, 2), op.kernel, op.stride).permute(0, 2, 3, 1)


def pad(op: Pad, x: torch.Tensor, value: float) -> torch.Tensor:
    """Return the padded tensor."""
    pads = [amount for ends in zip(reversed(op.before), reversed(op.after), strict=True) for amount in ends]
    return F.pad(x, pads, value=value)


def move(layer: Layer, inputs: Sequence[torch.Tensor], shape: tuple[int, ...]) -> torch.Tensor | None:
    """Compute the ops that only move or select values, the same for real numbers and integers; None for any other op."""
    x = inputs[0]
    match layer.op:
        case Concat(axis=axis):
            return torch.cat(list(inputs), axis + 1)
        case MaxPool2d() as op:
            return pool_maximum(op, x)
        case Reshape():
            return x.reshape(len(x), *shape)
        case Transpose(permutation=permutation):
            return x.permute(0, *(axis + 1 for axis in permutation)).contiguous()
        case Slice(start=start, stop=stop, step=step):
            return x[(slice(None), *(slice(*ends) for ends in zip(start, stop, step, strict=True)))]
    return None


def apply_real(
    layer: Layer, inputs: Sequence[torch.Tensor], shape: tuple[int, ...], weight: torch.Tensor | None, bias: torch.Tensor | None
) -> torch.Tensor:
    """Compute one layer on real numbers, fused activation included.

    Args:
        layer: The layer.
        inputs: (batch, *memory shape) each.
        shape: Memory shape of the output, without batch.
        weight: In the layer's weight shape; None for layers without.
        bias: (out,).
    """
    moved = move(layer, inputs, shape)
    if moved is not None:
        return moved
    x = inputs[0]
    match layer.op:
        case Conv2d() as op:
            assert weight is not None
            y = convolve(op, x, weight, bias)
        case Linear():
            assert weight is not None
            y = F.linear(x, weight, bias)
        case Add():
            y = x + inputs[1]
        case Mul():
            y = x * inputs[1]
        case Mean(axes=axes):
            y = x.mean([axis + 1 for axis in axes], keepdim=True).reshape(len(x), *shape)
        case AvgPool2d() as op:
            y = window_sum(op, x) / window_counts(op, x.shape[1], x.shape[2])
        case Unary() as op:
            y = apply_unary(op, x)
        case Pad(value=value) as op:
            y = pad(op, x, value)
    return y if layer.clamp is None else y.clamp(*layer.clamp)
