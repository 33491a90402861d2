# SPDX-License-Identifier: Apache-2.0
"""Measured output KL: one group is lowered at a time, and the change of the network's output is measured.

The float activations of a batch are computed once; a lowered group is run from its own layer on, so a candidate costs the part of the network
behind it. References: [Cai2020] ZeroQ, arXiv:2001.00281, eq. 3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from mpsearch.records import SensitivityTable
from mpsearch.sensitivity.probe import LOGIT_METRICS, Probe, finish_table


def score_output_kl(probe: Probe) -> SensitivityTable:
    """Return the mean KL(p_float || p_lowered) in nats; for outputs that are not logits, the noise-to-signal ratio of the output."""
    distance = output_distance(probe.metric)
    raw = {(group.name, precision): 0.0 for group, precision in probe.candidates}
    share = _suffix_share(probe)
    steps = probe.samples * len(probe.candidates)
    done = 0
    for values in probe.network.activations(probe.batches):
        real = values[probe.graph.output]
        for group, precision in probe.candidates:
            with torch.no_grad():
                lowered = probe.network.changed_output(values, probe.lowered(group, precision))
            raw[group.name, precision] += float(distance(real, lowered).sum())
            done += len(real)
            probe.progress(done, steps)
    passes = 1 + sum(share[group.name] for group, _ in probe.candidates)
    return finish_table("output_kl", probe, {key: value / probe.samples for key, value in raw.items()}, forward_passes=passes)


def output_distance(metric: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return how the outputs of a workload with that metric are compared: as distributions if they are logits, else by their noise."""
    return kl_divergence if metric in LOGIT_METRICS else noise_to_signal


def kl_divergence(real: torch.Tensor, lowered: torch.Tensor) -> torch.Tensor:
    """Return KL(softmax(real) || softmax(lowered)) per sample; logits lie on the last axis."""
    first, second = real.to(torch.float64).log_softmax(-1), lowered.to(torch.float64).log_softmax(-1)
    return (first.exp() * (first - second)).sum(-1).flatten(1).mean(1) if real.ndim > 2 else (first.exp() * (first - second)).sum(-1)


def noise_to_signal(real: torch.Tensor, lowered: torch.Tensor) -> torch.Tensor:
    """Return ||lowered - real||^2 / ||real||^2 per sample."""
    first, second = real.to(torch.float64).flatten(1), lowered.to(torch.float64).flatten(1)
    return (second - first).square().sum(1) / first.square().sum(1).clamp_min(1e-30)


def _suffix_share(probe: Probe) -> dict[str, float]:
    """Return the share of the network's MACs that a candidate of each group has to compute."""
    share = {}
    for group in probe.graph.groups:
        dirty, macs = set(), 0
        for layer in probe.graph.layers:
            if layer.name in group.layers or any(name in dirty for name in layer.inputs):
                dirty.add(layer.output)
                macs += layer.macs
        share[group.name] = macs / probe.graph.macs
    return share
