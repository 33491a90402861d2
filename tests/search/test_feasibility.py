# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.errors import InfeasibleBudgetError, RecordError
from mpsearch.records import Budget, CostTable, Limit, MetricCost, Precision
from mpsearch.search.budget import parse_budget
from mpsearch.search.feasibility import check_feasible

BITS = (Precision(weight_bits=2), Precision(weight_bits=4), Precision(weight_bits=8))

FLASH = MetricCost(metric="flash", unit="byte", cost=np.array([[[200.0, 400.0, 800.0], [np.nan, 4000.0, 8000.0]]]), fixed=np.array([300.0]))
# Narrow weights are unpacked, and need scratch for it; 8 bits do not.
RAM = MetricCost(
    metric="ram",
    unit="byte",
    cost=np.array([[[96.0, 64.0, 0.0], [np.nan, 0.0, 0.0]], [[0.0, 0.0, 0.0], [np.nan, 128.0, 0.0]]]),
    fixed=np.array([1000.0, 960.0]),
    rows=("conv", "fc"),
)
LATENCY = MetricCost(metric="latency", unit="s", cost=np.array([[[3e-3, 2e-3, 1e-3], [np.nan, 4e-3, 3e-3]]]), fixed=np.zeros(1))
COSTS = CostTable(groups=("conv", "fc"), precisions=BITS, metrics=(FLASH, RAM, LATENCY), target="", model_digest="d")


def test_a_budget_that_can_be_met_gives_floor_and_ceiling() -> None:
    flash, ram = check_feasible(COSTS, parse_budget(["9.1KB", "ram=1088B"]))
    assert (flash.floor, flash.ceiling, flash.limit) == (4500.0, 9100.0, 9100.0)
    assert (ram.floor, ram.ceiling) == (1000.0, 1096.0)


def test_no_limit_is_always_met() -> None:
    assert check_feasible(COSTS, Budget(limits=())) == ()


def test_a_budget_below_the_floor_names_the_floor_what_pins_it_and_the_nearest() -> None:
    with pytest.raises(InfeasibleBudgetError) as caught:
        check_feasible(COSTS, parse_budget(["4KB"]))
    assert caught.value.message == (
        "Budget '4KB': the least flash of any config is 4.5KB (4,500 bytes). "
        "Pinned by fc at w4a8 (89%), conv at w2a8 (4%), what no precision changes (7%)."
    )
    assert caught.value.hint == "the nearest feasible is --budget 4.5KB, or choose a space with fewer bits."
    assert caught.value.exit_code == 3


def test_a_peak_below_its_floor_names_the_layer_that_runs() -> None:
    with pytest.raises(InfeasibleBudgetError, match=r"least ram of any config is ram=0\.9766KiB \(1,000 bytes\), reached while layer 'conv' runs"):
        check_feasible(COSTS, parse_budget(["ram=0.5KiB"]))


def test_every_limit_below_its_floor_is_named() -> None:
    with pytest.raises(InfeasibleBudgetError, match=r"'4KB'.*'latency=1ms'.*--budget 4\.5KB and --budget latency=4ms"):
        check_feasible(COSTS, parse_budget(["4KB", "latency=1ms"]))


def test_limits_that_exclude_one_another_say_what_each_would_have_to_be() -> None:
    with pytest.raises(InfeasibleBudgetError) as caught:
        check_feasible(COSTS, parse_budget(["5KB", "latency=4ms"]))
    assert caught.value.message == "Budgets '5KB' and 'latency=4ms': each can be met alone, but no config meets them together."
    assert caught.value.hint == "keep the others and give way in one: --budget 9.1KB or --budget latency=6ms."


def test_limits_of_which_no_single_one_can_give_way_are_widened_together() -> None:
    exclusive = [
        MetricCost(metric=metric, unit="op", cost=np.array([[[1.0, 9.0, 9.0]], [[9.0, 1.0, 9.0]], [[9.0, 9.0, 1.0]]])[index][None], fixed=np.zeros(1))
        for index, metric in enumerate(("bops", "macs", "bits"))
    ]
    table = CostTable(groups=("a",), precisions=BITS, metrics=tuple(exclusive), target="", model_digest="")
    with pytest.raises(
        InfeasibleBudgetError, match=r"giving way in one is not enough; together --budget bops=9 --budget macs=9 --budget bits=9 can be met"
    ):
        check_feasible(table, parse_budget(["bops=1", "macs=1", "bits=1"]))


def test_a_metric_that_was_not_costed_is_named() -> None:
    with pytest.raises(RecordError, match="no metric 'energy'"):
        check_feasible(COSTS, parse_budget(["energy=1mJ"]))


def table_of(seed: int) -> CostTable:
    """Three groups, a sum and a peak whose least rows cannot all be reached at once."""
    rng = np.random.default_rng(seed)
    return CostTable(
        groups=("a", "b", "c"),
        precisions=BITS,
        metrics=(
            MetricCost(metric="flash", unit="byte", cost=rng.integers(100, 999, size=(1, 3, 3)), fixed=np.array([10.0])),
            MetricCost(metric="ram", unit="byte", cost=rng.integers(100, 999, size=(3, 3, 3)), fixed=np.zeros(3), rows=("x", "y", "z")),
        ),
        target="",
        model_digest="",
    )


@given(seed=st.integers(0, 10_000), flash=st.integers(300, 2200), ram=st.integers(500, 2500))
def test_a_budget_is_refused_exactly_if_no_config_meets_it_and_the_hint_can_be_met(seed: int, flash: int, ram: int) -> None:
    table, budget = table_of(seed), parse_budget([f"{flash}B", f"ram={ram}B"])
    totals = [tuple(metric.total(np.array(choice)) for metric in table.metrics) for choice in itertools.product(range(3), repeat=3)]
    possible = any(one <= flash and other <= ram for one, other in totals)
    try:
        ranges = check_feasible(table, budget)
    except InfeasibleBudgetError as error:
        assert not possible
        offers = [parse_budget([text]).limits[0] for text in re.findall(r"--budget ([^ ,.]+)", error.hint)]
        alone = [offer if "one:" in error.hint else None for offer in offers]
        if "nearest feasible" in error.hint:
            for offer in offers:
                column = ("flash", "ram").index(offer.metric)
                assert offer.value == min(total[column] for total in totals)
        for offer in filter(None, alone):
            check_feasible(table, replaced(budget, offer))
    else:
        assert possible
        assert [entry.floor for entry in ranges] == [min(total[column] for total in totals) for column in (0, 1)]


def replaced(budget: Budget, offer: Limit) -> Budget:
    """Return the budget with one limit replaced."""
    return Budget(limits=tuple(offer if limit.metric == offer.metric else limit for limit in budget.limits))
