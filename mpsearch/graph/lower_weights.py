# SPDX-License-Identifier: Apache-2.0
"""Layers with weights: convolutions, dense layers, batch norm."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from mpsearch.graph.layout import Value, plain_order
from mpsearch.graph.lower import Arguments, Lowering, channel_affine
from mpsearch.graph.windows import along, spatial
from mpsearch.records import Conv2d, Linear, Reshape


def _numpy(tensor: torch.Tensor) -> npt.NDArray[np.float64]:
    return tensor.detach().to(torch.float64).numpy()


def lower_conv(low: Lowering, arguments: Arguments) -> Value:
    """Lower a convolution in one or two dimensions."""
    value, weight = arguments["input"], arguments["weight"]
    if not isinstance(value, Value) or not isinstance(weight, torch.Tensor):
        raise low.fail("the weight is computed from the input.")
    value = spatial(low, value)
    one_dimensional = len(value.shape) == 2
    if one_dimensional:
        value = low.reshape(value, (value.shape[0], 1, value.shape[1]))
        value = low.with_order(value, (1, 2, 0))
        weight_4d = weight[:, :, None, :]
    else:
        weight_4d = weight
    kernel = (int(weight_4d.shape[2]), int(weight_4d.shape[3]))
    stride, dilation = along(arguments["stride"], one_dimensional), along(arguments["dilation"], one_dimensional)
    if isinstance(arguments["padding"], str):
        padding = _same_padding(kernel, dilation) if arguments["padding"] == "same" else (0, 0, 0, 0)
    else:
        vertical, horizontal = along(arguments["padding"], one_dimensional, neutral=0)
        padding = (vertical, vertical, horizontal, horizontal)
    _, height, width = value.shape
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
    return low.emit(Reshape(), [result], (result.shape[0], result.shape[2]), (1, 0))


def _same_padding(kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    vertical, horizontal = (d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
    return (vertical // 2, vertical - vertical // 2, horizontal // 2, horizontal - horizontal // 2)


def lower_linear(low: Lowering, arguments: Arguments) -> Value:
    """Lower a dense layer."""
    value, weight, bias = arguments["input"], arguments["weight"], arguments.get("bias")
    if not isinstance(value, Value) or not isinstance(weight, torch.Tensor):
        raise low.fail("the weight is computed from the input.")
    return _dense(low, value, weight, bias, low.constant_names.get(id(weight), ""))


def lower_matmul(low: Lowering, arguments: Arguments) -> Value:
    """Lower a product with a constant matrix as a dense layer."""
    value, weight = (arguments[name] for name in (("self", "mat2") if "mat2" in arguments else ("self", "other")))
    if not isinstance(value, Value) or not isinstance(weight, torch.Tensor) or weight.ndim != 2:
        raise low.fail("only a product with one constant matrix on the right is supported.")
    return _dense(low, value, weight.t(), None, low.constant_names.get(id(weight), ""))


def _dense(low: Lowering, value: Value, weight: torch.Tensor, bias: torch.Tensor | None, weight_name: str) -> Value:
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
        weight_name=weight_name,
    )


def lower_batch_norm(low: Lowering, arguments: Arguments) -> tuple[Value]:
    """Lower batch norm in evaluation; folding finds its layer later."""
    mean, variance = (_numpy(arguments[name]) for name in ("running_mean", "running_var"))
    with np.errstate(invalid="ignore", divide="ignore"):  # a broken variance is told by the layer that it ends in
        scale = 1 / np.sqrt(variance + float(arguments["eps"]))
    if arguments["weight"] is not None:
        scale = scale * _numpy(arguments["weight"])
    offset = -mean * scale + (0 if arguments["bias"] is None else _numpy(arguments["bias"]))
    return (channel_affine(low, arguments["input"], scale, offset, axis=0),)
