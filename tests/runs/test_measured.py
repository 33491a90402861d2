# SPDX-License-Identifier: Apache-2.0
"""Predictions stand beside measurements, like beside like, and stay with the bundle that they were made of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mpsearch.catalog import Accuracy
from mpsearch.export.bundle import write_bundle
from mpsearch.export.counting import Count, LayerRun, TargetRun
from mpsearch.export.manifest import read_manifest
from mpsearch.report.measurement import Measurement, check_latency
from mpsearch.runs.measured import device_beside, keep_measurement, load_measurements, measure_beside, run_folder_of
from mpsearch.runs.request import RunRequest
from mpsearch.storage import save_record
from tests.export.models import GraphMaker
from tests.runs.devices import SOURCE, plain_device


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A dense layer of 10 x 4 weights, one of 4 x 5, and a reshape."""
    maker = GraphMaker(0)
    value = maker.linear(maker.linear(maker.input(10), 4, 8), 5, 3)
    write_bundle(maker.finish(maker.reshape(value, 5, 1)), [], tmp_path / "run" / "bundle")
    return tmp_path / "run" / "bundle"


def counted(bundle: Path, *layers: tuple[int, int | None], target: str = "cortex-m4", calls: int = 10, seconds: float | None = None) -> TargetRun:
    """Return a run in which the layers took so many (instructions, cycles), and the calls between them a little more."""
    counts = [Count(instructions=instructions, cycles=cycles) for instructions, cycles in layers]
    cycles = [count.cycles for count in counts if count.cycles is not None]
    entries = read_manifest(bundle)["layers"]
    return TargetRun(
        target=target,
        vectors=2,
        mismatches=0,
        report="",
        macs=60,
        count=Count(instructions=sum(count.instructions for count in counts) + calls, cycles=sum(cycles) + calls if cycles else None),
        layers=tuple(
            LayerRun(layer=entry["name"], op=entry["op"], precision=entry["precision"], macs=entry["macs"], count=count)
            for entry, count in zip(entries, counts, strict=True)
        ),
        seconds=seconds,
    )


def test_instructions_are_compared_layer_by_layer_and_in_total(bundle: Path) -> None:
    # 40 MACs at 4 instructions and a call of 50: 210; 20 MACs: 130; a reshape moves nothing.
    run = measure_beside(
        bundle, counted(bundle, (200, 300), (260, 300), (0, 0)), plain_device(accuracy=Accuracy(median=0.07, worst_tenth=0.2, source=SOURCE))
    )
    assert run.compared == "instructions"
    assert [layer.predicted_instructions for layer in run.layers] == [210, 130, 0]
    assert [layer.error for layer in run.layers] == [pytest.approx(0.05), pytest.approx(-0.5), None]
    assert (run.predicted_instructions, run.instructions) == (340, 470)
    assert run.error_total == pytest.approx(340 / 470 - 1)
    assert run.error_median_layer == pytest.approx(0.275)
    assert run.device_error == 0.07
    # 2 cycles a MAC and 100 a call: 180, 140, at 1 MHz; the emulator's cycles are those of this very core.
    assert run.predicted_cycles == 320
    assert run.predicted_latency_s == pytest.approx(320e-6)
    assert run.error_cycles == pytest.approx(320 / 610 - 1)
    assert run.latency_s == pytest.approx(610e-6)


def test_where_cycles_are_not_known_the_latency_takes_the_predicted_cycles_of_each_instruction(bundle: Path) -> None:
    run = measure_beside(bundle, counted(bundle, (200, None), (260, None), (0, None), target="rv32"), plain_device("rv32"))
    assert (run.compared, run.latency_from) == ("instructions", "instructions")
    assert run.latency_s == pytest.approx(470 * 320 / 340 * 1e-6)


def test_cycles_are_compared_where_the_file_predicts_no_instructions(bundle: Path) -> None:
    run = measure_beside(bundle, counted(bundle, (1, 200), (1, 70), (0, 0)), plain_device(instructions=False))
    assert run.compared == "cycles"
    assert [layer.error for layer in run.layers] == [pytest.approx(-0.1), pytest.approx(1.0), None]
    assert run.error_total == pytest.approx(320 / 280 - 1)
    assert run.latency_s == pytest.approx(280e-6)


def test_cycles_by_the_rules_of_another_core_are_not_compared(bundle: Path) -> None:
    run = measure_beside(bundle, counted(bundle, (1, 200), (1, 70), (0, 0), target="cortex-m7"), plain_device("cortex-m7", instructions=False))
    assert (run.compared, run.error_total, run.error_cycles, run.latency_s) == ("", None, None, None)
    assert run.predicted_cycles == 320
    assert "nothing to compare: plain predicts no instructions" in run.notes[0]


def test_on_the_host_time_is_compared(bundle: Path) -> None:
    run = measure_beside(bundle, counted(bundle, (9, None), (9, None), (0, None), target="host", seconds=400e-6), plain_device("host"))
    assert run.compared == "seconds"
    assert run.error_total == pytest.approx(-0.2)
    assert run.latency_s == 400e-6
    assert [layer.error for layer in run.layers] == [None, None, None]


def test_a_device_of_another_core_is_named(bundle: Path) -> None:
    run = measure_beside(bundle, counted(bundle, (200, None), (260, None), (0, None), target="rv32"), plain_device())
    assert run.compared == "instructions"
    assert run.notes == ("plain describes core cortex-m4, not rv32",)


