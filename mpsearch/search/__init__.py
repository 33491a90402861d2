# SPDX-License-Identifier: Apache-2.0
"""From scores, costs and limits to ranked bit-width configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from mpsearch.records import SearchProblem, SearchResult
from mpsearch.search.exhaustive import solve_exhaustive
from mpsearch.search.greedy import solve_greedy
from mpsearch.search.ilp import solve_ilp


class Solver(Protocol):
    """What every solver is: a function of the problem and a seed."""

    def __call__(self, problem: SearchProblem, seed: int, *, solutions: int = 1, time_limit_s: float = 60.0) -> SearchResult:
        """Return up to `solutions` distinct answers, best first, each within every limit.

        Args:
            problem: What to solve.
            seed: Of random decisions; the same seed gives the same result.
            solutions: How many answers at most.
            time_limit_s: Stop after about this many seconds with what there is.
        """
        ...


SOLVERS: Mapping[str, Solver] = {
    "ilp": solve_ilp,
    "greedy": solve_greedy,
    "exhaustive": solve_exhaustive,
}
