# SPDX-License-Identifier: Apache-2.0
"""Offsets of every activation and of kernel scratch in one arena.

Placing buffers with lifetimes is bin packing over time. A plan is an order: each buffer goes into the lowest gap that those before it leave. Several
orders are tried; if none reaches the lower bound (the fullest step), an exact search finds the least arena. Should its nodes run out, which takes
graphs of odd shape, the best order is improved by moving buffers that end too high to the front, and the plan says that it is not proven.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from mpsearch.export.exact_placement import Fitting, NodesSpentError
from mpsearch.graph.liveness import assign_storages, live_bytes
from mpsearch.quant.activation_bits import activation_bits
from mpsearch.quant.packed_size import scratch_bytes
from mpsearch.records import BitWidthConfig, LayerGraph

_ROUNDS = 2_000
_STALE_ROUNDS = 60
_NODES = 4_000
"""Of the exact search: a second or so at most, the same on every machine."""


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
class Placement:
    """Where buffers lie.

    Attributes:
        offsets: One for each buffer.
        height: Where the highest ends.
        proven: Whether no placement is lower.
    """

    offsets: tuple[int, ...]
    height: int
    proven: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Where everything lies in the arena.

    Attributes:
        arena_bytes: Length of the arena.
        bound_bytes: What the fullest step needs: no plan is smaller.
        proven: Whether no plan of these buffers is smaller than the arena.
        buffers: Activations, then scratch.
        offsets: One for each buffer.
        tensor_offsets: (tensor, offset) for every tensor.
        scratch_offsets: One for each layer; 0 where it needs none.
    """

    arena_bytes: int
    bound_bytes: int
    proven: bool
    buffers: tuple[Buffer, ...]
    offsets: tuple[int, ...]
    tensor_offsets: tuple[tuple[str, int], ...]
    scratch_offsets: tuple[int, ...]


def plan_memory(graph: LayerGraph, config: BitWidthConfig) -> MemoryPlan:
    """Place activations and scratch.

    Args:
        graph: Structure.
        config: The precision decides how many bits activations have, and how much scratch a layer needs.
    """
    bits = activation_bits(graph, config)
    scratch = [scratch_bytes(graph, layer, None if layer.weight is None else config[layer.name], bits[layer.output]) for layer in graph.layers]
    storages = assign_storages(graph, bits)
    buffers = [
        Buffer(name=", ".join(item.tensors), size_bytes=item.size_bytes, first_step=item.first_step, last_step=item.last_step) for item in storages
    ]
    owners = [step for step, size in enumerate(scratch) if size]
    buffers += [Buffer(name=f"scratch of {graph.layers[step].name}", size_bytes=scratch[step], first_step=step, last_step=step) for step in owners]
    bound = max((live + extra for live, extra in zip(live_bytes(graph, bits), scratch, strict=True)), default=0)
    placement = place_buffers(buffers, bound)
    offsets = placement.offsets
    scratch_offset = dict(zip(owners, offsets[len(storages) :], strict=True))
    return MemoryPlan(
        arena_bytes=placement.height,
        bound_bytes=bound,
        proven=placement.proven,
        buffers=tuple(buffers),
        offsets=offsets,
        tensor_offsets=tuple((name, offset) for item, offset in zip(storages, offsets, strict=False) for name in item.tensors),
        scratch_offsets=tuple(scratch_offset.get(step, 0) for step in range(len(graph.layers))),
    )


