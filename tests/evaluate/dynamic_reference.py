# SPDX-License-Identifier: Apache-2.0
"""What the packed modules must compute, in torch float64: activations rounded to symmetric 8 bits, exact sums of integers, one scaling."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from mpsearch.evaluate.packed_modules import PackedConv1d, PackedConv2d, PackedLinear


def rounded_input(x: torch.Tensor, axes: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the integers and the step of each row or sample; the quotient is taken in float32 as the kernels take it."""
    largest = x.abs().amax(axes, keepdim=True) if math.prod(x.shape[axis] for axis in axes) else torch.zeros(1)
    factor = torch.where(largest > 0, torch.tensor(127.0) / largest, torch.tensor(0.0))
    return (x * factor).round().clamp(-127, 127).double(), (largest / 127).double()


def real_weight(layer: PackedLinear | PackedConv2d) -> torch.Tensor:
    """Return the weights that a layer's integers and scales stand for, (out, in) or (out, in / groups, kernel_h, kernel_w)."""
    if isinstance(layer, PackedLinear):
        weight, scale = layer.weights.unpack().astype(np.float64), layer.weights.scale.astype(np.float64)
        if scale.ndim == 1:
            return torch.from_numpy(weight * scale[:, None])
        return torch.from_numpy(weight * np.repeat(scale, layer.precision.group_size or 1, axis=1)[:, : weight.shape[1]])
    integers = conv_integers(layer)
    return torch.from_numpy((integers * layer.weights.scale.astype(np.float64)[:, None, None, None]).transpose(0, 3, 1, 2).copy())


def conv_integers(layer: PackedConv2d) -> np.ndarray:
    """Return (out, kernel_h, kernel_w, in / groups), read from the state dict by the bit packing's own reader."""
    from mpsearch.quant.bitpack import unpack

    rows = layer.state_dict()["packed_weight"].numpy()
    shape = layer.weights.shape
    if layer.weights.is_depthwise:
        return unpack(rows, layer.precision.weight_bits, shape[0]).T.reshape(shape)
    return unpack(rows, layer.precision.weight_bits, math.prod(shape[1:])).reshape(shape)


def dense_reference(layer: PackedLinear, x: torch.Tensor) -> torch.Tensor:
    """Return what a packed dense layer must give, float64."""
    integers, step = rounded_input(x, (-1,))
    return F.linear(integers * step, real_weight(layer), None if layer.bias is None else torch.from_numpy(layer.bias).double())


def conv_reference(layer: PackedConv2d, x: torch.Tensor) -> torch.Tensor:
    """Return what a packed convolution must give for a batch, float64."""
    image = x[:, :, None] if isinstance(layer, PackedConv1d) else x
    top, bottom, left, right = layer.padding
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    if isinstance(layer, PackedConv1d):
        image = F.pad(image[:, :, 0], (left, right), mode=mode)[:, :, None]
    else:
        image = F.pad(image, (left, right, top, bottom), mode=mode)
    integers, step = rounded_input(image, (1, 2, 3))
    bias = None if layer.bias is None else torch.from_numpy(layer.bias).double()
    weights = layer.weights
    result = F.conv2d(integers * step, real_weight(layer), bias, weights.stride, 0, weights.dilation, weights.groups)
    return result[:, :, 0] if isinstance(layer, PackedConv1d) else result
