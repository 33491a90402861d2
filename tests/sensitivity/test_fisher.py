# SPDX-License-Identifier: Apache-2.0
"""Fisher on networks whose information is known in closed form."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from mpsearch.records import Precision
from mpsearch.sensitivity import PROXIES, Probe
from mpsearch.sensitivity import fisher as module
from tests.sensitivity.probes import PLAIN, dense_chain, precisions, probe_of

WEIGHT = np.array([[0.9, -0.3, 0.2], [0.1, 0.7, -0.6], [-0.8, 0.5, 0.35], [0.2, 0.1, -0.15]])


def inputs(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) * torch.tensor([1.0, 0.5, 2.0])


def information(probe: Probe) -> npt.NDArray[np.float64]:
    return module._fisher_diagonal(probe)["dense0"].numpy()


def softmax_information(x: torch.Tensor) -> npt.NDArray[np.float64]:
    """Return E[(p_k - y_k)^2 x_j^2] = mean of p_k (1 - p_k) x_j^2, the labels drawn from p: exact for a linear softmax model."""
    p = (x.double() @ torch.from_numpy(WEIGHT).T).softmax(1)
    return torch.einsum("nk,nj->kj", p * (1 - p), x.double().square()).numpy() / len(x)


def test_it_converges_to_the_exact_information_of_a_softmax_model() -> None:
    x = inputs(64)
    many = [x[torch.randperm(64, generator=torch.Generator().manual_seed(seed))] for seed in range(250)]  # 1,000 microbatches of 16
    probe = probe_of(dense_chain(WEIGHT), [x], precisions(2))
    got = information(Probe(network=probe.network, quantizer=probe.quantizer, batches=many, offered=probe.offered))
    wanted = softmax_information(x)
    assert got == pytest.approx(wanted, rel=0.2)  # each a mean of 1,000 squares: 4.5 % standard error
    assert got.sum() == pytest.approx(wanted.sum(), rel=0.05)


def test_single_samples_give_the_mean_of_their_squared_gradients() -> None:
    x, seed = inputs(20), 5
    probe = probe_of(dense_chain(WEIGHT), list(x.split(1)), precisions(2), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    p = (x @ torch.from_numpy(WEIGHT).float().T).softmax(1)
    total = np.zeros(WEIGHT.shape)
    for row, probability in zip(x, p, strict=True):
        label = torch.multinomial(probability[None], 1, generator=generator).item()
        gradient = torch.outer(probability - torch.eye(4)[int(label)], row)
        total += gradient.square().numpy()
    assert information(probe) == pytest.approx(total / len(x), rel=1e-4)


def test_outputs_that_are_not_logits_give_the_gauss_newton_diagonal() -> None:
    x = inputs(20)
    probe = probe_of(dense_chain(WEIGHT), list(x.split(1)), precisions(2), metric="mse")
    wanted = np.tile(x.square().mean(0).numpy(), (4, 1))  # the sign of each output squares away: one sample is exact
    assert information(probe) == pytest.approx(wanted, rel=1e-5)


def test_the_score_is_half_the_information_times_the_squared_error() -> None:
    x = inputs(20)
    probe = probe_of(dense_chain(WEIGHT), list(x.split(1)), precisions(2, 4), metric="mse", settings=PLAIN)
    for column, bits in enumerate((2, 4)):
        step = np.abs(WEIGHT).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
        error = np.clip(np.rint(WEIGHT / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * step - WEIGHT
        wanted = 0.5 * (x.square().mean(0).numpy() * error**2).sum()
        assert PROXIES["fisher"](probe).score[0, column] == pytest.approx(wanted, rel=1e-4)


def test_the_score_predicts_the_loss_of_a_small_change() -> None:
    x = inputs(512)
    probe = probe_of(dense_chain(WEIGHT), [x], precisions(6), seed=1, settings=PLAIN)
    error = torch.from_numpy(probe.weight_error(probe.graph.layer("dense0"), Precision(weight_bits=6)))
    logits = x.double() @ torch.from_numpy(WEIGHT).T
    real, lowered = logits.log_softmax(1), (logits + x.double() @ error.T).log_softmax(1)
    divergence = float((real.exp() * (real - lowered)).sum(1).mean())
    assert PROXIES["fisher"](probe).score[0, 0] == pytest.approx(divergence, rel=1.0)  # the diagonal leaves out how errors meet


def test_layers_that_the_output_hardly_reads_score_little() -> None:
    weak = probe_of(dense_chain(WEIGHT[:3], 1e-3 * np.eye(3) + 1e-4), [inputs(64)], precisions(3), metric="mse")
    strong = probe_of(dense_chain(WEIGHT[:3], np.eye(3) + 0.1), [inputs(64)], precisions(3), metric="mse")
    assert PROXIES["fisher"](weak).score[0, 0] == pytest.approx(1e-6 * PROXIES["fisher"](strong).score[0, 0], rel=1e-3)


def test_another_seed_draws_other_labels() -> None:
    scores = [PROXIES["fisher"](probe_of(dense_chain(WEIGHT), [inputs(16)], precisions(3), seed=seed)).score[0, 0] for seed in (0, 1)]
    assert scores[0] != scores[1]


def test_batches_of_several_inputs_are_cut_side_by_side() -> None:
    first, second = torch.arange(20.0)[:, None], -torch.arange(20.0)[:, None]
    parts = module._microbatches((first, second))
    assert [len(part[0]) for part in parts] == [16, 4]
    assert all(torch.equal(part[0], -part[1]) for part in parts)
