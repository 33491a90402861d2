# SPDX-License-Identifier: Apache-2.0
"""The integer execution computes what a plain int64 interpreter computes, op by op."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.evaluate import integer
from mpsearch.evaluate.integer import EXACT_FLOAT32, IntegerNetwork, quantize_tensor
from mpsearch.quant.quantize import QuantizerSettings
from mpsearch.records import Conv2d, Linear, Quantization, QuantizedGraph
from tests.evaluate.float_graphs import chain, draw, layer, quantized
from tests.export.models import GraphMaker
from tests.export.reference import run_reference

SEEDS = st.integers(0, 10_000)
SIZES = st.integers(1, 6)


def assert_equals_reference(graph: QuantizedGraph, samples: list[np.ndarray]) -> None:
    inputs = {name: torch.tensor(values, dtype=torch.float32) for name, values in zip(graph.graph.inputs, samples, strict=True)}
    got = IntegerNetwork(graph).integer_output(inputs).numpy()
    for index in range(len(got)):
        np.testing.assert_array_equal(got[index], run_reference(graph, [values[index] for values in samples]))


@given(
    seed=SEEDS,
    height=st.integers(5, 9),
    width=st.integers(5, 9),
    channels=SIZES,
    outputs=SIZES,
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    bits=st.integers(2, 8),
)
def test_convolution_equals_the_interpreter(
    seed: int,
    height: int,
    width: int,
    channels: int,
    outputs: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int, int, int],
    bits: int,
) -> None:
    maker = GraphMaker(seed)
    source = maker.input(height, width, channels)
    graph = maker.finish(maker.conv(source, outputs, kernel, bits, stride=stride, dilation=dilation, padding=padding))
    assert_equals_reference(graph, maker.samples(2))


@given(seed=SEEDS, groups=st.integers(2, 4), inputs=st.integers(1, 3), outputs=st.integers(1, 3), stride=st.integers(1, 2))
def test_grouped_and_depthwise_convolution_equals_the_interpreter(seed: int, groups: int, inputs: int, outputs: int, stride: int) -> None:
    maker = GraphMaker(seed)
    source = maker.input(5, 4, groups * inputs)
    graph = maker.finish(maker.conv(source, groups * outputs, (3, 2), 4, stride=(stride, 1), padding=(1, 0, 2, 1), groups=groups))
    assert_equals_reference(graph, maker.samples(2))


@given(seed=SEEDS, rows=st.integers(1, 3), inputs=st.integers(1, 40), outputs=SIZES, bits=st.integers(2, 8), extreme=st.booleans())
def test_linear_equals_the_interpreter(seed: int, rows: int, inputs: int, outputs: int, bits: int, extreme: bool) -> None:
    maker = GraphMaker(seed, extreme)
    graph = maker.finish(maker.linear(maker.input(rows, inputs), outputs, bits))
    assert_equals_reference(graph, maker.samples(2))


@given(
    seed=SEEDS,
    channels=st.tuples(SIZES, st.integers(1, 60), SIZES),
    widths=st.tuples(*[st.sampled_from((4, 8, 16))] * 2),
    bits=st.integers(2, 8),
    extreme=st.booleans(),
)
def test_activations_of_4_and_16_bits_equal_the_interpreter(
    seed: int, channels: tuple[int, int, int], widths: tuple[int, int], bits: int, extreme: bool
) -> None:
    maker = GraphMaker(seed, extreme)
    value = maker.conv(maker.input(4, 5, channels[0]), channels[1], (3, 3), bits, padding=(1, 0, 1, 1), output_bits=widths[0])
    value = maker.linear(maker.conv(value, channels[2], (2, 2), bits, output_bits=widths[1]), 3, bits)
    assert_equals_reference(maker.finish(value), maker.samples(2))


@given(seed=SEEDS, shape=st.tuples(SIZES, SIZES, SIZES), ones=st.tuples(*[st.booleans()] * 3), product=st.booleans(), extreme=st.booleans())
def test_sums_and_products_broadcast_like_the_interpreter(
    seed: int, shape: tuple[int, int, int], ones: tuple[bool, bool, bool], product: bool, extreme: bool
) -> None:
    maker = GraphMaker(seed, extreme)
    first, second = maker.input(*shape), maker.input(*(1 if one else size for one, size in zip(ones, shape, strict=True)))
    graph = maker.finish((maker.mul if product else maker.add)(first, second))
    assert_equals_reference(graph, maker.samples(3))


@given(
    seed=SEEDS,
    kernel=st.tuples(st.integers(2, 3), st.integers(2, 3)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(*[st.integers(0, 1)] * 4),
    kind=st.sampled_from(("max", "whole", "counted")),
)
def test_pooling_equals_the_interpreter(
    seed: int, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int, int, int], kind: str
) -> None:
    maker = GraphMaker(seed)
    source = maker.input(5, 6, 3)
    pooled = maker.max_pool(source, kernel, stride, padding) if kind == "max" else maker.avg_pool(source, kernel, stride, padding, kind == "whole")
    assert_equals_reference(maker.finish(pooled), maker.samples(2))


@given(seed=SEEDS, axes=st.sampled_from(((0,), (1,), (0, 1), (2,), (0, 1, 2))), keep=st.booleans())
def test_means_equal_the_interpreter(seed: int, axes: tuple[int, ...], keep: bool) -> None:
    maker = GraphMaker(seed)
    graph = maker.finish(maker.mean(maker.input(4, 3, 5), axes, keep))
    assert_equals_reference(graph, maker.samples(2))


@given(seed=SEEDS)
def test_a_graph_of_moving_ops_tables_and_tied_weights_equals_the_interpreter(seed: int) -> None:
    maker = GraphMaker(seed)
    source = maker.input(6, 5, 4)
    left = maker.conv(source, 4, (1, 1), 3, key="tied")
    right = maker.conv(maker.unary(left), 4, (1, 1), 3, key="tied")
    padded = maker.pad(maker.slice(right, (0, 1, 0), (6, 5, 4), (2, 1, 1)), (1, 0, 0), (2, 1, 0))
    turned = maker.transpose(maker.slice(left, (0, 0, 0), (5, 5, 4), (1, 1, 1)), (1, 0, 2))
    joined = maker.concat((padded, turned), 0)
    graph = maker.finish(maker.linear(maker.reshape(joined, int(np.prod(maker.shape(joined)))), 3, 5))
    assert_equals_reference(graph, maker.samples(2))


@pytest.mark.parametrize("groups", [1, 2])
def test_sums_beyond_the_exact_range_of_float32_stay_exact(groups: int) -> None:
    maker = GraphMaker(3, extreme=True)
    channels = 2 * EXACT_FLOAT32 // (9 * 255 * 128) // 2 * 2 * groups
    graph = maker.finish(maker.conv(maker.input(3, 3, channels), 4, (3, 3), 8, groups=groups))
    samples = [np.random.default_rng(0).choice([-128, 127], (2, 3, 3, channels)).astype(np.int8)]
    assert_equals_reference(graph, samples)


def test_without_the_native_library_the_integers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = GraphMaker(5)
    graph = maker.finish(maker.conv(maker.input(6, 6, 3), 5, (3, 3), padding=(1, 1, 1, 1)))
    monkeypatch.setattr(integer, "native_library", lambda: None)
    assert_equals_reference(graph, maker.samples(9))


def test_inputs_round_to_the_nearest_integer_and_clamp() -> None:
    values = torch.tensor([-100.0, -0.26, -0.24, 0.0, 0.26, 100.0])
    assert quantize_tensor(values, Quantization(scale=0.5, zero_point=3)).tolist() == [-128, 2, 3, 3, 4, 127]


def test_the_real_output_of_a_quantized_layer_is_near_the_float_output() -> None:
    graph = chain([(8,), (4,)], layer("fc", Linear(), ("t0",), "t1", (4, 8)))
    batch = draw(graph, 64)
    record = quantized(graph)
    scale = record.quantization("t1").scale
    weight, bias = torch.tensor(graph.layers[0].weight), torch.tensor(graph.layers[0].bias)
    wanted = torch.nn.functional.linear(batch[0], weight, bias)
    assert (IntegerNetwork(record).torch_output(batch) - wanted).abs().max() < 4 * scale


def test_a_fused_relu_clamps_at_the_zero_point() -> None:
    graph = chain([(5, 5, 2), (5, 5, 3)], layer("conv", Conv2d(padding=(1, 1, 1, 1)), ("t0",), "t1", (3, 3, 3, 2), clamp=(0.0, np.inf)))
    record = quantized(graph, settings=QuantizerSettings(activation_range="minmax"))
    output = IntegerNetwork(record).output(draw(graph, 16))
    assert float(output.min()) == 0.0
    assert float(output.max()) > 0.0
