# SPDX-License-Identifier: Apache-2.0
"""Fisher: half the Fisher-weighted squared weight error; one backward pass serves every precision.

The true Fisher diagonal is estimated with labels drawn from the network's own distribution. Such gradients have mean 0 and are independent
between samples, so the square of a small batch's summed gradient is an unbiased estimate of the sum of squares. Where outputs are not logits
a unit Gaussian model stands behind them (Gauss-Newton), and random signs take the place of drawn labels.
References: [LeCun1989] Optimal Brain Damage, eq. 4; [Kunstner2019] arXiv:1905.12558, sec. 2; [Dong2019] arXiv:1911.03852.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mpsearch.records import SensitivityTable
from mpsearch.sensitivity.probe import Inputs, Probe, finish_table

_MICROBATCH = 16


def score_fisher(probe: Probe) -> SensitivityTable:
    """Return 0.5 * sum(F * (Q(W) - W)^2) per sample, summed over the layers of each group."""
    information = _fisher_diagonal(probe)
    raw = {}
    for group, precision in probe.candidates:
        total = 0.0
        for name in group.layers:
            error = torch.from_numpy(probe.weight_error(probe.graph.layer(name), precision))
            total += 0.5 * float((information[name] * error.square()).sum())
        raw[group.name, precision] = total
    return finish_table("fisher", probe, raw, forward_passes=3)


def _fisher_diagonal(probe: Probe) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(probe.seed)
    weights = {name: weight.clone().requires_grad_(True) for name, (weight, _) in probe.network.parameters.items()}
    replaced = {name: (weights[name], bias) for name, (_, bias) in probe.network.parameters.items()}
    total = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()}
    samples = 0
    for index, batch in enumerate(probe.batches, 1):
        for part in _microbatches(batch):
            output = probe.network.output(part, replaced)
            loss = _drawn_loss(output, probe.outputs_are_logits, generator)
            gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            for name, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    total[name] += gradient.to(torch.float64).square()
            samples += len(output)
        probe.progress(index, len(probe.batches))
    return {name: value / samples for name, value in total.items()}


def _drawn_loss(output: torch.Tensor, logits: bool, generator: torch.Generator) -> torch.Tensor:
    if not logits:
        signs = torch.randint(0, 2, output.shape, generator=generator).to(output.dtype) * 2 - 1
        return (output * signs).sum()
    rows = output.flatten(0, -2)
    labels = torch.multinomial(rows.detach().softmax(-1), 1, generator=generator).squeeze(1)
    return F.cross_entropy(rows, labels, reduction="sum")


def _microbatches(batch: Inputs) -> list[Inputs]:
    if isinstance(batch, tuple):
        return list(zip(*(torch.split(value, _MICROBATCH) for value in batch), strict=True))
    return list(torch.split(batch, _MICROBATCH))
