# SPDX-License-Identifier: Apache-2.0
"""What a layer computes on, whatever its weights are: the key of a measurement, and all that a hardware model asks."""

from __future__ import annotations

import math

from mpsearch.records import AvgPool2d, Conv2d, Layer, LayerGraph, LayerShape, MaxPool2d


def layer_shape(graph: LayerGraph, layer: Layer) -> LayerShape:
    """Return what a layer computes on."""
    source, target = _folded(graph.tensor(layer.inputs[0]).shape), _folded(graph.tensor(layer.output).shape)
    window: dict[str, tuple[int, ...]] = {}
    groups = 1
    if isinstance(layer.op, Conv2d | MaxPool2d | AvgPool2d):
        window = {"stride": layer.op.stride, "padding": layer.op.padding}
    if isinstance(layer.op, MaxPool2d | AvgPool2d):
        window["kernel"] = layer.op.kernel
    if isinstance(layer.op, Conv2d):
        assert layer.weight is not None
        window |= {"kernel": layer.weight.shape[1:3], "dilation": layer.op.dilation}
        groups = layer.op.groups
    return LayerShape(operator=layer.operator_class, input=source, output=target, groups=groups, operands=len(layer.inputs), **window)  # type: ignore[arg-type]


def _folded(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return height, width and channels of a tensor of any rank, see LayerShape."""
    if len(shape) == 2:
        return shape[0], 1, shape[1]
    padded = (1, 1, 1, *shape)
    return math.prod(padded[:-2]), padded[-2], padded[-1]
