# SPDX-License-Identifier: Apache-2.0
"""Makes `tests` importable (pytest's importlib mode leaves sys.path alone), and compiles the kernels once."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mpsearch.records import Rounding
from tests.kernels import host_reference
from tests.kernels.builds import BUILDS, build_library


def build_all(folder: Path, names: Iterable[str], rounding: Rounding = "single") -> dict[str, ctypes.CDLL]:
    present = [name for name in names if BUILDS[name].present]
    if not present:
        pytest.skip("NEITHER GCC NOR CLANG: no kernel was run")
    with ThreadPoolExecutor() as pool:
        return dict(zip(present, pool.map(lambda name: build_library(folder, name, rounding), present), strict=True))


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ctypes.CDLL]:
    """Every build whose compiler is here."""
    return build_all(tmp_path_factory.mktemp("kernels"), BUILDS)


@pytest.fixture(scope="session")
def twice_rounding(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ctypes.CDLL]:
    """Both code paths, rounding as TensorFlow Lite does by default."""
    return build_all(tmp_path_factory.mktemp("twice"), ("gcc-O1", "gcc-simd", "clang-simd"), "tflite_double")


@pytest.fixture(scope="session", params=["gcc", "clang"])
def built_library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The native library, host kernels included, built as the package builds it; warnings are errors."""
    compiler = request.param
    if shutil.which(compiler) is None:
        pytest.skip(f"NO {compiler.upper()}: the host kernels were not built with it")
    path: Path = tmp_path_factory.mktemp("native") / "_mps_native.so"
    sources, include = host_reference.SOURCES, f"-I{host_reference.KERNELS / 'include'}"
    subprocess.run([compiler, *host_reference.WARNINGS, "-O3", "-shared", "-fPIC", include, "-o", str(path), *sources], check=True)
    return path
