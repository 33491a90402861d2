# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpsearch.records import MetricCost, Precision, SearchProblem
from mpsearch.search.exhaustive import solve_exhaustive
from mpsearch.search.greedy import solve_greedy
from mpsearch.search.ilp import solve_ilp, solve_least_excess
from mpsearch.search.problem import is_within, offered_options
from mpsearch.search.reduction import core_options, typical_excess, useful_options

BITS = tuple(Precision(weight_bits=bits) for bits in range(2, 9))


def make_problem(score: object, *costs: object, limits: tuple[float, ...]) -> SearchProblem:
    """Return a problem; each cost is (G, P) for a sum or (R, G, P) for a peak."""
    table = np.array(score, dtype=np.float64)
    rows = [np.array(cost, dtype=np.float64).reshape(-1, *table.shape) for cost in costs]
    return SearchProblem(
        groups=tuple(f"g{index}" for index in range(len(table))),
        precisions=BITS[: table.shape[1]],
        score=table,
        costs=tuple(
            MetricCost(metric=f"m{index}", unit="", cost=cost, fixed=np.zeros(len(cost)), rows=tuple(str(row) for row in range(len(cost))))
            for index, cost in enumerate(rows)
        ),
        limits=limits,
    )


@st.composite
def problems(draw: st.DrawFn) -> SearchProblem:
    """Small problems with several sums and peaks, holes, ties and limits anywhere around the feasible range."""
    groups, precisions = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    offered = draw(hnp.arrays(bool, (groups, precisions)))
    offered[:, -1] |= ~offered.any(axis=1)
    score = draw(hnp.arrays(np.float64, (groups, precisions), elements=st.integers(0, 20).map(lambda value: value / 7)))
    costs, limits = [], []
    for index in range(draw(st.integers(0, 3))):
        rows = draw(st.integers(1, 3))
        cost = draw(hnp.arrays(np.float64, (rows, groups, precisions), elements=st.integers(0, 12).map(lambda value: value / 3)))
        fixed = draw(hnp.arrays(np.float64, (rows,), elements=st.integers(0, 4).map(float)))
        costs.append(MetricCost(metric=f"m{index}", unit="", cost=np.where(offered, cost, np.nan), fixed=fixed, rows=("",) * rows))
        limits.append(draw(st.integers(0, 12 * groups)) / 3)
    return SearchProblem(
        groups=tuple(f"g{index}" for index in range(groups)),
        precisions=BITS[:precisions],
        score=np.where(offered, score, np.nan),
        costs=tuple(costs),
        limits=tuple(limits),
    )


@settings(max_examples=200)
@given(problem=problems(), solutions=st.integers(1, 5))
def test_ilp_matches_exhaustive_search_on_small_tables(problem: SearchProblem, solutions: int) -> None:
    result, oracle = solve_ilp(problem, 0, solutions=solutions), solve_exhaustive(problem, 0, solutions=solutions)
    assert result.status == oracle.status
    assert [answer.objective for answer in result.solutions] == pytest.approx([answer.objective for answer in oracle.solutions])
    assert len({answer.choice for answer in result.solutions}) == len(result.solutions)
    assert all(is_within(problem, np.array(answer.choice)) for answer in result.solutions)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems())
def test_the_relaxation_leaves_out_only_what_no_best_answer_needs(monkeypatch: pytest.MonkeyPatch, problem: SearchProblem) -> None:
    monkeypatch.setattr("mpsearch.search.ilp.LARGE", 1)
    result, oracle = solve_ilp(problem, 0), solve_exhaustive(problem, 0)
    assert result.status == oracle.status
    assert [answer.objective for answer in result.solutions] == pytest.approx([answer.objective for answer in oracle.solutions])


@given(problem=problems(), prices=st.lists(st.floats(0, 10), min_size=9, max_size=9))
def test_any_prices_leave_a_best_answer(problem: SearchProblem, prices: list[float]) -> None:
    oracle = solve_exhaustive(problem, 0)
    for answer in oracle.solutions:
        rows = sum(len(metric.fixed) for metric in problem.costs)
        core = core_options(problem, offered_options(problem), np.array(prices[:rows]), answer.objective)
        assert core[np.arange(len(core)), list(answer.choice)].all()


