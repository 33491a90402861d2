# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.quant.gptq import DAMPING, prepare_compensation, round_jointly
from mpsearch.quant.ranges import integer_range, round_weight, weight_scale

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def problem(seed: int, outputs: int = 5, fan_in: int = 24, groups: int = 1, bits: int = 3) -> Arrays:
    """Return weights, strongly correlated inputs' covariance, and the steps of nearest rounding."""
    random = np.random.default_rng(seed)
    weight = random.normal(size=(groups * outputs, fan_in))
    mixing = random.normal(size=(groups, fan_in, 6))
    covariance = mixing @ mixing.transpose(0, 2, 1) + 0.05 * np.eye(fan_in)
    return weight, covariance, weight_scale(weight, bits, "mse")


def output_error(change: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the output error of each channel, the covariance damped as the rounding has it."""
    groups, fan_in = covariance.shape[:2]
    damped = covariance + DAMPING * np.trace(covariance, axis1=1, axis2=2)[:, None, None] / fan_in * np.eye(fan_in)
    per_group = change.reshape(groups, -1, fan_in)
    return np.einsum("gok,gkj,goj->go", per_group, damped, per_group).reshape(-1)


def jointly(weight: np.ndarray, covariance: np.ndarray, scale: np.ndarray, bits: int, smallest: float = 1e-9) -> tuple[np.ndarray, np.ndarray]:
    return round_jointly(weight, scale, prepare_compensation(covariance), bits, np.full(len(weight), smallest))


@given(seed=st.integers(0, 500), bits=st.integers(2, 8), groups=st.integers(1, 3))
def test_joint_rounding_is_never_worse_than_nearest_over_a_layer(seed: int, bits: int, groups: int) -> None:
    weight, covariance, scale = problem(seed, groups=groups, bits=bits)
    step, integers = jointly(weight, covariance, scale, bits)
    nearest = round_weight(weight, scale, bits) * scale[:, None]
    assert output_error(integers * step[:, None] - weight, covariance).sum() < output_error(nearest - weight, covariance).sum()


@given(seed=st.integers(0, 500), bits=st.integers(2, 8))
def test_integers_are_whole_and_within_their_range(seed: int, bits: int) -> None:
    weight, covariance, scale = problem(seed, bits=bits)
    step, integers = jointly(weight, covariance, scale, bits)
    lowest, highest = integer_range(bits)
    assert np.array_equal(integers, np.rint(integers))
    assert lowest <= integers.min()
    assert integers.max() <= highest
    assert (step > 0).all()


def test_correlated_inputs_at_least_halve_the_error_of_nearest_rounding() -> None:
    weight, covariance, scale = problem(0, outputs=32, fan_in=80, bits=4)
    step, integers = jointly(weight, covariance, scale, 4)
    nearest = round_weight(weight, scale, 4) * scale[:, None]
    assert output_error(integers * step[:, None] - weight, covariance).sum() < 0.5 * output_error(nearest - weight, covariance).sum()


def test_the_integers_are_near_the_best_of_all_for_their_step() -> None:
    weight, covariance, scale = problem(4, outputs=6, fan_in=5, bits=2)
    step, integers = jointly(weight, covariance, scale, 2)
    everything = np.array(list(itertools.product(range(-2, 2), repeat=5)), dtype=float)
    got = output_error(integers * step[:, None] - weight, covariance)
    best = [output_error(everything * step[row] - weight[row], covariance).min() for row in range(6)]
    assert got.sum() <= 1.1 * np.sum(best)


def test_uncorrelated_inputs_of_equal_variance_are_rounded_to_nearest() -> None:
    weight, _, scale = problem(2, bits=8)
    step, integers = jointly(weight, 4.0 * np.eye(24)[None], scale, 8)
    assert np.abs(step / scale - 1).max() < 0.01
    assert np.abs(integers - weight / step[:, None]).max() <= 0.5 + 1e-3


def test_inputs_that_never_vary_are_rounded_to_nearest() -> None:
    weight, _, scale = problem(2, bits=8)
    step, integers = jointly(weight, np.zeros((1, 24, 24)), scale, 8)
    assert np.abs(integers - weight / step[:, None]).max() <= 0.5 + 1e-3


def test_no_step_goes_below_the_smallest() -> None:
    weight, covariance, scale = problem(3, bits=4)
    step, _ = jointly(weight, covariance, scale, 4, smallest=2.0)
    assert step.min() >= 2.0


def test_a_channel_of_zeros_stays_zero_and_keeps_a_step() -> None:
    weight, covariance, scale = problem(3, bits=4)
    weight[1] = 0.0
    step, integers = jointly(weight, covariance, scale, 4)
    assert not integers[1].any()
    assert step[1] > 0


def test_groups_are_rounded_as_if_alone() -> None:
    weight, covariance, scale = problem(6, groups=2)
    step, integers = jointly(weight, covariance, scale, 3)
    for group in (0, 1):
        part = slice(5 * group, 5 * group + 5)
        alone = jointly(weight[part], covariance[group : group + 1], scale[part], 3)
        errors = [output_error(q * s[:, None] - weight[part], covariance[group : group + 1]).sum() for s, q in ((step[part], integers[part]), alone)]
        assert errors[0] < 1.5 * errors[1]
