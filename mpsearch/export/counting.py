# SPDX-License-Identifier: Apache-2.0
"""Counting instructions layer by layer with a QEMU plugin, whatever QEMU emulates: a board, or this machine's own processor."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mpsearch.errors import ExportError
from mpsearch.export.compilers import find_compiler, run_compiler
from mpsearch.export.kernel_library import KERNELS
from mpsearch.export.manifest import Manifest

QEMU_SOURCES = KERNELS / "qemu"
TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What a stretch of a program executes.

    Attributes:
        instructions: Exact.
        cycles: Estimate for a Cortex-M4 without wait states; None where that says nothing.
    """

    instructions: int
    cycles: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRun:
    """What one layer executes in one inference.

    Attributes:
        layer: Its name.
        op: Its kind, e.g. "Conv2d".
        precision: "" without weights.
        macs: Multiply-accumulates.
        count: Its instructions; zero for a layer that moves nothing; None if nothing was counted.
    """

    layer: str
    op: str
    precision: str
    macs: int
    count: Count | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRun:
    """A bundle's self-test on a target.

    Attributes:
        target: Name of the target.
        vectors: Test vectors that ran.
        mismatches: Output values that differ from the vectors; 0 is success.
        report: What the self-test printed.
        macs: Multiply-accumulates of one inference.
        count: Of the first inference, the calls between the layers included; None if nothing was counted.
        layers: In execution order; of the first inference.
        seconds: Median of one inference; None where only a chip could tell.
        notes: What the user should know, e.g. why nothing was counted.
        tools: What compiled and what ran it, with their versions.
    """

    target: str
    vectors: int
    mismatches: int
    report: str
    macs: int
    count: Count | None
    layers: tuple[LayerRun, ...]
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()


def build_plugin(build: Path) -> Path:
    """Compile the counting plugin of QEMU with the host's compiler.

    Raises:
        ExportError: There is no compiler, or it fails.
    """
    plugin = build / "count_plugin.so"
    command = [*find_compiler(build), "-O2", "-shared", "-fPIC", "-o", str(plugin), str(QEMU_SOURCES / "count_plugin.c")]
    run_compiler(command, "The counting plugin of QEMU")
    return plugin


def plugin_flags(build: Path, plugin: Path, estimates_cycles: bool) -> list[str]:
    """Return the options that make any QEMU count; it writes to the folder's count.log."""
    return ["-plugin", f"{plugin},cycles=on" if estimates_cycles else str(plugin), "-d", "plugin", "-D", str(build / "count.log")]


def run_emulator(build: Path, command: Sequence[str], where: str) -> tuple[int, str, str]:
    """Run a command with `plugin_flags`; returns exit status, what the program printed, and the plugin's log.

    Args:
        build: The folder given to `plugin_flags`.
        command: The emulator.
        where: What it emulates, for the message.

    Raises:
        ExportError: It does not end within TIMEOUT_S.
    """
    log = build / "count.log"
    log.write_text("", encoding="utf-8")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"The program did not end within {TIMEOUT_S} s on {where}.") from error
    return done.returncode, done.stdout + done.stderr, log.read_text(encoding="utf-8")


def read_counts(log: str) -> tuple[Count, dict[int, Count]]:
    """Return the total and the layers of the first report in the plugin's log.

    Raises:
        ExportError: It counted nothing.
    """
    layers: dict[int, Count] = {}
    for line in log.splitlines():
        words = line.split()
        if words[:1] == ["layer"]:
            layers[int(words[1])] = _count(words[2:])
        elif words[:1] == ["counted"]:
            return _count(words[1:]), layers
    raise ExportError("The counting plugin of QEMU reported nothing.", "QEMU must be built with plugins, as Debian's is.")


def read_all_counts(log: str) -> list[Count]:
    """Return the totals of all reports in the plugin's log, in order."""
    return [_count(line.split()[1:]) for line in log.splitlines() if line.startswith("counted ")]


def _count(words: Sequence[str]) -> Count:
    return Count(instructions=int(words[0]), cycles=int(words[1]) if len(words) > 1 else None)


def layer_runs(manifest: Manifest, counts: dict[int, Count] | None) -> tuple[LayerRun, ...]:
    """Return every layer of a manifest with its count, zero for one that moves nothing; without counts if nothing was counted."""
    estimated = counts is not None and any(count.cycles is not None for count in counts.values())
    nothing = Count(instructions=0, cycles=0 if estimated else None)
    runs = []
    for step, entry in enumerate(manifest["layers"]):
        count = None if counts is None else counts.get(step, nothing)
        runs.append(LayerRun(layer=entry["name"], op=entry["op"], precision=entry["precision"], macs=entry["macs"], count=count))
    return tuple(runs)
