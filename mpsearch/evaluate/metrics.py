# SPDX-License-Identifier: Apache-2.0
"""Task metrics, all of them errors: lower is better."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from mpsearch.errors import WorkloadError, nearest_names

SampleLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(output, target), batch first -> losses of any shape; the metric is their mean."""


def top1_error(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return 100 where the largest logit is not the target class, 0 elsewhere; classes lie on axis 1."""
    logits = output.flatten(1) if target.ndim == 1 else output
    return (logits.argmax(1) != target).to(torch.float64) * 100


def bits_per_token(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of each token in bits; the vocabulary lies on the last axis."""
    return F.cross_entropy(output.flatten(0, -2).to(torch.float64), target.flatten(), reduction="none") / math.log(2)


def mean_squared_error(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the squared difference of each value."""
    return (output.to(torch.float64) - target.to(torch.float64)) ** 2


TASK_METRICS: dict[str, SampleLoss] = {"top1_error": top1_error, "bits_per_token": bits_per_token, "mse": mean_squared_error}
"""Metrics a workload may name."""


def sample_loss(metric: str | SampleLoss) -> SampleLoss:
    """Return the metric's per-sample loss.

    Raises:
        WorkloadError: The name is unknown.
    """
    if callable(metric):
        return metric
    if metric not in TASK_METRICS:
        raise WorkloadError(f"Metric {metric!r} is unknown.", nearest_names(metric, TASK_METRICS))
    return TASK_METRICS[metric]
