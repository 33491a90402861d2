# SPDX-License-Identifier: Apache-2.0
"""Whether buffers with lifetimes fit into an arena of a given length, answered exactly within a budget of search nodes.

Every plan can be pushed down until each buffer rests on the ground or on another one, so it is enough to search plans that are built from the ground
up. At each node, of all the buffers that are left, take the one whose top would be lowest if it were placed next: in some best plan that one, or one
that is needed at the same time and would start below that top, comes next (the active schedules of [Giffler1960]). A node is given up where some step
can no longer hold what it still needs, or where the same buffers were left above the same ground before; parts that share no step are searched one
by one.

References: [Giffler1960] Algorithms for solving production-scheduling problems, Operations Research 8(4); [Moffitt2023] MiniMalloc: a lightweight
memory allocator for hardware-accelerated machine learning, doi:10.1145/3623278.3624752, which prunes and splits likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Span = tuple[int, int, int]
"""Size in bytes, first and last step."""

_DEPTH = 150
"""Decisions that may hang on one another before the search is given up: Python's stack is finite."""


class NodesSpentError(Exception):
    """The budget of nodes, or the depth, was not enough; caught where the search was started."""


@dataclass(slots=True)
class Fitting:
    """A search over several arena lengths with one budget of nodes.

    Attributes:
        spans: Size, first and last step of every buffer; sizes > 0.
        nodes_left: How many nodes may still be visited.
    """

    spans: Sequence[Span]
    nodes_left: int
    _columns: list[tuple[int, ...]] = field(init=False)
    _capacity: int = field(init=False, default=0)
    _offsets: list[int] = field(init=False)
    _failed: set[tuple[tuple[int, ...], tuple[int, ...]]] = field(init=False)

    def __post_init__(self) -> None:
        """Keep only the steps in which a buffer begins: those that meet, meet in one of them."""
        begins = sorted({first for _, first, _ in self.spans})
        self._columns = [tuple(index for index, step in enumerate(begins) if first <= step <= last) for _, first, last in self.spans]

    def place_within(self, arena_bytes: int) -> tuple[int, ...] | None:
        """Return an offset for each buffer so that none ends above the arena, or None if there is no such plan.

        Raises:
            NodesSpentError: The nodes or the depth ran out before either was found.
        """
        self._capacity, self._offsets, self._failed = arena_bytes, [0] * len(self.spans), set()
        ground = [0] * (1 + max((columns[-1] for columns in self._columns), default=0))
        return tuple(self._offsets) if self._place(tuple(range(len(self.spans))), ground, 0) else None

    def _place(self, left: tuple[int, ...], ground: list[int], depth: int) -> bool:
        """Place the buffers that are left above the ground; part by part."""
        return all(self._place_part(part, ground, depth) for part in self._parts(left))

    def _parts(self, left: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the buffers that are left in parts that share no step, the smallest part first."""
        parts: list[list[int]] = []
        end = -1
        for index in sorted(left, key=lambda i: self._columns[i][0]):
            if self._columns[index][0] > end:
                parts.append([])
            parts[-1].append(index)
            end = max(end, self._columns[index][-1])
        return [tuple(sorted(part)) for part in sorted(parts, key=len)]

    def _place_part(self, left: tuple[int, ...], ground: list[int], depth: int) -> bool:
        if self.nodes_left <= 0 or depth > _DEPTH:
            raise NodesSpentError
        self.nodes_left -= 1
        starts, floor = self._settle(left, ground)
        need = dict.fromkeys(floor, 0)
        for index in left:
            for column in self._columns[index]:
                need[column] += self.spans[index][0]
        if any(floor[column] + need[column] > self._capacity for column in floor):
            return False
        key = (left, tuple(floor.values()))
        if key in self._failed:
            return False
        tops = {index: starts[index] + self.spans[index][0] for index in left}
        lowest = min(left, key=lambda index: (tops[index], -self.spans[index][0], index))
        span = self._columns[lowest]
        for index in sorted(left, key=lambda i: (starts[i], -self.spans[i][0], i)):
            columns = self._columns[index]
            if starts[index] >= tops[lowest] or columns[0] > span[-1] or columns[-1] < span[0]:
                continue
            raised = ground.copy()
            for column, height in floor.items():
                raised[column] = height
            for column in columns:
                raised[column] = tops[index]
            self._offsets[index] = starts[index]
            if self._place(tuple(other for other in left if other != index), raised, depth + 1):
                return True
        self._failed.add(key)
        return False

    def _settle(self, left: tuple[int, ...], ground: list[int]) -> tuple[dict[int, int], dict[int, int]]:
        """Return where each buffer would start if it came next, and the ground that leaves: no lower than what can still start in a step."""
        used = sorted({column for index in left for column in self._columns[index]})
        floor = {column: ground[column] for column in used}
        while True:
            starts = {index: max(floor[column] for column in self._columns[index]) for index in left}
            settled = dict.fromkeys(used, self._capacity + 1)
            for index in left:
                for column in self._columns[index]:
                    settled[column] = min(settled[column], starts[index])
            if settled == floor:
                return starts, floor
            floor = settled
