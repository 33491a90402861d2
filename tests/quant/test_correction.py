# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from mpsearch.evaluate.operations import convolve
from mpsearch.quant.correction import input_importance, mean_output_shift, mean_patch
from mpsearch.records import Conv2d, Linear
from tests.evaluate.float_graphs import layer


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_shift_is_the_change_of_the_mean_output_borders_included(groups: int) -> None:
    random = np.random.default_rng(0)
    op = Conv2d(stride=(2, 1), padding=(2, 0, 1, 1), dilation=(1, 2), groups=groups)
    record = layer("l", op, ("t0",), "t1", (8, 3, 2, 4 // groups))
    images, change = random.normal(1.0, 1.0, (10, 7, 6, 4)), random.normal(size=record.weight.shape)
    before, after = (
        convolve(op, torch.tensor(images), torch.tensor(weight), None) for weight in (record.weight.astype(np.float64), record.weight + change)
    )
    shift = mean_output_shift(record, change, mean_patch(record, images.mean(0)))
    np.testing.assert_allclose(shift, (after - before).mean((0, 1, 2)).numpy(), atol=1e-6)


def test_the_shift_of_a_linear_layer_is_the_change_times_the_mean() -> None:
    record = layer("l", Linear(), ("t0",), "t1", (1, 2))
    mean = np.array([[1.0, 2.0], [3.0, 4.0]])  # two rows of two features
    assert mean_output_shift(record, np.array([[10.0, 1.0]]), mean_patch(record, mean)).tolist() == [23.0]


def test_importance_is_the_variance_of_each_input_with_mean_1() -> None:
    record = layer("l", Linear(), ("t0",), "t1", (2, 2))
    importance = input_importance(record, np.array([4.0, 10.0]), np.array([1.0, 3.0]))
    assert importance.shape == (2, 2)
    assert importance.mean() == pytest.approx(1.0)
    assert importance[0, 0] / importance[0, 1] == pytest.approx(3.0, rel=0.01)


def test_each_group_has_the_importance_of_its_own_channels() -> None:
    record = layer("l", Conv2d(groups=2), ("t0",), "t1", (4, 1, 1, 1))
    importance = input_importance(record, np.array([[[1.0, 3.0]]]), np.zeros((1, 1, 2)))
    assert importance.ravel().tolist() == pytest.approx([0.5, 0.5, 1.5, 1.5], rel=0.01)
