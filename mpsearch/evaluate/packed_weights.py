# SPDX-License-Identifier: Apache-2.0
"""A layer's weights in the host kernels' own layout, the only copy there is; pickled and shown in the packed form that bundles use.

What leaves the process is rows of `quant.bitpack`, so that a saved model outlives the kernels' layout, and no address is ever written down.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpsearch.quant import host_kernels
from mpsearch.quant.bitpack import Bytes, pack, unpack

Floats = npt.NDArray[np.float32]


class DenseWeights(host_kernels.PackedDense):
    """Weights of a dense layer, (out, in)."""

    @property
    def rows(self) -> Bytes:
        """The weights as `quant.bitpack.pack` writes them: (out, row bytes)."""
        return pack(self.unpack(), self.bits)

    @property
    def scale(self) -> Floats:
        """Real steps: (out,), or (out, groups) with a group size."""
        return _untiled(self)

    def with_rows(self, rows: Bytes, scale: Floats) -> DenseWeights:
        """Return other weights of the same shape and precision."""
        return _dense(rows, scale, self.shape, self.bits, self.group_size)

    def __reduce__(self) -> tuple[Any, ...]:
        return _dense, (self.rows, self.scale, self.shape, self.bits, self.group_size)


class ConvWeights(host_kernels.PackedConv2d):
    """Weights of a 2-D convolution, (out, kernel_h, kernel_w, in / groups)."""

    @property
    def rows(self) -> Bytes:
        """The weights as `quant.bitpack.pack` writes them: a row is an output channel, or, for a depthwise convolution, a tap of the kernel."""
        return self._taps if self.is_depthwise else np.concatenate([pack(part.unpack(), self.bits) for part in self._parts])

    @property
    def scale(self) -> Floats:
        """Real steps, (out,)."""
        assert self._scale is not None
        return self._scale

    def with_rows(self, rows: Bytes, scale: Floats) -> ConvWeights:
        """Return other weights of the same shape and precision."""
        return _conv(rows, scale, *self._geometry)

    def __reduce__(self) -> tuple[Any, ...]:
        return _conv, (self.rows, self.scale, *self._geometry)

    @property
    def _geometry(self) -> tuple[Any, ...]:
        return self.shape, self.bits, self.stride, self.padding, self.dilation, self.groups


def _untiled(weights: host_kernels.PackedDense) -> Floats:
    """Undo the kernels' order of scales, (tiles of 16 channels, groups, 16)."""
    tiles = weights._scale
    assert tiles is not None
    scale: Floats = tiles.transpose(0, 2, 1).reshape(-1, tiles.shape[1])[: weights.shape[0]]
    return np.ascontiguousarray(scale if weights.group_size else scale[:, 0])


def _dense(rows: Bytes, scale: Floats, shape: tuple[int, int], bits: int, group_size: int | None) -> DenseWeights:
    return DenseWeights(unpack(rows, bits, shape[1]), scale, bits, group_size)


def _conv(rows: Bytes, scale: Floats, shape: tuple[int, ...], bits: int, *window: Any) -> ConvWeights:
    is_depthwise = window[-1] > 1 and shape[3] == 1
    weight = unpack(rows, bits, shape[0]).T if is_depthwise else unpack(rows, bits, math.prod(shape[1:]))
    return ConvWeights(weight.reshape(shape), scale, bits, *window)
