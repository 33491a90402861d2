# SPDX-License-Identifier: Apache-2.0
"""The C program in kernels/measure: which files it consists of, and how it is built for this machine."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from mpsearch.export.compilers import find_compiler, run_compiler
from mpsearch.export.emit_project import WARNINGS
from mpsearch.export.kernel_library import KERNELS

HOST_ARENA_BYTES = 256 << 20
_NOT_IN_BUNDLES = "mps_requantize_array"


def measure_sources() -> tuple[Path, ...]:
    """Return the program without a port: its own files, the kernels and their references."""
    own = sorted((KERNELS / "measure").glob("measure*.c"))
    kernels = [*sorted((KERNELS / "src").glob("*.c")), *sorted((KERNELS / "ref").glob("*.c"))]
    return (*own, *(path for path in kernels if not path.stem.startswith(_NOT_IN_BUNDLES)))


def measure_flags(arena_bytes: int) -> tuple[str, ...]:
    """Return the options of every file of it.

    Args:
        arena_bytes: What a layer's weights, inputs, outputs and scratch may take.
    """
    folders = (KERNELS / "include", KERNELS / "ref", KERNELS / "measure")
    return (*(f"-I{folder}" for folder in folders), f"-DMEASURE_ARENA_BYTES={arena_bytes}")


def build_host_program(build: Path, compiler: str | None = None) -> Path:
    """Build the program for this machine, with the portable kernels of a bundle.

    Args:
        build: Folder for the program.
        compiler: "gcc" or "clang"; None for $CC or the machine's own.

    Raises:
        ExportError: There is no compiler, or it fails.
    """
    command, program = find_compiler(build, compiler), build / "measure"
    # -O3 as `mpsearch run` builds a bundle on this machine.
    described = f"{platform.machine()} {platform.system()}, {compiler_version(command)} -O3, the portable C kernels of a bundle"
    flags = [*WARNINGS, "-O3", *measure_flags(HOST_ARENA_BYTES), f'-DMEASURE_DESCRIPTION="{described}"']
    sources = [*measure_sources(), KERNELS / "measure" / "port_host.c"]
    run_compiler([*command, *flags, "-o", str(program), *map(str, sources)], "The program that measures layers")
    return program


def compiler_version(command: list[str]) -> str:
    """Return the first line of what a compiler says about itself; its name if it says nothing."""
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else command[0]