@given(problem=problems())
def test_greedy_keeps_the_limits_and_never_beats_the_optimum(problem: SearchProblem) -> None:
    greedy, oracle = solve_greedy(problem, 0), solve_exhaustive(problem, 0)
    if greedy.status == "infeasible":
        assert oracle.status == "infeasible"
    for answer in greedy.solutions:
        assert is_within(problem, np.array(answer.choice))
        assert greedy.bound - 1e-12 <= oracle.solutions[0].objective <= answer.objective + 1e-12


@given(problem=problems(), extra=st.floats(0, 5))
def test_more_budget_never_hurts(problem: SearchProblem, extra: float) -> None:
    wider = SearchProblem(
        groups=problem.groups,
        precisions=problem.precisions,
        score=problem.score,
        costs=problem.costs,
        limits=tuple(limit + extra for limit in problem.limits),
    )
    before, after = solve_ilp(problem, 0), solve_ilp(wider, 0)
    if before.solutions:
        assert after.solutions[0].objective <= before.solutions[0].objective + 1e-9


@given(problem=problems())
def test_reduction_keeps_the_optimum(problem: SearchProblem) -> None:
    oracle = solve_exhaustive(problem, 0)
    options = useful_options(problem, prune_dominated=True)
    if options is None:
        assert oracle.status == "infeasible"
        return
    reduced = SearchProblem(
        groups=problem.groups,
        precisions=problem.precisions,
        score=np.where(options, problem.score, np.nan),
        costs=problem.costs,
        limits=problem.limits,
    )
    smaller = solve_exhaustive(reduced, 0)
    assert smaller.status == oracle.status
    assert [answer.objective for answer in smaller.solutions] == pytest.approx([answer.objective for answer in oracle.solutions])


@given(problem=problems())
def test_the_least_excess_is_that_of_exhaustive_search(problem: SearchProblem) -> None:
    flexible = [index for index, limit in enumerate(problem.limits) if limit > 0][:1]
    strict = [index for index in range(len(problem.costs)) if index not in flexible]
    others = SearchProblem(
        groups=problem.groups,
        precisions=problem.precisions,
        score=problem.score,
        costs=tuple(problem.costs[index] for index in strict),
        limits=tuple(problem.limits[index] for index in strict),
    )
    everything = solve_exhaustive(others, 0, solutions=256)
    outcome, choice = solve_least_excess(problem, flexible)
    assert (outcome == "found") == bool(everything.solutions)
    if choice is not None and flexible:
        totals = [problem.costs[flexible[0]].total(np.array(answer.choice)) for answer in everything.solutions]
        assert problem.costs[flexible[0]].total(choice) == pytest.approx(min(totals))


def test_the_answer_changes_exactly_at_each_breakpoint_of_the_budget() -> None:
    score, cost = [[8.0, 3.0, 1.0], [4.0, 2.0, 0.5]], [[2.0, 4.0, 8.0], [2.0, 4.0, 8.0]]
    # By hand: (limit, least score) at every sum of two costs where the least score falls.
    breakpoints = [(4.0, 12.0), (6.0, 7.0), (8.0, 5.0), (12.0, 3.0), (16.0, 1.5)]
    for (limit, best), (_, before) in zip(breakpoints, [(0.0, math.inf), *breakpoints], strict=False):
        assert solve_ilp(make_problem(score, cost, limits=(limit,)), 0).solutions[0].objective == best
        assert solve_ilp(make_problem(score, cost, limits=(limit * (1 + 1e-7),)), 0).solutions[0].objective == best
        below = solve_ilp(make_problem(score, cost, limits=(limit * (1 - 1e-7),)), 0)
        assert (below.solutions[0].objective if below.solutions else math.inf) == before


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e15])
def test_the_size_of_scores_and_costs_changes_no_answer(size: float) -> None:
    rng = np.random.default_rng(3)
    score = -np.sort(-rng.exponential(size=(8, 4)), axis=1)
    cost = np.sort(rng.integers(1, 100, size=(8, 4)), axis=1)
    plain = solve_ilp(make_problem(score, cost, limits=(200.0,)), 0, solutions=3)
    scaled = solve_ilp(make_problem(score * size, cost / size, limits=(200.0 / size,)), 0, solutions=3)
    assert [answer.choice for answer in scaled.solutions] == [answer.choice for answer in plain.solutions]


