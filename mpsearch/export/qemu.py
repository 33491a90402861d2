# SPDX-License-Identifier: Apache-2.0
"""Running a bundle on an emulated Cortex-M, and counting its instructions layer by layer.

The emulator executes the very instructions of the chip but knows nothing of its clock: instructions are exact and repeat, cycles are an estimate
(rules in kernels/qemu/count_plugin.c), and neither is a measurement on a chip.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mpsearch.errors import ExportError, nearest_names
from mpsearch.export.emit_project import ROUNDING_FLAGS
from mpsearch.export.host import find_compiler
from mpsearch.export.kernel_library import KERNELS
from mpsearch.export.manifest import Manifest, read_manifest

QEMU_SOURCES = KERNELS / "qemu"
PACKAGES = "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm gcc"
TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedCore:
    """How to build for a target and where to run it.

    Attributes:
        machine: QEMU's name of a board with that core.
        flags: Of the compiler.
    """

    machine: str
    flags: tuple[str, ...]


CORES: dict[str, EmulatedCore] = {
    "cortex-m4": EmulatedCore(machine="mps2-an386", flags=("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")),
    "cortex-m7": EmulatedCore(machine="mps2-an500", flags=("-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-d16")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What a stretch of a program executes.

    Attributes:
        instructions: Exact.
        cycles: Estimate for a Cortex-M4 without wait states.
    """

    instructions: int
    cycles: int


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


def run_on_target(folder: Path, target: str) -> TargetRun:
    """Build a bundle's self-test for a target, run it in QEMU and count its instructions.

    Args:
        folder: A bundle.
        target: "cortex-m4" or "cortex-m7".

    Raises:
        ExportError: Not a bundle, no test vectors, an unknown target, a missing tool, a program that does not fit the board or stops.
    """
    core = find_core(target)
    manifest = read_manifest(folder)
    check_tools(f"The bundle '{folder}' is complete and was kept.")
    with tempfile.TemporaryDirectory(prefix="mpsearch-qemu-") as name:
        build = Path(name)
        flags = ["-O2", *ROUNDING_FLAGS[manifest["rounding"]], f"-I{folder}"]
        sources = [folder / "selftest.c", _build_model(build, core, folder, flags)]
        sources += [folder / source for source in manifest["sources"] if source != "model.c"]
        program = build_program(build, core, sources, flags)
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
        layers=_layer_runs(manifest, layers),
    )


def find_core(target: str) -> EmulatedCore:
    """Return how a target is emulated.

    Raises:
        ExportError: It is not.
    """
    if target not in CORES:
        raise ExportError(f"There is no emulator for target '{target}'.", nearest_names(target, CORES))
    return CORES[target]


def check_tools(kept: str = "") -> None:
    """Check that the cross compiler and the emulator are there.

    Args:
        kept: What the user still has, for the message.

    Raises:
        ExportError: One is missing.
    """
    missing = [tool for tool in ("arm-none-eabi-gcc", "qemu-system-arm") if shutil.which(tool) is None]
    if missing:
        raise ExportError(f"Not in the PATH: {' and '.join(missing)}. {kept}".strip(), f"on Debian: apt-get install {PACKAGES}")


def build_plugin(build: Path) -> Path:
    """Compile the counting plugin of QEMU with the host's compiler.

    Raises:
        ExportError: There is no compiler, or it fails.
    """
    plugin = build / "count_plugin.so"
    command = [*find_compiler(build), "-O2", "-shared", "-fPIC", "-o", str(plugin), str(QEMU_SOURCES / "count_plugin.c")]
    _compile(command, "The counting plugin of QEMU")
    return plugin


def build_program(build: Path, core: EmulatedCore, sources: Sequence[Path], flags: Sequence[str]) -> Path:
    """Compile a program with our start-up for a board.

    Raises:
        ExportError: It does not compile, or does not fit the board's 4 MiB of code and 4 MiB of RAM.
    """
    program = build / "program.elf"
    command = ["arm-none-eabi-gcc", "-std=c11", *core.flags, *flags, "-ffunction-sections", "-Wl,--gc-sections", "-nostartfiles"]
    command += ["-T", str(QEMU_SOURCES / "cortex_m.ld"), "-o", str(program), str(QEMU_SOURCES / "startup.c"), *map(str, sources)]
    _compile(command, f"The program for {core.machine}")
    return program


def execute(build: Path, core: EmulatedCore, program: Path, plugin: Path) -> tuple[int, str, str]:
    """Run a program in QEMU.

    Returns:
        Exit status, what it printed, and the log of the plugin.

    Raises:
        ExportError: It does not end within TIMEOUT_S.
    """
    log = build / "count.log"
    log.write_text("", encoding="utf-8")
    command = ["qemu-system-arm", "-M", core.machine, "-nographic", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native", "-plugin", str(plugin), "-d", "plugin", "-D", str(log), "-kernel", str(program)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"The program did not end within {TIMEOUT_S} s on {core.machine}.") from error
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
            layers[int(words[1])] = Count(instructions=int(words[2]), cycles=int(words[3]))
        elif words[:1] == ["counted"]:
            return Count(instructions=int(words[1]), cycles=int(words[2])), layers
    raise ExportError("The counting plugin of QEMU reported nothing.", "QEMU must be built with plugins, as Debian's is.")


def _build_model(build: Path, core: EmulatedCore, folder: Path, flags: Sequence[str]) -> Path:
    """Compile model.c so that the function of each layer stays one, for the plugin to see; the kernels are compiled as on any chip."""
    model = build / "model.o"
    _compile(
        ["arm-none-eabi-gcc", "-std=c11", *core.flags, *flags, "-fno-inline", "-c", "-o", str(model), str(folder / "model.c")],
        "model.c",
    )
    return model


def _layer_runs(manifest: Manifest, counts: dict[int, Count]) -> tuple[LayerRun, ...]:
    nothing = Count(instructions=0, cycles=0)
    return tuple(
        LayerRun(layer=entry["name"], op=entry["op"], precision=entry["precision"], macs=entry["macs"], count=counts.get(step, nothing))
        for step, entry in enumerate(manifest["layers"])
    )


def _compile(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ExportError(f"{what} does not compile with {command[0]}:\n{done.stderr[-2000:]}")
