# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mpsearch.catalog import HardwareModel
from mpsearch.cost import HARDWARE_METRICS, METRICS, build_cost_table, layer_costs
from mpsearch.cost.request import CostRequest
from mpsearch.errors import HardwareModelError, RecordError
from mpsearch.graph.liveness import live_bytes
from mpsearch.quant.packed_size import constant_bytes, header_bytes, scratch_bytes
from mpsearch.records import BitWidthConfig, LayerGraph, Precision
from tests.cost.devices import device, macs, memory, term, values

Offered = dict[str, tuple[Precision, ...]]
Precisions = tuple[Precision, ...]
CHOICES = [(0, 1, 0), (2, 2, 2), (1, 1, 2), (0, 2, 1)]


def config_of(graph: LayerGraph, precisions: Precisions, choice: tuple[int, ...]) -> BitWidthConfig:
    """Return the config that a choice stands for."""
    decided = {name: precisions[index] for group, index in zip(graph.groups, choice, strict=True) for name in group.layers}
    return BitWidthConfig(model_digest=graph.model_digest, precisions=tuple((layer.name, decided[layer.name]) for layer in graph.weighted_layers))


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_a_cost_exactly_where_a_precision_is_offered(
    name: str, graph: LayerGraph, offered: Offered, precisions: Precisions, hardware: HardwareModel
) -> None:
    metric = build_cost_table(graph, offered, precisions, hardware, [name]).metric(name)
    wanted = [[precision in offered[group.name] for precision in precisions] for group in graph.groups]
    assert metric.metric == name
    assert all(np.isfinite(row).tolist() == wanted for row in metric.cost)


@pytest.mark.parametrize("choice", CHOICES)
def test_flash_is_the_sum_of_all_constants(graph: LayerGraph, offered: Offered, precisions: Precisions, choice: tuple[int, ...]) -> None:
    config = config_of(graph, precisions, choice)
    wanted = header_bytes(graph) + sum(
        constant_bytes(graph, layer, config[layer.name] if layer.weight is not None else None) for layer in graph.layers
    )
    assert build_cost_table(graph, offered, precisions, None, ["flash"]).metric("flash").total(np.array(choice)) == wanted


@pytest.mark.parametrize("choice", CHOICES)
def test_ram_is_the_peak_over_all_steps_although_dominated_steps_are_dropped(
    graph: LayerGraph, offered: Offered, precisions: Precisions, choice: tuple[int, ...]
) -> None:
    config = config_of(graph, precisions, choice)
    steps = [
        live + scratch_bytes(graph, layer, config[layer.name] if layer.weight is not None else None)
        for layer, live in zip(graph.layers, live_bytes(graph), strict=True)
    ]
    metric = build_cost_table(graph, offered, precisions, None, ["ram"]).metric("ram")
    assert metric.total(np.array(choice)) == max(steps)
    assert len(metric.rows) < len(graph.layers)


def test_bops_are_macs_times_both_widths(graph: LayerGraph, offered: Offered, precisions: Precisions) -> None:
    metric = build_cost_table(graph, offered, precisions, None, ["bops"]).metric("bops")
    assert metric.total(np.array([0, 1, 2])) == 2 * 9216 * 2 * 8 + 2304 * 4 * 8 + 640 * 8 * 8


def test_macs_do_not_depend_on_the_precision(graph: LayerGraph, offered: Offered, precisions: Precisions) -> None:
    metric = build_cost_table(graph, offered, precisions, None, ["macs"]).metric("macs")
    assert metric.total(np.array([0, 1, 0])) == metric.total(np.array([2, 2, 2])) == graph.macs == 21376


def test_bits_are_the_mean_over_the_weights(graph: LayerGraph, offered: Offered, precisions: Precisions) -> None:
    metric = build_cost_table(graph, offered, precisions, None, ["bits"]).metric("bits")
    assert metric.total(np.array([2, 2, 2])) == pytest.approx(8.0)
    assert metric.total(np.array([0, 1, 2])) == pytest.approx((2 * 144 * 2 + 36 * 4 + 640 * 8) / (2 * 144 + 36 + 640))


