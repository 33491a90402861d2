# SPDX-License-Identifier: Apache-2.0
"""What can be said of a problem before it is solved: options that no answer needs, and how large the answer's score will be."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpsearch.records import SearchProblem
from mpsearch.search.problem import offered_options, stack_rows

ROUNDING = 1e-9
"""Part of a limit by which rounding may blur a sum."""


def useful_options(problem: SearchProblem, *, prune_dominated: bool) -> npt.NDArray[np.bool_] | None:
    """Find the options that can be part of an answer; leaving the others out is exact.

    An option is impossible if it exceeds a row with every other group at its lowest. It is dominated if another of its group is no worse in
    score and in every row (of equals the first stays).

    Args:
        problem: What to solve.
        prune_dominated: Leave dominated options out too: one best answer survives, but not the k best.

    Returns:
        bool (G, P); None if some group has no option left, so that the problem is infeasible.
    """
    options = offered_options(problem)
    cost, capacity, limit = stack_rows(problem)
    lowest = cost.min(axis=2)
    room = capacity - lowest.sum(axis=1) + np.abs(limit) * ROUNDING
    options &= ((cost - lowest[:, :, None]) <= room[:, None, None]).all(axis=0)
    if prune_dominated:
        score = np.where(options, problem.score, np.inf)
        for one in range(options.shape[1]):
            for other in range(options.shape[1]):
                if one == other:
                    continue
                no_worse = (score[:, other] <= score[:, one]) & (cost[:, :, other] <= cost[:, :, one]).all(axis=0)
                better = (score[:, other] < score[:, one]) | (cost[:, :, other] < cost[:, :, one]).any(axis=0)
                options[:, one] &= ~(options[:, other] & no_worse & (better | (other < one)))
    return options if options.any(axis=1).all() else None


def core_options(problem: SearchProblem, options: npt.NDArray[np.bool_], prices: npt.NDArray[np.float64], known: float) -> npt.NDArray[np.bool_]:
    """Leave out the options that a lower bound proves to be worse than an answer that is known; exact whatever the prices are.

    With prices on the rows the groups decide alone, and the sum of their least priced scores, less the priced capacity, is a lower bound
    (Lagrangian relaxation); forcing an option raises it by what that option costs over the least of its group.

    Args:
        problem: What to solve.
        options: bool (G, P), what may be chosen.
        prices: float64 (R,), at least 0; the duals of the linear relaxation leave out most.
        known: Score of an answer that meets every limit.
    """
    cost, capacity, _ = stack_rows(problem)
    paid = np.tensordot(prices, np.where(options, cost, 0.0), axes=1)
    priced = np.where(options, np.where(options, problem.score, 0.0) + paid, np.inf)
    least = priced.min(axis=1)
    bound = least.sum() - prices @ capacity
    rounding = 1e-12 * (np.abs(least).sum() + prices @ np.abs(capacity))
    useful: npt.NDArray[np.bool_] = options & (bound + priced - least[:, None] <= known + rounding)
    return useful


def typical_excess(problem: SearchProblem, options: npt.NDArray[np.bool_]) -> float:
    """Estimate the answer's score above its minimum, to scale the objective to about 1, so that absolute tolerances mean something.

    It prices every row by its room, all with one multiplier, and takes the score at the least multiplier that meets the rows.

    Args:
        problem: What to solve.
        options: bool (G, P), what may be chosen.
    """
    score = np.where(options, problem.score, np.inf)
    above = np.where(options, score - score.min(axis=1)[:, None], 0.0)
    if not above.any():
        return 1.0
    cost, capacity, limit = stack_rows(problem)
    cost = np.where(options, cost, np.inf)
    extra = cost - cost.min(axis=2)[:, :, None]
    room = np.maximum(capacity - cost.min(axis=2).sum(axis=1), np.abs(limit) * ROUNDING) + np.finfo(np.float64).tiny
    extra = np.where(options, extra / room[:, None, None], 0.0)
    price, groups = np.where(options, extra.sum(axis=0), np.inf), np.arange(len(options))
    typical = float(above.max(axis=1).sum())
    for multiplier in typical * 2.0 ** np.arange(10, -50, -1):
        choice = (np.where(options, above, np.inf) + multiplier * price).argmin(axis=1)
        if (extra[:, groups, choice].sum(axis=1) > 1).any():
            break
        typical = float(above[groups, choice].sum()) or typical
    return typical
