# SPDX-License-Identifier: Apache-2.0
"""Kernels refuse what they cannot run, and write nothing."""

from __future__ import annotations

import ctypes
import dataclasses
import struct

import pytest

from tests.kernels.calls import BAD_ARGUMENT, kernel_status
from tests.kernels.cases import WEIGHTED, KernelCase
from tests.kernels.choices import SeededChoices

# Where the fields of mps_params.h lie, and how struct writes them.
WEIGHT_BITS = {"conv2d": (34, "B"), "depthwise2d": (34, "B"), "linear": (16, "B")}
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


def test_a_convolution_without_groups_is_refused(libraries: dict[str, ctypes.CDLL]) -> None:
    assert_refused(libraries, with_field(WEIGHTED["conv2d"](SeededChoices(0), 4), GROUPS, 0))


def test_a_depthwise_convolution_needs_a_group_for_each_input_channel(libraries: dict[str, ctypes.CDLL]) -> None:
    case = WEIGHTED["depthwise2d"](SeededChoices(0), 4)
    assert field_of(case, GROUPS) == field_of(case, INPUT_C)
    assert_refused(libraries, with_field(case, GROUPS, field_of(case, INPUT_C) + 1))


def test_a_depthwise_convolution_needs_as_many_outputs_for_every_input_channel(libraries: dict[str, ctypes.CDLL]) -> None:
    case = next(case for case in (WEIGHTED["depthwise2d"](SeededChoices(seed), 4) for seed in range(100)) if field_of(case, INPUT_C) > 1)
    assert_refused(libraries, with_field(case, OUTPUT_C, field_of(case, OUTPUT_C) + 1))
