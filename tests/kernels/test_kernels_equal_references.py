# SPDX-License-Identifier: Apache-2.0
"""Every kernel, in every build, equals the NumPy interpreter and the reference in C bit for bit, on guarded and misaligned memory."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.calls import run_c_reference, run_in_place, run_kernel
from tests.kernels.cases import UNWEIGHTED, WEIGHTED, WIDTHS, KernelCase
from tests.kernels.choices import DrawnChoices

Libraries = dict[str, ctypes.CDLL]


def assert_all_equal(libraries: Libraries, case: KernelCase) -> None:
    for name, library in libraries.items():
        np.testing.assert_array_equal(run_kernel(library, case), case.expected, f"{case.function}, build {name}")
    np.testing.assert_array_equal(run_c_reference(next(iter(libraries.values())), case), case.expected, f"{case.function}_ref")


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("op", WEIGHTED)
@settings(max_examples=100)
@given(data=st.data())
def test_ops_with_weights_equal_both_references(libraries: Libraries, op: str, bits: int, data: st.DataObject) -> None:
    assert_all_equal(libraries, WEIGHTED[op](DrawnChoices(data), bits))


@pytest.mark.parametrize("op", UNWEIGHTED)
@given(data=st.data())
def test_ops_without_weights_equal_both_references(libraries: Libraries, op: str, data: st.DataObject) -> None:
    assert_all_equal(libraries, UNWEIGHTED[op](DrawnChoices(data)))


@pytest.mark.parametrize("op", ["add", "mul", "unary"])
@given(data=st.data())
def test_elementwise_output_may_be_an_operand_that_is_not_broadcast(libraries: Libraries, op: str, data: st.DataObject) -> None:
    case = UNWEIGHTED[op](DrawnChoices(data))
    for operand, values in enumerate(case.inputs):
        if values.shape == case.expected.shape:
            for name, library in libraries.items():
                np.testing.assert_array_equal(run_in_place(library, case, operand), case.expected, f"operand {operand}, build {name}")


def test_every_table_entry_is_reached(libraries: Libraries) -> None:
    everything, table = np.arange(-128, 128).astype(np.int8), np.random.default_rng(0).integers(-128, 128, 256).astype(np.int8)
    params = np.array([256], dtype="<u4").tobytes()
    case = KernelCase(function="mps_unary", params=params, arrays=(table,), inputs=(everything,), before=~table, expected=table)
    assert_all_equal(libraries, case)
