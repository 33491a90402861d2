# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.errors import QuantizationError
from mpsearch.quant import native
from mpsearch.quant.native import native_library, native_requantize
from mpsearch.quant.requantize import requantize, requantize_params
from mpsearch.records import Rounding

ROUNDINGS = st.sampled_from(get_args(Rounding))

needs_library = pytest.mark.skipif(native_library() is None, reason="NO NATIVE LIBRARY: mpsearch was installed without a C compiler")


@needs_library
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 9),
    channels=st.integers(1, 9),
    per_channel=st.booleans(),
    floats=st.booleans(),
    rounding=ROUNDINGS,
)
def test_whole_arrays_equal_the_reference_bit_for_bit(
    seed: int, rows: int, channels: int, per_channel: bool, floats: bool, rounding: Rounding
) -> None:
    random = np.random.default_rng(seed)
    limit = 1 << 22
    accumulator = random.integers(-limit, limit, (rows, channels)).astype(np.float32 if floats else np.int32)
    params = requantize_params(2.0 ** random.uniform(-25, 3, channels if per_channel else 1), limit)
    zero_point, lowest, highest = int(random.integers(-128, 128)), int(random.integers(-128, 0)), int(random.integers(0, 128))
    got = native_requantize(accumulator, params, zero_point, lowest, highest, rounding)
    np.testing.assert_array_equal(got, requantize(accumulator.astype(np.int64), params, zero_point, lowest, highest, rounding))


@needs_library
@pytest.mark.parametrize("accumulator", [np.zeros((2, 3), dtype=np.int64), np.zeros((3, 2), dtype=np.int32).T, np.zeros((2, 4), dtype=np.int32)])
def test_arrays_of_another_kind_are_refused(accumulator: np.ndarray) -> None:
    params = requantize_params([0.1, 0.2, 0.3], 1)
    with pytest.raises(QuantizationError, match="wanted contiguous float32 or int32 with the channels last"):
        native_requantize(accumulator, params, 0, -128, 127)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "absent.so")
    native_library.cache_clear()
    try:
        assert native_library() is None
        with pytest.raises(QuantizationError, match=r"There is no native library at .*absent.so. Hint: install mpsearch with a C compiler"):
            native_requantize(np.zeros((1, 1), dtype=np.int32), requantize_params(0.5, 1), 0, -128, 127)
    finally:
        monkeypatch.undo()
        native_library.cache_clear()
