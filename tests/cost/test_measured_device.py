# SPDX-License-Identifier: Apache-2.0
"""A measured table as a target: its layers take what was measured, and it has no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mpsearch.catalog import load_hardware_model, load_search_space
from mpsearch.cost import build_cost_table, gives_energy, layer_costs, offered_precisions
from mpsearch.cost.latency import layer_roofline, peak_bytes_per_cycle
from mpsearch.cost.measured_device import NANOSECOND_HZ, UNLIMITED_BYTES, MeasuredDevice, load_target, measured_device
from mpsearch.cost.work import LayerWork
from mpsearch.errors import HardwareModelError, RecordError
from mpsearch.graph.shapes import layer_shape
from mpsearch.quant.packed_size import kernel_supports
from mpsearch.records import BitWidthConfig, LayerGraph, LayerShape, MeasuredLayer, MeasuredTable, Precision
from mpsearch.storage import save_record

W2, W4, W8 = (Precision(weight_bits=bits) for bits in (2, 4, 8))
CONV = LayerShape(operator="conv2d", input=(8, 8, 4), output=(8, 8, 4), kernel=(3, 3), padding=(1, 1, 1, 1))
ADD = LayerShape(operator="add", input=(8, 8, 4), output=(8, 8, 4), operands=2)
HERE = Path("table.json")


def table(*rows: MeasuredLayer, **parts: object) -> MeasuredTable:
    """Return a table of some board."""
    return replace(MeasuredTable(target="board", method="by hand", clock_hz=1e6, rows=rows), **parts)  # type: ignore[arg-type]


def row(shape: LayerShape, precision: Precision | None, **numbers: object) -> MeasuredLayer:
    """Return a row."""
    return MeasuredLayer(shape=shape, precision=precision, **numbers)  # type: ignore[arg-type]


def of_graph(graph: LayerGraph, **parts: object) -> MeasuredTable:
    """Return a table of every layer of the graph: 1000 cycles for each weight bit, 500 without weights; no 2 bits for the dense layer."""
    rows: dict[tuple[LayerShape, Precision | None], MeasuredLayer] = {}
    for layer in graph.layers:
        shape = layer_shape(graph, layer)
        for precision in (W2, W4, W8) if layer.weight is not None else (None,):
            if shape.operator == "view" or (shape.operator == "dense" and precision == W2):
                continue
            cycles = 500.0 if precision is None else 1000.0 * precision.weight_bits
            rows[shape, precision] = row(shape, precision, cycles=cycles, instructions=int(cycles) // 2)
    return table(*rows.values(), **parts)


def config(graph: LayerGraph, precision: Precision) -> BitWidthConfig:
    """Return one precision in every layer."""
    return BitWidthConfig(model_digest=graph.model_digest, precisions=tuple((layer.name, precision) for layer in graph.weighted_layers))


def test_every_layer_takes_what_was_measured(graph: LayerGraph) -> None:
    costs = {cost.layer: cost for cost in layer_costs(graph, config(graph, W4), measured_device(of_graph(graph), HERE))}
    assert {name: cost.cycles for name, cost in costs.items()} == {
        "conv1": 4000,
        "conv2": 4000,
        "add": 500,
        "dw": 4000,
        "pool": 500,
        "flat": 0,
        "fc": 4000,
    }
    assert costs["conv1"].latency_s == 4e-3
    assert costs["conv1"].instructions == 2000
    assert {costs[name].binding for name in ("conv1", "add")} == {"measured"}
    assert (costs["conv1"].compute_cycles, costs["conv1"].memory_cycles, costs["conv1"].overhead_cycles) == (None, (), None)
    assert costs["conv1"].attained_macs_per_cycle == 9216 / 4000
    assert costs["flat"].binding == "none"


def test_offered_is_what_was_measured_of_each_layer(graph: LayerGraph) -> None:
    space = replace(load_search_space("w248-a8"), first_layer=(2, 4, 8), last_layer=(2, 4, 8), depthwise=(2, 4, 8))
    found = offered_precisions(graph, space, kernel_supports, measured_device(of_graph(graph), HERE))
    assert found == {"conv1": (W2, W4, W8), "dw": (W2, W4, W8), "fc": (W4, W8)}


def test_the_latency_of_a_cost_table_is_the_sum_of_the_rows(graph: LayerGraph) -> None:
    offered = {"conv1": (W2, W4, W8), "dw": (W4,), "fc": (W8,)}
    latency = build_cost_table(graph, offered, (W2, W4, W8), measured_device(of_graph(graph), HERE), ["latency"]).metric("latency")
    assert latency.fixed.tolist() == pytest.approx([2 * 500e-6])  # the sum and the pooling
    assert latency.cost[0, 0].tolist() == pytest.approx([4e-3, 8e-3, 16e-3])  # two layers of the group


def test_a_layer_without_weights_that_is_missing_names_itself_and_the_command(graph: LayerGraph) -> None:
    whole = of_graph(graph)
    partly = replace(whole, rows=tuple(item for item in whole.rows if item.shape.operator != "max_pool"))
    with pytest.raises(HardwareModelError) as caught:
        layer_costs(graph, config(graph, W4), measured_device(partly, Path("out/t.json")))
    assert caught.value.message == "Layer 'pool': the table of 'board' does not have max_pool 8x8x4 to 4x4x4, kernel 2x2, stride 2x2."
    assert caught.value.hint == "measure it: mpsearch measure WORKLOAD --on board --out out/t.json --resume"


def test_a_precision_that_is_missing_is_named_with_the_command_that_measures_it(graph: LayerGraph) -> None:
    device = measured_device(of_graph(graph, target="rv32", like="cortex-m4"), HERE)
    with pytest.raises(HardwareModelError) as caught:
        layer_costs(graph, config(graph, W2), device)
    assert caught.value.message == "Layer 'fc': the table of 'rv32' does not have dense 1x1x64 to 1x1x10 at w2a8."
    assert caught.value.hint == "measure it: mpsearch measure WORKLOAD --on rv32 --out table.json --resume --like cortex-m4 --bits w2a8"


def test_a_layer_that_was_measured_at_nothing_that_is_offered_is_an_error_before_the_search(graph: LayerGraph) -> None:
    partly = replace(of_graph(graph), rows=tuple(item for item in of_graph(graph).rows if item.shape.operator != "depthwise"))
    with pytest.raises(HardwareModelError, match=r"Layer 'dw': .* depthwise 8x8x4 .* at w4a8, w8a8.*--bits w4a8,w8a8"):
        offered_precisions(graph, load_search_space("w248-a8"), kernel_supports, measured_device(partly, HERE))


def test_seconds_and_instructions_stand_for_cycles_where_there_are_none() -> None:
    timed = measured_device(table(row(ADD, None, seconds=3e-6), clock_hz=2e6), HERE)
    assert timed.cycles(timed.row("x", ADD, None)) == pytest.approx(6)
    counted = measured_device(table(row(ADD, None, instructions=70), clock_hz=2e6), HERE)
    assert counted.cycles(counted.row("x", ADD, None)) == 70
    assert "instructions stand for cycles" in counted.description
    assert "instructions stand for cycles" not in timed.description
    both = measured_device(table(row(ADD, None, instructions=70, cycles=90.0)), HERE)
    assert both.cycles(both.row("x", ADD, None)) == 90


def test_clock_memories_and_capacities_are_those_of_the_device_it_is_like() -> None:
    like = load_hardware_model("cortex-m4")
    device = measured_device(table(row(CONV, W8, cycles=10.0), clock_hz=None, like="cortex-m4"), HERE)
    assert (device.clock_hz, device.flash_bytes, device.ram_bytes) == (like.clock_hz, like.flash_bytes, like.ram_bytes)
    assert [memory.name for memory in device.memories] == [memory.name for memory in like.memories]
    assert (device.name, device.core, device.terms, device.accuracy) == ("board", "board", (), None)
    assert gives_energy(device) == (like.active_power_w is not None)


def test_the_clock_that_the_board_tells_wins() -> None:
    assert measured_device(table(row(CONV, W8, cycles=10.0), clock_hz=5e6, like="cortex-m4"), HERE).clock_hz.value == 5e6


def test_without_such_a_device_nothing_limits_it_and_seconds_need_no_clock() -> None:
    device = measured_device(table(row(CONV, W8, seconds=4e-6), clock_hz=None), HERE)
    assert device.clock_hz.value == NANOSECOND_HZ
    assert device.flash_bytes.value == device.ram_bytes.value == UNLIMITED_BYTES
    # 144 weights of 8 bits, and 256 values in and out, in 4000 nanoseconds.
    assert peak_bytes_per_cycle(device) == pytest.approx((144 + 512) / 4000)


def test_counts_without_a_clock_give_no_latency() -> None:
    for numbers, what in (({"cycles": 10.0}, "counts cycles"), ({"instructions": 10}, "counts instructions")):
        with pytest.raises(HardwareModelError, match=rf"table.json: .*{what}, and nothing gives a clock.*--like NAME"):
            measured_device(table(row(CONV, W8, **numbers), clock_hz=None), HERE)


def test_its_roofs_are_the_fastest_layers_that_were_measured() -> None:
    """9216 MACs in 4608 cycles are two a cycle; the smaller layer has one."""
    small = replace(CONV, input=(4, 4, 4), output=(4, 4, 4))
    device = measured_device(table(row(CONV, W8, cycles=4608.0), row(small, W8, cycles=2304.0), row(ADD, None, cycles=512.0)), HERE)
    rate, plain = device.rate("conv2d", W8), device.rate("add", None)
    assert rate is not None
    assert plain is not None
    assert (rate.per_cycle, plain.per_cycle) == (2.0, 0.5)
    assert device.rate("conv2d", W4) is None
    assert [rates.source for rates in device.compute] == ["the fastest of 2 measured layers: by hand", "the fastest of 1 measured layers: by hand"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), "holds no measured layer"),
        ((row(CONV, W8, cycles=1.0), row(CONV, W8, cycles=2.0)), "padding 1 1 1 1 at w8a8 is there twice"),
        ((row(CONV, W8),), "has no cycles, seconds or instructions above 0"),
        ((row(CONV, W8, cycles=0.0),), "has no cycles, seconds or instructions above 0"),
        ((row(CONV, W8, cycles=float("nan")),), "has no cycles, seconds or instructions above 0"),
        ((row(CONV, W8, cycles=float("inf")),), "has no cycles, seconds or instructions above 0"),
        ((row(CONV, W8, cycles=1.0), row(ADD, None, seconds=1.0)), "was measured in seconds, the first row in cycles"),
        ((row(replace(ADD, operator="view"), None, cycles=1.0),), "no such operator class"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(rows: tuple[MeasuredLayer, ...], message: str) -> None:
    with pytest.raises(HardwareModelError, match=f"table.json.*{message}"):
        measured_device(table(*rows), HERE)


def test_a_target_is_a_name_a_device_file_or_a_table(tmp_path: Path) -> None:
    path = save_record(table(row(CONV, W8, cycles=10.0)), tmp_path / "t.json")
    assert isinstance(load_target(path), MeasuredDevice)
    assert isinstance(load_target(str(path)), MeasuredDevice)
    assert load_target("cortex-m4") == load_hardware_model("cortex-m4")
    with pytest.raises(HardwareModelError, match="Unknown target"):
        load_target("cortex-m99")
    with pytest.raises(RecordError, match="does not exist"):
        load_target(tmp_path / "missing.json")
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RecordError, match=r"other.json"):
        load_target(tmp_path / "other.json")
    with pytest.raises(HardwareModelError, match="Unknown target 'cortex-m0000'"):
        load_target(save_record(table(row(CONV, W8, cycles=10.0), like="cortex-m0000"), tmp_path / "like.json"))


def test_a_roofline_of_a_measured_layer_is_that_measurement() -> None:
    device = measured_device(table(row(CONV, W8, cycles=10.0)), HERE)
    work = LayerWork(name="c", shape=CONV, precision=W8, constant_bytes=1, input_bytes=1, output_bytes=1, live_bytes=2)
    roofline = layer_roofline(work, device)
    assert (roofline.total, roofline.binding, roofline.instructions, roofline.joules_beside_power) == (10.0, "measured", None, 0.0)