def test_shared_weights_count_once_in_the_mean(graph: LayerGraph, offered: Offered, precisions: Precisions) -> None:
    tied = replace(graph, layers=tuple(replace(layer, weight_key="k1") if layer.name == "conv2" else layer for layer in graph.layers))
    metric = build_cost_table(tied, offered, precisions, None, ["bits"]).metric("bits")
    assert metric.total(np.array([0, 1, 2])) == pytest.approx((144 * 2 + 36 * 4 + 640 * 8) / (144 + 36 + 640))


def test_latency_is_the_roofline_worked_out_by_hand(graph: LayerGraph, offered: Offered, precisions: Precisions) -> None:
    hardware = device(
        macs("conv2d", {2: 3.0, 4: 2.5, 8: 2.0}),
        macs("depthwise", {4: 0.5, 8: 0.4}),
        macs("dense", {2: 1.0, 4: 1.5, 8: 1.0}),
        values("add", "max_pool", rate=0.25),
        terms=(
            term("call", 100.0),
            term("output", 7.0, operators=("conv2d", "dense")),
            term("output", 11.0, operators=("depthwise",)),
            term("gathered_value", 3.0),
            term("laid_value", 2.0),
            term("pixel", 40.0),
        ),
    )
    convs = 2 * (9216 / 2.0 + 256 * 7.0 + 9216 / 4 * (3.0 + 2.0) + 64 * 40.0 + 100.0)
    depthwise = 2304 / 0.5 + 256 * 11.0 + 100.0
    add_and_pool = 256 / 0.25 + 100.0 + 64 * 4 / 0.25 + 100.0
    dense = 640 / 1.0 + 10 * 7.0 + 64 * 2.0 + 40.0 + 100.0
    metric = build_cost_table(graph, offered, precisions, hardware, ["latency"]).metric("latency")
    assert metric.total(np.array([2, 1, 0])) == pytest.approx((convs + depthwise + add_and_pool + dense) / 1e6)


@pytest.mark.parametrize(("per", "count"), [("gathered_value", 2 * 9216 / 4), ("laid_value", 2 * 9216 / 4 + 64), ("pixel", 2 * 64 + 1)])
def test_a_device_whose_kernels_lay_out_nothing_pays_nothing_for_it(
    per: str, count: float, graph: LayerGraph, offered: Offered, precisions: Precisions
) -> None:
    choice, devices = np.array([2, 1, 0]), (device(terms=(term(per, 5.0),)), device())
    paid, free = (build_cost_table(graph, offered, precisions, hardware, ["latency"]).metric("latency").total(choice) for hardware in devices)
    assert (paid - free) * 1e6 == pytest.approx(count * 5.0)


def test_energy_is_power_times_latency(graph: LayerGraph, offered: Offered, precisions: Precisions, hardware: HardwareModel) -> None:
    table = build_cost_table(graph, offered, precisions, hardware, ["latency", "energy"])
    choice = np.array([1, 1, 1])
    assert table.metric("energy").total(choice) == pytest.approx(0.154 * table.metric("latency").total(choice))
    assert table.target == "cortex-m4"


@pytest.mark.parametrize("metric", sorted(HARDWARE_METRICS))
def test_a_metric_of_the_device_needs_a_target(metric: str, graph: LayerGraph, offered: Offered, precisions: Precisions) -> None:
    with pytest.raises(HardwareModelError, match=f"metric {metric} needs a target, got none.*--target"):
        build_cost_table(graph, offered, precisions, None, [metric])


def test_energy_needs_the_power_of_the_target(graph: LayerGraph, offered: Offered, precisions: Precisions, hardware: HardwareModel) -> None:
    with pytest.raises(HardwareModelError, match="'cortex-m4' gives neither active_power_w nor picojoules"):
        build_cost_table(graph, offered, precisions, replace(hardware, active_power_w=None), ["energy"])


