# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import numpy as np
import pytest

from mpsearch.errors import QuantizationError
from mpsearch.export.kernel_library import KERNELS
from mpsearch.quant.packed_size import (
    ACTIVATION_BITS,
    PACKED_WEIGHT_BITS,
    PARAMS_BYTES,
    constant_bytes,
    header_bytes,
    kernel_supports,
    scratch_bytes,
)
from mpsearch.records import Add, AvgPool2d, Concat, Conv2d, Layer, LayerGraph, Linear, Op, Precision, Reshape, Tensor, Unary


def make_graph(*layers: Layer, **shapes: tuple[int, ...]) -> LayerGraph:
    tensors = tuple(Tensor(name=name, shape=shape, quantizer=i, precision_group=i) for i, (name, shape) in enumerate(shapes.items()))
    return LayerGraph(
        inputs=("x",), input_permutations=((0,),), output=layers[-1].output, output_permutation=(0,), tensors=tensors, layers=layers, groups=()
    )


def weighted(name: str, op: Op, shape: tuple[int, ...], key: str, source: str = "x", target: str = "y") -> Layer:
    weight, bias = np.zeros(shape, dtype=np.float32), np.zeros(shape[0], dtype=np.float32)
    return Layer(name=name, op=op, inputs=(source,), output=target, weight=weight, bias=bias, weight_key=key)


W4 = Precision(weight_bits=4)
CONV = make_graph(weighted("conv", Conv2d(padding=(1, 1, 1, 1)), (16, 3, 3, 3), "conv"), x=(8, 8, 3), y=(8, 8, 16))
DEPTHWISE = make_graph(weighted("dw", Conv2d(groups=6), (6, 3, 3, 1), "dw"), x=(8, 8, 6), y=(6, 6, 6))
TIED = make_graph(
    weighted("first", Linear(), (4, 4), "tied", "x", "h"), weighted("second", Linear(), (4, 4), "tied", "h", "y"), x=(4,), h=(4,), y=(4,)
)


@pytest.mark.parametrize(("bits", "row"), [(2, 7), (3, 7 + 4), (4, 14), (5, 14 + 4), (6, 14 + 7), (7, 14 + 7 + 4), (8, 27)])
def test_convolution_bytes_are_params_bias_multiplier_packed_rows_and_shifts(bits: int, row: int) -> None:
    assert constant_bytes(CONV, CONV.layers[0], Precision(weight_bits=bits)) == 44 + 16 * 4 + 16 * 4 + 16 * row + 16


def test_depthwise_rows_run_over_the_channels() -> None:
    # 9 rows of 6 four-bit values: 3 bytes each; 44 + 24 + 24 + 27 + 6 = 125, padded to 128.
    assert constant_bytes(DEPTHWISE, DEPTHWISE.layers[0], W4) == 128


def test_only_the_first_of_tied_layers_pays_for_the_weights() -> None:
    first, second = (constant_bytes(TIED, layer, W4) for layer in TIED.layers)
    assert (first, second) == (24 + 16 + 16 + 8 + 4, 24 + 16 + 16 + 4)


def test_bytes_never_fall_when_bits_rise() -> None:
    for graph in (CONV, DEPTHWISE, TIED):
        sizes = [constant_bytes(graph, graph.layers[0], Precision(weight_bits=bits)) for bits in PACKED_WEIGHT_BITS]
        assert sizes == sorted(sizes)


def test_layers_without_weights_take_no_precision() -> None:
    graph = make_graph(
        Layer(name="relu", op=Unary(function="relu"), inputs=("x",), output="a"),
        Layer(name="add", op=Add(), inputs=("x", "a"), output="b"),
        Layer(name="cat", op=Concat(axis=2), inputs=("a", "b", "b"), output="c"),
        Layer(name="flat", op=Reshape(), inputs=("c",), output="y"),
        x=(2, 2, 4),
        a=(2, 2, 4),
        b=(2, 2, 4),
        c=(2, 2, 12),
        y=(48,),
    )
    assert [constant_bytes(graph, layer, None) for layer in graph.layers] == [260, 44, 240, 0]
    assert [scratch_bytes(graph, layer, None) for layer in graph.layers] == [0, 0, 0, 0]
    assert header_bytes(graph) == 0
    with pytest.raises(QuantizationError, match="Layer 'relu': there is no kernel for Unary at w4a8"):
        constant_bytes(graph, graph.layers[0], W4)


