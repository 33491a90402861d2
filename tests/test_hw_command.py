# SPDX-License-Identifier: Apache-2.0
"""`mpsearch hw show` draws a device, with a network's layers on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mpsearch.catalog import list_names, load_hardware_model
from mpsearch.cli import main
from mpsearch.pipeline import captured_graph
from mpsearch.records import LayerGraph
from mpsearch.report.roofline import make_roofline
from mpsearch.runs.prediction import predict, uniform_config
from mpsearch.workloads.load import load_workload

TINY = f"{Path(__file__).with_name('tiny_workload.py')}:tiny"


def test_without_a_network_it_shows_roofs_memories_rates_and_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hw", "show", "cortex-m4"]) == 0
    printed = capsys.readouterr().out
    for text in ("cortex-m4: MACs per cycle over ops per byte", "Roofs", "Memories", "sram", "Rates per cycle", "ST DS9405"):
        assert text in printed
    assert "layers" not in printed.partition("Roofs")[0]


def test_with_a_network_every_layer_that_computes_has_a_letter(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hw", "show", "cortex-m7", TINY]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows if row[1:2] in (["stem"], ["inner"], ["wide"], ["head"])] == ["a", "b", "c", "d"]


def test_the_json_holds_the_plot_and_no_layer_is_above_its_roof(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hw", "show", "cortex-m4", TINY, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    roofs = {precision: roof["macs_per_cycle"] for roof in printed["roofs"] for precision in roof["precisions"]}
    layers = [layer for layer in printed["layers"].values() if layer["attained_macs_per_cycle"]]
    assert len(layers) == 4
    for layer in layers:
        roof = min(roofs[layer["precision"]], layer["ops_per_byte"] / 2 * printed["bytes_per_cycle"])
        assert layer["attained_macs_per_cycle"] <= layer["attainable_macs_per_cycle"] * (1 + 1e-9) <= roof * (1 + 2e-9)


@pytest.fixture(scope="module")
def graph() -> LayerGraph:
    return captured_graph(load_workload(TINY))


@pytest.mark.parametrize("target", list_names("hw_models"))
def test_on_every_shipped_device_layers_lie_under_the_roofs(target: str, graph: LayerGraph) -> None:
    hardware = load_hardware_model(target)
    wide = max(precision.weight_bits for precision in hardware.precisions("conv2d") if precision.activation_bits == 8 and precision.weight_bits <= 8)
    roofline = make_roofline(hardware, predict(graph, uniform_config(graph, wide), "", hardware).layers)
    roofs = {precision: roof for roof in roofline.roofs for precision in roof.precisions}
    assert len(roofline.drawn) == 4
    for cost in (point.cost for point in roofline.drawn):
        assert cost.precision is not None
        assert cost.attained_macs_per_cycle is not None
        assert cost.attained_macs_per_cycle <= roofline.height(roofs[cost.precision], cost.ops_per_byte) * (1 + 1e-9)


def test_the_picture_is_written_where_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="NO MATPLOTLIB: pip install 'mpsearch[plots]'")
    assert main(["hw", "show", "cortex-m4", TINY, "--bits", "4", "--png", str(tmp_path / "m4.png")]) == 0
    assert f"drawn to {tmp_path / 'm4.png'}" in capsys.readouterr().out
    assert (tmp_path / "m4.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cortex-m9"], "did you mean cortex-m"),
        (["cortex-m4", "digit"], "did you mean digits"),
        (["cortex-m4", TINY, "--config", "missing.yaml"], "missing.yaml does not exist"),
    ],
)
def test_bad_input_is_one_clear_error(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hw", "show", *arguments]) == 2
    assert message in capsys.readouterr().err
