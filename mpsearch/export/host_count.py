# SPDX-License-Identifier: Apache-2.0
"""A bundle's self-test on this machine: checked and timed as it is, counted in QEMU's emulation of the same instruction set."""

from __future__ import annotations

import platform
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from mpsearch.export.compilers import tool_version
from mpsearch.export.counting import TargetRun, build_plugin, layer_runs, plugin_flags, read_counts, run_emulator
from mpsearch.export.emit_project import TIMER, with_input_bytes
from mpsearch.export.host import compile_for_host, execute_on_host, run_host_compiler
from mpsearch.export.manifest import Manifest, read_manifest

EMULATORS = {"x86_64": "qemu-x86_64", "aarch64": "qemu-aarch64", "riscv64": "qemu-riscv64"}
"""QEMU's program for the processes of a Linux machine."""


def run_on_host(folder: Path, compiler: str | None = None) -> TargetRun:
    """Build a bundle's self-test for this machine, run it, time the model and count its instructions where QEMU can.

    Args:
        folder: A bundle.
        compiler: "gcc" or "clang"; None for $CC or the machine's own.

    Raises:
        ExportError: Not a bundle, no compiler, or outputs that differ.
    """
    manifest = read_manifest(folder)
    with tempfile.TemporaryDirectory(prefix="mpsearch-run-") as name:
        build = Path(name)
        command = compile_for_host(folder, manifest, compiler)
        objects = _compile_sources(command, folder, manifest, build)
        program, timer = build / "selftest", build / "timer"
        run_host_compiler([*command, "-o", str(program), str(folder / "selftest.c"), *objects], folder)
        report = execute_on_host([str(program)], folder).strip()
        vectors = int(report.split()[0])
        if vectors == 0:
            return _target_run(
                manifest, report, None, None, (tool_version(command[0]),), "nothing was timed or counted: the bundle has no test vectors"
            )
        (build / "timer.c").write_text(with_input_bytes(TIMER, len(manifest["inputs"])), encoding="utf-8")
        run_host_compiler([*command, "-o", str(timer), str(build / "timer.c"), *objects], folder)
        seconds = statistics.median(int(line) for line in execute_on_host([str(timer)], folder).split()) / 1e9
        log, note = _count(build, program)
    tools = (tool_version(command[0]), *([tool_version(EMULATORS[platform.machine()])] if log is not None else []))
    return _target_run(manifest, report, seconds, log, tools, note)


def _compile_sources(command: list[str], folder: Path, manifest: Manifest, build: Path) -> list[str]:
    """Compile everything but the mains; in model.c the function of each layer stays one, for the plugin to see."""
    objects = []
    for source in manifest["sources"]:
        target = build / f"{Path(source).stem}.o"
        apart = ["-fno-inline"] if source == "model.c" else []
        run_host_compiler([*command, *apart, "-c", "-o", str(target), str(folder / source)], folder)
        objects.append(str(target))
    return objects


def _count(build: Path, program: Path) -> tuple[str | None, str]:
    """Return the plugin's log, or None and why there is none."""
    emulator = EMULATORS.get(platform.machine()) if sys.platform == "linux" else None
    if emulator is None:
        return None, f"instructions were not counted: QEMU emulates no processes of {sys.platform} on {platform.machine()}"
    if shutil.which(emulator) is None:
        return None, f"instructions were not counted: {emulator} is not in the PATH; on Debian: apt-get install qemu-user"
    command = [emulator, "-cpu", "max", *plugin_flags(build, build_plugin(build), estimates_cycles=False), str(program)]
    status, text, log = run_emulator(build, command, emulator)
    if status != 0:
        return None, f"instructions were not counted: {emulator} stopped with {status}: {text[-300:].strip()}"
    return log, ""


def _target_run(manifest: Manifest, report: str, seconds: float | None, log: str | None, tools: tuple[str, ...], note: str) -> TargetRun:
    total, layers = read_counts(log) if log is not None else (None, None)
    return TargetRun(
        target="host",
        vectors=int(report.split()[0]),
        mismatches=0,
        report=report,
        macs=manifest["macs"],
        count=total,
        layers=layer_runs(manifest, layers),
        seconds=seconds,
        notes=(note,) if note else (),
        tools=tools,
    )