@pytest.mark.parametrize(
    ("padding", "count_padding", "output", "divisors"),
    [((0, 0, 0, 0), False, 3, 1), ((1, 1, 1, 1), True, 4, 1), ((1, 1, 1, 1), False, 4, 4), ((0, 0, 0, 0), True, 4, 4)],
)
def test_average_pooling_stores_a_divisor_for_each_count_only_where_counts_differ(
    padding: tuple[int, int, int, int], count_padding: bool, output: int, divisors: int
) -> None:
    op = AvgPool2d(kernel=(2, 2), stride=(2, 2), padding=padding, count_padding=count_padding)
    graph = make_graph(Layer(name="pool", op=op, inputs=("x",), output="y"), x=(6, 6, 1), y=(output, output, 1))
    assert constant_bytes(graph, graph.layers[0], None) == {1: 40, 4: 52}[divisors]


def test_scratch_holds_three_pixels_in_pairs_or_four_of_odd_widths_and_a_window() -> None:
    assert scratch_bytes(CONV, CONV.layers[0], W4) == 6 * 64 + 28  # 27 values a window
    assert scratch_bytes(CONV, CONV.layers[0], Precision(weight_bits=3)) == 8 * 64 + 28
    pointwise = make_graph(weighted("pw", Conv2d(), (8, 1, 1, 65), "pw"), x=(8, 8, 65), y=(8, 8, 8))
    assert scratch_bytes(pointwise, pointwise.layers[0], W4) == 6 * 128
    assert scratch_bytes(pointwise, pointwise.layers[0], Precision(weight_bits=7)) == 8 * 128
    single = make_graph(weighted("fc", Linear(), (8, 65), "fc"), x=(65,), y=(8,))
    assert scratch_bytes(single, single.layers[0], Precision(weight_bits=8)) == 2 * 128


@pytest.mark.parametrize(
    "precision", [Precision(weight_bits=9), Precision(weight_bits=4, activation_bits=6), Precision(weight_bits=4, group_size=32), None]
)
def test_precisions_without_a_kernel_are_refused(precision: Precision | None) -> None:
    layer = CONV.layers[0]
    assert not kernel_supports(layer, precision)
    with pytest.raises(QuantizationError, match=f"Layer 'conv': there is no kernel for Conv2d at {precision or 'no precision'}"):
        scratch_bytes(CONV, layer, precision)


def test_every_packed_width_is_supported() -> None:
    for bits in PACKED_WEIGHT_BITS:
        assert all(kernel_supports(CONV.layers[0], Precision(weight_bits=bits, activation_bits=width)) for width in ACTIVATION_BITS)


def test_depthwise_convolutions_take_bytes_only() -> None:
    layer = weighted("dw", Conv2d(groups=8), (8, 3, 3, 1), "dw")
    assert [width for width in ACTIVATION_BITS if kernel_supports(layer, Precision(weight_bits=4, activation_bits=width))] == [8]


def test_nibbles_are_unpacked_into_a_window_and_16_bits_into_two_windows_of_twice_the_size() -> None:
    dense = make_graph(weighted("fc", Linear(), (8, 65), "fc"), x=(3, 65), y=(3, 8))
    assert scratch_bytes(dense, dense.layers[0], Precision(weight_bits=8, activation_bits=4)) == 6 * 128 + 68
    assert scratch_bytes(dense, dense.layers[0], Precision(weight_bits=8, activation_bits=16)) == 2 * 2 * 68
    assert scratch_bytes(dense, dense.layers[0], Precision(weight_bits=5, activation_bits=16)) == 2 * 2 * 68 + 68
    assert scratch_bytes(dense, dense.layers[0], Precision(weight_bits=5), output_bits=16) == 2 * 2 * 68 + 68
    single = make_graph(weighted("fc", Linear(), (8, 65), "fc"), x=(65,), y=(8,))
    assert scratch_bytes(single, single.layers[0], Precision(weight_bits=8, activation_bits=16)) == 2 * 68


def test_parameter_sizes_are_those_that_c_asserts() -> None:
    text = (KERNELS / "include" / "mps" / "mps_params.h").read_text(encoding="utf-8")
    asserted = {name: int(size) for name, size in re.findall(r"sizeof\(mps_(\w+)_params\) == (\d+)", text)}
    names = {"Conv2d": "conv2d", "AvgPool2d": "avg_pool2d", "MaxPool2d": "max_pool2d", "Concat": "copy", "Slice": "copy", "Transpose": "copy"}
    for op, size in PARAMS_BYTES.items():
        assert op is Reshape or asserted[names.get(op.__name__, op.__name__.lower())] == size
