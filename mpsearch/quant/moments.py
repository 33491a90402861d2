# SPDX-License-Identifier: Apache-2.0
"""Second moments of the patches that a layer's weights meet: what rounding needs to know about the inputs.

Once the bias is corrected, a change D of a group's weights moves the output by D (x - mean x), so its mean squared error is D C D^T with the
covariance C of the input patches. Patches are drawn at random positions of every calibration sample, a bounded number in all.
References: [Frantar2022] arXiv:2210.17323, sec. 3; [Nagel2020] arXiv:2004.10568, sec. 3.2.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from mpsearch.quant.correction import mean_patch
from mpsearch.records import Conv2d, InputMoments, Layer

LARGEST_FAN_IN = 4608
"""Weights per output channel beyond which no matrix is kept (85 MB in float32); such a layer is rounded to nearest."""

_PATCHES_PER_WEIGHT = 16
_FEWEST_PATCHES = 4096


class MomentObserver:
    """The sum of outer products of one layer's centred input patches."""

    def __init__(self, layer: Layer, mean: npt.NDArray[np.float64], samples: int, seed: int) -> None:
        """Start with nothing seen.

        Args:
            layer: A layer with weights.
            mean: Its input's mean over samples, in the input's shape.
            samples: How many samples will be seen.
            seed: Seed of the positions drawn.
        """
        assert layer.weight is not None
        self.layer = layer
        self.groups = layer.op.groups if isinstance(layer.op, Conv2d) else 1
        fan_in = layer.weight[0].size
        self.total = torch.zeros(self.groups, fan_in, fan_in, dtype=torch.float64)
        self.patches = 0
        self._mean = torch.from_numpy(mean_patch(layer, mean).astype(np.float32))
        self._per_sample = -(-max(_FEWEST_PATCHES, _PATCHES_PER_WEIGHT * fan_in) // samples)
        self._generator = np.random.default_rng(seed)

    def see(self, values: torch.Tensor) -> None:
        """Add a batch of the layer's input, (batch, *memory shape)."""
        patches = self._draw(values) - self._mean
        per_group = patches.reshape(len(patches), -1, self.groups, patches.shape[-1] // self.groups).permute(2, 0, 1, 3).flatten(2)
        self.total += per_group.transpose(1, 2) @ per_group
        self.patches += len(patches)

    def moments(self) -> InputMoments:
        """Return what has been seen."""
        return InputMoments(layer=self.layer.name, covariance=(self.total / self.patches).numpy(), patches=self.patches)

    def _draw(self, values: torch.Tensor) -> torch.Tensor:
        op = self.layer.op
        if not isinstance(op, Conv2d):
            rows = values.reshape(len(values), -1, values.shape[-1])
            positions = self._positions(rows.shape[1])
            return rows[:, positions].flatten(0, 1)
        assert self.layer.weight is not None
        top, bottom, left, right = op.padding
        padded = F.pad(values, (0, 0, left, right, top, bottom))
        kernel = self.layer.weight.shape[1:3]
        height, width = ((padded.shape[axis + 1] - op.dilation[axis] * (kernel[axis] - 1) - 1) // op.stride[axis] + 1 for axis in (0, 1))
        positions = self._positions(height * width)
        rows = torch.div(positions, width, rounding_mode="floor")[:, None] * op.stride[0] + torch.arange(kernel[0]) * op.dilation[0]
        columns = (positions % width)[:, None] * op.stride[1] + torch.arange(kernel[1]) * op.dilation[1]
        return padded[:, rows[:, :, None], columns[:, None, :]].flatten(0, 1)

    def _positions(self, count: int) -> torch.Tensor:
        """Return the output positions to look at: all of them where the bound allows."""
        if count <= self._per_sample:
            return torch.arange(count)
        return torch.from_numpy(np.sort(self._generator.choice(count, self._per_sample, replace=False)))
