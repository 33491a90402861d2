# SPDX-License-Identifier: Apache-2.0
"""Exact search: an integer program, solved by HiGHS through PuLP.

One binary variable per (group, precision), one of them 1 per group, one row per summed limit and per step of a peak. What cannot be part of an
answer is left out first, scores and rows are scaled to 1, and every answer is checked again by the metrics' own totals: a choice that only
meets a limit within the solver's tolerance is forbidden and the search goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pulp

from mpsearch.records import SearchProblem, SearchResult, Solution
from mpsearch.search.greedy import repair_choice, solve_greedy
from mpsearch.search.problem import CLOSED_GAP, is_within, make_solution, offered_options, relative_gap, stack_rows
from mpsearch.search.reduction import core_options, typical_excess, useful_options

LARGE = 1000
"""From this many options on, the linear relaxation is solved first, and what it proves useless is left out."""

_TOLERANCE = 1e-9
_SMALLEST_ROOM = 1e-6


@dataclass(slots=True)
class _Program:
    """An integer program and the way back.

    Attributes:
        problem: In scaled units.
        variables: `variables[group][precision]`; a group with one option has none.
        only: The first option of every group.
        offset: The least possible score, which the objective leaves out.
        scale: Score per unit of the objective.
        units: Cost per unit of each row that can bind.
    """

    problem: pulp.LpProblem
    variables: list[dict[int, pulp.LpVariable]]
    only: npt.NDArray[np.int64]
    offset: float
    scale: float
    units: dict[int, float]

    def choice(self) -> npt.NDArray[np.int64]:
        """Return the chosen precision of every group after a solve."""
        chosen = self.only.copy()
        for group, options in enumerate(self.variables):
            if options:
                chosen[group] = max(options, key=lambda precision: options[precision].varValue or 0.0)
        return chosen

    def forbid(self, choice: npt.NDArray[np.int64]) -> None:
        """Cut one choice off."""
        picked = [options[int(choice[group])] for group, options in enumerate(self.variables) if options]
        self.problem += pulp.lpSum(picked) <= len(picked) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What one call of HiGHS said: "found", "infeasible" or "nothing", and its lower bound in the program's units."""

    outcome: str
    bound: float


def solve_ilp(problem: SearchProblem, seed: int, *, solutions: int = 1, time_limit_s: float = 60.0, gap: float = 0.0) -> SearchResult:
    """Find the best choices, with a bound that proves how good they are.

    Args:
        problem: What to solve.
        seed: Of the solver's random decisions; the same seed gives the same answer, unless the time limit cuts the search off.
        solutions: How many answers, the best first; each further one is the best that differs from those before.
        time_limit_s: For all of them together.
        gap: Stop at this relative gap (of the score above its minimum); 0 to prove the best.

    Returns:
        "optimal" if the gap of the first answer is closed, "feasible" with its gap if time ran out first, "infeasible" if that is proven.
    """
    deadline = time.monotonic() + time_limit_s
    options = useful_options(problem, prune_dominated=solutions == 1)
    if options is None:
        return _no_answer(problem, "infeasible")
    program = _build(problem, options)
    known: list[Solution] = []
    if solutions == 1 and options.sum() >= LARGE:
        program, known = _shrink(program, problem, options)
    found: list[Solution] = []
    bound, proven_empty = -math.inf, False
    while len(found) < solutions and (left := deadline - time.monotonic()) > 0:
        if not any(program.variables):
            found, bound, proven_empty = _single_choice(problem, program.only)
            break
        run = _solve(program, seed, left, gap)
        if not found and math.isfinite(run.bound):
            bound = max(bound, run.bound * program.scale + program.offset)
        if run.outcome != "found":
            proven_empty = run.outcome == "infeasible"
            break
        choice = program.choice()
        program.forbid(choice)
        if is_within(problem, choice):
            found.append(make_solution(problem, choice))
    if not found and proven_empty:
        if not known:
            return _no_answer(problem, "infeasible")
        bound = known[0].objective
    return _result(problem, seed, found, known, bound, proven_empty or len(found) == solutions)


