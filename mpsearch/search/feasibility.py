# SPDX-License-Identifier: Apache-2.0
"""Whether a budget can be met at all, decided from costs alone, before any calibration; and if not, why not and what would do."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpsearch.errors import InfeasibleBudgetError
from mpsearch.records import Budget, CostTable, Limit, MetricCost, SearchProblem
from mpsearch.search.budget import format_like
from mpsearch.search.ilp import solve_least_excess
from mpsearch.search.problem import RELATIVE_TOLERANCE, offered_options

_LAYERS_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRange:
    """What a limited metric can be within the search space.

    Attributes:
        metric: Its name.
        unit: Its base unit.
        floor: The least that any config costs.
        ceiling: The most that any config costs.
        limit: What the budget allows.
    """

    metric: str
    unit: str
    floor: float
    ceiling: float
    limit: float


def check_feasible(costs: CostTable, budget: Budget) -> tuple[MetricRange, ...]:
    """Check that some config meets all limits together.

    Args:
        costs: Must hold every metric that the budget limits.
        budget: The limits.

    Returns:
        Floor and ceiling of every limited metric, in the budget's order.

    Raises:
        InfeasibleBudgetError: A limit is below its floor (the message gives the floor and the layers that pin it), or the limits exclude
            one another; the hint gives the nearest budget that can be met, in the unit that was typed.
        RecordError: A limited metric was not costed.
    """
    problem = _costs_only(costs, budget)
    floors = [_floor_choice(problem, index) for index in range(len(problem.costs))]
    ranges = tuple(
        MetricRange(metric=metric.metric, unit=metric.unit, floor=metric.total(floor), ceiling=_ceiling(metric), limit=limit)
        for metric, limit, floor in zip(problem.costs, problem.limits, floors, strict=True)
    )
    below = [index for index, entry in enumerate(ranges) if not _within(entry.floor, entry.limit)]
    if below:
        messages = [_below_floor(problem, budget.limits[index], index, floors[index], ranges[index]) for index in below]
        nearest = " and ".join(f"--budget {format_like(budget.limits[index], ranges[index].floor)}" for index in below)
        raise InfeasibleBudgetError(" ".join(messages), f"the nearest feasible is {nearest}, or choose a space with fewer bits.")
    if len(ranges) > 1:
        _check_together(problem, budget)
    return ranges


def _costs_only(costs: CostTable, budget: Budget) -> SearchProblem:
    metrics = tuple(costs.metric(limit.metric) for limit in budget.limits)
    offered = np.ones((len(costs.groups), len(costs.precisions)), dtype=bool)
    for metric in costs.metrics:
        offered &= np.isfinite(metric.cost).all(axis=0)
    return SearchProblem(
        groups=costs.groups,
        precisions=costs.precisions,
        score=np.where(offered, 0.0, np.nan),
        costs=metrics,
        limits=tuple(limit.value for limit in budget.limits),
    )


def _within(value: float, limit: float) -> bool:
    return value <= limit + abs(limit) * RELATIVE_TOLERANCE


def _ceiling(metric: MetricCost) -> float:
    return float((metric.fixed + np.nanmax(metric.cost, axis=2).sum(axis=1)).max())


def _floor_choice(problem: SearchProblem, index: int) -> npt.NDArray[np.int64]:
    """Return a choice with the least cost of one metric; where every row is least at once, which a sum always is, without a solver."""
    metric = problem.costs[index]
    cost = np.where(offered_options(problem), metric.cost, np.inf)
    bound = float((metric.fixed + cost.min(axis=2).sum(axis=1)).max())
    choice: npt.NDArray[np.int64] = cost.sum(axis=0).argmin(axis=1).astype(np.int64)
    if metric.total(choice) <= bound:
        return choice
    alone = SearchProblem(
        groups=problem.groups, precisions=problem.precisions, score=problem.score, costs=(metric,), limits=(max(bound, problem.limits[index]),)
    )
    _, better = solve_least_excess(alone, [0])
    return choice if better is None else better


def _below_floor(problem: SearchProblem, limit: Limit, index: int, choice: npt.NDArray[np.int64], entry: MetricRange) -> str:
    """Say what the floor is and which layers hold most of it at their lowest precision."""
    metric = problem.costs[index]
    groups = np.arange(len(choice))
    row = int((metric.fixed + metric.cost[:, groups, choice].sum(axis=1)).argmax())
    shares = metric.cost[row, groups, choice]
    largest = [int(group) for group in np.argsort(-shares, kind="stable")[:_LAYERS_NAMED] if shares[group] > 0]
    parts = [f"{problem.groups[group]} at {problem.precisions[choice[group]]} ({shares[group] / entry.floor:.0%})" for group in largest]
    if metric.fixed[row] > 0:
        parts.append(f"what no precision changes ({metric.fixed[row] / entry.floor:.0%})")
    where = f", reached while layer '{metric.rows[row]}' runs" if metric.rows[row] else ""
    floor = format_like(limit, entry.floor)
    return f"Budget '{limit.text}': the least {entry.metric} of any config is {floor} ({_plain(entry)}){where}. Pinned by {', '.join(parts)}."


def _plain(entry: MetricRange) -> str:
    return f"{entry.floor:,.0f} bytes" if entry.unit == "byte" else f"{entry.floor:.6g} {entry.unit}"


def _check_together(problem: SearchProblem, budget: Budget) -> None:
    """Decide exactly whether all limits can be met at once; if not, say by how much each would have to give way alone."""
    everything = range(len(problem.costs))
    outcome, choice = solve_least_excess(problem, [])
    if outcome != "infeasible":
        return
    alone: list[str] = []
    for index in everything:
        _, choice = solve_least_excess(problem, [index])
        if choice is not None:
            alone.append(format_like(budget.limits[index], problem.costs[index].total(choice)))
    texts = " and ".join(f"'{limit.text}'" for limit in budget.limits)
    message = f"Budgets {texts}: each can be met alone, but no config meets them together."
    if alone:
        raise InfeasibleBudgetError(message, f"keep the others and give way in one: {' or '.join(f'--budget {text}' for text in alone)}.")
    _, choice = solve_least_excess(problem, list(everything))
    factor = math.nan if choice is None else max(metric.total(choice) / limit for metric, limit in zip(problem.costs, problem.limits, strict=True))
    together = " ".join(f"--budget {format_like(limit, limit.value * factor)}" for limit in budget.limits) if choice is not None else "larger budgets"
    raise InfeasibleBudgetError(message, f"giving way in one is not enough; together {together} can be met.")
