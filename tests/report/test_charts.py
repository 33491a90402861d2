# SPDX-License-Identifier: Apache-2.0
"""Axes cover their values with round ticks, and the front's line is the staircase of the best points."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.report.charts import Axis, axis_over, bits_chart, cost_chart, front_chart, round_step
from mpsearch.report.data import FrontPoint

values = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=6)


@given(values=values, allow_log=st.booleans())
def test_an_axis_shows_every_value_it_was_made_for(values: list[float], allow_log: bool) -> None:
    axis = axis_over(values, 10.0, 110.0, allow_log=allow_log)
    for value in values:
        assert 10.0 - 1e-6 <= axis.place(value) <= 110.0 + 1e-6
    assert all(10.0 - 1e-3 <= axis.place(tick) <= 110.0 + 1e-3 for tick in axis.ticks())


@given(step=st.floats(1e-12, 1e12))
def test_a_round_step_is_1_2_or_5_times_a_power_of_ten_and_not_smaller(step: float) -> None:
    rounded = round_step(step)
    assert step * (1 - 1e-6) <= rounded <= 2.5 * step * (1 + 1e-6)
    assert re.fullmatch(r"[125](\.0+)?e[+-]\d+", f"{rounded:.6e}")


@given(values=st.lists(st.floats(0.01, 1e6), min_size=2, max_size=6).filter(lambda values: max(values) > 1.01 * min(values)))
def test_an_axis_has_a_few_ticks(values: list[float]) -> None:
    assert 2 <= len(axis_over(values, 0.0, 1.0).ticks()) <= 7


def test_values_over_more_than_a_decade_get_a_logarithmic_axis_where_it_is_allowed() -> None:
    assert axis_over([0.5, 80.0], 0, 1, allow_log=True).logarithmic
    assert not axis_over([0.5, 80.0], 0, 1).logarithmic
    assert not axis_over([0.0, 80.0], 0, 1, allow_log=True).logarithmic
    axis = Axis(lowest=1.0, highest=100.0, start=0.0, end=10.0, logarithmic=True)
    assert axis.place(10.0) == pytest.approx(5.0)
    assert axis.ticks() == pytest.approx([1, 2, 5, 10, 20, 50, 100])


def corners(chart: str) -> list[tuple[float, float]]:
    found = re.search(r'class="front" points="([^"]*)"', chart)
    assert found is not None
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in found[1].split())]


@given(points=st.lists(st.tuples(st.integers(1, 1000), st.floats(0.1, 1.0)), min_size=1, max_size=12))
def test_the_front_steps_down_from_left_to_right_through_the_best_points(points: list[tuple[int, float]]) -> None:
    chart = front_chart(
        [FrontPoint(flash_bytes=size, error=error, label="", kind="evaluated") for size, error in points],
        lambda point: point.error,
        "error",
        None,
        None,
    )
    line = corners(chart)
    best = sum(all(other == point or other[0] > point[0] or other[1] > point[1] for other in points) for point in set(points))
    assert len(line) == 2 * best - 1
    assert line == sorted(line, key=lambda corner: corner[0])
    assert [y for _, y in line] == sorted(y for _, y in line)


def test_charts_without_anything_to_show_are_left_out() -> None:
    predicted = FrontPoint(flash_bytes=1, score=1.0, label="", kind="predicted")
    assert front_chart([predicted], lambda point: point.error, "error", 5.0, None) == ""
    assert bits_chart([]) == ""
    assert cost_chart([]) == ""
