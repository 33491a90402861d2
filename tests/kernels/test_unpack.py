# SPDX-License-Identifier: Apache-2.0
"""What Python packs, C unpacks: whole rows and parts of them, at every width."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.quant.bitpack import pack, row_bytes
from tests.kernels.calls import Buffer
from tests.kernels.cases import WIDTHS
from tests.quant.packed_by_hand import PACKED_BY_HAND

Libraries = dict[str, ctypes.CDLL]


def unpack(library: ctypes.CDLL, row: npt.NDArray[np.uint8], values: int, first: int, count: int, bits: int, skew: int = 0) -> list[int]:
    packed, output = Buffer(row, skew), Buffer(bytes(count), 3 - skew)
    library.mps_unpack.restype = None
    sizes = (ctypes.c_size_t(size) for size in (values, first, count))
    library.mps_unpack(ctypes.c_void_p(packed.address), *sizes, ctypes.c_uint(bits), ctypes.c_void_p(output.address))
    packed.check()
    output.check(written=True)
    return output.bytes.view(np.int8).tolist()


@pytest.mark.parametrize(("bits", "values", "packed"), PACKED_BY_HAND)
def test_bytes_worked_by_hand_unpack_to_their_values(libraries: Libraries, bits: int, values: list[int], packed: list[int]) -> None:
    for library in libraries.values():
        assert unpack(library, np.array(packed, dtype=np.uint8), len(values), 0, len(values), bits) == values


@pytest.mark.parametrize("bits", WIDTHS)
@given(seed=st.integers(0, 2**32 - 1), values=st.integers(0, 100), extreme=st.booleans(), skew=st.integers(0, 3))
def test_any_part_that_starts_at_a_multiple_of_eight_unpacks(
    libraries: Libraries, bits: int, seed: int, values: int, extreme: bool, skew: int
) -> None:
    random, half = np.random.default_rng(seed), 1 << (bits - 1)
    weight = (random.choice([-half, half - 1], (1, values)) if extreme else random.integers(-half, half, (1, values))).astype(np.int8)
    row = pack(weight, bits)[0]
    for name, library in libraries.items():
        for first in range(0, values + 1, 8):
            count = values - first if first % 16 else int(random.integers(0, values - first + 1))
            assert unpack(library, row, values, first, count, bits, skew) == weight[0, first : first + count].tolist(), name


@pytest.mark.parametrize("bits", WIDTHS)
def test_c_and_python_agree_on_the_bytes_of_a_row(libraries: Libraries, bits: int) -> None:
    for library in libraries.values():
        library.mps_row_bytes.restype = ctypes.c_size_t
        for values in range(70):
            assert library.mps_row_bytes(ctypes.c_size_t(values), ctypes.c_uint(bits)) == row_bytes(values, bits)
