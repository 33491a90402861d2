# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from mpsearch.records import Precision, QuantizerGroup
from mpsearch.runs.candidates import spread_points, uniform_choice
from mpsearch.search.sweep import FrontPoint

W2, W4, W8 = (Precision(weight_bits=bits) for bits in (2, 4, 8))


@pytest.mark.parametrize(("bits", "wanted"), [(2, (1, 0, 0)), (3, (1, 1, 0)), (4, (1, 1, 0)), (8, (2, 2, 0))])
def test_a_group_takes_the_nearest_wider_width_it_is_offered_else_its_widest(bits: int, wanted: tuple[int, ...]) -> None:
    groups = [QuantizerGroup(name=name, layers=(name,)) for name in ("first", "inner", "narrow")]
    offered = {"first": (W4, W8), "inner": (W2, W4, W8), "narrow": (W2,)}
    assert uniform_choice(groups, (W2, W4, W8), offered, bits) == wanted


@pytest.mark.parametrize(("count", "wanted"), [(0, []), (1, [0]), (3, [0, 3, 6]), (20, list(range(10)))])
def test_points_are_spread_along_the_front(count: int, wanted: list[int]) -> None:
    front = [FrontPoint(cost=float(index), objective=-float(index), choice=(index,)) for index in range(10)]
    assert [point.choice[0] for point in spread_points(front, count)] == wanted
