# SPDX-License-Identifier: Apache-2.0
"""`mpsearch cost` predicts one config on one device, and adds up."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from mpsearch.catalog import list_names, load_hardware_model
from mpsearch.cli import main
from mpsearch.errors import HardwareModelError
from mpsearch.pipeline import captured_graph
from mpsearch.records import LayerGraph, Precision
from mpsearch.runs.prediction import predict, prediction_json, uniform_config
from mpsearch.storage import write_config_yaml
from mpsearch.workloads.load import load_workload

TINY = f"{Path(__file__).with_name('tiny_workload.py')}:tiny"
LAYER_KEYS = {"op", "operator", "precision", "macs", "cycles", "instructions", "latency_s", "energy_j", "flash_bytes", "ram_bytes", "ops_per_byte"}
LAYER_KEYS |= {"binding", "compute_cycles", "memory_cycles", "overhead_cycles"}


def cost(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return what `mpsearch cost` prints for the tiny network."""
    capsys.readouterr()
    assert main(["cost", TINY, "--json", "--quiet", *arguments]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert isinstance(printed, dict)
    return printed


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A device whose numbers can be worked out in the head: 2 MACs a cycle at 8 bits, 4 at 4 bits, half a value, 1 byte a cycle in both memories."""
    number = {"value": 1000, "source": "by hand"}
    model = {
        "name": "mine",
        "description": "by hand",
        "clock_hz": number,
        "flash_bytes": number,
        "ram_bytes": number,
        "compute": [
            {"operators": ["conv2d", "dense"], "activation_bits": 8, "macs_per_cycle": {4: 4, 8: 2}, "source": "by hand"},
            {"operators": ["add", "mean"], "activation_bits": 8, "values_per_cycle": 0.5, "source": "by hand"},
        ],
        "memories": [
            {"name": "rom", "holds": ["weights"], "size_bytes": number, "bytes_per_cycle": {"value": 1, "source": "by hand"}},
            {"name": "ram", "holds": ["activations"], "size_bytes": number, "bytes_per_cycle": {"value": 1, "source": "by hand"}},
        ],
        "terms": [{"per": "call", "cycles": 100, "source": "by hand"}],
    }
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(model, indent=1))  # JSON is YAML; keys of rates are read as numbers all the same
    return path


def test_every_number_of_a_layer_is_the_one_worked_out_by_hand(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = cost(capsys, "--target", str(device))
    assert (printed["target"], printed["config"], printed["clock_hz"], printed["accuracy"]) == ("mine", "uniform 8", 1000.0, None)
    inner = printed["layers"]["inner"]
    # 8 x 8 pixels, 8 channels in and out, 3 x 3: 36,864 MACs; 576 weight bytes and 44 + 9 x 8 bytes of parameters; 512 bytes in, 512 out.
    assert set(inner) == LAYER_KEYS
    assert (inner["macs"], inner["flash_bytes"], inner["precision"], inner["operator"]) == (36864, 692, "w8a8", "conv2d")
    assert (inner["compute_cycles"], inner["memory_cycles"], inner["overhead_cycles"]) == (18432.0, {"rom": 692.0, "ram": 1024.0}, 100.0)
    assert (inner["cycles"], inner["latency_s"], inner["binding"]) == (18532.0, 18.532, "compute")
    assert inner["ops_per_byte"] == pytest.approx(2 * 36864 / (692 + 1024))
    assert (inner["instructions"], inner["energy_j"]) == (None, None)
    head = printed["layers"]["head"]
    # 64 MACs take 32 cycles, 124 bytes of constants take 124, and a call takes 100.
    assert (head["flash_bytes"], head["cycles"], head["binding"]) == (64 + 24 + 4 * 9, 224.0, "rom")


def test_totals_are_the_sums_of_the_layers_in_execution_order(capsys: pytest.CaptureFixture[str]) -> None:
    printed = cost(capsys, "--target", "cortex-m4")
    layers = printed["layers"].values()
    assert list(printed["layers"]) == [layer.name for layer in captured_graph(load_workload(TINY)).layers]
    for total in ("cycles", "latency_s", "macs", "flash_bytes"):
        assert printed[total] == pytest.approx(sum(layer[total] for layer in layers))
    assert printed["latency_s"] == pytest.approx(printed["cycles"] / printed["clock_hz"])
    assert printed["peak_ram_bytes"] >= max(layer["ram_bytes"] for layer in layers)
    for layer in layers:
        slowest = max([layer["compute_cycles"], *layer["memory_cycles"].values()])
        assert layer["cycles"] == pytest.approx(slowest + layer["overhead_cycles"])


def test_flash_and_peak_ram_are_those_of_the_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = captured_graph(load_workload(TINY))
    write_config_yaml(uniform_config(graph, 3), tmp_path / "w3.yaml")
    assert main(["export", TINY, "--config", str(tmp_path / "w3.yaml"), "--out", str(tmp_path / "run"), "--json", "--quiet"]) == 0
    bundle = json.loads(capsys.readouterr().out)
    printed = cost(capsys, "--config", str(tmp_path / "w3.yaml"))
    assert (printed["flash_bytes"], printed["peak_ram_bytes"], printed["macs"]) == (bundle["flash_bytes"], bundle["arena_bytes"], bundle["macs"])
    assert printed["config"] == str(tmp_path / "w3.yaml")
    again = cost(capsys, "--bits", "3")
    assert {**again, "config": ""} == {**printed, "config": ""}


@pytest.fixture(scope="module")
def graph() -> LayerGraph:
    return captured_graph(load_workload(TINY))


@pytest.mark.parametrize("target", list_names("hw_models"))
def test_every_shipped_device_with_8_bits_predicts_them(target: str, graph: LayerGraph) -> None:
    hardware = load_hardware_model(target)
    eight = Precision(weight_bits=8)
    if not all(eight in hardware.precisions(operator) for operator in ("conv2d", "dense")):
        with pytest.raises(HardwareModelError, match="has no rate for"):
            predict(graph, uniform_config(graph, 8), "uniform 8", hardware)
        return
    printed = prediction_json(predict(graph, uniform_config(graph, 8), "uniform 8", hardware))
    assert json.loads(json.dumps(printed, allow_nan=False)) == printed
    assert isinstance(printed["latency_s"], float)
    assert 0 < printed["latency_s"] < math.inf


def test_a_precision_that_the_device_lacks_names_layer_operator_and_what_there_is(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", TINY, "--target", str(device), "--bits", "3", "--quiet"]) == 2
    assert "Layer 'stem': target 'mine' has no rate for conv2d at w3a8; it has conv2d at w4a8, w8a8." in capsys.readouterr().err
    device.write_text(device.read_text().replace('"mean"', '"mul"'))
    assert main(["cost", TINY, "--target", str(device), "--quiet"]) == 2
    assert "has no rate for mean at a8; it has conv2d, dense, add, mul." in capsys.readouterr().err


def test_without_json_there_are_tables_with_shares_and_totals(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", TINY, "--target", str(device), "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (inner,) = (line.split() for line in lines if line.lstrip().startswith("inner "))
    printed = cost(capsys, "--target", str(device))
    assert inner == ["inner", "w8a8", "36.86", "k", "18.53", "k", f"{18532 / printed['cycles']:.1%}", "compute", "692", "43"]
    assert any(line.split()[:1] == ["latency"] for line in lines)
    assert "note: mine has 1,000 bytes of flash, this config needs " in "\n".join(lines)


def test_with_a_folder_it_is_the_stage_and_prints_the_same_totals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone, stage = cost(capsys, "--target", "cortex-m4"), cost(capsys, "--target", "cortex-m4", "--out", str(tmp_path), "--space", "w248-a8")
    assert {**stage, "record": "", "uniform8": ""} == {**alone, "record": "", "uniform8": ""}
    assert stage["uniform8"]["latency"] == pytest.approx(stage["latency_s"])
    assert Path(stage["record"]).is_file()
    assert not (tmp_path / "scores.json").exists()


def test_nothing_is_written_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    cost(capsys)
    assert list(tmp_path.iterdir()) == []