def _shrink(program: _Program, problem: SearchProblem, options: npt.NDArray[np.bool_]) -> tuple[_Program, list[Solution]]:
    """Solve the linear relaxation, round and repair it to an answer, and keep only the options that its duals do not prove worse."""
    program.problem.solve(pulp.HiGHS(mip=False, msg=False, threads=1))
    if program.problem.status != pulp.LpStatusOptimal:
        return program, []
    choice = repair_choice(problem, program.choice())
    if choice is None:
        return program, []
    prices = np.zeros(sum(len(metric.fixed) for metric in problem.costs))
    for row, unit in program.units.items():
        prices[row] = max(-(program.problem.constraints[f"limit{row}"].pi or 0.0), 0.0) * program.scale / unit
    known = make_solution(problem, choice)
    return _build(problem, core_options(problem, options, prices, known.objective)), [known]


def solve_least_excess(
    problem: SearchProblem, flexible: Sequence[int], seed: int = 0, *, time_limit_s: float = 10.0
) -> tuple[str, npt.NDArray[np.int64] | None]:
    """Find the choice that minimises the largest cost / limit over some of the metrics while the others stay within their limits.

    Args:
        problem: Its scores only say what is offered.
        flexible: Indices of the metrics whose limits may be exceeded; their largest ratio is minimised.
        seed: Of the solver's random decisions.
        time_limit_s: Stop after this many seconds.

    Returns:
        "found" with the choice, "infeasible" (the other limits cannot be met together) or "nothing" (out of time).
    """
    fixed = [index for index in range(len(problem.costs)) if index not in flexible]
    strict = SearchProblem(
        groups=problem.groups,
        precisions=problem.precisions,
        score=np.where(offered_options(problem), 0.0, np.nan),
        costs=tuple(problem.costs[index] for index in fixed),
        limits=tuple(problem.limits[index] for index in fixed),
    )
    options = useful_options(strict, prune_dominated=False)
    if options is None:
        return "infeasible", None
    program = _build(strict, options)
    _minimise_largest(program, problem, flexible, options)
    deadline = time.monotonic() + time_limit_s
    while (left := deadline - time.monotonic()) > 0:
        if any(program.variables):
            run = _solve(program, seed, left, 0.0)
            if run.outcome != "found":
                return run.outcome, None
        choice = program.choice()
        if is_within(strict, choice):
            return "found", choice
        if not any(program.variables):
            return "infeasible", None
        program.forbid(choice)
    return "nothing", None


def _build(problem: SearchProblem, options: npt.NDArray[np.bool_]) -> _Program:
    score = np.where(options, problem.score, np.inf)
    least = score.min(axis=1)
    above = np.where(options, problem.score - least[:, None], 0.0)
    scale = typical_excess(problem, options)
    program = pulp.LpProblem("bits", pulp.LpMinimize)
    variables: list[dict[int, pulp.LpVariable]] = []
    for group, row in enumerate(options):
        columns = [int(column) for column in np.flatnonzero(row)]
        several = len(columns) > 1
        variables.append({column: pulp.LpVariable(f"x{group}_{column}", cat="Binary") for column in columns} if several else {})
    program.setObjective(_weighted(variables, above / scale))
    for chosen in variables:
        if chosen:
            program += pulp.lpSum(chosen.values()) == 1
    units = _limit_rows(program, problem, options, variables)
    only: npt.NDArray[np.int64] = options.argmax(axis=1).astype(np.int64)
    return _Program(problem=program, variables=variables, only=only, offset=float(least.sum()), scale=scale, units=units)


