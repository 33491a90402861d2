# SPDX-License-Identifier: Apache-2.0
"""The oracle for the packed host kernels: int64 NumPy on plain weights."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mpsearch.errors import QuantizationError
from mpsearch.export.kernel_library import KERNELS
from mpsearch.quant import native
from mpsearch.quant.host_kernels import use_host_isa
from mpsearch.records import Requantize

Longs = npt.NDArray[np.int64]

ISAS = ("scalar", "neon") if platform.machine() in ("aarch64", "arm64") else ("scalar", "avx2", "avx512vnni")
"""Instruction sets that a processor of this kind may have."""
WARNINGS = ("-std=c11", "-ffp-contract=off", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror", "-pthread")
SOURCES = tuple(str(source) for part in ("src", "host") for source in sorted((KERNELS / part).glob("*.c")))
GUARD, GUARD_VALUE = 64, 93


def in_place_of_the_package(path: Path) -> Iterator[Path]:
    """Let the package load that library instead of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "LIBRARY", path)
        native.native_library.cache_clear()
        yield path
    native.native_library.cache_clear()


def taken_isa(name: str) -> Iterator[str]:
    """Run the kernels of one instruction set."""
    try:
        use_host_isa(name)
    except QuantizationError:
        pytest.skip(f"NO {name.upper()} ON THIS PROCESSOR: its kernels were not run here")
    yield name
    use_host_isa(None)


@dataclass(frozen=True)
class Fill:
    """How the integers of a test are chosen: at random, or all of them at an end of their range, where products are largest."""

    seed: int
    weights: str
    values: str

    def random(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def integers(self, kind: str, bits: int, shape: tuple[int, ...], random: np.random.Generator) -> npt.NDArray[np.int8]:
        lowest, highest = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        drawn = random.integers(lowest, highest + 1, shape)
        if kind == "lowest":
            drawn = np.full(shape, lowest)
        elif kind == "highest":
            drawn = np.full(shape, highest)
        elif kind == "ends":
            drawn = np.where(drawn < 0, lowest, highest)
        return drawn.astype(np.int8)


def requantization(random: np.random.Generator, channels: int, reach: int) -> Requantize:
    """Return random scales under which the outputs of accumulators up to `reach` use the whole range, and the left shift is as large as it may be."""
    left_shift = min(3, 31 - int(reach).bit_length())
    shift = max(1, int(reach).bit_length() + left_shift - 10)
    shifts = np.clip(random.integers(shift - 1, shift + 3, channels), 1, 31)
    return Requantize(multiplier=random.integers(1 << 30, 1 << 31, channels), right_shift=shifts, left_shift=left_shift)


def guarded(shape: tuple[int, ...], kind: type) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.generic]]:
    """Return memory full of guard bytes and the array in its middle."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    memory = np.full(size + 2 * GUARD, GUARD_VALUE, dtype=np.uint8)
    return memory, memory[GUARD : GUARD + size].view(kind).reshape(shape)


def assert_guards_stand(memory: npt.NDArray[np.uint8]) -> None:
    assert (memory[:GUARD] == GUARD_VALUE).all()
    assert (memory[-GUARD:] == GUARD_VALUE).all()


def quantized(x: npt.NDArray[np.float32]) -> tuple[Longs, npt.NDArray[np.float32]]:
    """Return every row of x as symmetric int8 (ties to even) and its scale: the dynamic quantisation of the float entries, in float32."""
    largest = np.abs(x).max(axis=1, keepdims=True)
    inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=largest > 0)
    return np.rint(x * inverse).astype(np.int64), largest / np.float32(127)


def convolve(x: Longs, weight: Longs, stride: tuple[int, int], padding: tuple[int, int, int, int], dilation: tuple[int, int], groups: int) -> Longs:
    """Return the sums of a convolution with zeros around x: (batch, height, width, out)."""
    top, bottom, left, right = padding
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    outputs, kernel_h, kernel_w, inputs = weight.shape
    height = (padded.shape[1] - (kernel_h - 1) * dilation[0] - 1) // stride[0] + 1
    width = (padded.shape[2] - (kernel_w - 1) * dilation[1] - 1) // stride[1] + 1
    result = np.zeros((x.shape[0], height, width, outputs), dtype=np.int64)
    for output in range(outputs):
        first = output // (outputs // groups) * inputs
        for row, column in np.ndindex(kernel_h, kernel_w):
            rows = slice(row * dilation[0], row * dilation[0] + (height - 1) * stride[0] + 1, stride[0])
            columns = slice(column * dilation[1], column * dilation[1] + (width - 1) * stride[1] + 1, stride[1])
            result[..., output] += padded[:, rows, columns, first : first + inputs] @ weight[output, row, column]
    return result
