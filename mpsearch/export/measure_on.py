# SPDX-License-Identifier: Apache-2.0
"""Which of the ways to measure a user asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mpsearch.errors import ExportError
from mpsearch.export.measure import Meter
from mpsearch.export.measure_program import build_host_program
from mpsearch.export.measure_qemu import QemuMeter
from mpsearch.export.measure_stream import TIMEOUT_S, CommandLine, SerialLine, StreamMeter

HOST = "host"
BOARD = "board"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurePlace:
    """Where layers are measured: exactly one of the first three is given.

    Attributes:
        on: "host", or an emulated core.
        command: A program that speaks the protocol over standard input and output.
        serial: A serial port with a board that speaks it.
        name: Of the target in the table; None for that of `on`, else BOARD.
        compiler: For the host or an emulated core; None for the usual one.
        timeout_s: How long a program may take for one answer, > 0.
    """

    on: str | None = None
    command: str | None = None
    serial: str | None = None
    name: str | None = None
    compiler: str | None = None
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        """Check that there is one place.

        Raises:
            ExportError: There is none, or more than one.
        """
        if sum(place is not None for place in (self.on, self.command, self.serial)) != 1:
            raise ExportError(
                "Nothing says where to measure, or several things do.", "give one of --on TARGET, --command 'PROGRAM' and --serial PORT."
            )

    @property
    def target(self) -> str:
        """Name of what is measured."""
        return self.name or self.on or BOARD


@contextmanager
def open_meter(place: MeasurePlace) -> Iterator[Meter]:
    """Make what measures there, and end it afterwards.

    Raises:
        ExportError: A tool is missing, or nobody answers.
    """
    if place.serial is not None:
        port = place.serial
        with StreamMeter(lambda: SerialLine(port), place.timeout_s) as meter:
            yield meter
    elif place.command is not None:
        command = place.command
        with StreamMeter(lambda: CommandLine(command), place.timeout_s) as meter:
            yield meter
    else:
        with tempfile.TemporaryDirectory(prefix="mpsearch-measure-") as name:
            build = Path(name)
            if place.on == HOST:
                program = build_host_program(build, place.compiler)
                with StreamMeter(lambda: CommandLine([str(program)]), place.timeout_s) as meter:
                    yield meter
            else:
                yield QemuMeter(build, place.on or "", place.compiler or "gcc")
