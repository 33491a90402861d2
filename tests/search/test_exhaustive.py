# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from mpsearch.errors import SolverError
from mpsearch.records import MetricCost, Precision, SearchProblem
from mpsearch.search.exhaustive import solve_exhaustive

BITS = (Precision(weight_bits=4), Precision(weight_bits=8))


def problem_of(groups: int, limit: float) -> SearchProblem:
    """Groups that each cost 1 or 2 and score 1 or 0."""
    return SearchProblem(
        groups=tuple(str(index) for index in range(groups)),
        precisions=BITS,
        score=np.tile([1.0, 0.0], (groups, 1)),
        costs=(MetricCost(metric="m", unit="", cost=np.tile([1.0, 2.0], (1, groups, 1)), fixed=np.zeros(1)),),
        limits=(limit,),
    )


def test_the_best_configs_come_first() -> None:
    result = solve_exhaustive(problem_of(2, 3.0), 0, solutions=2)
    assert [(answer.choice, answer.objective) for answer in result.solutions] == [((0, 1), 1.0), ((1, 0), 1.0)]
    assert (result.status, result.gap) == ("optimal", 0.0)


def test_no_config_within_the_limits_is_infeasible() -> None:
    assert solve_exhaustive(problem_of(2, 1.0), 0).status == "infeasible"


def test_time_running_out_is_not_a_proof() -> None:
    assert solve_exhaustive(problem_of(2, 1.0), 0, time_limit_s=-1.0).status == "failed"


def test_too_many_configs_are_refused() -> None:
    with pytest.raises(SolverError, match=r"1\.05e\+06 configs, the exhaustive solver takes at most 1000000.*use the solver ilp"):
        solve_exhaustive(problem_of(20, 30.0), 0)
