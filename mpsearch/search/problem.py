# SPDX-License-Identifier: Apache-2.0
"""The problem that every solver gets: scores, costs, limits; and the exact check that every answer passes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mpsearch.errors import RecordError
from mpsearch.records import Budget, CostTable, SearchProblem, SensitivityTable, Solution

RELATIVE_TOLERANCE = 1e-9
"""A cost may exceed its limit by this part of it, the rounding of sums: 4 bits everywhere is a mean of 4.000000000000001. Bytes stay exact."""

CLOSED_GAP = 1e-6
"""A gap up to this is closed: the answer counts as optimal."""

IntChoice = npt.NDArray[np.int64]


def build_problem(scores: SensitivityTable, costs: CostTable, budget: Budget) -> SearchProblem:
    """Put scores, costs and limits together.

    Args:
        scores: Expected rise of the loss of every (group, precision).
        costs: Must hold every metric that the budget limits.
        budget: Limits in base units.

    Returns:
        A problem whose score is NaN wherever scores or costs do not offer the precision.

    Raises:
        RecordError: The tables belong to different models or differ in groups or precisions, or a limited metric was not costed.
    """
    for name in ("model_digest", "groups", "precisions"):
        got, wanted = getattr(costs, name), getattr(scores, name)
        if got != wanted:
            raise RecordError(
                f"The cost table and the scores differ in {name}: {_short(got)} and {_short(wanted)}.",
                "make both from the same model and search space.",
            )
    metrics = tuple(costs.metric(limit.metric) for limit in budget.limits)
    offered = np.isfinite(scores.score)
    for metric in metrics:
        offered &= np.isfinite(metric.cost).all(axis=0)
    return SearchProblem(
        groups=scores.groups,
        precisions=scores.precisions,
        score=np.where(offered, scores.score, np.nan),
        costs=metrics,
        limits=tuple(limit.value for limit in budget.limits),
    )


def offered_options(problem: SearchProblem) -> npt.NDArray[np.bool_]:
    """Return bool (G, P): which precisions may be chosen."""
    offered = np.isfinite(problem.score)
    for metric in problem.costs:
        offered &= np.isfinite(metric.cost).all(axis=0)
    return offered


def stack_rows(problem: SearchProblem) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Write all limits as rows: sum over groups of cost[row, group, chosen] <= capacity[row].

    Returns:
        cost: float64 (R, G, P), +inf where not offered; capacity: float64 (R,), the limit with its rounding allowance less what is fixed;
        limit: float64 (R,), the limit that each row serves.
    """
    offered = offered_options(problem)
    costs, capacities, limits = [np.zeros((0, *offered.shape))], [np.zeros(0)], [np.zeros(0)]
    for metric, limit in zip(problem.costs, problem.limits, strict=True):
        costs.append(np.where(offered, metric.cost, np.inf))
        capacities.append(limit + abs(limit) * RELATIVE_TOLERANCE - metric.fixed)
        limits.append(np.full(len(metric.fixed), limit))
    return np.concatenate(costs), np.concatenate(capacities), np.concatenate(limits)


def is_within(problem: SearchProblem, choice: IntChoice) -> bool:
    """Return whether a choice is offered and meets every limit, by the metrics' own totals."""
    if not offered_options(problem)[np.arange(len(choice)), choice].all():
        return False
    return all(metric.total(choice) <= limit + abs(limit) * RELATIVE_TOLERANCE for metric, limit in zip(problem.costs, problem.limits, strict=True))


def total_score(problem: SearchProblem, choice: IntChoice) -> float:
    """Return the sum of the scores of a choice."""
    return float(problem.score[np.arange(len(choice)), choice].sum())


def make_solution(problem: SearchProblem, choice: Sequence[int] | IntChoice) -> Solution:
    """Return a choice with its score."""
    array = np.asarray(choice, dtype=np.int64)
    return Solution(choice=tuple(int(index) for index in array), objective=total_score(problem, array))


def relative_gap(objective: float, bound: float) -> float:
    """Return (objective - bound) / |bound|, 0 where the bound is met, with a floor under the divisor."""
    return max(objective - bound, 0.0) / max(abs(bound), 1e-12)


def _short(value: object) -> str:
    text = value[:12] if isinstance(value, str) else ", ".join(str(item) for item in value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
