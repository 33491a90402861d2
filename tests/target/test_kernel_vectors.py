# SPDX-License-Identifier: Apache-2.0
"""The vectors of tests/kernels on every emulated core, by every compiler that can make code for it: each kernel equals the NumPy interpreter."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mpsearch.errors import ExportError
from mpsearch.export.cores import COMPILERS, CORES, check_tools
from mpsearch.export.qemu import build_plugin, build_program, compile_source, execute
from tests.kernels.cases import KernelCase
from tests.kernels.vectors import DRIVER, FLAGS, KERNEL_SOURCES, random_cases, write_vectors

EACH = 30
OTHER_PATHS = ("cortex-m0", "cortex-m4", "cortex-m55", "rv32")
"""Cores of which no two run the same code."""

Objects = Callable[[str, str, str], list[Path]]


@pytest.fixture(scope="module")
def cases() -> list[KernelCase]:
    return random_cases(seed=2, each=EACH)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_plugin(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """Return what compiles driver and kernels for a core, once."""

    @functools.cache
    def compile_all(target: str, compiler: str, level: str) -> list[Path]:
        folder = tmp_path_factory.mktemp("objects")
        return [compile_source(folder, CORES[target], source, [*FLAGS, level], compiler) for source in (DRIVER, *KERNEL_SOURCES)]

    return compile_all


def run_on_core(
    build: Path, target: str, compiler: str, cases: Sequence[KernelCase], plugin: Path, objects: Objects, level: str = "-O2"
) -> tuple[int, str]:
    core = CORES[target]
    try:
        check_tools(core, compiler)
    except ExportError as error:
        pytest.skip(f"NOTHING WAS RUN ON {target.upper()} BY {compiler.upper()}: {error}")
    program = build_program(build, core, [write_vectors(build, cases), *objects(target, compiler, level)], [], compiler)
    status, printed, _ = execute(build, core, program, plugin)
    return status, printed.strip()


@pytest.mark.target
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("target", CORES)
def test_every_kernel_equals_the_interpreter_on_every_core(
    target: str, compiler: str, cases: list[KernelCase], plugin: Path, objects: Objects, tmp_path: Path
) -> None:
    status, printed = run_on_core(tmp_path, target, compiler, cases, plugin, objects)
    assert (status, printed) == (0, f"{len(cases)} cases, 0 mismatches")


@pytest.mark.target
@pytest.mark.parametrize("level", ["-Os", "-O3"])
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("target", OTHER_PATHS)
def test_kernels_stay_exact_at_other_levels_of_optimisation(
    target: str, compiler: str, level: str, cases: list[KernelCase], plugin: Path, objects: Objects, tmp_path: Path
) -> None:
    assert run_on_core(tmp_path, target, compiler, cases, plugin, objects, level) == (0, f"{len(cases)} cases, 0 mismatches")


@pytest.mark.target
@pytest.mark.parametrize("target", CORES)
def test_a_core_reports_the_value_that_differs(target: str, cases: list[KernelCase], plugin: Path, objects: Objects, tmp_path: Path) -> None:
    case = cases[-1]
    wrong = case.expected.copy()
    wrong.flat[0] ^= 1
    status, printed = run_on_core(tmp_path, target, "gcc", [case, dataclasses.replace(case, expected=wrong)], plugin, objects)
    where = f"case 1, {case.function}, output 0: got {case.expected.flat[0]}, wanted {wrong.flat[0]}"
    assert (status, printed) == (1, f"{where}\n2 cases, 1 mismatches")
