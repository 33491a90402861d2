# SPDX-License-Identifier: Apache-2.0
"""Shapes with as few axes as possible: kernels take a fixed rank, so axes of length 1 are dropped and axes that run on into each other are joined."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mpsearch.errors import ExportError

RANK = 4
COPY_RANK = 6


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return how many values apart neighbours along each axis lie."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def collapse_broadcast(layer: str, shape: Sequence[int], operands: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Join the axes of an elementwise op.

    Returns:
        The output's shape, and for each operand a mask of the axes along which it is broadcast.
    """
    patterns = [tuple(operand[axis] == 1 for operand in operands) for axis in range(len(shape))]
    sizes, kept = _join(shape, patterns)
    none = (False,) * len(operands)
    filled, kept = _fill(layer, sizes, kept, none)
    masks = tuple(sum(1 << axis for axis, pattern in enumerate(kept) if pattern[i]) for i in range(len(operands)))
    return filled, masks


def collapse_mean(layer: str, shape: Sequence[int], axes: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Join the axes of a mean; returns the input's shape and a mask of the averaged axes."""
    averaged = {axis % len(shape) for axis in axes}
    sizes, kept = _join(shape, [(axis in averaged,) for axis in range(len(shape))])
    filled, kept = _fill(layer, sizes, kept, (False,))
    return filled, sum(1 << axis for axis, pattern in enumerate(kept) if pattern[0])


def collapse_copy(
    layer: str, shape: Sequence[int], input_strides: Sequence[int], output_strides: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Join the axes of a strided copy; returns shape, input strides and output strides."""
    axes: list[tuple[int, int, int]] = []
    for size, source, target in zip(shape, input_strides, output_strides, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][1:] == (source * size, target * size):
            axes[-1] = (axes[-1][0] * size, source, target)
        else:
            axes.append((size, source, target))
    if len(axes) > COPY_RANK:
        raise _too_many(layer, len(axes), COPY_RANK)
    filled = [(1, 0, 0)] * (COPY_RANK - len(axes)) + axes
    return tuple(axis[0] for axis in filled), tuple(axis[1] for axis in filled), tuple(axis[2] for axis in filled)


def _join(shape: Sequence[int], patterns: Sequence[tuple[bool, ...]]) -> tuple[list[int], list[tuple[bool, ...]]]:
    """Join neighbouring axes that behave alike."""
    sizes: list[int] = []
    kept: list[tuple[bool, ...]] = []
    for size, pattern in zip(shape, patterns, strict=True):
        if size == 1:
            continue
        if kept and kept[-1] == pattern:
            sizes[-1] *= size
        else:
            sizes.append(size)
            kept.append(pattern)
    return sizes, kept


def _fill(layer: str, sizes: list[int], kept: list[tuple[bool, ...]], none: tuple[bool, ...]) -> tuple[tuple[int, ...], list[tuple[bool, ...]]]:
    """Put axes of length 1 in front until the rank is that of the kernels."""
    if len(sizes) > RANK:
        raise _too_many(layer, len(sizes), RANK)
    missing = RANK - len(sizes)
    return (1,) * missing + tuple(sizes), [none] * missing + kept


def _too_many(layer: str, found: int, most: int) -> ExportError:
    return ExportError(f"Layer '{layer}': it needs {found} separate axes, but its kernel has {most}.", "reshape the tensors in the model.")