def _limit_rows(
    program: pulp.LpProblem, problem: SearchProblem, options: npt.NDArray[np.bool_], variables: list[dict[int, pulp.LpVariable]]
) -> dict[int, float]:
    """Add the rows that can bind, each as extra cost over the cheapest options <= room, in units of the room; return the units."""
    units: dict[int, float] = {}
    cost, capacity, limit = stack_rows(problem)
    cost = np.where(options, cost, np.nan)
    lowest, highest = np.nanmin(cost, axis=2), np.nanmax(cost, axis=2)
    for row in np.flatnonzero(highest.sum(axis=1) > capacity):
        room = capacity[row] - lowest[row].sum()
        unit = max(room, _SMALLEST_ROOM * abs(limit[row]), np.finfo(np.float64).tiny)
        weights = np.nan_to_num(cost[row] - lowest[row][:, None]) / unit
        program += (_weighted(variables, weights) <= float(max(room, 0.0) / unit), f"limit{row}")
        units[int(row)] = unit
    return units


def _weighted(variables: list[dict[int, pulp.LpVariable]], weights: npt.NDArray[np.float64]) -> pulp.LpAffineExpression:
    pairs = [
        (variable, float(weights[group, precision]))
        for group, options in enumerate(variables)
        for precision, variable in options.items()
        if weights[group, precision] != 0
    ]
    return pulp.LpAffineExpression(pairs)


def _minimise_largest(program: _Program, problem: SearchProblem, flexible: Sequence[int], options: npt.NDArray[np.bool_]) -> None:
    largest = pulp.LpVariable("largest", lowBound=0)
    program.problem.setObjective(largest + 0)
    groups = np.arange(len(options))
    for index in flexible:
        metric, limit = problem.costs[index], problem.limits[index]
        cost = np.where(options, metric.cost, 0.0) / limit
        for row, fixed in enumerate(metric.fixed):
            alone = sum(cost[row, group, program.only[group]] for group in groups if not program.variables[group])
            program.problem += _weighted(program.variables, cost[row]) + float(fixed / limit + alone) <= largest


def _solve(program: _Program, seed: int, time_limit_s: float, gap: float) -> _Run:
    solver = pulp.HiGHS(
        msg=False,
        threads=1,
        timeLimit=time_limit_s,
        gapRel=gap,
        gapAbs=1e-10,
        random_seed=seed % 2**31,
        mip_feasibility_tolerance=_TOLERANCE,
        primal_feasibility_tolerance=_TOLERANCE,
    )
    program.problem.solve(solver)
    model: Any = program.problem.solverModel
    status, info = model.getModelStatus().name, model.getInfo()
    if status in ("kInfeasible", "kUnboundedOrInfeasible"):
        return _Run(outcome="infeasible", bound=math.inf)
    # 2 is HiGHS's kSolutionStatusFeasible: there is an incumbent, also at a time limit.
    return _Run(outcome="found" if info.primal_solution_status == 2 else "nothing", bound=float(info.mip_dual_bound))


def _single_choice(problem: SearchProblem, choice: npt.NDArray[np.int64]) -> tuple[list[Solution], float, bool]:
    if not is_within(problem, choice):
        return [], math.inf, True
    answer = make_solution(problem, choice)
    return [answer], answer.objective, True


def _no_answer(problem: SearchProblem, status: Any) -> SearchResult:
    floor = float(np.where(offered_options(problem), problem.score, np.inf).min(axis=1).sum())
    return SearchResult(status=status, solutions=(), bound=floor, gap=math.inf, solver="ilp")


def _result(problem: SearchProblem, seed: int, found: list[Solution], known: list[Solution], bound: float, complete: bool) -> SearchResult:
    """Rank the answers; the one known before competes for the first place, and where time ran out, the greedy answer too."""
    floor = float(np.where(offered_options(problem), problem.score, np.inf).min(axis=1).sum())
    if not complete:
        found = found + [answer for answer in solve_greedy(problem, seed, time_limit_s=5.0).solutions if answer not in found]
    if known and not any(answer.objective <= known[0].objective for answer in found):
        found = known
    if not found:
        return _no_answer(problem, "failed")
    ranked = sorted(found, key=lambda solution: solution.objective)
    bound = min(max(bound, floor), ranked[0].objective)
    distance = relative_gap(ranked[0].objective, bound)
    return SearchResult(status="optimal" if distance <= CLOSED_GAP else "feasible", solutions=tuple(ranked), bound=bound, gap=distance, solver="ilp")