def test_a_limit_is_met_to_the_byte() -> None:
    score, cost = [[5.0, 0.0], [1.0, 0.0]], [[1_000_000.0, 1_000_001.0], [999_999.0, 1_000_000.0]]
    assert solve_ilp(make_problem(score, cost, limits=(2_000_000.0,)), 0).solutions[0].choice == (1, 0)
    assert solve_ilp(make_problem(score, cost, limits=(1_999_999.0,)), 0).solutions[0].choice == (0, 0)


def test_a_mean_of_four_bits_admits_four_bits_everywhere() -> None:
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    cost = np.outer(weights / weights.sum(), [2.0, 4.0])
    result = solve_ilp(make_problem([[1.0, 0.0]] * 4, cost, limits=(4.0,)), 0)
    assert result.solutions[0].choice == (1, 1, 1, 1)


def test_a_peak_counts_its_largest_row_and_not_their_sum() -> None:
    peak = [[[4.0, 8.0], [0.0, 0.0]], [[0.0, 0.0], [4.0, 8.0]]]
    assert solve_ilp(make_problem([[1.0, 0.0]] * 2, peak, limits=(8.0,)), 0).solutions[0].choice == (1, 1)
    assert solve_ilp(make_problem([[1.0, 0.0]] * 2, peak, limits=(7.0,)), 0).solutions[0].choice == (0, 0)


def test_a_proven_answer_closes_the_gap() -> None:
    result = solve_ilp(make_problem([[3.0, 1.0]] * 3, [[1.0, 2.0]] * 3, limits=(5.0,)), 0)
    assert (result.status, result.solutions[0].objective) == ("optimal", 5.0)
    assert result.bound == pytest.approx(5.0)
    assert result.gap <= 1e-9


def hard_problem() -> SearchProblem:
    """A multidimensional knapsack whose optimum takes far longer to prove than a tenth of a second."""
    rng = np.random.default_rng(0)
    gain = rng.uniform(10, 11, size=(300, 4)).cumsum(axis=1)
    costs = [rng.uniform(10, 11, size=(300, 4)).cumsum(axis=1) for _ in range(8)]
    return make_problem(100 - gain, *costs, limits=tuple(float(cost.mean() * 300) for cost in costs))


def test_an_answer_cut_off_by_time_is_feasible_with_a_gap_and_never_called_optimal() -> None:
    problem = hard_problem()
    result = solve_ilp(problem, 0, time_limit_s=0.5)
    assert result.status == "feasible"
    assert result.gap > 0
    assert result.bound < result.solutions[0].objective
    assert is_within(problem, np.array(result.solutions[0].choice))


def test_without_any_time_the_greedy_answer_is_returned() -> None:
    problem = make_problem([[3.0, 1.0]] * 3, [[1.0, 2.0]] * 3, limits=(5.0,))
    result = solve_ilp(problem, 0, time_limit_s=0.0)
    assert (result.status, result.bound) == ("feasible", 3.0)
    assert result.solutions[0].objective == 5.0


def test_without_any_time_and_without_a_greedy_answer_the_solver_failed() -> None:
    # Greedy starts at the best scores, (0, 1), which exceeds only the second row; every step from there exceeds the first or moves nothing.
    problem = make_problem([[1.0, 2.0], [2.0, 1.0]], [[2.0, 0.0], [2.0, 0.0]], [[3.0, 3.0], [0.0, 2.0]], limits=(2.0, 4.0))
    assert solve_greedy(problem, 0).status == "failed"
    assert solve_ilp(problem, 0, time_limit_s=0.0).status == "failed"
    assert solve_ilp(problem, 0).solutions[0].choice == (1, 0)


