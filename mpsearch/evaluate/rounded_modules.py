# SPDX-License-Identifier: Apache-2.0
"""A torch module's weights as integers: rounded to nearest by themselves, or as the quantizer of a captured graph rounds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mpsearch.errors import QuantizationError, RecordError
from mpsearch.evaluate.folded_norms import BatchNorm, is_folded
from mpsearch.quant.quantize import Quantizer
from mpsearch.quant.ranges import round_weight, weight_scale
from mpsearch.records import Layer, Precision

Weighted = nn.Linear | nn.Conv1d | nn.Conv2d
"""The layers that have packed kernels."""

_SAME_WEIGHT = 1e-4
"""Relative difference from float32 folding that still counts as the same weight."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundedModule:
    """A module's integers.

    Attributes:
        weight: int8, (out, in) or (out, kernel_h, kernel_w, in / groups).
        scale: float32 (out,), or (out, groups of inputs); below 0 where a batch norm that was folded for rounding turns a channel's sign.
        bias: float32 (out,), or None.
        absorbed: The batch norm that scale and bias do the work of; None if there is none.
    """

    weight: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32] | None
    absorbed: BatchNorm | None = None


def round_to_nearest(module: Weighted, precision: Precision) -> RoundedModule:
    """Round with the range of least squared error, for every output channel or every group of inputs."""
    weight = memory_weight(module)
    rows = weight.reshape(len(weight), -1)
    size = precision.group_size or rows.shape[1]
    groups = np.pad(rows, ((0, 0), (0, -rows.shape[1] % size))).reshape(-1, size)
    scale = weight_scale(groups, precision.weight_bits, "mse")
    integers = round_weight(groups, scale, precision.weight_bits).astype(np.int8).reshape(len(rows), -1)[:, : rows.shape[1]]
    shape = (len(rows), -1) if precision.group_size else (len(rows),)
    bias = None if module.bias is None else _numpy(module.bias).astype(np.float32)
    return RoundedModule(weight=integers.reshape(weight.shape), scale=scale.reshape(shape).astype(np.float32), bias=bias)


def round_by_quantizer(module: Weighted, layer: Layer, quantizer: Quantizer, precision: Precision, norm: BatchNorm | None = None) -> RoundedModule:
    """Return the very integers that are exported for a layer.

    Folding multiplied every output channel by a number. If a batch norm that reads the layer is all that was folded, the layer does its work from now
    on. Else the model will multiply by that number again: the scale is divided by it, and the quantizer's bias correction too.

    Args:
        module: As it stands in the model.
        layer: As it was captured.
        quantizer: Of the captured graph.
        precision: Without a group size.
        norm: Reads the module's output.

    Raises:
        RecordError: The layer's weight is not the module's.
    """
    assert layer.bias is not None
    factor = _folded_factor(memory_weight(module), layer)
    bias = np.zeros(len(factor)) if module.bias is None else _numpy(module.bias)
    folded_bias = layer.bias.astype(np.float64)
    rounded = quantizer.rounded(layer, precision.weight_bits)
    if norm is not None and is_folded(norm, factor, folded_bias - bias * factor):
        return RoundedModule(weight=rounded.weight, scale=rounded.scale.astype(np.float32), bias=rounded.bias.astype(np.float32), absorbed=norm)
    divisor = np.where(factor == 0, 1.0, factor)  # a dead channel: what it holds cannot matter
    corrected = bias + (rounded.bias - folded_bias) / divisor
    return RoundedModule(weight=rounded.weight, scale=(rounded.scale / divisor).astype(np.float32), bias=corrected.astype(np.float32))


def memory_weight(module: Weighted) -> npt.NDArray[np.float64]:
    """Return a module's weight in the order that the kernels know: (out, in), or (out, kernel_h, kernel_w, in / groups).

    Raises:
        QuantizationError: It is not on the CPU, or holds values that are not finite.
    """
    if module.weight.device.type != "cpu":
        raise QuantizationError(f"its weight is on {module.weight.device}, wanted on the CPU.", "call .cpu() on the model first.")
    weight = _numpy(module.weight)
    if not np.isfinite(weight).all():
        raise QuantizationError(f"its weight holds {int((~np.isfinite(weight)).sum())} values that are NaN or infinite.", "check the checkpoint.")
    if isinstance(module, nn.Conv1d):
        weight = weight[:, :, None]
    return weight if isinstance(module, nn.Linear) else np.ascontiguousarray(weight.transpose(0, 2, 3, 1))


def window_of(module: nn.Conv1d | nn.Conv2d) -> dict[str, tuple[int, ...] | int]:
    """Return stride, padding (top, bottom, left, right), dilation and groups of a convolution, a 1-D one as a 2-D one of height 1."""
    stride, dilation, kernel = (_pair(values) for values in (module.stride, module.dilation, module.kernel_size))
    if isinstance(module.padding, str):
        spans = [(size - 1) * step if module.padding == "same" else 0 for size, step in zip(kernel, dilation, strict=True)]
        sides = [side for span in spans for side in (span // 2, span - span // 2)]
    else:
        sides = [side for value in _pair(module.padding, 0) for side in (value, value)]
    return {"stride": stride, "padding": tuple(sides), "dilation": dilation, "groups": module.groups}


def _pair(values: Sequence[int], neutral: int = 1) -> tuple[int, int]:
    return (neutral, values[0]) if len(values) == 1 else (values[0], values[1])


def _folded_factor(weight: npt.NDArray[np.float64], layer: Layer) -> npt.NDArray[np.float64]:
    """Return what folding multiplied every output channel by; 1 where the weights are all 0."""
    assert layer.weight is not None
    if weight.shape != layer.weight.shape:
        raise _foreign(layer, f"it has shape {weight.shape} in the model and {layer.weight.shape} in the graph.")
    ours, folded = weight.reshape(len(weight), -1), layer.weight.astype(np.float64).reshape(len(weight), -1)
    power = (ours**2).sum(axis=1)
    factor: npt.NDArray[np.float64] = np.divide((ours * folded).sum(axis=1), power, out=np.ones(len(ours)), where=power > 0)
    difference = np.abs(folded - factor[:, None] * ours).max()
    if difference > _SAME_WEIGHT * np.abs(folded).max():
        raise _foreign(layer, f"they differ by {difference:.3g}, and not by a factor a channel.")
    return factor


def _foreign(layer: Layer, reason: str) -> RecordError:
    return RecordError(f"the captured layer '{layer.name}' has another weight: {reason}", "the run or the config belongs to another model.")


def _numpy(tensor: torch.Tensor) -> npt.NDArray[np.float64]:
    return tensor.detach().to(torch.float64).numpy()
