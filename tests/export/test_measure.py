# SPDX-License-Identifier: Apache-2.0
"""Measuring with a made-up board: what is right becomes rows, what goes wrong is one error, and what was measured before is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mpsearch.errors import ExportError, RecordError
from mpsearch.export.measure import MeasuredFile, Measurement, Outcome, measure_layers
from mpsearch.export.measure_stream import CommandLine, SerialLine, StreamMeter, split_port
from mpsearch.export.measure_wire import LayerRequest, measured_layer
from mpsearch.records import LayerShape, MeasuredTable
from mpsearch.storage import load_record

BOARD = Path(__file__).with_name("board.py")
REQUESTS = tuple(
    LayerRequest(shape=LayerShape(operator="add", input=(4, 4, channels), output=(4, 4, channels), operands=2), precision=None)
    for channels in range(1, 7)
)
COUNTS = [100 * 16 * channels + 7 for channels in range(1, 7)]


def board(mode: str = "right", at: int = 1) -> list[str]:
    """Return the command of the made-up board."""
    return [sys.executable, str(BOARD), mode, str(at)]


def measure(command: Sequence[str], path: Path | None = None, resume: bool = False, timeout_s: float = 20.0) -> Measurement:
    """Measure REQUESTS with a program."""
    with StreamMeter(lambda: CommandLine(command), timeout_s) as meter:
        empty = MeasuredTable(target="fake", method=meter.method, clock_hz=meter.clock_hz, rows=())
        return measure_layers(meter, REQUESTS, empty, MeasuredFile(path=path, resume=resume))


def test_every_answer_becomes_a_row_in_the_order_of_the_requests(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table = measure(board(), path).table
    assert [row.cycles for row in table.rows] == COUNTS
    assert [row.shape for row in table.rows] == [request.shape for request in REQUESTS]
    assert (table.clock_hz, table.method) == (100e6, "fake board, gcc -O2: cycles counted by the program")
    assert load_record(path, MeasuredTable) == table


def test_the_same_board_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        measure(board(), tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_other_units_fill_other_columns() -> None:
    timed, counted = measure(board("timed")).table, measure(board("counted")).table
    assert [row.seconds for row in timed.rows] == [pytest.approx(count / 1e9) for count in COUNTS]
    assert [row.instructions for row in counted.rows] == COUNTS
    assert all(row.cycles is None for row in (*timed.rows, *counted.rows))


def test_what_a_board_prints_before_it_greets_is_passed_over() -> None:
    assert len(measure(board("noisy")).table.rows) == len(REQUESTS)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("dies", "stopped with 3: hard fault at 0x8000"),
        ("hangs", "did not answer within 1 s"),
        ("garbage", "answered '@@@', wanted 'ok 4 <count>'"),
        ("stale", "answered 'ok 3 5', wanted 'ok 4 <count>'"),
        ("negative", "answered 'ok 4 -5'"),
        ("zero", "counted 0 cycles"),
        ("wrong", "not that of the reference"),
        ("strange", "error tired"),
    ],
)
def test_a_board_that_fails_is_one_error_and_the_rows_before_are_kept(tmp_path: Path, mode: str, message: str) -> None:
    path = tmp_path / "table.json"
    with pytest.raises(ExportError) as caught:
        measure(board(mode, at=4), path, timeout_s=1.0 if mode == "hangs" else 20.0)
    assert message in caught.value.message
    assert caught.value.message.startswith("add 4x4x4 to 4x4x4, 2 operands: ")
    assert f"3 rows measured so far are in {path}: go on with --resume." in caught.value.hint
    assert [row.cycles for row in load_record(path, MeasuredTable).rows] == COUNTS[:3]


def test_going_on_after_a_failure_gives_the_bytes_of_a_run_without_one(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole.json", tmp_path / "broken.json"
    measure(board(), whole)
    with pytest.raises(ExportError, match="hard fault"):
        measure(board("dies", at=4), broken)
    measure(board(), broken, resume=True)
    assert whole.read_bytes() == broken.read_bytes()


def test_rows_that_are_there_are_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    measure(board(), path)
    assert len(measure(board("dies"), path, resume=True).table.rows) == len(REQUESTS)


def test_without_resume_a_table_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    measure(board(), path)
    with pytest.raises(ExportError, match="hard fault"):
        measure(board("dies", at=2), path)
    assert len(load_record(path, MeasuredTable).rows) == 1


def test_a_table_of_something_else_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    measure(board(), path)
    before = path.read_bytes()
    with pytest.raises(RecordError, match=r"holds what was measured on fake .*, not on fake .*leave out --resume"):
        measure(board("timed"), path, resume=True)
    assert path.read_bytes() == before


def test_layers_that_do_not_fit_are_left_out_and_named() -> None:
    measurement = measure(board("full", at=4))
    assert len(measurement.table.rows) == 3
    assert [request for request, _ in measurement.left_out] == list(REQUESTS[3:])
    assert all("memory" in reason for _, reason in measurement.left_out)


@pytest.mark.parametrize(
    ("mode", "message"),
    [("old", "speaks version 0"), ("odd", "counts in 'apples'"), ("idle", "counts nothing"), ("chatty", "100 lines without a greeting")],
)
def test_a_board_that_greets_wrongly_is_refused(mode: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        measure(board(mode))


def test_a_board_that_never_greets_is_given_up() -> None:
    with pytest.raises(ExportError, match=r"did not answer within 0\.\d* s|did not answer within 0"):
        measure(board("mute"), timeout_s=0.5)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "--command is empty"),
        ("/no/such/program", "cannot be started: No such file"),
        ("'open", "No closing quotation"),
        ("true", "stopped with 0"),
    ],
)
def test_a_command_that_cannot_run_says_so(command: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        measure(command)  # type: ignore[arg-type]  # as it is typed


def test_progress_counts_layers() -> None:
    told: list[tuple[str, int, int]] = []

    class Counter:
        method, clock_hz = "counted", None

        def measure(self, requests: Sequence[LayerRequest]) -> Iterator[Outcome]:
            for request in requests:
                yield Outcome(request=request, row=measured_layer(request, "cycles", 1))

    empty = MeasuredTable(target="fake", method="counted", clock_hz=None, rows=())
    measure_layers(Counter(), [*REQUESTS, *REQUESTS], empty, MeasuredFile(), lambda *step: told.append(step))
    assert told == [("measure", done, len(REQUESTS)) for done in range(1, len(REQUESTS) + 1)]


def test_rows_are_on_disk_before_the_run_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpsearch.export.measure.SAVE_EVERY_S", -1.0)
    path, seen = tmp_path / "table.json", []

    class Looking:
        method, clock_hz = "looked", None

        def measure(self, requests: Sequence[LayerRequest]) -> Iterator[Outcome]:
            for request in requests:
                seen.append(len(load_record(path, MeasuredTable).rows) if path.exists() else 0)
                yield Outcome(request=request, row=measured_layer(request, "cycles", 1))

    measure_layers(Looking(), REQUESTS, MeasuredTable(target="fake", method="looked", clock_hz=None, rows=()), MeasuredFile(path=path))
    assert seen == list(range(len(REQUESTS)))


def test_a_killed_run_leaves_a_table_that_can_be_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    grid = tmp_path / "grid.yaml"
    grid.write_text("".join(f"- {{operator: lookup, input: [1, 1, {size}], output: [1, 1, {size}]}}\n" for size in range(1, 150)), encoding="utf-8")
    slow = tmp_path / "slow.py"
    slow.write_text(BOARD.read_text(encoding="utf-8").replace("for line in sys.stdin:", "for line in sys.stdin:\n        time.sleep(0.015)"))
    program = f"{sys.executable} {slow}"
    command = [sys.executable, "-m", "mpsearch.cli", "measure", "--grid", str(grid), "--command", program, "--out", str(path), "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    killed = load_record(path, MeasuredTable)
    assert 0 < len(killed.rows) < 149
    subprocess.run([*command, "--resume"], check=True, stdout=subprocess.DEVNULL)
    done = load_record(path, MeasuredTable)
    assert done.rows[: len(killed.rows)] == killed.rows
    assert [row.shape.input[2] for row in done.rows] == list(range(1, 150))


# ---------------------------------------------------------------- serial


def test_a_port_may_name_its_baud_rate() -> None:
    assert split_port("/dev/ttyACM0") == ("/dev/ttyACM0", 115200)
    assert split_port("/dev/ttyACM0:9600") == ("/dev/ttyACM0", 9600)
    assert split_port("COM3") == ("COM3", 115200)


@pytest.fixture
def port() -> Iterator[Callable[[str], str]]:
    """Start the made-up board behind a pseudo-terminal; gives the port's name."""
    pytest.importorskip("serial", reason="NO PYSERIAL: pip install 'mpsearch[serial]'")
    pty, tty = pytest.importorskip("pty"), pytest.importorskip("tty")
    opened: list[tuple[int, int, subprocess.Popen[bytes]]] = []

    def start(mode: str) -> str:
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        process = subprocess.Popen(board(mode, at=4), stdin=ours, stdout=ours)
        opened.append((ours, theirs, process))
        return os.ttyname(theirs)

    yield start
    for ours, theirs, process in opened:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def measure_serial(name: str, timeout_s: float = 20.0) -> Measurement:
    """Measure REQUESTS over a serial port."""
    with StreamMeter(lambda: SerialLine(f"{name}:9600"), timeout_s) as meter:
        return measure_layers(meter, REQUESTS, MeasuredTable(target="fake", method=meter.method, clock_hz=meter.clock_hz, rows=()), MeasuredFile())


