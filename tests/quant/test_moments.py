# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mpsearch.errors import RecordError
from mpsearch.quant import moments as moments_module
from mpsearch.quant.moments import MomentObserver
from mpsearch.records import Conv2d, InputMoments, Layer, Linear
from tests.evaluate.float_graphs import layer

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(16, 7, 6, 4, generator=GENERATOR).cumsum(3) + 1.5


def observed(record: Layer, values: torch.Tensor, seed: int = 0) -> InputMoments:
    observer = MomentObserver(record, values.double().mean(0).numpy(), len(values), seed)
    for part in values.split(5):
        observer.see(part)
    return observer.moments()


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_covariance_is_that_of_every_unfolded_patch(groups: int) -> None:
    op = Conv2d(stride=(2, 1), padding=(1, 1, 1, 1), dilation=(1, 2), groups=groups)
    got = observed(layer("l", op, ("t0",), "t1", (4, 3, 2, 4 // groups)), IMAGES)
    patches = F.unfold(IMAGES.permute(0, 3, 1, 2), (3, 2), op.dilation, (1, 1), op.stride)
    rows = patches.transpose(1, 2).reshape(-1, groups, 4 // groups, 6).transpose(2, 3).reshape(-1, groups, 24 // groups).double().numpy()
    assert got.patches == len(rows)
    for group in range(groups):
        np.testing.assert_allclose(got.covariance[group], np.cov(rows[:, group].T, bias=True), atol=2e-4)


def test_the_covariance_of_a_linear_layer_is_that_of_its_rows() -> None:
    values = torch.randn(50, 3, 5, generator=GENERATOR)
    got = observed(layer("l", Linear(), ("t0",), "t1", (2, 5)), values)
    np.testing.assert_allclose(got.covariance[0], np.cov(values.reshape(-1, 5).double().numpy().T, bias=True), atol=1e-5)


def test_the_number_of_patches_is_bounded_and_the_estimate_still_close(monkeypatch: pytest.MonkeyPatch) -> None:
    record = layer("l", Conv2d(padding=(1, 1, 1, 1)), ("t0",), "t1", (4, 3, 3, 4))
    whole = observed(record, IMAGES).covariance[0]
    monkeypatch.setattr(moments_module, "_FEWEST_PATCHES", 320)
    monkeypatch.setattr(moments_module, "_PATCHES_PER_WEIGHT", 1)
    few = observed(record, IMAGES)
    assert few.patches == 320
    assert np.linalg.norm(few.covariance[0] - whole) < 0.3 * np.linalg.norm(whole)
    assert np.array_equal(few.covariance, observed(record, IMAGES).covariance)
    assert not np.array_equal(few.covariance, observed(record, IMAGES, seed=1).covariance)


def test_a_record_refuses_matrices_that_are_not_square() -> None:
    with pytest.raises(RecordError, match=r"InputMoments 'l': covariance of shape \(1, 2, 3\), wanted \(groups, fan_in, fan_in\)"):
        InputMoments(layer="l", covariance=np.zeros((1, 2, 3)), patches=1)
