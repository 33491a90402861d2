# SPDX-License-Identifier: Apache-2.0
"""Greedy descent: the baseline, and the fallback when exact search runs out of time."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from mpsearch.records import SearchProblem, SearchResult
from mpsearch.search.problem import is_within, make_solution, offered_options, relative_gap, stack_rows


def solve_greedy(problem: SearchProblem, seed: int, *, solutions: int = 1, time_limit_s: float = 60.0) -> SearchResult:
    """Start from the best scores and take, while a limit is exceeded, the step that adds the least score per saved excess.

    Deterministic: the seed is not used. It returns one answer however many are asked for, and can miss answers that exist
    ("failed"); "infeasible" is said only where a limit is below its own floor.

    Args:
        problem: What to solve.
        seed: Not used.
        solutions: At least 1; one is returned.
        time_limit_s: Stop after this many seconds.
    """
    del seed, solutions
    offered = offered_options(problem)
    bound = float(np.where(offered, problem.score, np.inf).min(axis=1).sum())
    cost, capacity, limit = stack_rows(problem)
    start = np.where(offered, problem.score, np.inf).argmin(axis=1).astype(np.int64)
    if (cost.min(axis=2).sum(axis=1) > capacity + np.abs(limit) * 1e-12).any():
        return SearchResult(status="infeasible", solutions=(), bound=bound, gap=float("inf"), solver="greedy")
    choice = repair_choice(problem, start, time_limit_s)
    if choice is None:
        return SearchResult(status="failed", solutions=(), bound=bound, gap=float("inf"), solver="greedy")
    answer = make_solution(problem, choice)
    gap = relative_gap(answer.objective, bound)
    return SearchResult(status="optimal" if gap == 0 else "feasible", solutions=(answer,), bound=bound, gap=gap, solver="greedy")


def repair_choice(problem: SearchProblem, start: npt.NDArray[np.int64], time_limit_s: float = 60.0) -> npt.NDArray[np.int64] | None:
    """Walk from a choice to one that meets every limit, at little score.

    Args:
        problem: Scores, costs and limits.
        start: int64 (G,), offered everywhere; the walk leaves it as it is where nothing is exceeded.
        time_limit_s: Give up after this many seconds.

    Returns:
        A choice within every limit, or None if the walk ends outside.
    """
    deadline = time.monotonic() + time_limit_s
    offered = offered_options(problem)
    cost, capacity, limit = stack_rows(problem)
    score = np.where(offered, problem.score, np.inf)
    finite_cost = np.where(offered, cost, 0.0) / np.maximum(np.abs(limit), np.finfo(np.float64).tiny)[:, None, None]
    room = capacity / np.maximum(np.abs(limit), np.finfo(np.float64).tiny)
    groups, untried = np.arange(len(score)), offered.copy()
    choice = start.copy()
    while time.monotonic() < deadline:
        used = finite_cost[:, groups, choice]
        excess = used.sum(axis=1) - room
        over = np.maximum(excess, 0.0)
        if not over.any():
            return choice if is_within(problem, choice) else None
        # A step saves what it removes from the excess of all rows together; no option that was left is taken again, so the descent ends.
        saved = over.sum() - np.maximum(excess[:, None, None] - used[:, :, None] + finite_cost, 0.0).sum(axis=0)
        added = score - score[groups, choice][:, None]
        helps = untried & (saved > 0)
        if not helps.any():
            return None
        ratio = np.full(score.shape, np.inf)
        ratio[helps] = np.maximum(added[helps], 0.0) / saved[helps]
        best = np.flatnonzero(ratio == ratio.min())
        step = best[np.argmax(saved.ravel()[best])]
        group, precision = np.unravel_index(step, score.shape)
        untried[group, choice[group]] = False
        choice[group] = precision
    return None
