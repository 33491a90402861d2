# SPDX-License-Identifier: Apache-2.0
"""No kernel loads a byte beyond the arrays it is given: they end where memory does, and the next byte is a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpsearch.export.cores import COMPILERS, CORES
from mpsearch.export.kernel_library import KERNELS, kernel_files
from mpsearch.export.qemu import build_plugin, build_program, execute
from tests.target.emulated import lacking, on_cores

HERE = Path(__file__).resolve().parent
FAULT = 99
"""Exit status of a program that took one (kernels/qemu/start_*.c)."""

ENDS = {"cortex-m55": 0x21400000, "rv32": 0x88000000}
"""Where the memory of a board ends; on QEMU's boards for other cores, loads beyond it give zeros."""


def run(build: Path, target: str, compiler: str, *flags: str) -> tuple[int, str]:
    core = CORES[target]
    sources = [HERE / "last_bytes.c", KERNELS / "ref" / "mps_linear_ref.c", *(path for path in kernel_files(["mps_linear"]) if path.suffix == ".c")]
    options = ["-O2", f"-DMEMORY_END={ENDS[target]:#x}u", f"-I{KERNELS / 'include'}", f"-I{KERNELS / 'ref'}", *flags]
    program = build_program(build, core, sources, options, compiler)
    status, printed, _ = execute(build, core, program, build_plugin(build))
    return status, printed.strip()


@pytest.mark.parametrize("target", on_cores(ENDS))
@pytest.mark.parametrize("compiler", COMPILERS)
def test_dense_layers_load_nothing_beyond_their_arrays(target: str, compiler: str, tmp_path: Path) -> None:
    lacks = lacking(target, compiler)
    if lacks:
        pytest.skip(f"NOTHING WAS RUN ON {target.upper()} BY {compiler.upper()}: {lacks}")
    assert run(tmp_path, target, compiler) == (0, "532 cases, 0 wrong")


@pytest.mark.parametrize("target", on_cores(ENDS))
def test_the_byte_beyond_the_end_of_memory_is_a_fault(target: str, tmp_path: Path) -> None:
    assert run(tmp_path, target, "gcc", "-DBEYOND")[0] == FAULT
