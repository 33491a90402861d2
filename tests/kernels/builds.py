# SPDX-License-Identifier: Apache-2.0
"""The C library and its references, compiled as the tests need them."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mpsearch.export.emit_project import ROUNDING_FLAGS, WARNINGS
from mpsearch.export.kernel_library import KERNELS
from mpsearch.records import Rounding

SOURCES = tuple(sorted((KERNELS / "src").glob("*.c")))
REFERENCES = tuple(sorted((KERNELS / "ref").glob("*.c")))
INCLUDES = (f"-I{KERNELS / 'include'}", f"-I{KERNELS / 'ref'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One way to compile.

    Attributes:
        compiler: Name of the compiler.
        flags: Its flags.
    """

    compiler: str
    flags: tuple[str, ...]

    @property
    def present(self) -> bool:
        """Whether the compiler is on this machine."""
        return shutil.which(self.compiler) is not None


_GCC_STOPS = ("-fsanitize=undefined", "-fno-sanitize-recover=all")
_CLANG_STOPS = ("-fsanitize=undefined", "-fsanitize-trap=undefined")  # a library that Python loads cannot bring clang's runtime

BUILDS: dict[str, Build] = {
    "gcc-O1": Build(compiler="gcc", flags=("-O1", *_GCC_STOPS)),
    "gcc-O2": Build(compiler="gcc", flags=("-O2", *_GCC_STOPS)),
    "gcc-simd": Build(compiler="gcc", flags=("-O1", *_GCC_STOPS, "-DMPS_EMULATE_SIMD")),
    "clang-O1": Build(compiler="clang", flags=("-O1", *_CLANG_STOPS)),
    "clang-simd": Build(compiler="clang", flags=("-O2", *_CLANG_STOPS, "-DMPS_EMULATE_SIMD")),
}
"""Undefined behaviour stops every build; "simd" takes the paths of Armv7E-M, with its instructions in C."""


def build_library(folder: Path, name: str, rounding: Rounding = "single") -> ctypes.CDLL:
    """Compile every kernel and every reference without a warning, and load them."""
    build, target = BUILDS[name], folder / f"kernels-{name}-{rounding}.so"
    command = [build.compiler, *WARNINGS, "-Wpedantic", "-shared", "-fPIC", *build.flags, *ROUNDING_FLAGS[rounding], *INCLUDES, "-o", str(target)]
    subprocess.run([*command, *map(str, (*SOURCES, *REFERENCES))], check=True)
    return ctypes.CDLL(str(target))
