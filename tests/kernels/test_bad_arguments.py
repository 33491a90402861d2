# SPDX-License-Identifier: Apache-2.0
"""Kernels refuse what they cannot run, and write nothing."""

from __future__ import annotations

import ctypes
import dataclasses
import struct

import pytest

from tests.kernels.calls import BAD_ARGUMENT, kernel_status
from tests.kernels.cases import ANY_ACTIVATIONS, WEIGHTED, WIDTHS, KernelCase
from tests.kernels.choices import SeededChoices

# Where the fields of mps_params.h lie, and how struct writes them.
WEIGHT_BITS = {"conv2d": (38, "B"), "depthwise2d": (38, "B"), "linear": (20, "B")}
INPUT_BITS = {"conv2d": (40, "B"), "depthwise2d": (40, "B"), "linear": (22, "B")}
OUTPUT_BITS = {"conv2d": (41, "B"), "depthwise2d": (41, "B"), "linear": (23, "B")}
INPUT_C, OUTPUT_C, GROUPS = (4, "<H"), (10, "<H"), (28, "<H")


def with_field(case: KernelCase, field: tuple[int, str], value: int) -> KernelCase:
    offset, kind = field
    params = bytearray(case.params)
    struct.pack_into(kind, params, offset, value)
    return dataclasses.replace(case, params=bytes(params))


def field_of(case: KernelCase, field: tuple[int, str]) -> int:
    return int(struct.unpack_from(field[1], case.params, field[0])[0])


def assert_refused(libraries: dict[str, ctypes.CDLL], case: KernelCase) -> None:
    for name, library in libraries.items():
        assert kernel_status(library, case, scratch_bytes=4096) == BAD_ARGUMENT, name


@pytest.mark.parametrize("bits", [0, 1, 9, 255])
@pytest.mark.parametrize("op", WEIGHTED)
def test_other_weight_bits_are_refused(libraries: dict[str, ctypes.CDLL], op: str, bits: int) -> None:
    case = WEIGHTED[op](SeededChoices(0), 5)
    assert field_of(case, WEIGHT_BITS[op]) == 5
    assert_refused(libraries, with_field(case, WEIGHT_BITS[op], bits))


@pytest.mark.parametrize("bits", [0, 1, 2, 3, 5, 7, 9, 15, 16, 17, 255])
@pytest.mark.parametrize("fields", [INPUT_BITS, OUTPUT_BITS], ids=["input", "output"])
@pytest.mark.parametrize("op", WEIGHTED)
def test_other_activation_bits_are_refused(libraries: dict[str, ctypes.CDLL], op: str, fields: dict[str, tuple[int, str]], bits: int) -> None:
    case = WEIGHTED[op](SeededChoices(0), 5)
    assert field_of(case, fields[op]) == 8
    assert_refused(libraries, with_field(case, fields[op], bits))


def test_a_depthwise_convolution_refuses_activations_of_4_bits(libraries: dict[str, ctypes.CDLL]) -> None:
    case = WEIGHTED["depthwise2d"](SeededChoices(0), 4)
    assert_refused(libraries, with_field(case, INPUT_BITS["depthwise2d"], 4))
    assert_refused(libraries, with_field(case, OUTPUT_BITS["depthwise2d"], 4))


@pytest.mark.parametrize("bits", [0, 2, 5, 9, 15, 17, 255])
@pytest.mark.parametrize("op", ANY_ACTIVATIONS)
def test_a_wide_kernel_refuses_bits_that_it_lacks(libraries: dict[str, ctypes.CDLL], op: str, bits: int) -> None:
    case = ANY_ACTIVATIONS[op](SeededChoices(0), 5, 16, 16)
    assert field_of(case, INPUT_BITS[op]) == field_of(case, OUTPUT_BITS[op]) == 16
    assert_refused(libraries, with_field(case, INPUT_BITS[op], bits))
    assert_refused(libraries, with_field(case, OUTPUT_BITS[op], bits))
    if bits not in WIDTHS:
        assert_refused(libraries, with_field(case, WEIGHT_BITS[op], bits))


def test_a_convolution_without_groups_is_refused(libraries: dict[str, ctypes.CDLL]) -> None:
    assert_refused(libraries, with_field(WEIGHTED["conv2d"](SeededChoices(0), 4), GROUPS, 0))
    assert_refused(libraries, with_field(ANY_ACTIVATIONS["conv2d"](SeededChoices(0), 4, 16, 8), GROUPS, 0))


@pytest.mark.parametrize("channels", [INPUT_C, OUTPUT_C], ids=["input", "output"])
def test_a_convolution_whose_groups_do_not_divide_its_channels_is_refused(libraries: dict[str, ctypes.CDLL], channels: tuple[int, str]) -> None:
    for case in (WEIGHTED["conv2d"](SeededChoices(0), 4), ANY_ACTIVATIONS["conv2d"](SeededChoices(0), 4, 16, 8)):
        count = field_of(case, channels)
        assert_refused(libraries, with_field(with_field(case, channels, 2 * count + 1), GROUPS, 2))


def test_a_depthwise_convolution_without_channels_is_refused(libraries: dict[str, ctypes.CDLL]) -> None:
    case = WEIGHTED["depthwise2d"](SeededChoices(0), 4)
    assert_refused(libraries, with_field(with_field(case, GROUPS, 0), INPUT_C, 0))


def test_a_depthwise_convolution_needs_a_group_for_each_input_channel(libraries: dict[str, ctypes.CDLL]) -> None:
    case = WEIGHTED["depthwise2d"](SeededChoices(0), 4)
    assert field_of(case, GROUPS) == field_of(case, INPUT_C)
    assert_refused(libraries, with_field(case, GROUPS, field_of(case, INPUT_C) + 1))


def test_a_depthwise_convolution_needs_as_many_outputs_for_every_input_channel(libraries: dict[str, ctypes.CDLL]) -> None:
    case = next(case for case in (WEIGHTED["depthwise2d"](SeededChoices(seed), 4) for seed in range(100)) if field_of(case, INPUT_C) > 1)
    assert_refused(libraries, with_field(case, OUTPUT_C, field_of(case, OUTPUT_C) + 1))
