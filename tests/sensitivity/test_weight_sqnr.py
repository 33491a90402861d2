# SPDX-License-Identifier: Apache-2.0
"""Weight SQNR by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpsearch.graph.capture import capture
from mpsearch.sensitivity import PROXIES
from tests.sensitivity.probes import PLAIN, dense_chain, precisions, probe_of

DATA = [torch.randn(8, 2, generator=torch.Generator().manual_seed(0))]


def test_noise_over_signal_of_a_small_layer() -> None:
    # 2 bits: integers -2 to 1, step = the largest magnitude. Row 1: 1.0 -> 1, 0.4 -> 0 (error 0.4); row 2: -2 -> -1, -1.2 -> -1 (error 0.8).
    probe = probe_of(dense_chain([[1.0, 0.4], [-2.0, -1.2]]), DATA, precisions(2, 3), settings=PLAIN)
    # 3 bits: integers -4 to 3, steps 1/3 and 2/3. Row 1: 0.4 -> 1/3 (error 1/15); row 2: -1.2 -> -4/3 (error 2/15).
    power = 1 + 0.16 + 4 + 1.44
    wanted = [(0.16 + 0.64) / power, (1 / 225 + 4 / 225) / power]
    assert PROXIES["weight_sqnr"](probe).score[0] == pytest.approx(wanted, rel=1e-5)


def test_the_ratio_does_not_depend_on_the_size_of_the_weights() -> None:
    weight = np.random.default_rng(0).normal(size=(3, 2))
    probe = probe_of(dense_chain(weight, 100 * np.eye(3) @ np.ones((3, 3)) + np.eye(3)), DATA, precisions(2, 4), settings=PLAIN)
    scaled = probe_of(dense_chain(1000 * weight), DATA, precisions(2, 4), settings=PLAIN)
    assert PROXIES["weight_sqnr"](probe).score[0] == pytest.approx(PROXIES["weight_sqnr"](scaled).score[0], rel=1e-5)


def test_weights_on_the_grid_lose_nothing() -> None:
    probe = probe_of(dense_chain([[1.0, -1.0], [0.0, 3.0]]), DATA, precisions(2, 8), settings=PLAIN)
    assert PROXIES["weight_sqnr"](probe).score[0] == pytest.approx([0, 0], abs=1e-12)


def test_a_group_sums_over_its_layers() -> None:
    torch.manual_seed(0)

    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = torch.nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.dense(torch.tanh(self.dense(x)))

    model = Twice()
    twice = probe_of(capture(model, DATA[0]), DATA, precisions(2, 4), settings=PLAIN)
    once = probe_of(capture(model.dense, DATA[0]), DATA, precisions(2, 4), settings=PLAIN)
    assert PROXIES["weight_sqnr"](twice).score[0] == pytest.approx(2 * PROXIES["weight_sqnr"](once).score[0])


def test_no_data_is_run() -> None:
    probe = probe_of(dense_chain(np.eye(2)), DATA, precisions(2))
    probe.network.output = probe.network.activations = None  # type: ignore[assignment,method-assign]
    assert PROXIES["weight_sqnr"](probe).forward_passes == 0