def test_without_a_device_there_is_no_prediction(bundle: Path) -> None:
    run = measure_beside(bundle, counted(bundle, (200, None), (260, None), (0, None)), None, ["no file"])
    assert (run.compared, run.predicted_cycles, run.error_total, run.notes) == ("", None, None, ("no file",))
    assert run.instructions == 470


def test_a_bundle_of_an_earlier_version_is_measured_without_a_prediction(bundle: Path) -> None:
    path = bundle / "manifest.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for layer in content["layers"]:
        del layer["shape"]
    path.write_text(json.dumps(content), encoding="utf-8")
    run = measure_beside(bundle, counted(bundle, (200, 300), (260, 300), (0, 0)), plain_device())
    assert (run.compared, run.instructions, run.device) == ("", 470, "")
    assert "no prediction" in run.notes[0]
    assert "earlier versions" in run.notes[0]


def test_a_precision_that_the_device_lacks_leaves_a_note(bundle: Path) -> None:
    device = plain_device()
    lacking = replace(device.compute[0], macs_per_cycle={8: 0.5}, macs_per_instruction={8: 0.25})
    run = measure_beside(bundle, counted(bundle, (200, 300), (260, 300), (0, 0)), replace(device, compute=(lacking, *device.compute[1:])))
    assert run.compared == ""
    assert "has no rate for dense at w3a8" in run.notes[0]


def test_every_target_keeps_its_last_measurement_and_another_bundle_has_none(bundle: Path) -> None:
    folder = bundle.parent
    first = measure_beside(bundle, counted(bundle, (200, 300), (260, 300), (0, 0)), plain_device())
    keep_measurement(folder, first)
    keep_measurement(folder, replace(first, target="rv32", instructions=900))
    kept = keep_measurement(folder, replace(first, instructions=471))
    assert [(run.target, run.instructions) for run in kept] == [("cortex-m4", 471), ("rv32", 900)]
    assert load_measurements(folder, first.bundle_digest) == kept
    assert load_measurements(folder, "another") == ()
    assert keep_measurement(folder, replace(first, bundle_digest="another")) == (replace(first, bundle_digest="another"),)


def test_a_measurement_belongs_to_the_run_whose_config_the_bundle_holds(bundle: Path) -> None:
    assert run_folder_of(bundle) is None
    manifest = read_manifest(bundle)
    chosen = {layer["name"]: layer["precision"] for layer in manifest["layers"] if layer["precision"]}
    result = bundle.parent / "result.json"
    for content, belongs in (
        ({"model_digest": manifest["model_digest"], "chosen": {"precisions": chosen}}, True),
        ({"model_digest": "another", "chosen": {"precisions": chosen}}, False),
        ({"model_digest": manifest["model_digest"], "chosen": {"precisions": dict.fromkeys(chosen, "w2a8")}}, False),
        ({"model_digest": manifest["model_digest"], "status": "interrupted"}, False),
        ([], False),
    ):
        result.write_text(json.dumps(content), encoding="utf-8")
        assert run_folder_of(bundle) == (bundle.parent if belongs else None)


def test_the_device_is_the_named_one_else_that_of_the_run_else_a_shipped_one(bundle: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    text = (Path(__file__).parents[2] / "hw_models" / "cortex-m4.yaml").read_text(encoding="utf-8")
    mine.write_text(text.replace("name: cortex-m4", "name: mine", 1), encoding="utf-8")
    names = lambda target, named=None: getattr(device_beside(bundle, target, named)[0], "name", None)  # noqa: E731
    assert names("cortex-m4") == "cortex-m4"
    save_record(RunRequest(workload="tiny", budget=(), target=str(mine)), bundle.parent / "request.json")
    assert names("cortex-m4") == "mine"
    assert names("cortex-m7") == "cortex-m7"
    assert names("cortex-m4", "cortex-m7") == "cortex-m7"
    mine.unlink()
    assert names("cortex-m4") == "cortex-m4"


RUN = Measurement(
    target="cortex-m4",
    bundle_digest="",
    vectors=1,
    mismatches=0,
    layers=(),
    instructions=1000,
    cycles=5000,
    device="plain",
    clock_hz=1e6,
    compared="cycles",
    predicted_cycles=4900.0,
    error_cycles=-0.02,
)


@pytest.mark.parametrize(
    ("budget", "stated", "wanted"),
    [
        (0.005, None, "latency budget 5 ms: predicted 4.9 ms, measured 5 ms on cortex-m4 (+2.0%; from the estimated cycles): kept"),
        (0.0049, None, ": exceeded by 2.0%"),
        (0.0049, 0.05, ": exceeded by 2.0%, within the 5.0% that plain states"),
        (0.0049, 0.01, ": exceeded by 2.0%, more than the 1.0% that plain states"),
        (None, None, ""),
    ],
)
def test_the_budget_is_checked_against_what_was_measured(budget: float | None, stated: float | None, wanted: str) -> None:
    text = check_latency(budget, replace(RUN, device_error=stated))
    assert text.endswith(wanted)
    assert bool(text) == bool(wanted)


def test_without_a_latency_there_is_no_check() -> None:
    assert check_latency(0.005, replace(RUN, compared="", error_cycles=None)) == ""
