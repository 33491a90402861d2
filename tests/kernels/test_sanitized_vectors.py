# SPDX-License-Identifier: Apache-2.0
"""The vector program under AddressSanitizer: every buffer a heap block of its own, so that a single byte read beyond it stops the program."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mpsearch.export.emit_project import WARNINGS
from tests.kernels.cases import WEIGHTED, KernelCase
from tests.kernels.choices import SeededChoices
from tests.kernels.vectors import DRIVER, FLAGS, KERNEL_SOURCES, random_cases, write_vectors

SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DMPS_HEAP")

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="NO GCC: AddressSanitizer watched no kernel")


def run_sanitized(folder: Path, cases: Sequence[KernelCase], *flags: str) -> subprocess.CompletedProcess[str]:
    program, vectors = folder / "vectors", write_vectors(folder, cases)
    command = ["gcc", *FLAGS, *WARNINGS, "-Wpedantic", *SANITIZERS, *flags, "-o", str(program)]
    subprocess.run([*command, *map(str, (vectors, DRIVER, *KERNEL_SOURCES))], check=True)
    return subprocess.run([str(program)], capture_output=True, text=True, check=False)


def short_case() -> KernelCase:
    return next(case for case in (WEIGHTED["linear"](SeededChoices(seed), 8) for seed in range(100)) if case.inputs[0].size > 20)


@pytest.mark.parametrize("flags", [(), ("-DMPS_EMULATE_SIMD",)], ids=["portable", "simd"])
def test_no_kernel_reads_or_writes_outside_its_buffers(tmp_path: Path, flags: tuple[str, ...]) -> None:
    cases = random_cases(seed=1, each=40)
    done = run_sanitized(tmp_path, cases, *flags)
    assert (done.returncode, done.stdout) == (0, f"{len(cases)} cases, 0 mismatches\n"), done.stdout + done.stderr


def test_one_byte_too_few_is_noticed(tmp_path: Path) -> None:
    case = short_case()
    assert case.packed is not None
    shorter = dataclasses.replace(case, packed=dataclasses.replace(case.packed, weights=case.packed.weights.ravel()[:-1]))
    done = run_sanitized(tmp_path, [case, shorter])
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr


def test_one_wrong_value_is_reported(tmp_path: Path) -> None:
    case = short_case()
    wrong = case.expected.copy()
    wrong.flat[-1] ^= 1
    done = run_sanitized(tmp_path, [case, dataclasses.replace(case, expected=wrong)])
    where = f"case 1, mps_linear, output {wrong.size - 1}: got {case.expected.flat[-1]}, wanted {wrong.flat[-1]}"
    assert (done.returncode, done.stdout) == (1, f"{where}\n2 cases, 1 mismatches\n")
    assert np.count_nonzero(wrong != case.expected) == 1
