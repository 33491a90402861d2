# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpsearch.errors import RecordError
from mpsearch.records import MetricCost, Precision, SearchProblem
from mpsearch.search.quicker import solve_quicker

BITS = tuple(Precision(weight_bits=bits) for bits in (2, 4, 8))


def problem_of(seed: int) -> tuple[SearchProblem, MetricCost]:
    """Return four groups, 81 configs, a limit on flash, and a latency that does not follow the bits."""
    rng = np.random.default_rng(seed)
    flash = np.sort(rng.integers(1, 30, size=(1, 4, 3)), axis=2)
    problem = SearchProblem(
        groups=("a", "b", "c", "d"),
        precisions=BITS,
        score=-np.sort(-rng.exponential(size=(4, 3)), axis=1),
        costs=(MetricCost(metric="flash", unit="byte", cost=flash, fixed=np.zeros(1)),),
        limits=(60.0,),
    )
    return problem, MetricCost(metric="latency", unit="s", cost=rng.exponential(size=(1, 4, 3)), fixed=np.ones(1))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), slack=st.floats(0.0, 1.0))
def test_the_quicker_choice_is_the_quickest_of_all_that_score_nearly_as_well(seed: int, slack: float) -> None:
    problem, latency = problem_of(seed)
    choices = [np.array(choice) for choice in itertools.product(range(3), repeat=4)]
    scores = {tuple(choice): float(problem.score[np.arange(4), choice].sum()) for choice in choices}
    within = [choice for choice in choices if problem.costs[0].total(choice) <= 60.0]
    limit = min((scores[tuple(choice)] for choice in within), default=0.0) * (1 + slack)
    allowed = [latency.total(choice) for choice in within if scores[tuple(choice)] <= limit * (1 + 1e-9)]
    found = solve_quicker(problem, latency, limit)
    if not allowed:
        assert found is None
    else:
        assert found is not None
        assert latency.total(np.array(found.choice)) <= min(allowed) * (1 + 1e-3)
        assert found.objective == pytest.approx(scores[found.choice])
        assert found.objective <= limit * (1 + 1e-6)


def test_only_a_sum_can_be_made_small() -> None:
    problem, latency = problem_of(0)
    peak = MetricCost(metric="ram", unit="byte", cost=np.concatenate([latency.cost, latency.cost]), fixed=np.zeros(2), rows=("x", "y"))
    with pytest.raises(RecordError, match="the metric ram has 2 rows, wanted a sum"):
        solve_quicker(problem, peak, 1.0)
