# SPDX-License-Identifier: Apache-2.0
"""The predicted trade-off: the least score at each of several limits on one metric."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mpsearch.errors import RecordError
from mpsearch.records import SearchProblem
from mpsearch.search.ilp import solve_ilp, solve_least_excess
from mpsearch.search.pareto import pareto_front

_GAP = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """One point of the predicted front.

    Attributes:
        cost: The metric's cost, base unit.
        objective: The total score.
        choice: Index of each group's precision.
    """

    cost: float
    objective: float
    choice: tuple[int, ...]


def sweep_budgets(problem: SearchProblem, metric: str, points: int, seed: int = 0, *, time_limit_s: float = 5.0) -> tuple[FrontPoint, ...]:
    """Trace least score against one metric, with the problem's other limits kept and its own replaced by a grid.

    Args:
        problem: Must limit the metric; how tightly does not matter.
        metric: Which cost to trace.
        points: Limits to try, at least 2, equally spaced from the least possible cost to that of the best score.
        seed: Of the solver.
        time_limit_s: For each point.

    Returns:
        The non-dominated points, cost rising, score falling; empty if the other limits cannot be met.

    Raises:
        RecordError: The problem does not limit the metric, or fewer than 2 points are asked for.
    """
    names = [cost.metric for cost in problem.costs]
    if metric not in names or points < 2:
        raise RecordError(
            f"sweep_budgets: got metric '{metric}' and {points} points, wanted one of {', '.join(names) or 'none'} and at least 2 points."
        )
    index = names.index(metric)
    traced = problem.costs[index]
    # The ceiling as limit leaves the metric free and keeps cost / limit, which is minimised first, near 1.
    ceiling = float((traced.fixed + np.nanmax(traced.cost, axis=2).sum(axis=1)).max())
    problem = _with_limit(problem, index, ceiling)
    _, cheapest = solve_least_excess(problem, [index], seed, time_limit_s=time_limit_s)
    best = solve_ilp(problem, seed, time_limit_s=time_limit_s, gap=_GAP)
    if cheapest is None or not best.solutions:
        return ()
    highest = traced.total(np.array(best.solutions[0].choice, dtype=np.int64))
    found = [best.solutions[0]]
    for limit in np.linspace(traced.total(cheapest), highest, points)[:-1]:
        found += solve_ilp(_with_limit(problem, index, float(limit)), seed, time_limit_s=time_limit_s, gap=_GAP).solutions
    candidates = {solution.choice: solution.objective for solution in found}
    front = [FrontPoint(cost=traced.total(np.array(choice, dtype=np.int64)), objective=score, choice=choice) for choice, score in candidates.items()]
    kept = [front[position] for position in pareto_front([[point.cost, point.objective] for point in front])]
    return tuple(sorted(kept, key=lambda point: (point.cost, point.objective)))


def _with_limit(problem: SearchProblem, index: int, limit: float) -> SearchProblem:
    return replace(problem, limits=tuple(limit if position == index else value for position, value in enumerate(problem.limits)))
