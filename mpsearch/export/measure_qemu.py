# SPDX-License-Identifier: Apache-2.0
"""Measures layers on an emulated core: instructions, counted by the plugin, and cycles where it estimates them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpsearch.errors import ExportError
from mpsearch.export.cores import check_tools, compile_command, find_core
from mpsearch.export.counting import Count, build_plugin, read_all_counts
from mpsearch.export.kernel_library import KERNELS
from mpsearch.export.measure import Outcome
from mpsearch.export.measure_program import compiler_version, measure_flags, measure_sources
from mpsearch.export.measure_wire import LayerRequest, check_reason, read_answer, request_line
from mpsearch.export.qemu import build_program, compile_source, execute
from mpsearch.records import MeasuredLayer

BATCH_STEPS = 20_000_000
BATCH_LAYERS = 40
"""One run of the emulator takes so many steps (MACs), or one layer with more, and so many layers."""

_BESIDE_ARENA_BYTES = 384 << 10
"""Memory of a board for everything else: stack, heap, counters."""

_LEVEL = "-O2"


@dataclass
class QemuMeter:
    """An emulated core.

    Attributes:
        build: A folder for what is built.
        target: One of CORES.
        compiler: One of COMPILERS.
    """

    build: Path
    target: str
    compiler: str = "gcc"

    def __post_init__(self) -> None:
        """Check that the tools are there.

        Raises:
            ExportError: One is missing, or there is no such core.
        """
        self._core = find_core(self.target)
        check_tools(self._core, self.compiler)
        self._objects: list[Path] = []
        self._plugin = Path()
        self._flags = [_LEVEL, *measure_flags(self._core.ram.size_bytes - _BESIDE_ARENA_BYTES)]

    @property
    def method(self) -> str:
        """How it measures."""
        emulator = subprocess.run([self._core.toolchain.emulator, "--version"], capture_output=True, text=True, check=False)
        version = re.search(r"version (\S+)", emulator.stdout)
        compiler = compiler_version(compile_command(self._core, self.compiler)[:1])
        cycles = (
            "instructions counted, cycles estimated from them for a Cortex-M4 without wait states"
            if self._core.estimates_cycles
            else "instructions counted; nothing is said of cycles"
        )
        return f"QEMU {version[1] if version else ''} ({self._core.machine}), {compiler} {_LEVEL}: {cycles}"

    @property
    def clock_hz(self) -> float | None:
        """An emulator has no clock."""
        return None

    def measure(self, requests: Sequence[LayerRequest]) -> Iterator[Outcome]:
        """Measure layers, a batch in each run of the emulator.

        Raises:
            ExportError: The program cannot be built, stops, or a kernel is wrong.
        """
        for batch in batches(requests):
            yield from self._run(batch)

    def _run(self, batch: Sequence[LayerRequest]) -> Iterator[Outcome]:
        self._build_once()
        text = "".join(f'  "{request_line(number, request)}\\n"\n' for number, request in enumerate(batch, 1))
        source = self.build / "requests.c"
        source.write_text(f"/* SPDX-License-Identifier: Apache-2.0 */\nconst char measure_requests[] =\n{text};\n", encoding="utf-8")
        program = build_program(self.build, self._core, [*self._objects, source], self._flags, self.compiler)
        status, printed, log = execute(self.build, self._core, program, self._plugin)
        counts = iter(read_all_counts(log))
        lines = [line for line in printed.splitlines() if line.startswith(("ok ", "error "))]
        for number, request in enumerate(batch, 1):
            if number > len(lines):
                raise ExportError(f"{request}: the program stopped with {status} on {self.target}: {printed[-300:].strip()}")
            answer = read_answer(lines[number - 1], number)
            # A kernel that ran was counted, whatever came of it.
            count = next(counts, None) if answer.reason in ("", "differs", "refused") else None
            if answer.reason:
                yield Outcome(request=request, row=None, reason=check_reason(request, answer.reason))
            else:
                yield Outcome(request=request, row=_row(request, count))

    def _build_once(self) -> None:
        """Compile everything but the requests."""
        if self._objects:
            return
        self._plugin = build_plugin(self.build)
        sources = [*measure_sources(), KERNELS / "measure" / "port_qemu.c"]
        self._objects = [compile_source(self.build, self._core, source, self._flags, self.compiler) for source in sources]


def batches(requests: Sequence[LayerRequest]) -> Iterator[list[LayerRequest]]:
    """Split layers, in order, into those that run together."""
    batch: list[LayerRequest] = []
    steps = 0
    for request in requests:
        if batch and (len(batch) == BATCH_LAYERS or steps + request.shape.steps > BATCH_STEPS):
            yield batch
            batch, steps = [], 0
        batch.append(request)
        steps += request.shape.steps
    if batch:
        yield batch


def _row(request: LayerRequest, count: Count | None) -> MeasuredLayer:
    if count is None:
        raise ExportError(f"{request}: the counting plugin of QEMU reported nothing.", "QEMU must be built with plugins, as Debian's is.")
    cycles = None if count.cycles is None else float(count.cycles)
    return MeasuredLayer(shape=request.shape, precision=request.precision, cycles=cycles, instructions=count.instructions)
