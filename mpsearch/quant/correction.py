# SPDX-License-Identifier: Apache-2.0
"""Bias correction: what rounding adds to a layer's mean output is taken out of its bias.

The mean output is linear in the mean input, so the mean activation map of calibration gives the shift exactly, borders and strides included.
References: [Nagel2019] arXiv:1906.04721, sec. 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mpsearch.records import Conv2d, Layer

FloatMap = npt.NDArray[np.float64]


def mean_patch(layer: Layer, mean_map: FloatMap) -> FloatMap:
    """Return the mean input of each weight.

    Args:
        layer: A layer with weights.
        mean_map: The mean of its input over samples, in the input's shape.

    Returns:
        The shape of one output channel's weights with all input channels: (kernel_h, kernel_w, in) or (in,).
    """
    if not isinstance(layer.op, Conv2d):
        mean: FloatMap = mean_map.reshape(-1, mean_map.shape[-1]).mean(axis=0)
        return mean
    assert layer.weight is not None
    kernel = layer.weight.shape[1:3]
    patch = np.zeros((*kernel, mean_map.shape[2]))
    for tap, window in _tap_windows(layer.op, kernel, mean_map):
        patch[tap] = window.mean(axis=(0, 1))
    return patch


def mean_output_shift(layer: Layer, difference: FloatMap, patch: FloatMap) -> FloatMap:
    """Return how far a change of the weights moves the mean output.

    Args:
        layer: A layer with weights.
        difference: New minus old weights, in the weight's shape.
        patch: From `mean_patch`.

    Returns:
        Shape (out,), real units.
    """
    if not isinstance(layer.op, Conv2d):
        return difference @ patch
    groups = layer.op.groups
    per_group = difference.reshape(groups, difference.shape[0] // groups, -1)
    inputs = patch.reshape(*patch.shape[:2], groups, -1).transpose(2, 0, 1, 3).reshape(groups, -1)
    shift: FloatMap = np.einsum("gok,gk->go", per_group, inputs).reshape(-1)
    return shift


def input_importance(layer: Layer, mean_square: FloatMap, mean: FloatMap) -> FloatMap:
    """Return the variance of the input that each weight meets: its share of the output error once the bias is corrected.

    Returns:
        Shape (out, inputs per output channel), >= 0, mean 1.
    """
    variance = np.maximum(mean_patch(layer, mean_square) - mean_patch(layer, mean) ** 2, 0)
    variance = variance + 1e-3 * variance.mean() + 1e-30
    assert layer.weight is not None
    outputs = layer.weight.shape[0]
    if not isinstance(layer.op, Conv2d):
        rows = np.broadcast_to(variance, (outputs, variance.size))
    else:
        groups = layer.op.groups
        by_group = variance.reshape(*variance.shape[:2], groups, -1).transpose(2, 0, 1, 3).reshape(groups, -1)
        rows = np.repeat(by_group, outputs // groups, axis=0)
    importance: FloatMap = rows / rows.mean()
    return importance


def _tap_windows(op: Conv2d, kernel: tuple[int, ...], image: FloatMap) -> Iterator[tuple[tuple[int, int], FloatMap]]:
    top, bottom, left, right = op.padding
    padded = np.pad(image, ((top, bottom), (left, right), (0, 0)))
    rows = (padded.shape[0] - op.dilation[0] * (kernel[0] - 1) - 1) // op.stride[0] + 1
    columns = (padded.shape[1] - op.dilation[1] * (kernel[1] - 1) - 1) // op.stride[1] + 1
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            top, left = row * op.dilation[0], column * op.dilation[1]
            bottom, right = top + (rows - 1) * op.stride[0] + 1, left + (columns - 1) * op.stride[1] + 1
            yield (row, column), padded[top : bottom : op.stride[0], left : right : op.stride[1]]
