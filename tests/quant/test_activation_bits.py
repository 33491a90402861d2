# SPDX-License-Identifier: Apache-2.0
"""Which tensors may have 4 or 16 bits, and what the quantizer makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mpsearch.errors import QuantizationError
from mpsearch.evaluate.integer import IntegerNetwork
from mpsearch.evaluate.real import RealNetwork
from mpsearch.quant.activation_bits import activation_bits, takes_other_bits
from mpsearch.quant.quantize import Quantizer
from mpsearch.records import Add, BitWidthConfig, Conv2d, LayerGraph, Linear, Precision, QuantizerGroup, Unary
from tests.evaluate.float_graphs import chain, draw, layer, statistics
from tests.export.reference import run_reference

PADDED = Conv2d(padding=(1, 1, 1, 1))


def config(graph: LayerGraph, **bits: int) -> BitWidthConfig:
    """Return 8-bit weights, and these activation bits."""
    precisions = tuple((item.name, Precision(weight_bits=8, activation_bits=bits.get(item.name, 8))) for item in graph.weighted_layers)
    return BitWidthConfig(model_digest=graph.model_digest, precisions=precisions)


def network() -> LayerGraph:
    """Return two convolutions and a dense layer in a row, then a relu and a dense layer."""
    return chain(
        [(6, 6, 3), (6, 6, 8), (6, 6, 8), (6, 6, 5), (6, 6, 5), (6, 6, 4)],
        layer("first", PADDED, ("t0",), "t1", (8, 3, 3, 3), clamp=(0.0, np.inf)),
        layer("second", PADDED, ("t1",), "t2", (8, 3, 3, 8), seed=1),
        layer("third", Linear(), ("t2",), "t3", (5, 8), seed=2),
        layer("relu", Unary(function="relu"), ("t3",), "t4"),
        layer("last", Linear(), ("t4",), "t5", (4, 5), seed=3),
    )


def test_a_precision_says_how_many_bits_the_input_of_its_layer_has() -> None:
    graph = network()
    assert activation_bits(graph, config(graph, second=4, third=16)) == {"t0": 8, "t1": 4, "t2": 16, "t3": 8, "t4": 8, "t5": 8}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("first", "Layer 'first': Conv2d at w8a4 reads tensor 't0', which is an input of the model"),
        ("last", "Layer 'last': Linear at w8a4 reads tensor 't4', which is written by layer 'relu', Unary"),
    ],
)
def test_ops_that_take_bytes_only_are_named(name: str, message: str) -> None:
    graph = network()
    with pytest.raises(QuantizationError, match=message) as caught:
        activation_bits(graph, config(graph, **{name: 4}))
    assert "give this layer 8" in str(caught.value)


def test_a_tensor_that_is_also_added_or_convolved_depthwise_keeps_8_bits() -> None:
    shapes = [(4, 4, 3), (4, 4, 8), (4, 4, 8), (4, 4, 8)]
    first, second = layer("first", PADDED, ("t0",), "t1", (8, 3, 3, 3)), layer("second", PADDED, ("t1",), "t2", (8, 3, 3, 8))
    residual = chain(shapes, first, second, layer("add", Add(), ("t1", "t2"), "t3"))
    with pytest.raises(QuantizationError, match="reads tensor 't1', which is also read by layer 'add', Add"):
        activation_bits(residual, config(residual, second=4))
    depthwise = chain(shapes[:3], first, layer("dw", replace(PADDED, groups=8), ("t1",), "t2", (8, 3, 3, 1)))
    with pytest.raises(QuantizationError, match="reads tensor 't1', which is also read by layer 'dw', a depthwise convolution"):
        activation_bits(depthwise, config(depthwise, dw=16))


def test_layers_that_read_one_tensor_must_agree() -> None:
    shapes = [(4, 4, 3), (4, 4, 8), (4, 4, 2), (4, 4, 2), (4, 4, 2)]
    layers = (
        layer("first", PADDED, ("t0",), "t1", (8, 3, 3, 3)),
        layer("left", PADDED, ("t1",), "t2", (2, 3, 3, 8)),
        layer("right", PADDED, ("t1",), "t3", (2, 3, 3, 8)),
        layer("add", Add(), ("t2", "t3"), "t4"),
    )
    graph = chain(shapes, *layers)
    assert activation_bits(graph, config(graph, left=4, right=4))["t1"] == 4
    with pytest.raises(QuantizationError, match="Layer 'right' reads tensor 't1' at w8a8, but layer 'left' reads it at w8a4"):
        activation_bits(graph, config(graph, left=4))
    assert not takes_other_bits(graph, layers[1])  # another decision would have to follow
    tied = replace(graph, groups=(graph.groups[0], QuantizerGroup(name="left", layers=("left", "right"))), model_digest="")
    assert takes_other_bits(tied, layers[1])


def test_a_search_may_decide_the_width_between_two_convolutions() -> None:
    graph = network()
    assert [item.name for item in graph.layers if takes_other_bits(graph, item)] == ["second", "third"]


@pytest.mark.parametrize("bits", [{"second": 4}, {"third": 4}, {"second": 16}, {"second": 16, "third": 16}, {"second": 4, "third": 16}])
def test_integer_execution_equals_the_interpreter_and_follows_the_real_network(bits: dict[str, int]) -> None:
    graph, batch = network(), draw(network(), 16)
    quantizer = Quantizer(graph, statistics(graph, draw(graph, 64)))
    quantized = quantizer.quantize(config(graph, **bits))
    runner = IntegerNetwork(quantized)
    integers = runner.quantize_inputs(batch)
    output = runner.integer_output(integers).numpy()
    for index in range(4):
        np.testing.assert_array_equal(output[index], run_reference(quantized, [integers["t0"][index].numpy()]))
    real = RealNetwork(graph).output(batch)
    noise = float((runner.output(batch) - real).square().mean() / real.square().mean())
    assert noise < (0.02 if 4 in bits.values() else 0.001)


def test_more_activation_bits_leave_less_error() -> None:
    graph, batch = network(), draw(network(), 64)
    quantizer, real = Quantizer(graph, statistics(graph, batch)), RealNetwork(graph).output(batch)
    error = [
        float((IntegerNetwork(quantizer.quantize(config(graph, second=bits, third=bits))).output(batch) - real).square().mean())
        for bits in (4, 8, 16)
    ]
    assert error[0] > error[1] > error[2]


def test_scales_of_16_bits_cover_what_was_seen_256_times_finer() -> None:
    graph = network()
    quantizer = Quantizer(graph, statistics(graph, draw(graph, 64)))
    wide = quantizer.quantizations_of({"t1": 16})["t1"]
    assert wide.bits == 16
    assert wide.zero_point == -32768  # behind a relu
    assert wide.scale * 65535 == pytest.approx(quantizer.stats.tensor("t1").maximum, rel=0.05)
