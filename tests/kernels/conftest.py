# SPDX-License-Identifier: Apache-2.0
"""The native library as both compilers build it, once a session."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mpsearch.export.kernel_library import KERNELS
from tests.kernels.host_reference import SOURCES, WARNINGS


@pytest.fixture(scope="session", params=["gcc", "clang"])
def built_library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library, built as the package builds it; warnings are errors."""
    compiler = request.param
    if shutil.which(compiler) is None:
        pytest.skip(f"NO {compiler.upper()}: the host kernels were not built with it")
    path: Path = tmp_path_factory.mktemp("native") / "_mps_native.so"
    command = [compiler, *WARNINGS, "-O3", "-shared", "-fPIC", f"-I{KERNELS / 'include'}", "-o", str(path), *SOURCES]
    subprocess.run(command, check=True)
    return path
