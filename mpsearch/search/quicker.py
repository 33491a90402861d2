# SPDX-License-Identifier: Apache-2.0
"""The least of one cost among the configs that score nearly as well as the best: what a target prefers where the scores hardly differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mpsearch.errors import RecordError
from mpsearch.records import MetricCost, SearchProblem, Solution
from mpsearch.search.ilp import solve_ilp
from mpsearch.search.problem import make_solution

_GAP = 1e-4


def solve_quicker(problem: SearchProblem, cost: MetricCost, score_limit: float, seed: int = 0, *, time_limit_s: float = 10.0) -> Solution | None:
    """Return the choice of least cost within the limits and a limit on the total score, or None if there is none.

    Args:
        problem: Scores and limits.
        cost: What to minimise; a sum, for the same groups and precisions.
        score_limit: The most that the scores may add up to.
        seed: Of the solver.
        time_limit_s: For the solver; what it has found by then is the answer.

    Returns:
        The choice; its objective is its total score.

    Raises:
        RecordError: The cost is a maximum over rows, not a sum.
    """
    if len(cost.fixed) != 1:
        raise RecordError(f"solve_quicker: the metric {cost.metric} has {len(cost.fixed)} rows, wanted a sum.")
    score = MetricCost(metric="score", unit="1", cost=problem.score[None], fixed=np.zeros(1))
    by_cost = replace(
        problem,
        score=np.where(np.isfinite(problem.score), cost.cost[0], np.nan),
        costs=(*problem.costs, score),
        limits=(*problem.limits, score_limit),
    )
    found = solve_ilp(by_cost, seed, time_limit_s=time_limit_s, gap=_GAP).solutions
    return make_solution(problem, found[0].choice) if found else None
