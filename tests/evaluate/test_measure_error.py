# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from mpsearch.errors import WorkloadError
from mpsearch.evaluate.measure_error import measure_error
from mpsearch.evaluate.metrics import bits_per_token, mean_squared_error, sample_loss, top1_error
from mpsearch.evaluate.real import RealNetwork
from mpsearch.records import Unary
from tests.evaluate.float_graphs import chain, layer


@pytest.fixture
def identity() -> RealNetwork:
    return RealNetwork(chain([(3,), (3,)], layer("l", Unary(function="affine", parameters=(1.0, 0.0)), ("t0",), "t1")))


def test_top1_error_is_the_percentage_of_wrong_samples(identity: RealNetwork) -> None:
    logits = torch.eye(3)
    seen: list[int] = []
    batches = [(logits, torch.tensor([0, 1, 0])), (logits[:1], torch.tensor([0]))]
    result = measure_error(identity, batches, "top1_error", "real", seen.append)
    assert (result.error, result.metric, result.samples, result.execution) == (25.0, "top1_error", 4, "real")
    assert seen == [3, 1]


def test_top1_error_flattens_spatial_logits() -> None:
    assert top1_error(torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([1])).tolist() == [0.0]


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    losses = bits_per_token(torch.zeros(2, 5, 8), torch.zeros(2, 5, dtype=torch.int64))
    torch.testing.assert_close(losses, torch.full((10,), 3.0, dtype=torch.float64))


def test_squared_errors_are_of_each_value() -> None:
    assert mean_squared_error(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0])).tolist() == [4.0, 0.0]


def test_a_callable_metric_is_averaged_and_named(identity: RealNetwork) -> None:
    def absolute(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output - target).abs().sum(1)

    result = measure_error(identity, [(torch.ones(2, 3), torch.zeros(2, 3))], absolute, "integer")
    assert (result.error, result.metric) == (3.0, "absolute")
    assert not math.isnan(result.error)


def test_an_unknown_metric_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(WorkloadError, match=r"Metric 'top1_eror' is unknown. Hint: did you mean top1_error"):
        sample_loss("top1_eror")


def test_a_metric_that_does_not_fit_is_refused_with_both_shapes(identity: RealNetwork) -> None:
    with pytest.raises(WorkloadError, match=r"Metric 'mse' does not accept an output of shape \(2, 3\) with targets of shape \(2, 4\)"):
        measure_error(identity, [(torch.ones(2, 3), torch.ones(2, 4))], "mse", "real")
