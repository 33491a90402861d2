# SPDX-License-Identifier: Apache-2.0
"""The vector program under AddressSanitizer: every buffer a heap block of its own, so that a single byte read beyond it stops the program."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mpsearch.export.emit_project import WARNINGS
from tests.kernels.cases import WEIGHTED, KernelCase
from tests.kernels.choices import SeededChoices
from tests.kernels.vectors import DRIVER, FLAGS, KERNEL_SOURCES, random_cases, write_vectors

SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DMPS_HEAP")
PORTABLE = "-DMPS_PORTABLE"

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="NO GCC: AddressSanitizer watched no kernel")


Sanitized = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Sanitized:
    """Return what runs cases; driver and kernels are compiled once for each set of flags."""
    compiler = ["gcc", *FLAGS, *WARNINGS, "-Wpedantic", *SANITIZERS]

    @functools.cache
    def objects(flag: str) -> list[str]:
        folder = tmp_path_factory.mktemp("objects")
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda source: subprocess.run([*compiler, flag, "-c", str(source)], cwd=folder, check=True), (DRIVER, *KERNEL_SOURCES)))
        return [str(path) for path in sorted(folder.glob("*.o"))]

    def run(cases: Sequence[KernelCase], flag: str = PORTABLE) -> subprocess.CompletedProcess[str]:
        folder = tmp_path_factory.mktemp("vectors")
        subprocess.run([*compiler, "-o", str(folder / "run"), str(write_vectors(folder, cases)), *objects(flag)], check=True)
        return subprocess.run([str(folder / "run")], capture_output=True, text=True, check=False)

    return run


def short_case() -> KernelCase:
    return next(case for case in (WEIGHTED["linear"](SeededChoices(seed), 8) for seed in range(100)) if case.inputs[0].size > 20)


@pytest.mark.parametrize("flag", [PORTABLE, "-DMPS_EMULATE_SIMD"])
def test_no_kernel_reads_or_writes_outside_its_buffers(sanitized: Sanitized, flag: str) -> None:
    cases = random_cases(seed=1, each=40)
    done = sanitized(cases, flag)
    assert (done.returncode, done.stdout) == (0, f"{len(cases)} cases, 0 mismatches\n"), done.stdout + done.stderr


def test_one_byte_too_few_is_noticed(sanitized: Sanitized) -> None:
    case = short_case()
    assert case.packed is not None
    shorter = dataclasses.replace(case, packed=dataclasses.replace(case.packed, weights=case.packed.weights.ravel()[:-1]))
    done = sanitized([case, shorter])
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr


def test_one_wrong_value_is_reported(sanitized: Sanitized) -> None:
    case = short_case()
    wrong = case.expected.copy()
    wrong.flat[-1] ^= 1
    done = sanitized([case, dataclasses.replace(case, expected=wrong)])
    where = f"case 1, mps_linear, output {wrong.size - 1}: got {case.expected.flat[-1]}, wanted {wrong.flat[-1]}"
    assert (done.returncode, done.stdout) == (1, f"{where}\n2 cases, 1 mismatches\n")
    assert np.count_nonzero(wrong != case.expected) == 1
