# SPDX-License-Identifier: Apache-2.0
"""Packed rows worked by hand from the rule in mpsearch/quant/bitpack.py: u = q + 2^(b-1), planes side by side, first value in the lowest bits."""

from __future__ import annotations

PACKED_BY_HAND: list[tuple[int, list[int], list[int]]] = [
    (2, [-2, -1, 0, 1], [0b11_10_01_00]),
    (2, [1, 1, 1, 1, -2], [0b11111111, 0b00]),
    (3, [-4, 3, 0, -1], [0b11_00_11_00, 0b0110]),  # u = 0, 7, 4, 3: low two bits 0 3 0 3, high bits 0 1 1 0
    (4, [-8, 7, 0], [0xF0, 0x08]),
    (5, [-16, 15, 1], [0xF0, 0x01, 0b110]),  # u = 0, 31, 17
    (6, [31, -32, 5], [0x0F, 0x05, 0b10_00_11]),  # u = 63, 0, 37 = 0b100101
    (7, [63, -64, 22], [0x0F, 0x06, 0b01_00_11, 0b101]),  # u = 127, 0, 86 = 0b1_01_0110
    (8, [-128, 127, -1], [0x80, 0x7F, 0xFF]),
    # Nine values: a whole block of eight and one more, each plane padded by itself.
    (3, [-4, -3, -2, -1, 0, 1, 2, 3, 3], [0b11_10_01_00, 0b11_10_01_00, 0b11, 0b11110000, 0b1]),
    (5, [-16, 15, -16, 15, 0, 0, -1, -1, 15], [0xF0, 0xF0, 0x00, 0xFF, 0x0F, 0b00_11_10_10, 0b1]),
    (6, [-32, 31, 0, -1, 1, -2, 16, -17, -32], [0xF0, 0xF0, 0xE1, 0xF0, 0x00, 0b01_10_11_00, 0b00_11_01_10, 0b00]),
    (7, [-64, 63, 0, -1, 1, -2, 16, -17, 63], [0xF0, 0xF0, 0xE1, 0xF0, 0x0F, 0b11_00_11_00, 0b10_01_11_00, 0b11, 0b01010110, 0b1]),
]
"""(bits, values, packed bytes)."""
