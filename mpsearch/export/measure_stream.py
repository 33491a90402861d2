# SPDX-License-Identifier: Apache-2.0
"""Measures layers with a program that speaks the line protocol: over standard input and output, or over a serial line."""

from __future__ import annotations

import contextlib
import queue
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import IO, Protocol

from mpsearch.errors import ExportError
from mpsearch.export.measure import Outcome
from mpsearch.export.measure_wire import PROTOCOL, Hello, LayerRequest, check_reason, measured_layer, read_answer, read_hello, request_line

TIMEOUT_S = 60.0
LONGEST_LINE = 4096
GREETING_LINES = 100
"""A board may print so many lines of its own before it greets."""

BAUD = 115200


class Line(Protocol):
    """Two ways for lines of text."""

    name: str

    def send(self, text: str) -> None:
        """Send a line.

        Raises:
            ExportError: Nobody listens.
        """

    def receive(self, timeout_s: float) -> str:
        """Return the next line without its end.

        Raises:
            ExportError: None comes in time, or none will.
        """

    def close(self) -> None:
        """End it."""


class StreamMeter:
    """A program at the other end of a line; it greets when the meter is entered, and is ended when it is left."""

    def __init__(self, open_line: Callable[[], Line], timeout_s: float = TIMEOUT_S) -> None:
        """Keep how the line is opened, and how long an answer may take."""
        self._open, self._timeout_s = open_line, timeout_s
        self._line: Line | None = None
        self._hello = Hello(unit="nothing", clock_hz=None, description="")

    def __enter__(self) -> StreamMeter:
        """Open the line and wait for the greeting.

        Raises:
            ExportError: It cannot be opened, or nobody greets.
        """
        self._line = self._open()
        try:
            self._hello = self._greet(self._line)
        except BaseException:
            self._line.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the line."""
        assert self._line is not None
        self._line.close()

    @property
    def method(self) -> str:
        """How it measures."""
        how = "median time of several runs" if self._hello.unit == "nanoseconds" else f"{self._hello.unit} counted by the program"
        return f"{self._hello.description or 'a program'}: {how}"

    @property
    def clock_hz(self) -> float | None:
        """What the program says."""
        return self._hello.clock_hz

    def measure(self, requests: Sequence[LayerRequest]) -> Iterator[Outcome]:
        """Measure layers, one after the other.

        Raises:
            ExportError: The program stops, hangs, answers something else, or a kernel is wrong.
        """
        assert self._line is not None
        for number, request in enumerate(requests, 1):
            try:
                self._line.send(request_line(number, request))
                answer = read_answer(self._line.receive(self._timeout_s), number)
            except ExportError as error:
                raise ExportError(f"{request}: {error.message}", error.hint) from error
            if answer.reason:
                yield Outcome(request=request, row=None, reason=check_reason(request, answer.reason))
            else:
                yield Outcome(request=request, row=measured_layer(request, self._hello.unit, answer.count))

    def _greet(self, line: Line) -> Hello:
        line.send(f"hello {PROTOCOL}")
        deadline = time.monotonic() + self._timeout_s
        for _ in range(GREETING_LINES):
            text = line.receive(max(0.0, deadline - time.monotonic()))
            hello = read_hello(text)
            if hello is not None and hello.unit == "nothing":
                raise ExportError(f"{line.name} counts nothing, so there is nothing to measure with.", "let count_end return a count.")
            if hello is not None:
                return hello
        raise ExportError(
            f"{line.name} sent {GREETING_LINES} lines without a greeting, the last was {text[:100]!r}; "
            f"wanted 'hello {PROTOCOL} <unit> <clock_hz> ...'.",
            "see docs/measure-protocol.md.",
        )


class CommandLine:
    """A program's standard input and output."""

    def __init__(self, command: Sequence[str] | str) -> None:
        """Start the program.

        Args:
            command: Program and arguments, or one text that a shell would split so.

        Raises:
            ExportError: It cannot be started.
        """
        try:
            words = shlex.split(command) if isinstance(command, str) else list(command)
        except ValueError as error:
            raise ExportError(f"--command {command}: {error}.", "close the quotes.") from error
        if not words:
            raise ExportError("--command is empty, wanted a program that speaks the protocol.", "see docs/measure-protocol.md.")
        self.name = f"'{shlex.join(words)}'"
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the line
        try:
            self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)
        except OSError as error:
            self._errors.close()
            raise ExportError(f"{self.name} cannot be started: {error.strerror or error}.", "check the path.") from error
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Pass on every line, then an empty one."""
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed while it reads
            while line := self._process.stdout.readline(LONGEST_LINE):
                self._lines.put(line)
        self._lines.put(b"")

    def send(self, text: str) -> None:
        """Send a line."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{text}\n".encode("ascii"))
            self._process.stdin.flush()
        except OSError as error:
            raise self._stopped() from error

    def receive(self, timeout_s: float) -> str:
        """Return the next line."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise ExportError(f"{self.name} did not answer within {timeout_s:.3g} s.", "allow more with --timeout, or see why it hangs.") from None
        if not line:
            raise self._stopped()
        return line.decode("ascii", errors="replace").strip()

    def _stopped(self) -> ExportError:
        try:
            status = f"stopped with {self._process.wait(timeout=5)}"
        except subprocess.TimeoutExpired:
            status = "closed its output"
        self._errors.seek(0)
        told = self._errors.read()[-300:].decode(errors="replace").strip()
        return ExportError(f"{self.name} {status}" + (f": {told}" if told else ".") + ("" if told.endswith(".") or not told else "."))

    def close(self) -> None:
        """End the program, with patience first."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout=1)
        if not self._reader.is_alive():  # a child of the program may still hold the other end
            self._process.stdout.close()
        self._errors.close()


