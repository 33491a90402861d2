# SPDX-License-Identifier: Apache-2.0
"""Offsets of every activation and of kernel scratch in one arena.

Placing buffers with lifetimes is bin packing over time. Several greedy orders are tried first; if none reaches the lower bound (the fullest step), a
branch and bound over the order of placement goes on until it does or its allowance of nodes is spent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpsearch.graph.liveness import assign_storages, live_bytes
from mpsearch.quant.packed_size import scratch_bytes
from mpsearch.records import BitWidthConfig, LayerGraph

_SEARCH_NODES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """A piece of memory and when it is needed.

    Attributes:
        name: Names of its tensors, or "scratch of <layer>".
        size_bytes: Its length.
        first_step: Index of the first layer that needs it.
        last_step: Index of the last.
    """

    name: str
    size_bytes: int
    first_step: int
    last_step: int

    def meets(self, other: Buffer) -> bool:
        """Return whether both are needed at the same time."""
        return self.first_step <= other.last_step and other.first_step <= self.last_step


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Where everything lies in the arena.

    Attributes:
        arena_bytes: Length of the arena.
        bound_bytes: What the fullest step needs: no plan is smaller.
        buffers: Activations, then scratch.
        offsets: One for each buffer.
        tensor_offsets: (tensor, offset) for every tensor.
        scratch_offsets: One for each layer; 0 where it needs none.
    """

    arena_bytes: int
    bound_bytes: int
    buffers: tuple[Buffer, ...]
    offsets: tuple[int, ...]
    tensor_offsets: tuple[tuple[str, int], ...]
    scratch_offsets: tuple[int, ...]


def plan_memory(graph: LayerGraph, config: BitWidthConfig) -> MemoryPlan:
    """Place activations and scratch.

    Args:
        graph: Structure.
        config: The precision decides how much scratch a layer needs.
    """
    scratch = [scratch_bytes(graph, layer, None if layer.weight is None else config[layer.name]) for layer in graph.layers]
    storages = assign_storages(graph)
    buffers = [
        Buffer(name=", ".join(item.tensors), size_bytes=item.size_bytes, first_step=item.first_step, last_step=item.last_step) for item in storages
    ]
    owners = [step for step, size in enumerate(scratch) if size]
    buffers += [Buffer(name=f"scratch of {graph.layers[step].name}", size_bytes=scratch[step], first_step=step, last_step=step) for step in owners]
    bound = max((live + extra for live, extra in zip(live_bytes(graph), scratch, strict=True)), default=0)
    offsets = place_buffers(buffers, bound)
    scratch_offset = dict(zip(owners, offsets[len(storages) :], strict=True))
    return MemoryPlan(
        arena_bytes=max(offset + buffer.size_bytes for offset, buffer in zip(offsets, buffers, strict=True)),
        bound_bytes=bound,
        buffers=tuple(buffers),
        offsets=offsets,
        tensor_offsets=tuple((name, offset) for item, offset in zip(storages, offsets, strict=False) for name in item.tensors),
        scratch_offsets=tuple(scratch_offset.get(step, 0) for step in range(len(graph.layers))),
    )


def place_buffers(buffers: Sequence[Buffer], bound_bytes: int) -> tuple[int, ...]:
    """Return an offset for each buffer, so that no two that meet overlap and the highest end is small.

    Args:
        buffers: What to place.
        bound_bytes: The search stops when the arena is this small.
    """
    indices = range(len(buffers))
    orders = [
        sorted(indices, key=lambda i: (-buffers[i].size_bytes, buffers[i].first_step)),
        sorted(indices, key=lambda i: (-(buffers[i].last_step - buffers[i].first_step), -buffers[i].size_bytes)),
        sorted(indices, key=lambda i: (buffers[i].first_step, -buffers[i].last_step)),
        sorted(indices, key=lambda i: (-buffers[i].last_step, buffers[i].first_step)),
        sorted(indices, key=lambda i: (-buffers[i].size_bytes * (1 + buffers[i].last_step - buffers[i].first_step), i)),
    ]
    plans = [_place_in_order(buffers, order) for order in orders]
    best = min(plans, key=lambda offsets: _height(buffers, offsets))
    if _height(buffers, best) > bound_bytes:
        best = _search(buffers, bound_bytes, best)
    return tuple(best)


def _height(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    return max((offset + buffer.size_bytes for offset, buffer in zip(offsets, buffers, strict=True)), default=0)


def _place_in_order(buffers: Sequence[Buffer], order: Sequence[int]) -> list[int]:
    """Put each buffer into the lowest gap that the buffers before it leave."""
    offsets: list[int | None] = [None] * len(buffers)
    for index in order:
        offsets[index] = _lowest_gap(buffers, offsets, index)
    return [offset or 0 for offset in offsets]


def _lowest_gap(buffers: Sequence[Buffer], offsets: Sequence[int | None], index: int) -> int:
    taken = sorted(
        (start, start + buffers[i].size_bytes) for i, start in enumerate(offsets) if start is not None and buffers[i].meets(buffers[index])
    )
    at = 0
    for start, end in taken:
        if start - at >= buffers[index].size_bytes:
            break
        at = max(at, end)
    return at


def _search(buffers: Sequence[Buffer], bound_bytes: int, incumbent: Sequence[int]) -> list[int]:
    """Depth-first over orders of placement: any plan can be reached by placing its buffers from the bottom up, each in the lowest gap."""
    best, height, nodes = list(incumbent), _height(buffers, incumbent), 0
    offsets: list[int | None] = [None] * len(buffers)
    stack: list[tuple[int, int | None]] = []

    def open_moves() -> list[tuple[int, int]]:
        moves = [(_lowest_gap(buffers, offsets, i), i) for i in range(len(buffers)) if offsets[i] is None]
        fitting = [move for move in moves if move[0] + buffers[move[1]].size_bytes < height]
        return sorted(fitting, key=lambda move: (move[0], -buffers[move[1]].size_bytes)) if len(fitting) == len(moves) else []

    frontier = [open_moves()]
    while frontier and nodes < _SEARCH_NODES and height > bound_bytes:
        nodes += 1
        if not frontier[-1]:
            frontier.pop()
            if stack:
                offsets[stack.pop()[0]] = None
            continue
        at, index = frontier[-1].pop(0)
        if at + buffers[index].size_bytes >= height:
            continue
        offsets[index] = at
        stack.append((index, at))
        if None not in offsets:
            best = [offset or 0 for offset in offsets]
            height = _height(buffers, best)
        frontier.append(open_moves())
    return best
