# SPDX-License-Identifier: Apache-2.0
"""Every config, one by one: for tiny problems, and the oracle of the other solvers."""

from __future__ import annotations

import heapq
import itertools
import math
import time

import numpy as np

from mpsearch.errors import SolverError
from mpsearch.records import SearchProblem, SearchResult
from mpsearch.search.problem import is_within, make_solution, offered_options, relative_gap, total_score

LARGEST = 1_000_000
"""Configs that it is willing to look at."""


def solve_exhaustive(problem: SearchProblem, seed: int, *, solutions: int = 1, time_limit_s: float = 60.0) -> SearchResult:
    """Look at every config and keep the best.

    Args:
        problem: What to solve; at most a million configs.
        seed: Not used.
        solutions: How many answers to return, at least 1.
        time_limit_s: Stop after this many seconds.

    Raises:
        SolverError: There are too many configs.
    """
    del seed
    options = [np.flatnonzero(row) for row in offered_options(problem)]
    count = math.prod(len(row) for row in options)
    if count > LARGEST:
        raise SolverError(f"The problem has {count:.3g} configs, the exhaustive solver takes at most {LARGEST}.", "use the solver ilp.")
    deadline = time.monotonic() + time_limit_s
    floor = float(np.nanmin(problem.score, axis=1).sum())
    best: list[tuple[float, tuple[int, ...]]] = []
    complete = True
    for combination in itertools.product(*options):
        if time.monotonic() > deadline:
            complete = False
            break
        choice = np.array(combination, dtype=np.int64)
        if is_within(problem, choice):
            entry = (-total_score(problem, choice), tuple(-int(index) for index in combination))
            heapq.heappush(best, entry)
            if len(best) > solutions:
                heapq.heappop(best)
    answers = tuple(make_solution(problem, [-index for index in negated]) for _, negated in sorted(best, reverse=True))
    if not answers:
        return SearchResult(status="infeasible" if complete else "failed", solutions=(), bound=floor, gap=math.inf, solver="exhaustive")
    bound = answers[0].objective if complete else floor
    gap = relative_gap(answers[0].objective, bound)
    return SearchResult(status="optimal" if complete else "feasible", solutions=answers, bound=bound, gap=gap, solver="exhaustive")