class SerialLine:
    """A board on a serial port."""

    def __init__(self, port: str) -> None:
        """Open the port.

        Args:
            port: Its name, with ":" and the baud rate after it if that is not BAUD.

        Raises:
            ExportError: pyserial is not installed, or the port cannot be opened.
        """
        try:
            import serial
        except ImportError as error:
            raise ExportError("--serial needs pyserial, which is not installed.", "pip install 'mpsearch[serial]'") from error
        path, baud = split_port(port)
        self.name = path
        self._failures: tuple[type[Exception], ...] = (serial.SerialException, OSError)
        try:
            self._port = serial.Serial(path, baud)
        except (*self._failures, ValueError) as error:
            raise ExportError(
                f"The serial port {path} cannot be opened at {baud} baud: {error}.", "check its name and your right to use it."
            ) from error
        self._rest = b""

    def send(self, text: str) -> None:
        """Send a line."""
        try:
            self._port.write(f"{text}\n".encode("ascii"))
        except self._failures as error:
            raise ExportError(f"{self.name} cannot be written: {error}.", "is the board still there?") from error

    def receive(self, timeout_s: float) -> str:
        """Return the next line."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or len(self._rest) > LONGEST_LINE:
                got = f", only {self._rest[:100]!r}" if self._rest else ""
                raise ExportError(
                    f"{self.name} sent no line within {timeout_s:.3g} s{got}.",
                    "check baud rate and wiring, reset the board, or allow more with --timeout.",
                )
            try:
                self._port.timeout = min(left, 0.2)
                self._rest += self._port.read(max(1, self._port.in_waiting))
            except self._failures as error:
                raise ExportError(f"{self.name} cannot be read: {error}.", "is the board still there?") from error
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode("ascii", errors="replace").strip()

    def close(self) -> None:
        """Close the port."""
        self._port.close()


def split_port(text: str) -> tuple[str, int]:
    """Return name and baud rate of "/dev/ttyACM0:115200", "COM3" or "/dev/ttyACM0"."""
    path, _, baud = text.rpartition(":")
    return (path, int(baud)) if path and baud.isdecimal() and int(baud) > 0 else (text, BAUD)
