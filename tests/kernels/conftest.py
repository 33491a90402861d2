# SPDX-License-Identifier: Apache-2.0
"""Makes `tests` importable (pytest's importlib mode leaves sys.path alone), and compiles the kernels once."""

from __future__ import annotations

import ctypes
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.kernels.builds import BUILDS, build_library


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ctypes.CDLL]:
    """Every build whose compiler is here."""
    present, folder = [name for name, build in BUILDS.items() if build.present], tmp_path_factory.mktemp("kernels")
    if not present:
        pytest.skip("NEITHER GCC NOR CLANG: no kernel was run")
    with ThreadPoolExecutor() as pool:
        return dict(zip(present, pool.map(lambda name: build_library(folder, name), present), strict=True))
