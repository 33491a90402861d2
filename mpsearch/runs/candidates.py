# SPDX-License-Identifier: Apache-2.0
"""Configs that are evaluated beside the solver's own answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mpsearch.records import Precision, QuantizerGroup
from mpsearch.search.sweep import FrontPoint


def uniform_choice(
    groups: Sequence[QuantizerGroup], precisions: Sequence[Precision], offered: Mapping[str, Sequence[Precision]], bits: int
) -> tuple[int, ...]:
    """Return the choice of one weight bit-width everywhere; a group that is not offered it takes the nearest it is offered, wider first.

    Args:
        groups: In the tables' order.
        precisions: Columns of the tables.
        offered: Group name -> what it may take.
        bits: The wanted width.
    """
    choice = []
    for group in groups:
        widths = [precision.weight_bits for precision in offered[group.name]]
        width = min((width for width in widths if width >= bits), default=max(widths))
        choice.append(next(index for index, item in enumerate(precisions) if item in offered[group.name] and item.weight_bits == width))
    return tuple(choice)


def spread_points(front: Sequence[FrontPoint], count: int) -> Sequence[FrontPoint]:
    """Return about that many points of a front, evenly spaced along it."""
    return front[:: max(1, len(front) // max(1, count))][:count]
