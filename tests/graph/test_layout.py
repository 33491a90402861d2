# SPDX-License-Identifier: Apache-2.0
"""Axis orders, against what numpy's strides say."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.graph.layout import Value, channels_last_order, plain_order, reshape_order, same_memory


def stored(shape: tuple[int, ...], order: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return an array of logical `shape` whose memory, in `order`, holds 0, 1, 2 and so on."""
    memory = np.arange(math.prod(shape)).reshape([shape[axis] for axis in order])
    return memory.transpose(np.argsort(order))


def read(array: npt.NDArray[np.int64], order: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the values in the order in which they lie in memory."""
    return array.transpose(order).reshape(-1)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4)))


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Draw a shape, an order and another shape of as many values: the factors of the first, merged and split at random."""
    shape = draw(shapes())
    order = tuple(draw(st.permutations(range(len(shape)))))
    factors = [factor for size in shape for factor in {1: [], 4: [2, 2], 6: draw(st.sampled_from([[2, 3], [3, 2]]))}.get(size, [size])]
    if draw(st.booleans()):
        factors = draw(st.permutations(factors))
    wanted: list[int] = []
    for factor in factors:
        if wanted and draw(st.booleans()):
            wanted[-1] *= factor
        else:
            wanted.append(factor)
    for _ in range(draw(st.integers(0, 2))):
        wanted.insert(draw(st.integers(0, len(wanted))), 1)
    return shape, order, tuple(wanted)


@given(reshapes())
def test_a_reshape_that_moves_nothing_keeps_every_value_in_place(case: tuple[tuple[int, ...], ...]) -> None:
    shape, order, wanted = case
    found = reshape_order(shape, order, wanted)
    if found is None:
        return
    assert sorted(found) == list(range(len(wanted)))
    assert read(stored(shape, order).reshape(wanted), found).tolist() == list(range(math.prod(shape)))


@given(reshapes())
def test_none_is_returned_only_where_no_order_would_do(case: tuple[tuple[int, ...], ...]) -> None:
    shape, order, wanted = case
    if reshape_order(shape, order, wanted) is not None:
        return
    moved = stored(shape, order).reshape(wanted)
    by_stride = sorted((axis for axis in range(len(wanted)) if wanted[axis] > 1), key=lambda axis: int(np.take(moved, 1, axis).min()))
    rest = [axis for axis in range(len(wanted)) if wanted[axis] == 1]
    assert read(moved, (*rest, *reversed(by_stride))).tolist() != list(range(math.prod(shape)))


@given(shapes(), st.data())
def test_reshaping_to_the_same_shape_keeps_the_order_of_memory(shape: tuple[int, ...], data: st.DataObject) -> None:
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    found = reshape_order(shape, order, shape)
    assert found is not None
    assert same_memory(shape, order, found)


@given(shapes(), st.data())
def test_two_orders_are_the_same_memory_exactly_when_the_bytes_are(shape: tuple[int, ...], data: st.DataObject) -> None:
    first, second = (tuple(data.draw(st.permutations(range(len(shape))))) for _ in range(2))
    values = np.arange(math.prod(shape)).reshape(shape)
    same = np.array_equal(values.transpose(first).reshape(-1), values.transpose(second).reshape(-1))
    assert same_memory(shape, first, second) == same


def test_flattening_an_image_that_lies_channels_last_has_to_move_it() -> None:
    assert reshape_order((8, 4, 4), channels_last_order(3), (128,)) is None
    assert reshape_order((8, 4, 4), plain_order(3), (128,)) == (0,)
    assert reshape_order((8, 1, 1), channels_last_order(3), (8,)) == (0,)
    assert reshape_order((8, 4, 4), channels_last_order(3), (8, 16)) == (1, 0)
    assert reshape_order((8, 4, 4), channels_last_order(3), (2, 4, 4, 4)) == (2, 3, 0, 1)


def test_a_value_knows_where_its_axes_lie() -> None:
    value = Value(tensor="x", shape=(3, 5, 7), order=channels_last_order(3))
    assert value.memory_shape == (5, 7, 3)
    assert [value.memory_axis(axis) for axis in (0, 1, 2, -1)] == [2, 0, 1, 1]
