# SPDX-License-Identifier: Apache-2.0
"""The cores that QEMU emulates: flags of the compilers, boards, and the tools and packages that each needs."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from mpsearch.errors import ExportError, nearest_names
from mpsearch.export.compilers import host_compiler, tool_version

COMPILERS = ("gcc", "clang")
CLANGS = ("clang-19", "clang")
"""Looked for in this order: clang 14, Debian 12's own, has faults in MVE."""

CYCLES_OF = "cortex-m4"
"""The core whose cycles the counting plugin estimates; of others with its instructions the estimate says only how they compare with it."""

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """What an instruction set needs.

    Attributes:
        gcc: The cross compiler; it also links what clang compiles, with its C library.
        gcc_package: Debian's package of it.
        library_flags: Of gcc, to find the C library.
        library_package: Debian's package of the C library.
        clang_target: For clang's --target.
        emulator: QEMU's program.
        emulator_package: Debian's package of it.
        start: Our start-up code in kernels/qemu.
    """

    gcc: str
    gcc_package: str
    library_flags: tuple[str, ...]
    library_package: str
    clang_target: str
    emulator: str
    emulator_package: str
    start: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A stretch of a board's memory."""

    origin: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedCore:
    """How to build for a target and where to run it.

    Attributes:
        toolchain: Compiler, library and emulator.
        machine: QEMU's name of a board with that core.
        flags: Of both compilers.
        emulator_flags: Of the emulator, besides the machine.
        start_origin: Where the vector table, or the first instruction, lies.
        code: Instructions and constants.
        ram: Everything else.
        estimates_cycles: Whether the rules of kernels/qemu/count_plugin.c say something about this core.
    """

    toolchain: Toolchain
    machine: str
    flags: tuple[str, ...]
    start_origin: int
    code: Memory
    ram: Memory
    emulator_flags: tuple[str, ...] = ()
    estimates_cycles: bool = False


_ARM = Toolchain(
    gcc="arm-none-eabi-gcc",
    gcc_package="gcc-arm-none-eabi",
    library_flags=(),
    library_package="libnewlib-arm-none-eabi",
    clang_target="arm-none-eabi",
    emulator="qemu-system-arm",
    emulator_package="qemu-system-arm",
    start="start_arm.c",
)
_RISCV = Toolchain(
    gcc="riscv64-unknown-elf-gcc",
    gcc_package="gcc-riscv64-unknown-elf",
    library_flags=("--specs=picolibc.specs",),
    library_package="picolibc-riscv64-unknown-elf",
    clang_target="riscv32-unknown-elf",
    emulator="qemu-system-riscv32",
    emulator_package="qemu-system-misc",
    start="start_riscv.c",
)


def _mps2(machine: str, flags: tuple[str, ...], estimates_cycles: bool) -> EmulatedCore:
    """A board with 4 MiB at 0, of which the first KiB holds the vectors, and 4 MiB of RAM."""
    return EmulatedCore(
        toolchain=_ARM,
        machine=machine,
        flags=("-mthumb", *flags),
        start_origin=0,
        code=Memory(origin=1024, size_bytes=4 * _MIB - 1024),
        ram=Memory(origin=0x20000000, size_bytes=4 * _MIB),
        estimates_cycles=estimates_cycles,
    )


