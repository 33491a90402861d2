# SPDX-License-Identifier: Apache-2.0
"""How torch's axes lie in memory.

A value has a *logical* shape (torch's, without the batch axis) and an `order`: memory axis i holds logical axis order[i]. Convolutions want the
channel axis last; permute moves nothing, and reshape moves nothing as long as the axes it merges or splits are neighbours in memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One activation while a model is lowered.

    Attributes:
        tensor: Name of the tensor in the graph.
        shape: Logical shape without batch.
        order: Memory axis i holds logical axis order[i].
    """

    tensor: str
    shape: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def memory_shape(self) -> tuple[int, ...]:
        """Shape in memory order."""
        return tuple(self.shape[axis] for axis in self.order)

    def memory_axis(self, logical_axis: int) -> int:
        """Return where a logical axis (negative counts from the end, batch excluded) lies in memory."""
        return self.order.index(logical_axis % len(self.shape))


def plain_order(rank: int) -> tuple[int, ...]:
    """Return the order of a tensor stored as torch stores it."""
    return tuple(range(rank))


def channels_last_order(rank: int) -> tuple[int, ...]:
    """Return the order with logical axis 0 (channels) last."""
    return (*range(1, rank), 0)


def same_memory(shape: tuple[int, ...], first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Whether two orders of one logical shape lay out the same bytes: axes of length 1 may stand anywhere."""
    return [axis for axis in first if shape[axis] != 1] == [axis for axis in second if shape[axis] != 1]


def reshape_order(shape: tuple[int, ...], order: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the order of the reshaped value if the reshape moves nothing, else None.

    Old and new axes are paired into the smallest runs of equal product; a run may be merged or split in place when its old axes stand side
    by side, in logical order, in memory.
    """
    runs = _paired_runs(shape, wanted)
    new_order: list[int] = []
    remaining = [axis for axis in order if shape[axis] != 1]
    placed: set[int] = set()
    while remaining:
        run = next(index for index, (old, _) in enumerate(runs) if remaining[0] in old)
        old = [axis for axis in runs[run][0] if shape[axis] != 1]
        if remaining[: len(old)] != old:
            return None
        remaining = remaining[len(old) :]
        new_order += runs[run][1]
        placed.add(run)
    leftover = [axis for index, (_, new) in enumerate(runs) if index not in placed for axis in new]
    return tuple(leftover + new_order)


def _paired_runs(shape: tuple[int, ...], wanted: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    runs: list[tuple[list[int], list[int]]] = []
    first = second = 0
    while first < len(shape) or second < len(wanted):
        old, new = ([first] if first < len(shape) else []), ([second] if second < len(wanted) else [])
        first, second = first + len(old), second + len(new)
        while (size := math.prod(shape[axis] for axis in old)) != (size_new := math.prod(wanted[axis] for axis in new)):
            if size < size_new:
                old.append(first)
                first += 1
            else:
                new.append(second)
                second += 1
        runs.append((old, new))
    return runs
