# SPDX-License-Identifier: Apache-2.0
"""The report says why a target gives a config: what it lacks, what widths cost on it, and what the budget forbids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mpsearch.catalog import SearchSpace
from mpsearch.cost import layer_costs
from mpsearch.records import (
    BitWidthConfig,
    Budget,
    Conv2d,
    CostTable,
    Layer,
    LayerGraph,
    Limit,
    Linear,
    MetricCost,
    Precision,
    QuantizerGroup,
    Tensor,
)
from mpsearch.report.reasons import budget_reasons, layer_reasons, speed_reasons, target_reasons, width_reasons
from tests.runs.devices import plain_device

WIDTHS = tuple(Precision(weight_bits=bits) for bits in (3, 4, 8))


@pytest.fixture
def graph() -> LayerGraph:
    """Two convolutions, each its own decision, and a dense layer."""
    shapes = {"x": (8, 8, 4), "a": (8, 8, 4), "b": (8, 8, 4), "y": (8, 8, 2)}
    square, dense = np.ones((4, 1, 1, 4), np.float32), np.ones((2, 4), np.float32)
    return LayerGraph(
        inputs=("x",),
        input_permutations=((0, 1, 2),),
        output="y",
        output_permutation=(0, 1, 2),
        tensors=tuple(Tensor(name=name, shape=shape, quantizer=0, precision_group=0) for name, shape in shapes.items()),
        layers=(
            Layer(name="first", op=Conv2d(), inputs=("x",), output="a", weight=square, bias=np.zeros(4), weight_key="1"),
            Layer(name="second", op=Conv2d(), inputs=("a",), output="b", weight=square, bias=np.zeros(4), weight_key="2"),
            Layer(name="fc", op=Linear(), inputs=("b",), output="y", weight=dense, bias=np.zeros(2), weight_key="3"),
        ),
        groups=tuple(QuantizerGroup(name=name, layers=(name,)) for name in ("first", "second", "fc")),
    )


@pytest.fixture
def costs(graph: LayerGraph) -> CostTable:
    """3 bits take the most cycles, 4 the fewest; the dense layer is offered 8 bits and 4."""
    flash = [[30.0, 40.0, 80.0], [60.0, 80.0, 160.0], [np.nan, 8.0, 16.0]]
    latency = [[1.5, 0.9, 1.0], [3.5, 1.8, 2.0], [np.nan, 0.1, 0.1]]
    metric = lambda name, unit, cost: MetricCost(metric=name, unit=unit, cost=np.array([cost]), fixed=np.zeros(1))  # noqa: E731
    return CostTable(
        groups=("first", "second", "fc"),
        precisions=WIDTHS,
        metrics=(metric("flash", "byte", flash), metric("latency", "s", latency)),
        target="plain",
        model_digest=graph.model_digest,
    )


def space(*bits: int, depthwise: tuple[int, ...] = (8,)) -> SearchSpace:
    return SearchSpace(name="mine", description="-", weight_bits=bits, activation_bits=(8,), first_layer=bits, last_layer=bits, depthwise=depthwise)


def test_precisions_of_the_space_that_the_target_lacks_are_named_by_operator(graph: LayerGraph) -> None:
    device = plain_device()
    rates = device.compute[0]
    only8 = {"operators": ("conv2d",), "macs_per_cycle": {8: 1.0}, "macs_per_instruction": None}
    narrow = replace(device, compute=(replace(rates, **only8), replace(rates, operators=("dense",)), *device.compute[1:]))
    assert target_reasons(graph, space(3, 4, 8), narrow) == ("plain does not have conv2d at w3a8, w4a8, which space mine allows: closed to 2 layers",)
    assert target_reasons(graph, space(3, 4, 8), device) == ("plain has every precision that space mine allows for conv2d, dense",)


def test_what_each_width_takes_is_said_by_operator(graph: LayerGraph, costs: CostTable) -> None:
    assert width_reasons(graph, costs) == (
        "conv2d on plain, cycles relative to w8a8 (median of 2 layers): w3a8 1.62, w4a8 0.90; w3a8 saves bytes and no time",
        "dense on plain, cycles relative to w8a8 (median of 1 layer): w4a8 1.00",
    )


def test_a_table_without_latency_says_nothing_of_widths(graph: LayerGraph, costs: CostTable) -> None:
    assert width_reasons(graph, replace(costs, metrics=costs.metrics[:1])) == ()


def test_a_budget_says_how_much_is_used_and_whom_it_holds(costs: CostTable) -> None:
    # Chosen: 40 + 80 + 16 = 136 bytes; the first at w8a8 would make 176, the second 216; the dense layer has its most bits.
    choice = (1, 1, 2)
    limit = lambda value: Budget(limits=(Limit(metric="flash", value=value, text=f"flash={value:.0f}B"),))  # noqa: E731
    assert budget_reasons(costs, limit(170.0), choice) == ("flash budget 170B: 80.0% used; it keeps 2 of 2 groups from their next wider precision",)
    assert budget_reasons(costs, limit(176.0), choice) == ("flash budget 176B: 77.3% used; it keeps 1 of 2 groups from their next wider precision",)
    assert budget_reasons(costs, limit(272.0), choice) == ("flash budget 272B: 50.0% used; it keeps no group from its next wider precision",)


def test_each_layer_says_what_binds_it_and_what_its_neighbours_cost(graph: LayerGraph, costs: CostTable) -> None:
    budget = Budget(limits=(Limit(metric="flash", value=180.0, text="180B"), Limit(metric="latency", value=4.0, text="latency=4s")))
    config = BitWidthConfig(model_digest=graph.model_digest, precisions=tuple((name, WIDTHS[2]) for name in ("first", "second", "fc")))
    taken = {"first": (0.9, "compute"), "second": (1.8, "flash"), "fc": (0.1, "overhead")}
    layers = [replace(cost, cycles=taken[cost.layer][0], binding=taken[cost.layer][1]) for cost in layer_costs(graph, config)]
    assert layer_reasons(graph, costs, budget, (1, 1, 2), layers) == (
        "second (conv2d) at w4a8, bound by flash: w3a8 cycles ×1.94, bytes ×0.75 (exceeds the budget of latency); "
        "w8a8 cycles ×1.11, bytes ×2.00 (exceeds the budget of flash)",
        "first (conv2d) at w4a8, bound by compute: w3a8 cycles ×1.67, bytes ×0.75; w8a8 cycles ×1.11, bytes ×2.00",
        "fc (dense) at w8a8, bound by overhead: w4a8 cycles ×1.00, bytes ×0.50",
    )


def test_a_config_that_was_taken_for_its_speed_says_so() -> None:
    assert speed_reasons("plain", 0.9, 1.2, is_quicker=True) == (
        "plain runs it in 0.75 of the time of the config with the least score, and its error is no worse",
    )
    assert speed_reasons("plain", 0.9, 1.2, is_quicker=False) == speed_reasons("plain", 0.9, 0.0, is_quicker=True) == ()
