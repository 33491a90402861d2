# SPDX-License-Identifier: Apache-2.0
"""Running a bundle on an emulated core, and counting its instructions layer by layer.

The emulator executes the very instructions of the chip but knows nothing of its clock: instructions are exact and repeat, cycles are an estimate
(rules in kernels/qemu/count_plugin.c), and neither is a measurement on a chip.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mpsearch.errors import ExportError
from mpsearch.export.compilers import run_compiler
from mpsearch.export.cores import EmulatedCore, check_tools, compile_command, find_core, link_command, overflow, tool_versions
from mpsearch.export.counting import QEMU_SOURCES, TargetRun, build_plugin, layer_runs, plugin_flags, read_counts, run_emulator
from mpsearch.export.emit_project import ROUNDING_FLAGS
from mpsearch.export.manifest import read_manifest


def run_on_target(folder: Path, target: str, compiler: str = "gcc") -> TargetRun:
    """Build a bundle's self-test for a target, run it in QEMU and count its instructions.

    Args:
        folder: A bundle.
        target: One of CORES.
        compiler: One of COMPILERS.

    Raises:
        ExportError: Not a bundle, no test vectors, an unknown target, a missing tool, a program that does not fit the board or stops.
    """
    core = find_core(target)
    manifest = read_manifest(folder)
    check_tools(core, compiler, f"The bundle '{folder}' is complete and was kept.")
    with tempfile.TemporaryDirectory(prefix="mpsearch-qemu-") as name:
        build = Path(name)
        # The function of each layer stays one, for the plugin to see; the kernels are compiled as on any chip.
        flags = ["-O2", *ROUNDING_FLAGS[manifest["rounding"]], f"-I{folder}"]
        model = compile_source(build, core, folder / "model.c", [*flags, "-fno-inline"], compiler)
        sources = [folder / "selftest.c", model, *(folder / source for source in manifest["sources"] if source != "model.c")]
        program = build_program(build, core, sources, flags, compiler)
        status, text, log = execute(build, core, program, build_plugin(build))
    found = re.search(r"(\d+) vectors, (\d+) mismatches", text)
    if status not in (0, 1) or found is None:
        raise ExportError(f"The self-test of bundle '{folder}' stopped with {status} on {target}:\n{text[-2000:]}")
    if int(found[1]) == 0:
        raise ExportError(f"The bundle '{folder}' has no test vectors: nothing was run on {target}.", "export it with vectors.")
    total, layers = read_counts(log)
    return TargetRun(
        target=target,
        vectors=int(found[1]),
        mismatches=int(found[2]),
        report=text.strip(),
        macs=manifest["macs"],
        count=total,
        layers=layer_runs(manifest, layers),
        tools=tool_versions(core, compiler),
    )


def compile_source(build: Path, core: EmulatedCore, source: Path, flags: Sequence[str], compiler: str = "gcc") -> Path:
    """Compile one C file for a core.

    Raises:
        ExportError: It does not compile.
    """
    target = build / f"{source.stem}.o"
    run_compiler([*compile_command(core, compiler), *flags, "-ffunction-sections", "-o", str(target), str(source)], source.name)
    return target


def build_program(build: Path, core: EmulatedCore, sources: Sequence[Path], flags: Sequence[str], compiler: str = "gcc") -> Path:
    """Build a program with our start-up for a board, from C files and objects.

    Raises:
        ExportError: It does not compile, or does not fit the board's memory.
    """
    program = build / "program.elf"
    everything = [QEMU_SOURCES / core.toolchain.start, *sources]
    objects = [source if source.suffix == ".o" else compile_source(build, core, source, flags, compiler) for source in everything]
    command = [*link_command(core), "-T", str(QEMU_SOURCES / "board.ld"), "-o", str(program), *map(str, objects)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        excess = overflow(core, done.stderr)
        if excess:
            raise ExportError(
                f"The program does not fit the board {core.machine}: it needs {excess}.", "choose another target, or fewer bits or a smaller network."
            )
        raise ExportError(f"The program for {core.machine} cannot be linked with {command[0]}:\n{done.stderr[-2000:]}")
    return program


def execute(build: Path, core: EmulatedCore, program: Path, plugin: Path) -> tuple[int, str, str]:
    """Run a program in QEMU.

    Returns:
        Exit status, what it printed, and the log of the plugin.

    Raises:
        ExportError: It does not end within TIMEOUT_S.
    """
    command = [core.toolchain.emulator, "-M", core.machine, *core.emulator_flags, "-nographic", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native", *plugin_flags(build, plugin, core.estimates_cycles), "-kernel", str(program)]
    return run_emulator(build, command, core.machine)
