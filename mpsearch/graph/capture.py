# SPDX-License-Identifier: Apache-2.0
"""Stage 1: an nn.Module and an example input become a LayerGraph."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import nn

from mpsearch.errors import GraphError
from mpsearch.graph.draft import ChannelAffine, Draft, DraftGraph
from mpsearch.graph.fold import fold
from mpsearch.graph.groups import activation_sets, weight_groups
from mpsearch.graph.lower import Lowering
from mpsearch.graph.lowerings import LOWERINGS
from mpsearch.graph.trace import trace_model
from mpsearch.records import Conv2d, Layer, LayerGraph, Linear, Tensor


def capture(model: nn.Module, example: torch.Tensor | tuple[torch.Tensor, ...]) -> LayerGraph:
    """Trace a model and return it as folded, fused layers.

    Args:
        model: The trained network; it is copied, set to eval mode, and not changed.
        example: One batch of inputs, batch first.

    Returns:
        Layers in execution order, in memory (channels-last) order, without the batch axis.

    Raises:
        GraphError: The model does not run, has control flow that depends on data, uses an op that is not supported, has weights that are
            not numbers, or has no layer to quantise.
    """
    inputs = example if isinstance(example, tuple) else (example,)
    draft = fold(Lowering(trace_model(model, inputs), LOWERINGS).run())
    layers = _finished_layers(draft)
    if not any(layer.weight is not None for layer in layers):
        raise GraphError("The model has no quantisable layer.", "wanted at least one convolution or linear layer.")
    names = [*draft.inputs, *(layer.output for layer in layers)]
    quantizers, precision_groups = activation_sets(names, layers)
    tensors = tuple(
        Tensor(name=name, shape=draft.shapes[name], quantizer=quantizer, precision_group=group)
        for name, quantizer, group in zip(names, quantizers, precision_groups, strict=True)
    )
    return LayerGraph(
        inputs=tuple(draft.inputs),
        input_permutations=tuple(draft.input_orders),
        output=draft.output,
        output_permutation=tuple(draft.output_order.index(axis) for axis in range(len(draft.output_order))),
        tensors=tensors,
        layers=layers,
        groups=weight_groups(layers),
    )


def _finished_layers(graph: DraftGraph) -> tuple[Layer, ...]:
    stored: dict[str, str] = {}
    return tuple(_finished_layer(draft, graph, stored) for draft in graph.drafts)


def _finished_layer(draft: Draft, graph: DraftGraph, stored: dict[str, str]) -> Layer:
    assert not isinstance(draft.op, ChannelAffine)
    weight = None if draft.weight is None else draft.weight.astype(np.float32)
    return Layer(
        name=draft.name,
        op=draft.op,
        inputs=tuple(draft.inputs),
        output=draft.output,
        weight=weight,
        bias=None if draft.bias is None else draft.bias.astype(np.float32),
        clamp=draft.clamp,
        weight_key="" if weight is None else _weight_key(weight, draft, stored),
        macs=_macs(draft, graph),
        module_path=draft.module_path,
        source=draft.source,
    )


def _weight_key(weight: np.ndarray, draft: Draft, stored: dict[str, str]) -> str:
    """Return one key for equal folded weights of one parameter; one that was folded differently, or is read channel by channel, is stored twice."""
    kind = f"{type(draft.op).__name__} {draft.op.groups if isinstance(draft.op, Conv2d) else 1}"
    identity = f"{draft.weight_name or draft.name} {hashlib.sha256(weight.tobytes()).hexdigest()} {weight.shape} {kind}"
    return stored.setdefault(identity, draft.name)


def _macs(draft: Draft, graph: DraftGraph) -> int:
    if draft.weight is None or not isinstance(draft.op, (Conv2d, Linear)):
        return 0
    positions = math.prod(graph.shapes[draft.output][:-1])
    return positions * int(draft.weight.size)
