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
from dataclasses import dataclass
from pathlib import Path

from mpsearch.errors import ExportError
from mpsearch.export.cores import EmulatedCore, check_tools, compile_command, find_core, link_command, overflow
from mpsearch.export.emit_project import ROUNDING_FLAGS
from mpsearch.export.host import find_compiler
from mpsearch.export.kernel_library import KERNELS
from mpsearch.export.manifest import Manifest, read_manifest

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
        count: Its instructions; zero for a layer that moves nothing.
    """

    layer: str
    op: str
    precision: str
    macs: int
    count: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRun:
    """A bundle's self-test on an emulated target.

    Attributes:
        target: Name of the target.
        vectors: Test vectors that ran.
        mismatches: Output values that differ from the vectors; 0 is success.
        report: What the self-test printed.
        macs: Multiply-accumulates of one inference.
        count: Of the first inference, the calls between the layers included.
        layers: In execution order; of the first inference.
    """

    target: str
    vectors: int
    mismatches: int
    report: str
    macs: int
    count: Count
    layers: tuple[LayerRun, ...]


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
        flags = ["-O2", *ROUNDING_FLAGS[manifest["rounding"]], f"-I{folder}"]
        # The function of each layer stays one, for the plugin to see; the kernels are compiled as on any chip.
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
    )


def build_plugin(build: Path) -> Path:
    """Compile the counting plugin of QEMU with the host's compiler.

    Raises:
        ExportError: There is no compiler, or it fails.
    """
    plugin = build / "count_plugin.so"
    command = [*find_compiler(build), "-O2", "-shared", "-fPIC", "-o", str(plugin), str(QEMU_SOURCES / "count_plugin.c")]
    _compile(command, "The counting plugin of QEMU")
    return plugin


def compile_source(build: Path, core: EmulatedCore, source: Path, flags: Sequence[str], compiler: str = "gcc") -> Path:
    """Compile one C file for a core.

    Raises:
        ExportError: It does not compile.
    """
    target = build / f"{source.stem}.o"
    _compile([*compile_command(core, compiler), *flags, "-ffunction-sections", "-o", str(target), str(source)], source.name)
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


def plugin_flags(build: Path, plugin: Path, estimates_cycles: bool) -> list[str]:
    """Return the options that make any QEMU count; it writes to the folder's count.log."""
    return ["-plugin", f"{plugin},cycles=on" if estimates_cycles else str(plugin), "-d", "plugin", "-D", str(build / "count.log")]


def run_emulator(build: Path, command: Sequence[str], where: str) -> tuple[int, str, str]:
    """Run a command with `plugin_flags`; returns exit status, what the program printed, and the plugin's log.

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


def _count(words: Sequence[str]) -> Count:
    return Count(instructions=int(words[0]), cycles=int(words[1]) if len(words) > 1 else None)


def layer_runs(manifest: Manifest, counts: dict[int, Count]) -> tuple[LayerRun, ...]:
    """Return every layer of a manifest with its count: zero for one that moves nothing."""
    nothing = Count(instructions=0, cycles=0 if any(count.cycles is not None for count in counts.values()) else None)
    return tuple(
        LayerRun(layer=entry["name"], op=entry["op"], precision=entry["precision"], macs=entry["macs"], count=counts.get(step, nothing))
        for step, entry in enumerate(manifest["layers"])
    )


def _compile(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ExportError(f"{what} does not compile with {command[0]}:\n{done.stderr[-2000:]}")
