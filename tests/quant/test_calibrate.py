# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from mpsearch.errors import QuantizationError
from mpsearch.quant import calibrate as calibrate_module
from mpsearch.quant.calibrate import calibrate
from mpsearch.records import Conv2d, Linear, Unary, digest_of
from tests.evaluate.float_graphs import chain, draw, layer, statistics

GRAPH = chain(
    [(6, 5, 4), (6, 5, 3), (6, 5, 3)],
    layer("conv", Conv2d(padding=(1, 1, 1, 1)), ("t0",), "t1", (3, 3, 3, 4)),
    layer("relu", Unary(function="relu"), ("t1",), "t2"),
)


def test_ranges_means_and_counts_are_those_of_all_samples() -> None:
    batches = [draw(GRAPH, 5, seed=1), draw(GRAPH, 3, seed=2)]
    stats = statistics(GRAPH, *batches)
    values = torch.cat([batch[0] for batch in batches]).double().numpy()
    first = stats.tensor("t0")
    assert (first.minimum, first.maximum) == (values.min(), values.max())
    np.testing.assert_allclose(first.mean, values.mean(0), atol=1e-12)
    np.testing.assert_allclose(first.mean_square, (values**2).mean(0), atol=1e-12)
    assert stats.samples == 8
    assert all(tensor.histogram.sum() == 8 * np.prod(GRAPH.tensor(tensor.name).shape) for tensor in stats.tensors)


def test_the_statistics_do_not_depend_on_how_samples_are_batched() -> None:
    whole = draw(GRAPH, 8)[0]
    one, many = statistics(GRAPH, (whole,)), statistics(GRAPH, *((part,) for part in whole.split(3)))
    for first, second in zip(one.tensors, many.tensors, strict=True):
        np.testing.assert_allclose(first.mean, second.mean, atol=1e-9)
    np.testing.assert_allclose(one.moments[0].covariance, many.moments[0].covariance, rtol=1e-4, atol=1e-6)


def test_the_same_data_gives_the_same_record() -> None:
    assert digest_of(statistics(GRAPH, draw(GRAPH, 8))) == digest_of(statistics(GRAPH, draw(GRAPH, 8)))


def test_layers_of_too_many_inputs_keep_no_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate_module, "LARGEST_FAN_IN", 35)
    assert statistics(GRAPH, draw(GRAPH, 8)).moments == ()


def test_no_batches_are_refused() -> None:
    with pytest.raises(QuantizationError, match="The calibration data is empty, wanted at least one batch"):
        calibrate(GRAPH, list)


def test_values_that_are_not_numbers_are_refused_where_they_first_appear() -> None:
    bad = draw(GRAPH, 2)[0]
    bad[1, 0, 0, 0] = torch.nan
    with pytest.raises(QuantizationError, match="Tensor 't0' holds values that are NaN or infinite"):
        statistics(GRAPH, (bad,))


def test_a_constant_tensor_is_refused() -> None:
    dead = chain([(4,), (2,)], layer("dead", Linear(), ("t0",), "t1", np.zeros((2, 4))))
    with pytest.raises(QuantizationError, match=r"Tensor 't1' is constant \(0\) over 6 calibration samples"):
        statistics(dead, draw(dead, 6))
