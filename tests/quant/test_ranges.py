# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.errors import QuantizationError
from mpsearch.quant.ranges import (
    INTERVALS,
    WEIGHT_RANGES,
    activation_quantization,
    integer_range,
    measured_interval,
    minmax_interval,
    mse_interval,
    percentile_interval,
    round_weight,
    weight_scale,
)
from mpsearch.records import TensorStats

FINITE = st.floats(-1e4, 1e4)


def seen(values: np.ndarray, interval: tuple[float, float] | None = None) -> TensorStats:
    histogram, _ = np.histogram(values, 2048)
    zeros = np.zeros(1)
    return TensorStats(name="t", minimum=values.min(), maximum=values.max(), histogram=histogram, mean=zeros, mean_square=zeros, interval=interval)


def error_of(values: np.ndarray, interval: tuple[float, float]) -> float:
    quantization = activation_quantization([interval], 8)
    integers = np.clip(np.rint(values / quantization.scale) + quantization.zero_point, -128, 127)
    return float((((integers - quantization.zero_point) * quantization.scale - values) ** 2).mean())


def test_an_interval_from_minus_1_to_3_has_zero_at_a_quarter_of_the_integers() -> None:
    quantization = activation_quantization([(-1.0, 3.0)], 8)
    assert quantization.scale == pytest.approx(4 / 255)
    assert quantization.zero_point == -64


@given(ends=st.tuples(FINITE, FINITE).filter(lambda ends: abs(ends[0] - ends[1]) > 1e-3))
def test_zero_is_exact_and_the_ends_are_within_half_a_step(ends: tuple[float, float]) -> None:
    low, high = min(ends), max(ends)
    quantization = activation_quantization([(low, high)], 8)
    reals = [(q - quantization.zero_point) * quantization.scale for q in (-128, 127)]
    assert reals[0] <= min(low, 0.0) + 0.51 * quantization.scale
    assert reals[1] >= max(high, 0.0) - 0.51 * quantization.scale
    assert -128 <= quantization.zero_point <= 127


def test_shared_scales_cover_every_interval() -> None:
    quantization = activation_quantization([(0.0, 1.0), (-3.0, 0.5)], 8)
    assert quantization.scale == pytest.approx(4 / 255)


def test_the_percentile_leaves_out_a_single_outlier_and_minmax_does_not() -> None:
    values = np.append(np.linspace(0, 1, 99_999), 100.0)
    assert minmax_interval(seen(values), 8) == (0.0, 100.0)
    assert percentile_interval(seen(values), 8)[1] < 1.1


def test_the_mse_interval_clips_what_minmax_pays_for() -> None:
    values = np.append(np.random.default_rng(0).normal(size=100_000), 60.0)
    assert error_of(values, mse_interval(seen(values), 8)) < 0.9 * error_of(values, minmax_interval(seen(values), 8))


def test_the_mse_interval_keeps_all_of_a_uniform_tensor() -> None:
    low, high = mse_interval(seen(np.linspace(-2, 2, 10_000)), 8)
    assert (low, high) == (pytest.approx(-2, abs=0.1), pytest.approx(2, abs=0.1))


def test_a_measured_interval_is_taken_as_it_is_and_mse_stands_in_for_a_missing_one() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    assert measured_interval(seen(values, (-0.5, 1.5)), 8) == (-0.5, 1.5)
    assert measured_interval(seen(values), 8) == mse_interval(seen(values), 8)


@pytest.mark.parametrize("method", sorted(INTERVALS))
def test_every_interval_lies_within_what_was_seen(method: str) -> None:
    values = np.random.default_rng(1).exponential(size=5_000)
    low, high = INTERVALS[method](seen(values), 8)
    assert 0.0 <= high <= values.max()
    assert min(values.min(), 0.0) <= low <= high


@pytest.mark.parametrize(("bits", "wanted"), [(2, (-2, 1)), (4, (-8, 7)), (8, (-127, 127))])
def test_integers_span_twos_complement_but_8_bits_are_symmetric(bits: int, wanted: tuple[int, int]) -> None:
    assert integer_range(bits) == wanted


def test_weights_round_to_the_nearest_integer_within_the_range() -> None:
    weight = np.array([[0.24, 0.26, -3.0, 9.0]])
    assert round_weight(weight, np.array([0.5]), 3).tolist() == [[0.0, 1.0, -4.0, 3.0]]


def test_minmax_maps_the_largest_weight_to_the_largest_integer() -> None:
    scale = weight_scale(np.array([[0.5, -1.4], [0.0, 0.0]]), 4, "minmax")
    assert scale.tolist() == pytest.approx([0.2, 0.2])  # a channel of zeros takes the largest step of the layer


def test_a_layer_of_zeros_has_steps_of_one() -> None:
    assert weight_scale(np.zeros((2, 3)), 4, "mse").tolist() == [pytest.approx(1.0, abs=0.2)] * 2


@given(seed=st.integers(0, 1000), bits=st.integers(2, 8))
def test_the_mse_step_is_never_worse_than_the_minmax_step(seed: int, bits: int) -> None:
    random = np.random.default_rng(seed)
    weight, importance = random.standard_t(3, (3, 20)), random.uniform(0.1, 10, (3, 20))
    errors = []
    for method in ("mse", "minmax"):
        scale = weight_scale(weight, bits, method, importance)
        errors.append((importance * (round_weight(weight, scale, bits) * scale[:, None] - weight) ** 2).sum(axis=1))
    assert (errors[0] <= errors[1] * (1 + 1e-9)).all()


def test_importance_decides_which_weight_is_kept() -> None:
    weight, heavy = np.array([[3.0, 10.0]]), np.array([[1e6, 1.0]])
    scale = weight_scale(weight, 2, "mse", heavy)
    assert abs(round_weight(weight, scale, 2)[0, 0] * scale[0] - 3.0) < 0.1


def test_the_percentile_step_ignores_one_weight_in_a_million() -> None:
    weight = np.append(np.linspace(-1, 1, 100_000), 50.0)[None]
    assert weight_scale(weight, 8, "percentile")[0] < 2 / 127


def test_an_unknown_weight_range_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(QuantizationError, match=r"Weight range: unknown method 'mze'. Hint: did you mean mse"):
        weight_scale(np.ones((1, 2)), 4, "mze")


def test_weights_have_no_measured_range() -> None:
    assert "measured" not in WEIGHT_RANGES
    with pytest.raises(QuantizationError, match="unknown method 'measured'"):
        weight_scale(np.ones((1, 2)), 4, "measured")
