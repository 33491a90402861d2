# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpsearch.errors import RecordError
from mpsearch.search.pareto import pareto_front


def test_the_front_of_a_staircase_is_known() -> None:
    assert pareto_front([[1, 5], [2, 4], [2, 5], [3, 1], [4, 1], [1, 5]]).tolist() == [0, 1, 3, 5]


@given(points=hnp.arrays(np.int64, st.tuples(st.integers(0, 12), st.integers(1, 3)), elements=st.integers(0, 5)))
def test_a_point_is_on_the_front_exactly_if_none_dominates_it(points: np.ndarray) -> None:
    front = set(pareto_front(points).tolist())
    for index, point in enumerate(points):
        dominated = any((other <= point).all() and (other != point).any() for other in points)
        assert (index in front) == (not dominated)


def test_points_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(RecordError, match="without NaN"):
        pareto_front([[1.0, float("nan")]])
    with pytest.raises(RecordError, match=r"shape \(2,\)"):
        pareto_front([1.0, 2.0])
