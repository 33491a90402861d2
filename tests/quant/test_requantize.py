# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.errors import QuantizationError
from mpsearch.quant.requantize import WIDE_ACCUMULATOR_LIMIT, requantize, requantize_params
from mpsearch.records import Requantize

SCALES = st.floats(2.0**-30, 0.2499)


@given(scale=SCALES)
def test_the_fixed_point_scale_is_within_half_a_unit_of_31_bits(scale: float) -> None:
    params = requantize_params(scale, 1000)
    fixed = int(params.multiplier[0]) * Fraction(2) ** (params.left_shift - 32 - int(params.right_shift[0]))
    assert abs(fixed - Fraction(scale)) <= Fraction(scale) * Fraction(1, 2**31)
    assert 1 << 30 <= params.multiplier[0] < 1 << 31
    assert 1 <= params.right_shift[0] <= 31


@given(scale=SCALES, accumulator=st.integers(-(2**31) + 1, 2**31 - 1), zero_point=st.integers(-128, 127))
def test_requantisation_is_the_exact_product_rounded_half_up(scale: float, accumulator: int, zero_point: int) -> None:
    params = requantize_params(scale, 1)
    exact = accumulator * Fraction(int(params.multiplier[0]), 2 ** (32 + int(params.right_shift[0])))
    wanted = min(127, max(-128, floor(exact + Fraction(1, 2)) + zero_point))
    assert requantize(np.array(accumulator), params, zero_point, -128, 127) == wanted


@given(
    multiplier=st.one_of(st.sampled_from([1 << 30, (1 << 31) - 1]), st.integers(1 << 30, (1 << 31) - 1)),
    right_shift=st.integers(1, 31),
    left_shift=st.integers(0, 30),
    data=st.data(),
)
def test_double_rounding_rounds_the_product_half_up_and_its_shift_half_away_from_zero(
    multiplier: int, right_shift: int, left_shift: int, data: st.DataObject
) -> None:
    reach = 1 << (31 - left_shift)
    accumulator = data.draw(st.one_of(st.sampled_from([-reach, reach - 1, 0]), st.integers(-reach, reach - 1)))
    params = Requantize(multiplier=np.array([multiplier]), right_shift=np.array([right_shift]), left_shift=left_shift)
    shift = left_shift - 1 - right_shift  # TensorFlow Lite's: left if positive
    high = floor(Fraction(accumulator * 2 ** max(shift, 0) * multiplier, 2**31) + Fraction(1, 2))
    size = floor(Fraction(abs(high), 2 ** max(-shift, 0)) + Fraction(1, 2))
    wanted = min(127, max(-128, size if high >= 0 else -size))
    assert requantize(np.array(accumulator), params, 0, -128, 127, "tflite_double") == wanted


@given(
    multiplier=st.one_of(st.sampled_from([1 << 30, (1 << 31) - 1]), st.integers(1 << 30, (1 << 31) - 1)),
    right_shift=st.integers(1, 31),
    left_shift=st.integers(0, 30),
    data=st.data(),
)
def test_wide_accumulators_are_rounded_exactly_in_both_modes(multiplier: int, right_shift: int, left_shift: int, data: st.DataObject) -> None:
    reach = WIDE_ACCUMULATOR_LIMIT >> left_shift
    accumulator = data.draw(st.one_of(st.sampled_from([-reach, reach - 1, 0]), st.integers(-reach, reach - 1)))
    params = Requantize(multiplier=np.array([multiplier]), right_shift=np.array([right_shift]), left_shift=left_shift)
    once = floor(Fraction(accumulator * multiplier * 2**left_shift, 2 ** (32 + right_shift)) + Fraction(1, 2))
    assert requantize(np.array(accumulator), params, 7, -(2**60), 2**60) == once + 7
    shift = left_shift - 1 - right_shift
    high = floor(Fraction(accumulator * 2 ** max(shift, 0) * multiplier, 2**31) + Fraction(1, 2))
    size = floor(Fraction(abs(high), 2 ** max(-shift, 0)) + Fraction(1, 2))
    assert requantize(np.array(accumulator), params, 0, -(2**60), 2**60, "tflite_double") == (size if high >= 0 else -size)


def test_the_two_modes_differ_where_they_are_known_to() -> None:
    # -2 / 4 = -0.5: half up gives 0, half away from zero -1. 6 x 0.2499999995 = 1.499999997: the first rounding makes it 1.5, the second 2.
    quarter, less = requantize_params(0.25, 1000), requantize_params(0.25 - 2.0**-31, 1000)
    assert (requantize(np.array(-2), quarter, 0, -128, 127, "single"), requantize(np.array(-2), quarter, 0, -128, 127, "tflite_double")) == (0, -1)
    assert (requantize(np.array(6), less, 0, -128, 127, "single"), requantize(np.array(6), less, 0, -128, 127, "tflite_double")) == (1, 2)


def test_ties_round_up() -> None:
    quarter = requantize_params(0.25, 1000)
    assert requantize(np.array([-6, -2, 2, 6, 7]), quarter, 0, -128, 127).tolist() == [-1, 0, 1, 2, 2]


def test_scales_above_a_quarter_shift_the_accumulator_left_first() -> None:
    params = requantize_params([0.75, 0.001], 10_000)
    assert params.left_shift == 2
    assert requantize(np.array([100, 100_000]), params, 0, -128, 127).tolist() == [75, 100]


def test_a_mantissa_that_rounds_up_to_one_carries_into_the_exponent() -> None:
    params = requantize_params(1 - 2.0**-40, 10)
    assert params.multiplier.tolist() == [1 << 30]
    assert requantize(np.array(77), params, 0, -128, 127) == 77


def test_scales_too_small_to_matter_give_the_zero_point() -> None:
    assert requantize(np.array(2**30), requantize_params(1e-30, 1), 5, -128, 127) == 5


def test_the_clamp_is_applied_after_the_zero_point() -> None:
    params = requantize_params(0.25, 4000)
    assert requantize(np.array([-4000, 0, 4000]), params, 10, 10, 50).tolist() == [10, 10, 50]


@given(scale=st.floats(0.26, 16.0), count=st.integers(1, 5))
def test_channels_share_one_left_shift_that_the_accumulator_survives(scale: float, count: int) -> None:
    params = requantize_params([scale / 3**index for index in range(count)], 1 << 20)
    assert (1 << 20) << params.left_shift < 1 << 31
    values = requantize(np.full(count, 3), params, 0, -128, 127)
    assert (np.abs(values - 3 * scale / 3.0 ** np.arange(count)) < 0.5 + 1e-6).all()


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan])
def test_a_scale_that_is_not_positive_and_finite_is_refused(scale: float) -> None:
    with pytest.raises(QuantizationError, match=r"an effective scale is .*, wanted finite numbers above 0"):
        requantize_params([0.5, scale], 1)


def test_an_accumulator_that_the_left_shift_would_overflow_is_refused() -> None:
    with pytest.raises(QuantizationError, match=r"needs a left shift of 7, but an accumulator of 1.678e\+07 then leaves int32"):
        requantize_params(20.0, 1 << 24)


def test_a_record_refuses_multipliers_that_waste_bits() -> None:
    with pytest.raises(QuantizationError, match=r"wanted multiplier >= 2\^30"):
        Requantize(multiplier=np.array([5]), right_shift=np.array([1]))
    with pytest.raises(QuantizationError, match="must be equal and flat"):
        Requantize(multiplier=np.array([1 << 30]), right_shift=np.array([1, 2]))
