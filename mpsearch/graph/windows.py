# SPDX-License-Identifier: Apache-2.0
"""Kernel windows in one and two dimensions: 1-D ops are lowered as 2-D ones of height 1."""

from __future__ import annotations

from collections.abc import Sequence

from mpsearch.graph.layout import Value, channels_last_order
from mpsearch.graph.lower import Lowering


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Return an int or a sequence as (vertical, horizontal)."""
    if isinstance(value, int):
        return (value, value)
    return (int(value[0]), int(value[-1]))


def along(value: int | Sequence[int], one_dimensional: bool, neutral: int = 1) -> tuple[int, int]:
    """Return a window parameter as (vertical, horizontal); a 1-D op gets the neutral value vertically."""
    return (neutral, pair(value)[0]) if one_dimensional else pair(value)


def spatial(low: Lowering, value: Value) -> Value:
    """Return a (C, H, W) or (C, L) value, channels last."""
    if len(value.shape) not in (2, 3):
        raise low.fail(f"the input has {len(value.shape) + 1} axes, wanted 3 or 4.")
    return low.with_order(value, channels_last_order(len(value.shape)))
