# SPDX-License-Identifier: Apache-2.0
"""Pools and means."""

from __future__ import annotations

import math

from mpsearch.graph.layout import Value, plain_order
from mpsearch.graph.lower import Arguments, Lowering
from mpsearch.graph.windows import along, pair, spatial
from mpsearch.records import AvgPool2d, MaxPool2d, Mean, Reshape


def lower_max_pool(low: Lowering, arguments: Arguments) -> Value:
    """Lower max pooling in one or two dimensions."""
    value, one_dimensional = _pool_input(low, arguments["self"])
    if pair(arguments["dilation"]) != (1, 1):
        raise low.fail("dilated pooling is not supported.")
    kernel, stride, padding, size = _window(arguments, value, one_dimensional)
    result = low.emit(MaxPool2d(kernel=kernel, stride=stride, padding=padding), [value], (value.shape[0], *size), (1, 2, 0))
    return _pool_output(low, result, one_dimensional)


def lower_avg_pool(low: Lowering, arguments: Arguments) -> Value:
    """Lower average pooling in one or two dimensions."""
    value, one_dimensional = _pool_input(low, arguments["self"])
    if arguments.get("divisor_override") is not None:
        raise low.fail("divisor_override is not supported.")
    kernel, stride, padding, size = _window(arguments, value, one_dimensional)
    count_padding = bool(arguments["count_include_pad"])
    declared = along(arguments["padding"], one_dimensional, neutral=0)
    grown = padding != (declared[0], declared[0], declared[1], declared[1])
    if grown and count_padding and any(declared):
        raise low.fail("ceil_mode with counted padding is not supported.", "set count_include_pad=False or ceil_mode=False.")
    op = AvgPool2d(kernel=kernel, stride=stride, padding=padding, count_padding=count_padding and not grown)
    return _pool_output(low, low.emit(op, [value], (value.shape[0], *size), (1, 2, 0)), one_dimensional)


def _pool_input(low: Lowering, value: Value) -> tuple[Value, bool]:
    value = spatial(low, value)
    if len(value.shape) == 3:
        return value, False
    return low.with_order(low.reshape(value, (value.shape[0], 1, value.shape[1])), (1, 2, 0)), True


def _pool_output(low: Lowering, value: Value, one_dimensional: bool) -> Value:
    if not one_dimensional:
        return value
    return low.emit(Reshape(), [value], (value.shape[0], value.shape[2]), (1, 0))


def _window(
    arguments: Arguments, value: Value, one_dimensional: bool
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int], tuple[int, int]]:
    kernel = along(arguments["kernel_size"], one_dimensional)
    stride = along(arguments["stride"] or arguments["kernel_size"], one_dimensional)
    pads = along(arguments["padding"], one_dimensional, neutral=0)
    sizes, after = [], []
    for length, window, step, pad in zip(value.shape[1:], kernel, stride, pads, strict=True):
        reach = length + 2 * pad - window
        count = (-(-reach // step) if arguments["ceil_mode"] else reach // step) + 1
        if arguments["ceil_mode"] and (count - 1) * step >= length + pad:
            count -= 1  # a window must start inside the input or its leading padding
        sizes.append(count)
        after.append(pad + max(0, (count - 1) * step + window - length - 2 * pad))
    return kernel, stride, (pads[0], after[0], pads[1], after[1]), (sizes[0], sizes[1])


def lower_adaptive_avg_pool(low: Lowering, arguments: Arguments) -> Value:
    """Lower adaptive average pooling with equal windows."""
    value, one_dimensional = _pool_input(low, arguments["self"])
    channels, height, width = value.shape
    wanted = arguments["output_size"]
    wanted = along(wanted, one_dimensional) if isinstance(wanted, int) or None not in wanted else (height, width)
    if wanted == (1, 1):
        result = low.emit(Mean(axes=(0, 1)), [value], (channels, 1, 1), (1, 2, 0))
    elif height % wanted[0] or width % wanted[1]:
        raise low.fail(f"windows differ in size: {(height, width)} into {wanted}.", "wanted an output size that divides the input.")
    else:
        kernel = (height // wanted[0], width // wanted[1])
        result = low.emit(AvgPool2d(kernel=kernel, stride=kernel), [value], (channels, *wanted), (1, 2, 0))
    return _pool_output(low, result, one_dimensional)


def lower_adaptive_max_pool(low: Lowering, arguments: Arguments) -> Value:
    """Lower adaptive max pooling with equal windows."""
    value, one_dimensional = _pool_input(low, arguments["self"])
    channels, height, width = value.shape
    wanted = along(arguments["output_size"], one_dimensional)
    if height % wanted[0] or width % wanted[1]:
        raise low.fail(f"windows differ in size: {(height, width)} into {wanted}.", "wanted an output size that divides the input.")
    kernel = (height // wanted[0], width // wanted[1])
    return _pool_output(low, low.emit(MaxPool2d(kernel=kernel, stride=kernel), [value], (channels, *wanted), (1, 2, 0)), one_dimensional)


def lower_amax(low: Lowering, arguments: Arguments) -> Value:
    """Lower the maximum over named axes as one pooling window: the axes are brought together, the others go before and behind."""
    value: Value = arguments["self"]
    axes = arguments["dim"]
    if axes in ([], None):
        raise low.fail("it reduces the batch axis too.", "name the axes: x.amax((2, 3)).")
    logical = sorted({low.feature_axis(value, axis) for axis in ([axes] if isinstance(axes, int) else axes)})
    places = sorted(value.memory_axis(axis) for axis in logical)
    if places != list(range(places[0], places[-1] + 1)):
        value = low.with_order(value, (*logical, *(axis for axis in value.order if axis not in logical)))
        places = list(range(len(logical)))
    memory = value.memory_shape
    before, length, behind = (math.prod(part) for part in (memory[: places[0]], memory[places[0] : places[-1] + 1], memory[places[-1] + 1 :]))
    image = Value(tensor=value.tensor, shape=memory, order=plain_order(len(memory)))
    image = low.emit(Reshape(), [image], (before, length, behind), (0, 1, 2))
    largest = low.emit(MaxPool2d(kernel=(1, length), stride=(1, length)), [image], (before, 1, behind), (0, 1, 2))
    kept = tuple(1 if axis in logical else size for axis, size in enumerate(value.shape))
    result = low.emit(Reshape(), [largest], kept, value.order)
    return result if arguments["keepdim"] else low.reshape(result, tuple(size for axis, size in enumerate(value.shape) if axis not in logical))


def lower_mean(low: Lowering, arguments: Arguments) -> Value:
    """Lower a mean over named axes."""
    value = arguments["self"]
    axes = arguments.get("dim")
    if not axes:
        raise low.fail("it averages over the batch axis too.", "name the axes: x.mean((2, 3)).")
    logical = sorted(low.feature_axis(value, axis) for axis in ([axes] if isinstance(axes, int) else axes))
    kept = tuple(1 if axis in logical else size for axis, size in enumerate(value.shape))
    result = low.emit(Mean(axes=tuple(sorted(value.memory_axis(axis) for axis in logical))), [value], kept, value.order)
    if arguments["keepdim"]:
        return result
    return low.reshape(result, tuple(size for axis, size in enumerate(value.shape) if axis not in logical))
