# SPDX-License-Identifier: Apache-2.0
"""`mpsearch measure`, and its table as the target of other commands."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from mpsearch.cli import main
from mpsearch.records import MeasuredTable
from mpsearch.storage import load_record

BOARD = shlex.join([sys.executable, str(Path(__file__).parent / "export" / "board.py")])
TINY = f"{Path(__file__).with_name('tiny_workload.py')}:tiny"


def test_a_network_is_measured_and_its_table_is_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.json"
    assert main(["measure", TINY, "--command", BOARD, "--target", "fake", "--out", str(path), "--quiet"]) == 0
    assert f"table: {path}" in capsys.readouterr().out
    table = load_record(path, MeasuredTable)
    assert (table.target, table.clock_hz, table.like) == ("fake", 100e6, None)
    # stem, inner and wide at seven widths (4 to 8 at the ends), a sum, a mean and the head at five.
    assert sorted({row.shape.operator for row in table.rows}) == ["add", "conv2d", "dense", "mean"]
    assert len(table.rows) == 5 + 7 + 7 + 1 + 1 + 5
    assert main(["cost", TINY, "--target", str(path), "--bits", "4", "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert cost["layers"]["stem"]["cycles"] == 100 * 8 * 8 * 8 + 7
    assert cost["layers"]["stem"]["binding"] == "measured"
    assert cost["latency_s"] == pytest.approx(cost["cycles"] / 100e6)


def test_a_search_on_a_table_takes_only_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "table.json", tmp_path / "run"
    assert main(["measure", TINY, "--command", BOARD, "--bits", "4,8", "--out", str(path), "--quiet"]) == 0
    arguments = ["search", TINY, "--target", str(path), "--budget", "latency=10ms", "--budget", "2kB", "--out", str(out), "--quiet"]
    assert main(arguments) == 0
    config = (out / "config.yaml").read_text(encoding="utf-8")
    assert "w4a8" in config
    assert not any(f"w{bits}a8" in config for bits in (2, 3, 5, 6, 7))
    capsys.readouterr()
    assert main(["hw", "show", str(path), TINY, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["roofs"]


def test_what_the_table_lacks_is_named_with_the_command_that_measures_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.json"
    assert main(["measure", TINY, "--command", BOARD, "--bits", "4", "--out", str(path), "--quiet"]) == 0
    assert main(["cost", TINY, "--target", str(path), "--bits", "2"]) == 2
    printed = capsys.readouterr().err
    assert "Layer 'stem': the table of 'board' does not have conv2d 8x8x1 to 8x8x8" in printed
    assert f"--out {path} --resume --bits w2a8" in printed
    assert main(["measure", TINY, "--command", BOARD, "--bits", "w2a8", "--out", str(path), "--resume", "--quiet"]) == 0
    assert main(["cost", TINY, "--target", str(path), "--bits", "2"]) == 0


def test_a_file_of_layers_is_measured_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text("- {operator: dense, input: [1, 1, 64], output: [1, 1, 10]}\n", encoding="utf-8")
    assert main(["measure", "--grid", str(grid), "--bits", "2,8", "--command", BOARD, "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "dense 1x1x64 to 1x1x10" in printed
    assert "1,007" in printed
    assert main(["measure", "--grid", str(grid), "--bits", "2,8", "--command", BOARD, "--like", "cortex-m4", "--json", "--quiet"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["schema"], printed["like"], printed["rows"], printed["left_out"]) == (1, "cortex-m4", 2, [])
    assert [(layer["precision"], layer["cycles"]) for layer in printed["layers"]] == [("w2a8", 1007), ("w8a8", 1007)]


def test_layers_that_are_left_out_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text("- {operator: dense, input: [1, 1, 64], output: [1, 1, 10]}\n", encoding="utf-8")
    assert main(["measure", "--grid", str(grid), "--bits", "2,8", "--command", f"{BOARD} full 2", "--quiet"]) == 0
    assert "dense 1x1x64 to 1x1x10, w8a8 was left out: it does not fit the program's memory" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --on TARGET, --command 'PROGRAM' and --serial PORT"),
        (["--on", "host", "--serial", "COM3"], "several things do"),
        (["--on", "cortex-m9"], "no emulator for target 'cortex-m9'"),
        (["--command", BOARD, "--resume"], "--resume needs the table"),
        (["--command", BOARD, "--bits", "9x"], "--bits 9x"),
        (["--command", BOARD, "--like", "cortex-m44"], "Unknown target 'cortex-m44'"),
        (["--command", BOARD, "--grid", "missing.yaml"], "missing.yaml cannot be read"),
        ([TINY, "--command", BOARD, "--grid", "grid.yaml"], "both name layers"),
        (["--command", "/no/such/program"], "cannot be started"),
    ],
)
def test_what_makes_no_sense_is_one_error(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", *arguments, "--quiet"]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("error:") == 1


def test_a_timeout_is_a_number_of_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("0", "-1", "soon", "inf", "nan"):
        with pytest.raises(SystemExit):
            main(["measure", "--command", BOARD, "--timeout", text])
        assert "wanted seconds above 0" in capsys.readouterr().err