def test_an_operator_without_a_rate_is_named(graph: LayerGraph, offered: Offered, precisions: Precisions, hardware: HardwareModel) -> None:
    without = replace(hardware, compute=tuple(rates for rates in hardware.compute if "add" not in rates.operators))
    with pytest.raises(HardwareModelError, match="Layer 'add': target 'cortex-m4' has no rate for add at a8"):
        build_cost_table(graph, offered, precisions, without, ["latency"])


def test_an_unknown_metric_is_answered_with_the_nearest(graph: LayerGraph, offered: Offered, precisions: Precisions) -> None:
    with pytest.raises(RecordError, match=r"Unknown metric 'latencies'.*did you mean latency"):
        build_cost_table(graph, offered, precisions, None, ["latencies"])


def test_a_group_without_precisions_is_refused(graph: LayerGraph, offered: Offered, precisions: Precisions) -> None:
    with pytest.raises(RecordError, match="Group 'fc' is offered no precision"):
        CostRequest(graph=graph, offered={**offered, "fc": ()}, precisions=precisions)


def test_a_precision_without_a_column_is_refused(graph: LayerGraph, offered: Offered, precisions: Precisions) -> None:
    with pytest.raises(RecordError, match="Group 'conv1' is offered w2a8, which the table has no column for"):
        CostRequest(graph=graph, offered=offered, precisions=precisions[1:])


def test_a_model_without_weights_has_no_mean_bits(graph: LayerGraph, precisions: Precisions) -> None:
    bare = replace(graph, layers=graph.layers[2:3], inputs=("a", "b"), output="s", groups=())
    with pytest.raises(RecordError, match="bits needs a model with weights"):
        build_cost_table(bare, {}, precisions, None, ["bits"])


@pytest.mark.parametrize("choice", CHOICES)
def test_layer_costs_add_up_to_the_table(
    graph: LayerGraph, offered: Offered, precisions: Precisions, hardware: HardwareModel, choice: tuple[int, ...]
) -> None:
    table = build_cost_table(graph, offered, precisions, hardware, ["flash", "ram", "latency"])
    costs = layer_costs(graph, config_of(graph, precisions, choice), hardware)
    assert [cost.layer for cost in costs] == [layer.name for layer in graph.layers]
    assert sum(cost.flash_bytes for cost in costs) == table.metric("flash").total(np.array(choice))
    assert max(cost.ram_bytes for cost in costs) == table.metric("ram").total(np.array(choice))
    assert sum(cost.latency_s or 0.0 for cost in costs) == pytest.approx(table.metric("latency").total(np.array(choice)))


def test_a_layer_says_what_holds_it_up(graph: LayerGraph, precisions: Precisions) -> None:
    config = config_of(graph, precisions, (2, 2, 2))
    starved = device(memories=(memory("rom", "weights", rate=0.01), memory("sram", "activations", rate=0.01)))
    normal, slow, burdened = (
        {cost.layer: cost for cost in layer_costs(graph, config, hardware)}
        for hardware in (device(), starved, device(terms=(term("output", 1000.0),)))
    )
    assert (normal["conv1"].binding, normal["flat"].binding, normal["flat"].cycles) == ("compute", "none", 0.0)
    assert (slow["conv1"].binding, slow["fc"].binding) == ("sram", "rom")
    assert (burdened["conv1"].binding, burdened["flat"].binding) == ("overhead", "none")


def test_without_a_target_there_are_no_cycles(graph: LayerGraph, precisions: Precisions) -> None:
    cost = layer_costs(graph, config_of(graph, precisions, (2, 2, 2)))[0]
    assert (cost.cycles, cost.latency_s, cost.binding, cost.op) == (None, None, "", "Conv2d")
    assert cost.ops_per_byte == 2 * 9216 / (cost.flash_bytes + 512)


def test_the_config_of_another_model_is_refused(graph: LayerGraph, precisions: Precisions) -> None:
    with pytest.raises(RecordError, match="made for model"):
        layer_costs(graph, replace(config_of(graph, precisions, (2, 2, 2)), model_digest="other"))
