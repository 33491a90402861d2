# SPDX-License-Identifier: Apache-2.0
"""A run that is measured on its core reports the prediction beside the count, at once or later, and goes on where it was stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mpsearch.catalog import Accuracy
from mpsearch.cli import main
from tests.runs.devices import plain_device, write_device
from tests.target.emulated import on_cores

TINY = f"{Path(__file__).parents[1] / 'tiny_workload.py'}:tiny"
ACCURACY = Accuracy(median=0.07, worst_tenth=0.2, source="made up")


def optimize(out: Path, device: Path, *options: str) -> int:
    budget = ["--budget", "2MB", "--budget", "latency=1s"]
    return main(["optimize", TINY, *budget, "--target", str(device), "--trials", "1", "--front-points", "0", "--out", str(out), "--quiet", *options])


def result_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return content


def check(measured: dict[str, Any]) -> None:
    """Check that a measurement compares instructions, and that its error is that of its own numbers."""
    assert measured["compared"] == "instructions"
    assert measured["error_total"] == pytest.approx(measured["predicted_instructions"] / measured["instructions"] - 1)
    assert measured["predicted_latency_s"] == pytest.approx(measured["predicted_cycles"] / 1e6)
    assert measured["budget_check"].startswith("latency budget 1 s: predicted ")
    assert measured["budget_check"].endswith(": kept")
    assert any("gcc" in tool for tool in measured["tools"])
    assert any("QEMU" in tool for tool in measured["tools"])


@pytest.mark.parametrize("core", on_cores(["cortex-m4"]))
def test_a_measured_run_reports_prediction_and_count(core: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, device = tmp_path / "run", write_device(plain_device(core, accuracy=ACCURACY), tmp_path / "plain.yaml")
    assert optimize(out, device, "--measure") == 0
    printed = " ".join(capsys.readouterr().out.split())
    result = result_of(out)
    check(result["measured"][core])
    assert result["measured"][core]["budget_check"] in result["notes"]
    assert result["measured"][core]["budget_check"] in printed
    assert "plain states ±7.0% a layer (median)" in printed
    assert "±7.0 % a layer (median; worst tenth ±20.0 %)" in printed
    assert result["stated_error"]["median"] == 0.07
    assert any(reason.startswith("plain has every precision") for reason in result["reasons"])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"Predicted beside measured: {core}" in page
    # The costs that the search used and the prediction from the bundle alone are the same.
    assert result["measured"][core]["predicted_latency_s"] == pytest.approx(result["cost"]["latency"])

    # Resumed without measuring, the run keeps what was measured of the same bundle.
    assert optimize(out, device, "--resume") == 0
    assert result_of(out)["measured"] == result["measured"]
    assert (out / "report.html").read_text(encoding="utf-8").count("Predicted beside measured") == 1


@pytest.mark.parametrize("core", on_cores(["cortex-m4"]))
def test_a_run_is_measured_later_on_several_cores(core: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, device = tmp_path / "run", write_device(plain_device(core), tmp_path / "plain.yaml")
    assert optimize(out, device) == 0
    assert result_of(out)["measured"] == {}
    capsys.readouterr()
    assert main(["run", str(out / "bundle"), "--on", core, "--json"]) == 0  # its device is that of the run
    printed = json.loads(capsys.readouterr().out)
    assert printed["device"] == "plain"
    assert printed["layers"]["stem"]["error"] == pytest.approx(
        printed["layers"]["stem"]["predicted_instructions"] / printed["layers"]["stem"]["instructions"] - 1
    )
    assert printed["predicted_cycles"] == pytest.approx(sum(layer["predicted_cycles"] for layer in printed["layers"].values()))
    assert main(["run", str(out / "bundle"), "--on", "cortex-m3", "--target", str(device)]) == 0
    text = capsys.readouterr().out
    assert "instructions on cortex-m3: measured, and predicted by plain" in text
    assert "plain describes core cortex-m4, not cortex-m3" in text
    measured = result_of(out)["measured"]
    assert list(measured) == ["cortex-m3", "cortex-m4"]
    for run in measured.values():
        check(run)
    assert [run["target"] for run in json.loads((out / "measured.json").read_text(encoding="utf-8"))["data"]["runs"]] == list(measured)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("Predicted beside measured") == 2

    # A bundle elsewhere is measured too, and nothing is kept.
    shutil.copytree(out / "bundle", tmp_path / "elsewhere" / "bundle")
    assert main(["run", str(tmp_path / "elsewhere" / "bundle"), "--on", core]) == 0
    assert "predicted by cortex-m4" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["bundle"]


def test_without_the_tools_a_run_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = write_device(plain_device("rv32"), tmp_path / "plain.yaml")
    monkeypatch.setattr("shutil.which", lambda name: None if name.startswith(("riscv", "qemu")) else f"/usr/bin/{name}")
    assert optimize(tmp_path / "run", device, "--measure") == 0
    result = result_of(tmp_path / "run")
    assert result["measured"] == {}
    assert any(note.startswith("nothing was measured on rv32: Not in the PATH: riscv64-unknown-elf-gcc") for note in result["notes"])
    assert any("apt-get install gcc-riscv64-unknown-elf" in note for note in result["notes"])


def test_a_target_without_a_core_is_not_measured_and_says_so(tmp_path: Path) -> None:
    device = write_device(plain_device(None), tmp_path / "plain.yaml")
    assert optimize(tmp_path / "run", device, "--measure") == 0
    assert "nothing was measured: the file of target plain names no core to run the bundle on" in result_of(tmp_path / "run")["notes"]


def test_a_device_that_does_not_exist_is_refused_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path), "--on", "cortex-m4", "--target", "cortex-m9"]) == 2
    assert "Unknown target 'cortex-m9'" in capsys.readouterr().err
    assert main(["run", str(tmp_path), "--sanitize", "--target", "cortex-m4"]) == 2
    assert "no use with --inputs or --sanitize" in capsys.readouterr().err
