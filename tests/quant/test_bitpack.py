# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.errors import QuantizationError
from mpsearch.quant.bitpack import PLANES, pack, row_bytes, unpack, weight_rows
from mpsearch.records import Conv2d, Layer
from tests.quant.packed_by_hand import PACKED_BY_HAND


@pytest.mark.parametrize(("bits", "values", "expected"), PACKED_BY_HAND)
def test_packed_bytes_are_those_worked_by_hand(bits: int, values: list[int], expected: list[int]) -> None:
    packed = pack(np.array([values], dtype=np.int8), bits)
    assert packed.tolist() == [expected]
    assert unpack(packed, bits, len(values)).tolist() == [values]


@given(bits=st.sampled_from(sorted(PLANES)), rows=st.integers(0, 4), values=st.integers(0, 41), seed=st.integers(0, 2**32 - 1))
def test_unpack_undoes_pack(bits: int, rows: int, values: int, seed: int) -> None:
    half = 1 << (bits - 1)
    weight = np.random.default_rng(seed).integers(-half, half, (rows, values)).astype(np.int8)
    packed = pack(weight, bits)
    assert packed.shape == (rows, row_bytes(values, bits))
    np.testing.assert_array_equal(unpack(packed, bits, values), weight)


@given(bits=st.sampled_from(sorted(PLANES)), blocks=st.integers(1, 20))
def test_whole_blocks_of_eight_waste_no_bit(bits: int, blocks: int) -> None:
    assert row_bytes(8 * blocks, bits) == bits * blocks


@pytest.mark.parametrize("bits", [0, 1, 9])
def test_other_bit_widths_are_refused(bits: int) -> None:
    with pytest.raises(QuantizationError, match=f"got {bits} bits, wanted 2 to 8"):
        pack(np.zeros((1, 1), dtype=np.int8), bits)


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(QuantizationError, match=r"weights span \[-5, 3\], but 3 bits hold \[-4, 3\]"):
        pack(np.array([[-5, 3]], dtype=np.int8), 3)


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(QuantizationError, match=r"shape \(1, 3\), wanted rows of 2 bytes \(4 values of 4 bits\)"):
        unpack(np.zeros((1, 3), dtype=np.uint8), 4, 4)


def test_rows_are_channels_except_for_depthwise_where_they_are_taps() -> None:
    weight = np.arange(18).reshape(2, 3, 3, 1)

    def layer(groups: int) -> Layer:
        return Layer(
            name="conv", op=Conv2d(groups=groups), inputs=("x",), output="y", weight=weight.astype(np.float32), bias=np.zeros(2, dtype=np.float32)
        )

    assert weight_rows(layer(1), weight.astype(np.int8))[1].tolist() == [9, 10, 11, 12, 13, 14, 15, 16, 17]
    assert weight_rows(layer(2), weight.astype(np.int8))[1].tolist() == [1, 10]
