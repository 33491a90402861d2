# SPDX-License-Identifier: Apache-2.0
"""Every kernel, in every build, equals the NumPy interpreter and the reference in C bit for bit, on guarded and misaligned memory."""

from __future__ import annotations

import ctypes
import itertools
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpsearch.quant.requantize import requantize
from mpsearch.records import Requantize, Rounding
from tests.kernels.calls import run_c_reference, run_in_place, run_kernel
from tests.kernels.cases import ACTIVATION_WIDTHS, ANY_ACTIVATIONS, UNWEIGHTED, WEIGHTED, WIDTHS, KernelCase, linear_at_the_ends
from tests.kernels.choices import DrawnChoices, SeededChoices

Libraries = dict[str, ctypes.CDLL]
ROUNDINGS: tuple[Rounding, ...] = ("single", "tflite_double")


def assert_all_equal(libraries: Libraries, case: KernelCase) -> None:
    for name, library in libraries.items():
        np.testing.assert_array_equal(run_kernel(library, case), case.expected, f"{case.function}, build {name}")
    np.testing.assert_array_equal(run_c_reference(next(iter(libraries.values())), case), case.expected, case.reference)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("op", WEIGHTED)
@settings(max_examples=70)
@given(data=st.data())
def test_ops_with_weights_equal_both_references(libraries: Libraries, op: str, bits: int, data: st.DataObject) -> None:
    assert_all_equal(libraries, WEIGHTED[op](DrawnChoices(data), bits))


@pytest.mark.parametrize(("input_bits", "output_bits"), ACTIVATION_WIDTHS)
@pytest.mark.parametrize("op", ANY_ACTIVATIONS)
@settings(max_examples=100)
@given(data=st.data())
def test_activations_of_4_and_16_bits_equal_both_references(
    libraries: Libraries, op: str, input_bits: int, output_bits: int, data: st.DataObject
) -> None:
    choices = DrawnChoices(data)
    assert_all_equal(libraries, ANY_ACTIVATIONS[op](choices, choices.pick(WIDTHS), input_bits, output_bits))


@pytest.mark.parametrize("bits", WIDTHS)
def test_sums_of_values_that_all_stand_at_an_end_are_exact_at_every_length(libraries: Libraries, bits: int) -> None:
    ends = ("lowest", "highest")
    for seed, (inputs, rows, weights, activations) in enumerate(itertools.product((8, 16, 31, 64, 65, 96, 130, 515), (1, 2), ends, ends)):
        assert_all_equal(libraries, linear_at_the_ends(SeededChoices(seed), bits, (rows, inputs, 3), weights, activations))


@pytest.mark.parametrize("op", UNWEIGHTED)
@given(data=st.data())
def test_ops_without_weights_equal_both_references(libraries: Libraries, op: str, data: st.DataObject) -> None:
    assert_all_equal(libraries, UNWEIGHTED[op](DrawnChoices(data)))


@pytest.mark.parametrize("op", [*WEIGHTED, *UNWEIGHTED])
@given(data=st.data())
def test_every_op_equals_both_references_where_it_rounds_twice(twice_rounding: Libraries, op: str, data: st.DataObject) -> None:
    choices = DrawnChoices(data, "tflite_double")
    assert_all_equal(twice_rounding, WEIGHTED[op](choices, choices.pick(WIDTHS)) if op in WEIGHTED else UNWEIGHTED[op](choices))


@pytest.mark.parametrize("op", ANY_ACTIVATIONS)
@given(data=st.data())
def test_activations_of_4_and_16_bits_round_twice_too(twice_rounding: Libraries, op: str, data: st.DataObject) -> None:
    choices = DrawnChoices(data, "tflite_double")
    assert_all_equal(twice_rounding, ANY_ACTIVATIONS[op](choices, choices.pick(WIDTHS), *choices.pick(ACTIVATION_WIDTHS)))


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


@given(data=st.data())
def test_copies_follow_any_stride_backwards_and_repeated_ones_too(libraries: Libraries, data: st.DataObject) -> None:
    choices = DrawnChoices(data)
    shape, strides = [choices.pick([1, 1, 2, 3, 4]) for _ in range(6)], [choices.integer(-3, 3) for _ in range(6)]
    spans = [(size - 1) * stride for size, stride in zip(shape, strides, strict=True)]
    source = np.random.default_rng(choices.integer(0, 999)).integers(-128, 128, 1 + sum(map(abs, spans))).astype(np.int8)
    offset = -sum(min(span, 0) for span in spans)
    coordinates = np.indices(shape).reshape(6, -1)
    expected = source[offset + np.array(strides) @ coordinates].reshape(shape)
    params = np.array([*shape, *strides, *(np.prod(shape[axis + 1 :], dtype=int) for axis in range(6)), offset, 0]).astype("<i4").tobytes()
    case = KernelCase(function="mps_copy", params=params, inputs=(source,), before=~expected, expected=expected, skew=choices.integer(0, 63))
    assert_all_equal(libraries, case)


@given(
    seed=st.integers(0, 2**32 - 1),
    left_shift=st.integers(0, 30),
    per_channel=st.booleans(),
    zero_point=st.integers(-128, 127),
    rounding=st.sampled_from(ROUNDINGS),
)
def test_the_reference_of_requantization_equals_numpys(
    libraries: Libraries, seed: int, left_shift: int, per_channel: bool, zero_point: int, rounding: Rounding
) -> None:
    random, reach = np.random.default_rng(seed), 1 << (31 - left_shift)
    values = np.concatenate([[-reach, reach - 1], random.integers(-reach, reach, 13)]).reshape(5, 3).astype(np.int32)
    count = 3 if per_channel else 1
    params = Requantize(multiplier=random.integers(1 << 30, 1 << 31, count), right_shift=random.integers(1, 32, count), left_shift=left_shift)
    job = struct.pack("<QQiiiiii", 5, 3, per_channel, left_shift, zero_point, -128, 127, rounding == "tflite_double")
    output = np.zeros((5, 3), dtype=np.int8)
    arrays = (params.multiplier, params.right_shift, values, output)
    for library in libraries.values():
        library.mps_requantize_array_ref(job, *(ctypes.c_void_p(array.ctypes.data) for array in arrays))
        np.testing.assert_array_equal(output, requantize(values, params, zero_point, -128, 127, rounding))