def test_a_serial_port_answers_like_a_program(port: Callable[[str], str]) -> None:
    assert measure_serial(port("noisy")).table == replace(measure(board()).table)


@pytest.mark.parametrize(
    ("mode", "message"), [("dies", "sent no line within 1 s"), ("hangs", "sent no line within 1 s"), ("garbage", "answered '@@@'")]
)
def test_a_serial_port_that_fails_is_one_error(port: Callable[[str], str], mode: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        measure_serial(port(mode), timeout_s=1.0)


def test_a_port_that_is_not_there_is_an_error() -> None:
    pytest.importorskip("serial", reason="NO PYSERIAL: pip install 'mpsearch[serial]'")
    with pytest.raises(ExportError, match=r"serial port /no/such/port cannot be opened at 115200 baud"):
        SerialLine("/no/such/port")


def test_without_pyserial_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(ExportError, match=r"needs pyserial.*pip install 'mpsearch\[serial\]'"):
        SerialLine("/dev/ttyACM0")


def test_leaving_a_meter_ends_its_program() -> None:
    threads = threading.active_count()
    lines: list[CommandLine] = []

    def start() -> CommandLine:
        lines.append(CommandLine(board()))
        return lines[-1]

    with StreamMeter(start, 20.0):
        pass
    assert lines[0]._process.poll() is not None
    assert threading.active_count() == threads
