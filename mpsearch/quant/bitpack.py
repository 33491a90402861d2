# SPDX-License-Identifier: Apache-2.0
"""Weights as bits: the one packing that flash files, kernels and byte counts share.

A value q of b signed bits is stored as u = q + 2^(b-1); 8-bit values are stored as they are, in one signed byte each. Odd widths are split into
power-of-two planes that stand side by side, low bits first: 3 = 2 + 1, 5 = 4 + 1, 6 = 4 + 2, 7 = 4 + 2 + 1. A row is plane after plane, every plane
padded to a whole byte, the first value in the lowest bits of a byte.

A row is one output channel's weights, (kernel_h, kernel_w, in / groups) for a convolution. Depthwise rows would be short and waste their padding, so
there a row is one tap of the kernel for all output channels: kernel_h * kernel_w rows of `out` values.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpsearch.errors import QuantizationError
from mpsearch.records import Layer

Bytes = npt.NDArray[np.uint8]

PLANES: dict[int, tuple[int, ...]] = {2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1), 8: (8,)}
"""Widths of the planes of each weight bit-width, low bits first."""


def row_bytes(values: int, bits: int) -> int:
    """Return the bytes of one packed row of that many values."""
    return sum((values * plane + 7) // 8 for plane in _planes(bits))


def pack(weight: npt.NDArray[np.int8], bits: int) -> Bytes:
    """Pack rows of weights.

    Args:
        weight: (rows, values) int8, each within the signed range of `bits` bits.
        bits: 2 to 8.

    Returns:
        (rows, row_bytes(values, bits)) uint8.

    Raises:
        QuantizationError: No such bit-width, or a weight that does not fit it.
    """
    planes = _planes(bits)
    values = np.asarray(weight, dtype=np.int16)
    half = 1 << (bits - 1)
    if values.size and (values.min() < -half or values.max() >= half):
        raise QuantizationError(f"Bit packing: weights span [{values.min()}, {values.max()}], but {bits} bits hold [{-half}, {half - 1}].")
    if bits == 8:
        return values.astype(np.int8).view(np.uint8)
    rest: Bytes = (values + half).astype(np.uint8)
    packed = []
    for plane in planes:
        packed.append(_pack_plane(rest & np.uint8((1 << plane) - 1), plane))
        rest = rest >> np.uint8(plane)
    return np.concatenate(packed, axis=1)


def unpack(packed: Bytes, bits: int, values: int) -> npt.NDArray[np.int8]:
    """Undo `pack`.

    Args:
        packed: (rows, row_bytes(values, bits)) uint8.
        bits: 2 to 8.
        values: Weights per row.

    Returns:
        (rows, values) int8.

    Raises:
        QuantizationError: No such bit-width, or rows of another length.
    """
    wanted = row_bytes(values, bits)
    if packed.ndim != 2 or packed.shape[1] != wanted:
        raise QuantizationError(
            f"Bit unpacking: got an array of shape {packed.shape}, wanted rows of {wanted} bytes ({values} values of {bits} bits)."
        )
    if bits == 8:
        return packed.view(np.int8).copy()
    result = np.zeros((packed.shape[0], values), dtype=np.int16)
    start, low = 0, 0
    for plane in _planes(bits):
        length = (values * plane + 7) // 8
        result |= _unpack_plane(packed[:, start : start + length], plane, values).astype(np.int16) << low
        start, low = start + length, low + plane
    return (result - (1 << (bits - 1))).astype(np.int8)


def weight_rows(layer: Layer, weight: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Return a layer's weights as the (rows, values) that are packed.

    Args:
        layer: Says whether the layer is depthwise.
        weight: The layer's weight shape.
    """
    rows = weight.reshape(weight.shape[0], -1)
    return np.ascontiguousarray(rows.T) if layer.is_depthwise else rows


def _planes(bits: int) -> tuple[int, ...]:
    if bits not in PLANES:
        raise QuantizationError(f"Bit packing: got {bits} bits, wanted 2 to 8.")
    return PLANES[bits]


def _pack_plane(values: Bytes, plane: int) -> Bytes:
    per_byte = 8 // plane
    padded = np.pad(values, ((0, 0), (0, -values.shape[1] % per_byte)))
    padded = padded.reshape(values.shape[0], padded.shape[1] // per_byte, per_byte)
    shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(plane)
    merged: Bytes = np.bitwise_or.reduce(padded << shifts, axis=2)
    return merged


def _unpack_plane(packed: Bytes, plane: int, values: int) -> Bytes:
    shifts = np.arange(8 // plane, dtype=np.uint8) * np.uint8(plane)
    fields: Bytes = (packed[:, :, None] >> shifts) & np.uint8((1 << plane) - 1)
    plain: Bytes = fields.reshape(packed.shape[0], packed.shape[1] * (8 // plane))[:, :values]
    return plain