CORES: dict[str, EmulatedCore] = {
    # QEMU has no board of this size with a Cortex-M0; a Cortex-M3 executes the same instructions (start_arm.c: unaligned ones fault).
    "cortex-m0": _mps2("mps2-an385", ("-mcpu=cortex-m0",), estimates_cycles=False),
    "cortex-m3": _mps2("mps2-an385", ("-mcpu=cortex-m3",), estimates_cycles=False),
    "cortex-m4": _mps2("mps2-an386", ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"), estimates_cycles=True),
    "cortex-m7": _mps2("mps2-an500", ("-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-d16"), estimates_cycles=True),
    # The tightly coupled memories of this board hold 512 KiB each: only the vectors lie there.
    "cortex-m55": EmulatedCore(
        toolchain=_ARM,
        machine="mps3-an547",
        flags=("-mthumb", "-mcpu=cortex-m55", "-mfloat-abi=hard"),
        start_origin=0,
        code=Memory(origin=0x28000000, size_bytes=8 * _MIB),
        ram=Memory(origin=0x21000000, size_bytes=4 * _MIB),
    ),
    "rv32": EmulatedCore(
        toolchain=_RISCV,
        machine="virt",
        emulator_flags=("-bios", "none"),
        flags=("-march=rv32imac", "-mabi=ilp32", "-mcmodel=medany"),
        start_origin=0x80000000,
        code=Memory(origin=0x80000400, size_bytes=8 * _MIB - 1024),
        ram=Memory(origin=0x80800000, size_bytes=8 * _MIB),
    ),
}


def find_core(target: str) -> EmulatedCore:
    """Return how a target is emulated.

    Raises:
        ExportError: It is not.
    """
    if target not in CORES:
        raise ExportError(f"There is no emulator for target '{target}'.", nearest_names(target, ("host", *CORES)))
    return CORES[target]


def check_tools(core: EmulatedCore, compiler: str = "gcc", kept: str = "") -> None:
    """Check that the compiler, its C library and the emulator of a core are there, and the host's compiler for the counting plugin.

    Args:
        core: The core.
        compiler: One of COMPILERS.
        kept: What the user still has, for the message.

    Raises:
        ExportError: One is missing; the hint names the packages that are, and only those.
    """
    tools = core.toolchain
    wanted = {tools.gcc: tools.gcc_package, tools.emulator: tools.emulator_package}
    missing = {tool: package for tool, package in wanted.items() if shutil.which(tool) is None}
    if compiler == "clang" and find_clang() is None:
        missing[" or ".join(CLANGS)] = "clang"
    if host_compiler() is None:
        missing["a C compiler of this machine, for the counting plugin"] = "gcc libc6-dev"
    lacks = f"Not in the PATH: {', '.join(missing)}." if missing else f"{tools.gcc} finds no C library (stdio.h)."
    packages = [*missing.values(), *([tools.library_package] if library_headers(core) is None else [])]
    if packages:
        raise ExportError(f"{lacks} {kept}".strip(), f"on Debian: apt-get install {' '.join(packages)}")


def tool_versions(core: EmulatedCore, compiler: str = "gcc") -> tuple[str, ...]:
    """Return what the compiler and the emulator of a core say about their versions, a line each; their names alone if they say nothing.

    Args:
        core: The core; its tools must be there.
        compiler: One of COMPILERS.
    """
    return tuple(tool_version(tool) for tool in (core.toolchain.gcc if compiler == "gcc" else find_clang() or compiler, core.toolchain.emulator))


def find_clang() -> str | None:
    """Return the command of clang, if there is one."""
    return next((name for name in CLANGS if shutil.which(name)), None)


def library_headers(core: EmulatedCore) -> str | None:
    """Return the folder of the C library's headers as the cross gcc knows it; None without them, or without gcc."""
    tools = core.toolchain
    if shutil.which(tools.gcc) is None:
        return None
    command = [tools.gcc, *tools.library_flags, *core.flags, "-E", "-x", "c", "-"]
    done = subprocess.run(command, input="#include <stdio.h>\n", capture_output=True, text=True, check=False)
    found = re.search(r'^# 1 "(.*)/stdio\.h"', done.stdout, re.MULTILINE)
    return found[1] if found and done.returncode == 0 else None


def compile_command(core: EmulatedCore, compiler: str = "gcc") -> list[str]:
    """Return the start of a command that compiles one C file to an object.

    Args:
        core: The core; its tools must be there.
        compiler: "gcc", or "clang" with the headers of gcc's C library.
    """
    tools = core.toolchain
    if compiler == "gcc":
        return [tools.gcc, *tools.library_flags, "-std=c11", *core.flags, "-c"]
    return [find_clang() or "clang", f"--target={tools.clang_target}", "-std=c11", *core.flags, "-isystem", str(library_headers(core)), "-c"]


def link_command(core: EmulatedCore) -> list[str]:
    """Return the start of a command that links objects for a core's board."""
    places = {
        "start_origin": core.start_origin,
        "code_origin": core.code.origin,
        "code_bytes": core.code.size_bytes,
        "ram_origin": core.ram.origin,
        "ram_bytes": core.ram.size_bytes,
    }
    symbols = [f"-Wl,--defsym={name}={value:#x}" for name, value in places.items()]
    return [core.toolchain.gcc, *core.toolchain.library_flags, *core.flags, "-nostartfiles", "-Wl,--gc-sections", *symbols]


def overflow(core: EmulatedCore, messages: str) -> str:
    """Return what does not fit the board, with its sizes, from the linker's messages; "" if something else went wrong."""
    sizes = (("CODE", "code and constants", core.code), ("RAM", "RAM", core.ram))
    found = []
    for region, title, memory in sizes:
        excess = re.search(rf"region `{region}' overflowed by (\d+) bytes", messages)
        if excess:
            found.append(f"{memory.size_bytes + int(excess[1])} bytes of {title}, where the board has {memory.size_bytes}")
    return " and ".join(found)
