# SPDX-License-Identifier: Apache-2.0
"""Layers that are worth measuring where no network says which: every operator, in the sizes that networks on small devices have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mpsearch.errors import ExportError, QuantizationError
from mpsearch.export.measure_wire import LayerRequest
from mpsearch.quant.packed_size import PACKED_WEIGHT_BITS
from mpsearch.records import LayerShape, Precision

Size = tuple[int, int]

_CONVOLUTIONS: tuple[tuple[Size, int, int, Size, Size], ...] = (
    # image, channels in and out, kernel, stride
    ((32, 32), 16, 16, (3, 3), (1, 1)),
    ((16, 16), 32, 32, (3, 3), (1, 1)),
    ((8, 8), 64, 64, (3, 3), (1, 1)),
    ((32, 32), 16, 32, (3, 3), (2, 2)),
    ((16, 16), 32, 64, (3, 3), (2, 2)),
    ((12, 12), 24, 40, (3, 3), (1, 1)),
    ((9, 9), 13, 21, (3, 3), (1, 1)),
    ((15, 11), 7, 9, (3, 3), (2, 2)),
    ((4, 4), 96, 48, (3, 3), (1, 1)),
    ((32, 32), 3, 16, (3, 3), (1, 1)),
    ((64, 64), 3, 8, (3, 3), (2, 2)),
    ((28, 28), 1, 8, (3, 3), (1, 1)),
    ((28, 28), 1, 6, (5, 5), (1, 1)),
    ((32, 32), 3, 16, (5, 5), (2, 2)),
    ((12, 12), 16, 24, (5, 5), (1, 1)),
    ((49, 10), 1, 64, (10, 4), (2, 2)),
    ((20, 10), 8, 16, (10, 4), (1, 1)),
    ((16, 1), 32, 32, (5, 1), (1, 1)),
    ((25, 5), 64, 64, (1, 1), (1, 1)),
    ((16, 16), 32, 64, (1, 1), (1, 1)),
    ((8, 8), 128, 128, (1, 1), (1, 1)),
    ((16, 16), 16, 32, (1, 1), (1, 1)),
    ((32, 32), 8, 16, (1, 1), (1, 1)),
    ((4, 4), 128, 256, (1, 1), (1, 1)),
    ((7, 7), 40, 24, (1, 1), (1, 1)),
    ((5, 5), 33, 19, (1, 1), (1, 1)),
    ((16, 16), 16, 32, (1, 1), (2, 2)),
    ((1, 1), 64, 32, (1, 1), (1, 1)),
    ((1, 1), 32, 8, (1, 1), (1, 1)),
    ((1, 1), 24, 96, (1, 1), (1, 1)),
    ((1, 1), 144, 36, (1, 1), (1, 1)),
    ((3, 3), 40, 20, (1, 1), (1, 1)),
    ((48, 48), 8, 12, (1, 1), (1, 1)),
    ((20, 20), 12, 32, (1, 1), (1, 1)),
)
_DEPTHWISE: tuple[tuple[Size, int, Size, Size], ...] = (
    # image, channels, kernel, stride
    ((25, 5), 64, (3, 3), (1, 1)),
    ((12, 12), 32, (3, 3), (1, 1)),
    ((8, 8), 128, (3, 3), (1, 1)),
    ((48, 48), 16, (3, 3), (1, 1)),
    ((64, 64), 8, (3, 3), (2, 2)),
    ((16, 16), 64, (3, 3), (2, 2)),
    ((4, 4), 256, (3, 3), (1, 1)),
    ((7, 7), 30, (3, 3), (1, 1)),
    ((13, 9), 21, (3, 3), (2, 2)),
    ((3, 3), 48, (3, 3), (1, 1)),
    ((8, 8), 48, (5, 5), (1, 1)),
    ((24, 24), 16, (5, 5), (2, 2)),
    ((9, 7), 27, (5, 5), (1, 1)),
    ((12, 12), 24, (7, 7), (1, 1)),
    ((20, 6), 32, (5, 1), (1, 1)),
    ((10, 10), 16, (2, 2), (2, 2)),
    ((20, 20), 6, (3, 3), (1, 1)),
    ((13, 40), 12, (3, 3), (1, 1)),
    ((32, 32), 24, (3, 3), (2, 2)),
    ((2, 2), 128, (3, 3), (1, 1)),
    ((24, 24), 24, (5, 5), (1, 1)),
    ((6, 6), 64, (5, 5), (2, 2)),
    ((16, 8), 20, (1, 3), (1, 1)),
    ((11, 11), 36, (7, 7), (2, 2)),
)
_DENSE: tuple[tuple[int, int, int], ...] = (
    # rows, inputs, outputs
    (1, 640, 128),
    (1, 128, 128),
    (1, 64, 12),
    (1, 8, 128),
    (1, 256, 10),
    (1, 512, 100),
    (1, 33, 7),
    (1, 1024, 64),
    (1, 784, 32),
    (1, 192, 10),
    (1, 50, 20),
    (1, 300, 90),
    (1, 576, 3),
    (1, 1280, 25),
    (1, 24, 64),
    (1, 96, 18),
    (5, 72, 30),
    (2, 96, 48),
    (8, 64, 64),
    (49, 32, 96),
)
_ELEMENTWISE: tuple[tuple[int, int, int], ...] = ((32, 32, 16), (16, 16, 32), (8, 8, 64), (7, 7, 30), (5, 5, 3), (1, 1, 128), (48, 48, 8))
_POOLS: tuple[tuple[Size, int, Size, Size, int], ...] = (
    # image, channels, kernel, stride, padding on every side
    ((32, 32), 16, (2, 2), (2, 2), 0),
    ((16, 16), 32, (3, 3), (2, 2), 1),
    ((8, 8), 64, (2, 2), (2, 2), 0),
    ((14, 14), 21, (3, 3), (1, 1), 1),
    ((24, 6), 24, (4, 1), (4, 1), 0),
    ((8, 8), 48, (8, 8), (8, 8), 0),
    ((25, 5), 64, (5, 5), (5, 5), 0),
    ((10, 10), 10, (2, 2), (1, 1), 0),
    ((12, 12), 32, (3, 3), (3, 3), 0),
    ((20, 3), 16, (2, 3), (2, 3), 0),
)
_MEANS: tuple[tuple[int, int, int], ...] = ((8, 8, 64), (25, 5, 64), (4, 4, 256), (7, 7, 30), (3, 3, 1280), (16, 16, 32), (1, 24, 16))
_COPIES: tuple[tuple[tuple[int, int, int], tuple[int, int, int], int], ...] = (
    # input, output, operands
    ((32, 32, 16), (34, 34, 16), 1),
    ((28, 28, 1), (32, 32, 1), 1),
    ((16, 16, 32), (18, 17, 32), 1),
    ((8, 8, 48), (8, 8, 64), 1),
    ((16, 16, 16), (16, 16, 32), 2),
    ((8, 8, 32), (8, 8, 96), 3),
    ((7, 7, 13), (7, 7, 30), 2),
    ((8, 12, 16), (16, 12, 16), 2),
    ((16, 16, 32), (16, 16, 16), 1),
    ((16, 16, 24), (12, 12, 24), 1),
    ((10, 10, 9), (10, 10, 5), 1),
    ((12, 12, 8), (12, 12, 20), 1),
    ((25, 5, 64), (24, 5, 64), 1),
    ((5, 5, 40), (7, 7, 40), 1),
    ((20, 8, 16), (10, 8, 16), 1),
    ((24, 16, 12), (16, 24, 12), 1),
    ((64, 4, 16), (64, 16, 4), 1),
    ((40, 1, 24), (24, 1, 40), 1),
)


def default_grid() -> tuple[LayerShape, ...]:
    """Return the grid, operator by operator."""
    shapes = [_convolution(image, inputs, outputs, kernel, stride) for image, inputs, outputs, kernel, stride in _CONVOLUTIONS]
    shapes += [_convolution(image, channels, channels, kernel, stride, depthwise=True) for image, channels, kernel, stride in _DEPTHWISE]
    shapes += [LayerShape(operator="dense", input=(rows, 1, inputs), output=(rows, 1, outputs)) for rows, inputs, outputs in _DENSE]
    for operator in ("add", "mul"):
        shapes += [LayerShape(operator=operator, input=shape, output=shape, operands=2) for shape in _ELEMENTWISE]
    for operator in ("max_pool", "avg_pool"):
        shapes += [_pool(operator, *pool) for pool in _POOLS]
    shapes += [LayerShape(operator="mean", input=shape, output=(1, 1, shape[2])) for shape in _MEANS]
    shapes += [LayerShape(operator="copy", input=before, output=after, operands=operands) for before, after, operands in _COPIES]
    shapes += [LayerShape(operator="lookup", input=shape, output=shape) for shape in _ELEMENTWISE]
    return tuple(shapes)


def grid_requests(shapes: Iterable[LayerShape], precisions: Sequence[Precision]) -> tuple[LayerRequest, ...]:
    """Return every shape at every precision that its kernel takes; once where it has no weights."""
    requests = []
    for shape in shapes:
        for precision in precisions if shape.has_weights else (None,):
            if precision is None or precision.activation_bits == 8 or shape.operator != "depthwise":
                requests.append(LayerRequest(shape=shape, precision=precision))
    return tuple(requests)


def read_precisions(text: str | None) -> tuple[Precision, ...]:
    """Read "2,4,8" or "w4a8,w8a16".

    Args:
        text: None for every weight width of the kernels, with 8-bit activations.

    Raises:
        ExportError: It says something else, or nothing.
    """
    if text is None:
        return tuple(Precision(weight_bits=bits) for bits in PACKED_WEIGHT_BITS)
    words = [word.strip() for word in text.split(",")]
    try:
        return tuple(dict.fromkeys(Precision(weight_bits=int(word)) if word.isdecimal() else Precision.parse(word) for word in words))
    except QuantizationError as error:
        raise ExportError(f"--bits {text}: {error.message}", "wanted weight bits or precisions, e.g. 2,4,8 or w4a8,w8a16.") from error


def _convolution(image: Size, inputs: int, outputs: int, kernel: Size, stride: Size, *, depthwise: bool = False) -> LayerShape:
    """Return a convolution whose padding keeps the size but for its stride: an even kernel has one more below and on the right."""
    padding = tuple(side for size in kernel for side in ((size - 1) // 2, size // 2))
    output = tuple((image[axis] + kernel[axis] - 1 - kernel[axis]) // stride[axis] + 1 for axis in (0, 1))
    return LayerShape(
        operator="depthwise" if depthwise else "conv2d",
        input=(*image, inputs),
        output=(*output, outputs),  # type: ignore[arg-type]
        kernel=kernel,
        stride=stride,
        padding=padding,  # type: ignore[arg-type]
        groups=inputs if depthwise else 1,
    )


def _pool(operator: str, image: Size, channels: int, kernel: Size, stride: Size, padding: int) -> LayerShape:
    output = tuple((image[axis] + 2 * padding - kernel[axis]) // stride[axis] + 1 for axis in (0, 1))
    return LayerShape(
        operator=operator,
        input=(*image, channels),
        output=(*output, channels),  # type: ignore[arg-type]
        kernel=kernel,
        stride=stride,
        padding=(padding,) * 4,
    )
