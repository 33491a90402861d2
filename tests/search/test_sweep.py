# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import numpy as np
import pytest

from mpsearch.errors import RecordError
from mpsearch.records import MetricCost, Precision, SearchProblem
from mpsearch.search.pareto import pareto_front
from mpsearch.search.sweep import sweep_budgets

BITS = tuple(Precision(weight_bits=bits) for bits in (2, 4, 8))


def small_problem(ram: float = 100.0) -> SearchProblem:
    """Four groups, 81 configs, two limits."""
    rng = np.random.default_rng(1)
    score = -np.sort(-rng.exponential(size=(4, 3)), axis=1)
    flash, peak = np.sort(rng.integers(1, 30, size=(1, 4, 3)), axis=2), np.sort(rng.integers(1, 30, size=(2, 4, 3)), axis=2)
    return SearchProblem(
        groups=("a", "b", "c", "d"),
        precisions=BITS,
        score=score,
        costs=(
            MetricCost(metric="flash", unit="byte", cost=flash, fixed=np.zeros(1)),
            MetricCost(metric="ram", unit="byte", cost=peak, fixed=np.zeros(2), rows=("x", "y")),
        ),
        limits=(50.0, ram),
    )


def test_the_swept_front_is_the_front_of_all_configs() -> None:
    problem = small_problem(ram=60.0)
    points = [
        (problem.costs[0].total(choice), float(problem.score[np.arange(4), choice].sum()))
        for choice in map(np.array, itertools.product(range(3), repeat=4))
        if problem.costs[1].total(choice) <= 60.0
    ]
    wanted = sorted({points[index] for index in pareto_front(points)})
    span = int(wanted[-1][0] - wanted[0][0])
    swept = [(point.cost, point.objective) for point in sweep_budgets(problem, "flash", span + 1)]
    assert np.allclose(swept, wanted)


def test_score_falls_as_cost_rises() -> None:
    front = sweep_budgets(small_problem(), "ram", 6)
    assert len(front) > 2
    assert all(one.cost < other.cost and one.objective > other.objective for one, other in itertools.pairwise(front))


def test_there_is_no_front_where_the_other_limits_cannot_be_met() -> None:
    assert sweep_budgets(small_problem(ram=1.0), "flash", 4) == ()


def test_only_a_limited_metric_can_be_swept() -> None:
    with pytest.raises(RecordError, match="got metric 'bops' and 4 points, wanted one of flash, ram"):
        sweep_budgets(small_problem(), "bops", 4)
    with pytest.raises(RecordError, match=r"1 points, wanted .* at least 2"):
        sweep_budgets(small_problem(), "flash", 1)
