# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mpsearch.errors import RecordError
from mpsearch.records import CostTable, MetricCost, Precision, SensitivityTable
from mpsearch.search.budget import parse_budget
from mpsearch.search.problem import build_problem, is_within, make_solution, relative_gap, stack_rows

PRECISIONS = (Precision(weight_bits=4), Precision(weight_bits=8))
SCORES = SensitivityTable(
    proxy="p", groups=("a", "b"), precisions=PRECISIONS, score=np.array([[2.0, 1.0], [3.0, 0.0]]), forward_passes=1.0, model_digest="d"
)
COSTS = CostTable(
    groups=("a", "b"),
    precisions=PRECISIONS,
    metrics=(
        MetricCost(metric="flash", unit="byte", cost=np.array([[[4.0, 8.0], [40.0, np.nan]]]), fixed=np.array([10.0])),
        MetricCost(
            metric="ram",
            unit="byte",
            cost=np.array([[[1.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [3.0, 5.0]]]),
            fixed=np.array([7.0, 6.0]),
            rows=("a", "b"),
        ),
    ),
    target="",
    model_digest="d",
)


def test_the_problem_limits_what_the_budget_names() -> None:
    problem = build_problem(SCORES, COSTS, parse_budget(["ram=9B", "54B"]))
    assert [metric.metric for metric in problem.costs] == ["ram", "flash"]
    assert problem.limits == (9.0, 54.0)


def test_what_the_costs_do_not_offer_is_not_offered() -> None:
    assert np.isnan(build_problem(SCORES, COSTS, parse_budget(["54B"])).score).tolist() == [[False, False], [False, True]]


def test_every_limit_is_checked_by_the_metrics_own_total() -> None:
    problem = build_problem(SCORES, COSTS, parse_budget(["54B", "ram=9B"]))
    assert is_within(problem, np.array([0, 0]))
    assert not is_within(problem, np.array([1, 0]))
    assert not is_within(problem, np.array([0, 1]))


def test_rows_hold_what_is_left_after_the_fixed_part() -> None:
    cost, capacity, limit = stack_rows(build_problem(SCORES, COSTS, parse_budget(["54B", "ram=9B"])))
    assert cost.shape == (3, 2, 2)
    assert capacity == pytest.approx([44.0, 2.0, 3.0])
    assert limit.tolist() == [54.0, 9.0, 9.0]


def test_a_solution_carries_its_total_score() -> None:
    assert make_solution(build_problem(SCORES, COSTS, parse_budget(["54B"])), [1, 0]).objective == 4.0


def test_the_gap_is_relative_to_the_bound() -> None:
    assert relative_gap(11.0, 10.0) == pytest.approx(0.1)
    assert relative_gap(10.0, 10.0) == 0.0
    assert relative_gap(0.0, 0.0) == 0.0


def test_a_metric_that_was_not_costed_is_named() -> None:
    with pytest.raises(RecordError, match="no metric 'latency'; it has flash, ram"):
        build_problem(SCORES, COSTS, parse_budget(["latency=1ms"]))


@pytest.mark.parametrize(
    ("change", "message"), [({"model_digest": "e"}, "differ in model_digest: e and d"), ({"groups": ("a", "c")}, "differ in groups: a, c and a, b")]
)
def test_tables_of_different_models_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        build_problem(SCORES, replace(COSTS, **change), parse_budget(["54B"]))  # type: ignore[arg-type]
