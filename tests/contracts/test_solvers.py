# SPDX-License-Identifier: Apache-2.0
"""What every solver keeps."""

from __future__ import annotations

import numpy as np
import pytest

from mpsearch.records import MetricCost, Precision, SearchProblem
from mpsearch.search import SOLVERS
from mpsearch.search.problem import is_within, total_score

BITS = tuple(Precision(weight_bits=bits) for bits in (2, 4, 8))


def random_problem(seed: int) -> SearchProblem:
    """Six groups with holes, a sum and a peak, limits in the middle of their range."""
    rng = np.random.default_rng(seed)
    offered = rng.random((6, 3)) > 0.2
    offered[:, 0] = True
    score = np.where(offered, -np.sort(-rng.exponential(size=(6, 3)), axis=1), np.nan)
    costs, limits = [], []
    for rows in (1, 3):
        cost = np.where(offered, np.sort(rng.integers(1, 50, size=(rows, 6, 3)), axis=2), np.nan)
        costs.append(MetricCost(metric=f"m{rows}", unit="", cost=cost, fixed=np.full(rows, 5.0), rows=("",) * rows))
        lowest, highest = 5 + np.nanmin(cost, axis=2).sum(axis=1).max(), 5 + np.nanmax(cost, axis=2).sum(axis=1).max()
        limits.append(float(lowest + 0.6 * (highest - lowest)))
    return SearchProblem(groups=tuple("abcdef"), precisions=BITS, score=score, costs=tuple(costs), limits=tuple(limits))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", SOLVERS)
def test_answers_are_within_every_limit_distinct_and_ranked(name: str, seed: int) -> None:
    problem = random_problem(seed)
    result = SOLVERS[name](problem, 0, solutions=4)
    assert result.solver == name
    assert result.status in ("optimal", "feasible")
    objectives = [answer.objective for answer in result.solutions]
    assert objectives == sorted(objectives)
    assert len({answer.choice for answer in result.solutions}) == len(result.solutions) >= 1
    for answer in result.solutions:
        choice = np.array(answer.choice)
        assert is_within(problem, choice)
        assert answer.objective == pytest.approx(total_score(problem, choice))
    assert result.bound <= objectives[0] + 1e-9
    assert result.gap >= 0


@pytest.mark.parametrize("name", SOLVERS)
def test_the_same_seed_gives_the_same_answers(name: str) -> None:
    problem = random_problem(7)
    assert SOLVERS[name](problem, 3, solutions=3) == SOLVERS[name](problem, 3, solutions=3)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_budget_that_cannot_be_met_gives_no_answer(name: str) -> None:
    problem = random_problem(1)
    starved = SearchProblem(groups=problem.groups, precisions=problem.precisions, score=problem.score, costs=problem.costs, limits=(6.0, 6.0))
    result = SOLVERS[name](starved, 0)
    assert (result.status, result.solutions) == ("infeasible", ())


@pytest.mark.parametrize("name", SOLVERS)
def test_without_limits_the_best_scores_win(name: str) -> None:
    problem = random_problem(2)
    free = SearchProblem(groups=problem.groups, precisions=problem.precisions, score=problem.score, costs=(), limits=())
    result = SOLVERS[name](free, 0)
    assert result.status == "optimal"
    assert result.solutions[0].objective == pytest.approx(np.nanmin(problem.score, axis=1).sum())
