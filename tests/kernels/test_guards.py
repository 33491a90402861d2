# SPDX-License-Identifier: Apache-2.0
"""The guards that the other tests rely on do notice a stray byte."""

from __future__ import annotations

import ctypes
import dataclasses

import numpy as np
import pytest

from tests.kernels.calls import Buffer, run_kernel
from tests.kernels.cases import KernelCase


def test_a_byte_written_after_an_output_is_noticed(libraries: dict[str, ctypes.CDLL]) -> None:
    zeros = np.zeros(5, dtype=np.int8)
    table = np.full(256, 7, dtype=np.int8)
    case = KernelCase(function="mps_unary", params=np.uint32(5).tobytes(), arrays=(table,), inputs=(zeros,), before=zeros, expected=zeros + 7)
    for library in libraries.values():
        np.testing.assert_array_equal(run_kernel(library, case), case.expected)
        longer = dataclasses.replace(case, params=np.uint32(6).tobytes())
        with pytest.raises(AssertionError, match=r"bytes \[5\] of a buffer of 5 were changed"):
            run_kernel(library, longer)


@pytest.mark.parametrize("skew", range(4))
def test_a_changed_input_and_a_byte_before_it_are_noticed(skew: int) -> None:
    inside, before = Buffer(bytes(3), skew), Buffer(bytes(3), skew)
    inside.check()
    inside.bytes[1] = 1
    with pytest.raises(AssertionError, match=r"bytes \[1\] of a buffer of 3"):
        inside.check()
    ctypes.c_uint8.from_address(before.address - 1).value = 0
    with pytest.raises(AssertionError, match=r"bytes \[-1\] of a buffer of 3"):
        before.check(written=True)