def test_a_stop_gap_is_reported_as_what_it_is() -> None:
    problem = hard_problem()
    result = solve_ilp(problem, 0, gap=0.5, time_limit_s=20.0)
    assert result.status == ("optimal" if result.gap <= 1e-6 else "feasible")


def test_every_option_of_a_free_problem_is_ranked() -> None:
    result = solve_ilp(make_problem([[2.0, 1.0], [4.0, 0.0]], limits=()), 0, solutions=9)
    assert [answer.objective for answer in result.solutions] == [1.0, 2.0, 5.0, 6.0]
    assert result.status == "optimal"


def test_a_single_option_needs_no_solver() -> None:
    assert solve_ilp(make_problem([[1.0]], [[3.0]], limits=(3.0,)), 0).solutions[0].choice == (0,)
    assert solve_ilp(make_problem([[1.0]], [[3.0]], limits=(2.0,)), 0).status == "infeasible"
    assert solve_least_excess(make_problem([[1.0]], [[3.0]], limits=(2.0,)), [])[0] == "infeasible"


def test_nothing_is_found_without_time() -> None:
    assert solve_least_excess(make_problem([[1.0, 0.0]] * 2, [[1.0, 2.0]] * 2, limits=(3.0,)), [0], time_limit_s=0.0)[0] == "nothing"


def test_the_score_is_estimated_within_the_range_of_the_options() -> None:
    problem = make_problem([[3.0, 1.0]] * 4, [[1.0, 2.0]] * 4, limits=(6.0,))
    assert 4.0 <= typical_excess(problem, np.ones((4, 2), dtype=bool)) <= 8.0
    assert typical_excess(make_problem([[2.0, 2.0]], limits=()), np.ones((1, 2), dtype=bool)) == 1.0


def test_a_choice_that_meets_a_limit_only_within_the_solvers_tolerance_is_refused() -> None:
    cost = [[0.0, 0.5 + 0.75e-9]] * 2
    problem = make_problem([[1.0, 0.0]] * 2, cost, [[2.0, 1.0]] * 2, limits=(1.0, 9.0))
    assert not is_within(problem, np.array([1, 1]))
    result = solve_ilp(problem, 0)
    assert (result.status, result.solutions[0].objective) == ("optimal", 1.0)
    outcome, choice = solve_least_excess(problem, [1])
    assert outcome == "found"
    assert choice is not None
    assert problem.costs[1].total(choice) == 3.0


def test_limits_that_exclude_one_another_are_infeasible_with_the_relaxation_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpsearch.search.ilp.LARGE", 1)
    problem = make_problem([[1.0, 0.0]] * 3, [[0.0, 2.0]] * 3, [[2.0, 0.0]] * 3, limits=(2.5, 2.5))
    assert solve_ilp(problem, 0).status == "infeasible"
    assert solve_least_excess(problem, [])[0] == "infeasible"


def test_a_relaxation_that_rounds_to_no_answer_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpsearch.search.ilp.LARGE", 1)
    monkeypatch.setattr("mpsearch.search.ilp.repair_choice", lambda problem, start: None)
    problem = make_problem([[3.0, 1.0]] * 3, [[1.0, 2.0]] * 3, limits=(5.0,))
    assert solve_ilp(problem, 0).solutions[0].objective == 5.0


def test_the_answer_of_the_relaxation_stands_when_time_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpsearch.search.ilp.LARGE", 1)
    problem = make_problem([[3.0, 1.0]] * 3, [[1.0, 2.0]] * 3, limits=(5.0,))
    result = solve_ilp(problem, 0, time_limit_s=0.0)
    assert (result.status, result.bound, result.solutions[0].objective) == ("feasible", 3.0, 5.0)


def test_greedy_stops_when_its_time_is_up() -> None:
    problem = make_problem([[3.0, 1.0]] * 3, [[1.0, 2.0]] * 3, limits=(5.0,))
    assert solve_greedy(problem, 0, time_limit_s=-1.0).status == "failed"
