# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.errors import QuantizationError
from mpsearch.export.kernel_library import KERNELS
from mpsearch.quant import native
from mpsearch.quant.requantize import requantize
from mpsearch.records import Requantize, Rounding

ONE = Requantize(multiplier=np.array([1 << 30]), right_shift=np.array([1]))


@pytest.fixture(scope="module", params=["gcc", "clang"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The native library, built as the package builds it, in place of the package's own."""
    if shutil.which(request.param) is None:
        pytest.skip(f"NO {request.param.upper()}: the native library was not built with it")
    path = tmp_path_factory.mktemp("native") / "_mps_native.so"
    sources = [str(source) for source in sorted((KERNELS / "src").glob("*.c"))]
    flags = ["-std=c11", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror"]
    subprocess.run([request.param, *flags, f"-I{KERNELS / 'include'}", "-o", str(path), *sources], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "LIBRARY", path)
        native.native_library.cache_clear()
        yield path
    native.native_library.cache_clear()


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 9),
    channels=st.integers(1, 70),
    left_shift=st.integers(0, 30),
    per_channel=st.booleans(),
    floats=st.booleans(),
    zero_point=st.integers(-128, 127),
    rounding=st.sampled_from(get_args(Rounding)),
)
def test_native_requantization_equals_the_reference_bit_for_bit(
    library: Path, seed: int, rows: int, channels: int, left_shift: int, per_channel: bool, floats: bool, zero_point: int, rounding: Rounding
) -> None:
    random = np.random.default_rng(seed)
    count = channels if per_channel else 1
    params = Requantize(multiplier=random.integers(1 << 30, 1 << 31, count), right_shift=random.integers(1, 32, count), left_shift=left_shift)
    reach = min(1 << (31 - left_shift), 1 << 24) if floats else 1 << (31 - left_shift)
    values = random.integers(-reach, reach, (rows, channels))
    values.flat[:2] = (-reach, reach - 1)[: values.size]
    expected = requantize(values, params, zero_point, -128, 127, rounding)
    accumulator = values.astype(np.float32) if floats else values.astype(np.int32)
    np.testing.assert_array_equal(native.native_requantize(accumulator, params, zero_point, -128, 127, rounding), expected)


def test_rounding_is_half_up_for_both_signs(library: Path) -> None:
    # multiplier 2^30 and shift 1: scale 2^-3, so 4 / 8 = 0.5 rounds to 1 and -4 / 8 = -0.5 rounds to 0.
    values = np.array([[-12, -5, -4, -3, 3, 4, 12]], dtype=np.int32)
    assert native.native_requantize(values, ONE, 0, -128, 127).tolist() == [[-1, -1, 0, 0, 0, 1, 2]]


def test_arrays_of_another_kind_are_refused(library: Path) -> None:
    two = Requantize(multiplier=np.array([1 << 30] * 2), right_shift=np.array([1, 1]))
    for array, params in [(np.zeros((2, 3)), ONE), (np.zeros((3, 2), dtype=np.int32).T, ONE), (np.zeros((2, 3), dtype=np.int32), two)]:
        with pytest.raises(QuantizationError, match="wanted contiguous float32 or int32 with the channels last"):
            native.native_requantize(array, params, 0, -128, 127)


def test_a_package_without_the_library_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "missing.so")
    native.native_library.cache_clear()
    assert native.native_library() is None
    with pytest.raises(QuantizationError, match=r"There is no native library at .*missing\.so"):
        native.native_requantize(np.zeros((1, 1), dtype=np.int32), ONE, 0, -128, 127)
    native.native_library.cache_clear()
