# SPDX-License-Identifier: Apache-2.0
"""Which activations must exist while each layer runs.

Tensors share storage where nothing has to move: a reshape is an alias, and an elementwise layer writes over an operand of its own size that nobody
reads later. Inputs exist from the start, may be overwritten after their last use, and the output lives to the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mpsearch.records import Add, Layer, LayerGraph, Mul, Reshape, Unary

ALIGNMENT = 4
"""A buffer's bytes are rounded up to a multiple of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Memory that one or several tensors use in turn.

    Attributes:
        tensors: Names of the tensors, in the order they are written.
        size_bytes: Rounded up to the alignment.
        first_step: Index of the layer that first writes it; 0 for an input.
        last_step: Index of the last layer that needs it.
    """

    tensors: tuple[str, ...]
    size_bytes: int
    first_step: int
    last_step: int


@dataclass(slots=True)
class _Growing:
    tensors: list[str]
    size: int
    first: int


def live_bytes(graph: LayerGraph, bits: Mapping[str, int] | None = None) -> tuple[int, ...]:
    """Return the activation bytes that must exist while each layer runs: one number a layer, kernel scratch not included.

    Args:
        graph: The model.
        bits: Tensor name -> bits of its values; None for 8 everywhere.
    """
    storages = assign_storages(graph, bits)
    return tuple(
        sum(storage.size_bytes for storage in storages if storage.first_step <= step <= storage.last_step) for step in range(len(graph.layers))
    )


def assign_storages(graph: LayerGraph, bits: Mapping[str, int] | None = None) -> tuple[Storage, ...]:
    """Decide which tensors share memory, and from when to when each piece is needed.

    Args:
        graph: The model.
        bits: Tensor name -> bits of its values; None for 8 everywhere. Tensors that share memory have 8.
    """
    size = {tensor.name: tensor.stored_bytes(8 if bits is None else bits[tensor.name]) for tensor in graph.tensors}
    last_use = _last_uses(graph)
    growing: list[_Growing] = []
    home: dict[str, int] = {}
    for name in graph.inputs:
        home[name] = len(growing)
        growing.append(_Growing([name], size[name], 0))
    for step, layer in enumerate(graph.layers):
        shared = _reused_operand(graph, layer, step, home, growing, last_use)
        if shared is None:
            home[layer.output] = len(growing)
            growing.append(_Growing([layer.output], size[layer.output], step))
        else:
            home[layer.output] = home[shared]
            growing[home[shared]].tensors.append(layer.output)
    return tuple(
        Storage(
            tensors=tuple(item.tensors),
            size_bytes=-(-item.size // ALIGNMENT) * ALIGNMENT,
            first_step=item.first,
            last_step=max(last_use[name] for name in item.tensors),
        )
        for item in growing
    )


def _last_uses(graph: LayerGraph) -> dict[str, int]:
    """Return the last step that reads or writes each tensor; the output is needed until the end."""
    last = dict.fromkeys(graph.inputs, 0)
    for step, layer in enumerate(graph.layers):
        for name in (*layer.inputs, layer.output):
            last[name] = step
    last[graph.output] = max(len(graph.layers) - 1, 0)
    return last


def _reused_operand(
    graph: LayerGraph, layer: Layer, step: int, home: dict[str, int], growing: list[_Growing], last_use: dict[str, int]
) -> str | None:
    """Return the operand whose memory the layer's output may take, or None."""
    if isinstance(layer.op, Reshape):
        return layer.inputs[0]
    if not isinstance(layer.op, Unary | Add | Mul):
        return None
    shape = graph.tensor(layer.output).shape
    for name in layer.inputs:
        if graph.tensor(name).shape != shape:
            continue
        dies = all(last_use[tensor] <= step for tensor in growing[home[name]].tensors) and graph.output not in growing[home[name]].tensors
        clean = all(home[other] != home[name] or graph.tensor(other).shape == shape for other in layer.inputs)
        if dies and clean:
            return name
    return None
