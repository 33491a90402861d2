# SPDX-License-Identifier: Apache-2.0
"""A workload that takes milliseconds: random weights, labels from the float model itself. Handed over as a user would: file.py:function."""

from __future__ import annotations

import torch
from torch import nn

from mpsearch import Workload


class TinyNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.wide = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.inner(x))
        return self.head(torch.relu(self.wide(x)).mean((2, 3)))


def tiny() -> Workload:
    """Return the workload; the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TinyNet().eval()
        images = torch.randn(96, 1, 8, 8)
    with torch.no_grad():
        labels = model(images).argmax(1)
    return Workload(name="tiny", model=model, calibration=[images[:32]], evaluation=[(images[32:], labels[32:])], metric="top1_error")


def nan_weights() -> Workload:
    """Return a workload whose model holds a NaN."""
    workload = tiny()
    with torch.no_grad():
        workload.model.inner.weight[0, 0, 0, 0] = float("nan")  # type: ignore[union-attr, index, operator]
    return Workload(name="nan", model=workload.model, calibration=workload.calibration, evaluation=workload.evaluation, metric=workload.metric)


def constant_calibration() -> Workload:
    """Return a workload that is calibrated with zeros."""
    workload = tiny()
    zeros = torch.zeros(8, 1, 8, 8)
    return Workload(name="constant", model=workload.model, calibration=[zeros], evaluation=workload.evaluation, metric="top1_error")