def place_buffers(buffers: Sequence[Buffer], bound_bytes: int, nodes: int = _NODES) -> Placement:
    """Return an offset for each buffer, so that no two that meet overlap and the highest end is as low as can be.

    Args:
        buffers: What to place.
        bound_bytes: What the fullest step needs.
        nodes: Budget of the exact search; what it does not settle is not proven.
    """
    indices = range(len(buffers))
    neighbours = [[j for j in indices if j != i and buffers[i].meets(buffers[j])] for i in indices]
    crowd = [sum(buffers[j].size_bytes for j in neighbours[i]) for i in indices]
    orders = [
        sorted(indices, key=lambda i: (-buffers[i].size_bytes, buffers[i].first_step)),
        sorted(indices, key=lambda i: (-(buffers[i].last_step - buffers[i].first_step), -buffers[i].size_bytes)),
        sorted(indices, key=lambda i: (buffers[i].first_step, -buffers[i].last_step)),
        sorted(indices, key=lambda i: (-buffers[i].last_step, buffers[i].first_step)),
        sorted(indices, key=lambda i: (-buffers[i].size_bytes * (1 + buffers[i].last_step - buffers[i].first_step), i)),
        sorted(indices, key=lambda i: (-buffers[i].size_bytes - crowd[i], i)),
    ]
    plans = [_place_in_order(buffers, neighbours, order) for order in orders]
    best = min(plans, key=lambda offsets: _height(buffers, offsets))
    if _height(buffers, best) == bound_bytes:
        return Placement(offsets=tuple(best), height=bound_bytes, proven=True)
    best, least = _search_exactly(buffers, bound_bytes, best, nodes)
    if _height(buffers, best) > least:
        best = _improve(buffers, neighbours, orders, least, best)
    height = _height(buffers, best)
    return Placement(offsets=tuple(best), height=height, proven=height == least)


def _search_exactly(buffers: Sequence[Buffer], bound_bytes: int, incumbent: list[int], nodes: int) -> tuple[list[int], int]:
    """Halve the interval between a height that is known to be too low, or the bound, and the best plan, until they meet or the nodes are spent.

    Returns:
        The best plan, and the least height that is not excluded.
    """
    # Every height is a sum of sizes: nothing lies between multiples of what divides them all.
    step = math.gcd(*(buffer.size_bytes for buffer in buffers))
    search = Fitting(spans=[(buffer.size_bytes, buffer.first_step, buffer.last_step) for buffer in buffers], nodes_left=nodes)
    best, least, trial = incumbent, bound_bytes, bound_bytes
    try:
        while _height(buffers, best) > least:
            found = search.place_within(trial)
            if found is None:
                least = trial + step
            else:
                best = list(found)
            trial = least + (_height(buffers, best) - least) // 2 // step * step
    except NodesSpentError:
        pass
    return best, least


def _height(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    return max((offset + buffer.size_bytes for offset, buffer in zip(offsets, buffers, strict=True)), default=0)


def _place_in_order(buffers: Sequence[Buffer], neighbours: Sequence[Sequence[int]], order: Sequence[int]) -> list[int]:
    """Put each buffer into the lowest gap that the buffers before it leave."""
    offsets = [-1] * len(buffers)
    for index in order:
        taken = sorted((offsets[i], offsets[i] + buffers[i].size_bytes) for i in neighbours[index] if offsets[i] >= 0)
        at = 0
        for start, end in taken:
            if start - at >= buffers[index].size_bytes:
                break
            at = max(at, end)
        offsets[index] = at
    return offsets


def _improve(
    buffers: Sequence[Buffer], neighbours: Sequence[Sequence[int]], orders: Sequence[list[int]], bound_bytes: int, incumbent: list[int]
) -> list[int]:
    """Move a buffer that ends too high, or one that it meets, towards the front of the order, and keep what does not make the plan higher."""
    random = Random(0)
    best, height = incumbent, _height(buffers, incumbent)
    order, current, stale = list(orders[0]), _height(buffers, _place_in_order(buffers, neighbours, orders[0])), 0
    for _ in range(_ROUNDS):
        offsets = _place_in_order(buffers, neighbours, order)
        high = [i for i, offset in enumerate(offsets) if offset + buffers[i].size_bytes > bound_bytes]
        moved = random.choice(high)
        if neighbours[moved] and random.random() < 0.5:
            moved = random.choice(neighbours[moved])
        place = order.index(moved)
        trial = [*order[:place], *order[place + 1 :]]
        trial.insert(random.randint(0, place), moved)
        offsets = _place_in_order(buffers, neighbours, trial)
        found = _height(buffers, offsets)
        if found < height:
            best, height = offsets, found
        if height <= bound_bytes:
            break
        stale = 0 if found < current else stale + 1
        if found <= current:
            order, current = trial, found
        elif stale > _STALE_ROUNDS:
            order, stale = list(random.choice(orders)), 0
            current = _height(buffers, _place_in_order(buffers, neighbours, order))
    return best
