# SPDX-License-Identifier: Apache-2.0
"""Ops that move or select values: pad, slice, split, concat, reshape, permute."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from torch import fx

from mpsearch.graph.layout import Value
from mpsearch.graph.lower import Arguments, Lowering, op_name
from mpsearch.graph.trace import TRACED_BATCH
from mpsearch.records import Concat, Pad, Slice


def lower_pad(low: Lowering, arguments: Arguments) -> Value:
    """Lower constant padding of any axes but the batch."""
    value, pads = arguments["self"], list(arguments["pad"])
    if arguments.get("mode", "constant") != "constant":
        raise low.fail(f"padding mode {arguments['mode']!r} is not supported.", "wanted 'constant'.")
    if any(pad < 0 for pad in pads):
        raise low.fail(f"negative padding {pads} is not supported.", "slice instead.")
    rank = len(value.shape)
    if len(pads) > 2 * rank and any(pads[2 * rank :]):
        raise low.fail("it pads the batch axis.")
    before, after = [0] * rank, [0] * rank
    for index in range(min(len(pads) // 2, rank)):
        axis = value.memory_axis(rank - 1 - index)
        before[axis], after[axis] = pads[2 * index], pads[2 * index + 1]
    shape = list(value.shape)
    for memory_axis, logical_axis in enumerate(value.order):
        shape[logical_axis] += before[memory_axis] + after[memory_axis]
    constant = float(arguments.get("value") or 0.0)
    return low.emit(Pad(before=tuple(before), after=tuple(after), value=constant), [value], tuple(shape), value.order)


def _slice(low: Lowering, value: Value, axis: int, start: int, stop: int, step: int) -> Value:
    size = value.shape[axis]
    start, stop, step = slice(start, stop, step).indices(size)
    length = max(0, -(-(stop - start) // step))
    if length == 0:
        raise low.fail(f"the slice {start}:{stop}:{step} of an axis of {size} is empty.")
    if (start, length, step) == (0, size, 1):
        return value
    memory_axis, shape = value.memory_axis(axis), value.memory_shape
    op = Slice(
        start=tuple(start if index == memory_axis else 0 for index in range(len(shape))),
        stop=tuple(start + (length - 1) * step + 1 if index == memory_axis else extent for index, extent in enumerate(shape)),
        step=tuple(step if index == memory_axis else 1 for index in range(len(shape))),
    )
    return low.emit(op, [value], tuple(length if index == axis else extent for index, extent in enumerate(value.shape)), value.order)


def lower_slice(low: Lowering, arguments: Arguments) -> Value:
    """Lower a slice along one axis."""
    value: Value = arguments["self"]
    if arguments["dim"] % (len(value.shape) + 1) == 0 and arguments["start"] in (None, 0) and (arguments["end"] or TRACED_BATCH) >= TRACED_BATCH:
        return value
    axis = low.feature_axis(value, arguments["dim"])
    end = arguments["end"]
    return _slice(low, value, axis, arguments["start"] or 0, value.shape[axis] if end is None else end, arguments["step"])


def lower_select(low: Lowering, arguments: Arguments) -> Value:
    """Lower the choice of one index, which drops its axis."""
    value = arguments["self"]
    axis = low.feature_axis(value, arguments["dim"])
    index = arguments["index"] % value.shape[axis]
    picked = _slice(low, value, axis, index, index + 1, 1)
    return low.reshape(picked, tuple(size for position, size in enumerate(value.shape) if position != axis))


def lower_split(low: Lowering, arguments: Arguments) -> tuple[Value, ...]:
    """Lower split, chunk and split_with_sizes into slices."""
    value = arguments["self"]
    axis = low.feature_axis(value, arguments["dim"])
    length = value.shape[axis]
    if "chunks" in arguments:
        sizes: Any = -(-length // arguments["chunks"])
    else:
        sizes = arguments["split_size"] if "split_size" in arguments else arguments["split_sizes"]
    if isinstance(sizes, int):
        sizes = [min(sizes, length - start) for start in range(0, length, sizes)]
    starts = np.cumsum([0, *sizes])
    return tuple(_slice(low, value, axis, int(a), int(b), 1) for a, b in pairwise(starts))


def lower_concat(low: Lowering, arguments: Arguments) -> Value:
    """Lower a concatenation."""
    values = arguments["tensors"]
    if not all(isinstance(value, Value) for value in values):
        raise low.fail("it joins a constant to an activation.")
    first = values[0]
    axis = low.feature_axis(first, arguments["dim"])
    shape = tuple(sum(value.shape[axis] for value in values) if index == axis else size for index, size in enumerate(first.shape))
    inputs = [low.with_order(value, first.order) for value in values]
    return low.emit(Concat(axis=first.memory_axis(axis)), inputs, shape, first.order)


def lower_reshape(low: Lowering, arguments: Arguments) -> Value:
    """Lower view and reshape."""
    value = arguments["self"]
    wanted = list(arguments["size"] if "size" in arguments else arguments["shape"])
    if -1 in wanted:
        known = math.prod(size for size in wanted if size != -1)
        wanted[wanted.index(-1)] = TRACED_BATCH * math.prod(value.shape) // known
    if not wanted or wanted[0] != TRACED_BATCH:
        raise low.fail(f"the new shape {wanted} mixes the batch axis with others.", "keep the batch first: x.flatten(1), x.view(x.shape[0], ...).")
    return low.reshape(value, tuple(wanted[1:]))


def lower_flatten(low: Lowering, arguments: Arguments) -> Value:
    """Lower a flatten of neighbouring axes."""
    value = arguments["self"]
    start = low.feature_axis(value, arguments["start_dim"])
    stop = arguments["end_dim"] % (len(value.shape) + 1)
    return low.reshape(value, (*value.shape[:start], math.prod(value.shape[start:stop]), *value.shape[stop:]))


def lower_permute(low: Lowering, arguments: Arguments) -> Value:
    """Lower a permutation: it only changes what the axes are called."""
    return low.permute(arguments["self"], arguments["dims"])


def lower_swap(low: Lowering, arguments: Arguments) -> Value:
    """Lower a transpose of two axes."""
    value = arguments["self"]
    axes = list(range(len(value.shape) + 1))
    first, second = (arguments.get(name, default) % len(axes) for name, default in (("dim0", 0), ("dim1", 1)))
    axes[first], axes[second] = axes[second], axes[first]
    return low.permute(value, axes)


def lower_unsqueeze(low: Lowering, arguments: Arguments) -> Value:
    """Lower a new axis of length 1."""
    value = arguments["self"]
    axis = arguments["dim"] % (len(value.shape) + 2)
    if axis == 0:
        raise low.fail("it adds an axis before the batch axis.")
    return low.reshape(value, (*value.shape[: axis - 1], 1, *value.shape[axis - 1 :]))


def lower_squeeze(low: Lowering, arguments: Arguments) -> Value:
    """Lower the removal of axes of length 1."""
    value = arguments["self"]
    axes = arguments.get("dim")
    wanted = range(1, len(value.shape) + 1) if axes is None else ([axes] if isinstance(axes, int) else axes)
    chosen = {low.feature_axis(value, axis) for axis in wanted}
    return low.reshape(value, tuple(size for axis, size in enumerate(value.shape) if size != 1 or axis not in chosen))


def lower_expand(low: Lowering, arguments: Arguments) -> Value:
    """Lower an expand that repeats nothing, or whose readers broadcast by themselves against a tensor of the expanded shape."""
    value: Value = arguments["self"]
    wanted = tuple(low.node.meta["val"].shape[1:])
    if wanted != value.shape and not all(_broadcasts(low, user, wanted) for user in low.node.users):
        raise low.fail(f"it repeats values ({value.shape} to {wanted}).", "an addition or product broadcasts by itself.")
    return value


def _broadcasts(low: Lowering, user: fx.Node, wanted: tuple[int, ...]) -> bool:
    """Whether a reader of an expanded tensor is a sum or product whose other operand has the whole shape and is not expanded itself."""
    others = [item for item in user.args if isinstance(item, fx.Node) and item is not low.node]
    whole = len(others) == 1 and op_name(others[0]) != "expand" and tuple(others[0].meta["val"].shape[1:]) == wanted
    return whole and op_name(user) in ("add", "sub", "mul")


def lower_stack(low: Lowering, arguments: Arguments) -> Value:
    """Lower a stack: a concatenation along a new axis."""
    values = arguments["tensors"]
    if not all(isinstance(value, Value) for value in values):
        raise low.fail("it joins a constant to an activation.")
    axis = arguments["dim"] % (len(values[0].shape) + 2)
    return lower_concat(low, {"tensors": [lower_unsqueeze(low, {"self": value, "dim": axis}) for value in values], "dim": axis})


def lower_unbind(low: Lowering, arguments: Arguments) -> tuple[Value, ...]:
    """Lower the unpacking of an axis into its entries."""
    value = arguments["self"]
    axis = low.feature_axis(value, arguments["dim"])
    return tuple(lower_select(low, {"self": value, "dim": axis + 1, "index": index}) for index in range(value.shape[axis]))


def lower_pixel_shuffle(low: Lowering, arguments: Arguments) -> Value:
    """Lower depth to space: (C * r * r, H, W) to (C, H * r, W * r)."""
    value, factor = arguments["self"], int(arguments["upscale_factor"])
    channels, height, width = value.shape
    split = low.reshape(value, (channels // factor**2, factor, factor, height, width))
    return low.reshape(low.permute(split, (0, 1, 4, 2, 5, 3)), (channels // factor**2, height * factor, width * factor))


def lower_pixel_unshuffle(low: Lowering, arguments: Arguments) -> Value:
    """Lower space to depth: (C, H * r, W * r) to (C * r * r, H, W)."""
    value, factor = arguments["self"], int(arguments["downscale_factor"])
    channels, height, width = value.shape[0], value.shape[1] // factor, value.shape[2] // factor
    split = low.reshape(value, (channels, height, factor, width, factor))
    return low.reshape(low.permute(split, (0, 1, 3, 5, 2, 4)), (channels * factor**2, height, width))


def lower_cast(low: Lowering, arguments: Arguments) -> Value:
    """Lower a cast between floating types, which a quantised network does not notice."""
    if not low.node.meta["val"].dtype.is_floating_point:
        raise low.fail(f"it casts to {str(low.node.meta['val'].dtype).removeprefix('torch.')}.", "wanted a floating type.")
    return lower_identity(low, arguments)


def lower_identity(low: Lowering, arguments: Arguments) -> Value:
    """Lower what changes nothing in evaluation."""
    result: Value = arguments["self"] if "self" in arguments else arguments["input"]
    return result
