# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mpsearch.errors import QuantizationError, RecordError
from mpsearch.evaluate.real import RealNetwork
from mpsearch.quant.quantize import Quantizer, QuantizerSettings
from mpsearch.records import Add, AvgPool2d, BitWidthConfig, Conv2d, LayerGraph, Linear, Mean, Mul, Pad, Unary
from tests.evaluate.float_graphs import chain, config, draw, layer, quantized, statistics

NEAREST = QuantizerSettings(rounding="nearest", activation_range="minmax")


def correlated(samples: int = 256) -> tuple[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(samples, 4, generator=generator) @ torch.randn(4, 24, generator=generator) + 1.0,)


def linear_graph(**options: object) -> LayerGraph:
    return chain([(24,), (8,)], layer("fc", Linear(), ("t0",), "t1", (8, 24), **options))  # type: ignore[arg-type]


def output_change(quantizer: Quantizer, batch: tuple[torch.Tensor], bits: int) -> torch.Tensor:
    """Return the change of the output that rounding the only layer's weights makes."""
    rounded = quantizer.rounded(quantizer.graph.layers[0], bits)
    network = RealNetwork(quantizer.graph)
    parameters = {"fc": (torch.from_numpy(rounded.dequantized), torch.tensor(rounded.bias, dtype=torch.float32))}
    return network.output(batch, parameters) - network.output(batch)


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
def test_bias_correction_leaves_no_mean_shift_on_the_calibration_data(rounding: str) -> None:
    graph, batch = linear_graph(), correlated()
    stats = statistics(graph, batch)
    corrected = output_change(Quantizer(graph, stats, QuantizerSettings(rounding=rounding)), batch, 3)
    plain = output_change(Quantizer(graph, stats, QuantizerSettings(rounding=rounding, bias_correction=False)), batch, 3)
    assert corrected.mean(0).abs().max() < 1e-4
    assert plain.mean(0).abs().max() > 1e-2


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_gptq_halves_the_output_error_of_nearest_on_correlated_inputs(bits: int) -> None:
    graph, batch = linear_graph(), correlated()
    stats = statistics(graph, batch)
    nearest, joint = (output_change(Quantizer(graph, stats, QuantizerSettings(rounding=name)), batch, bits) for name in ("nearest", "gptq"))
    assert joint.square().mean() < 0.5 * nearest.square().mean()


def test_without_covariances_gptq_rounds_to_nearest() -> None:
    graph, batch = linear_graph(), correlated()
    stats = replace(statistics(graph, batch), moments=())
    first, second = (Quantizer(graph, stats, QuantizerSettings(rounding=name)).rounded(graph.layers[0], 4) for name in ("nearest", "gptq"))
    assert np.array_equal(first.weight, second.weight)
    assert np.array_equal(first.scale, second.scale)


def test_tied_layers_get_one_set_of_integers_that_serves_the_inputs_of_both() -> None:
    weight = np.random.default_rng(0).normal(size=(6, 6))
    graph = chain(
        [(6,), (6,), (6,)], layer("first", Linear(), ("t0",), "t1", weight, key="first"), layer("again", Linear(), ("t1",), "t2", weight, key="first")
    )
    quantizer = Quantizer(graph, statistics(graph, draw(graph, 64)))
    first, again = (quantizer.rounded(record, 4) for record in graph.layers)
    assert np.array_equal(first.weight, again.weight)
    assert np.array_equal(first.scale, again.scale)
    assert not np.array_equal(first.bias, again.bias)
    alone = statistics(graph, draw(graph, 64))
    only_first = Quantizer(graph, replace(alone, moments=alone.moments[:1]))
    assert not np.array_equal(only_first.rounded(graph.layers[0], 4).weight, first.weight)


def test_rounding_once_is_remembered() -> None:
    graph = linear_graph()
    quantizer = Quantizer(graph, statistics(graph, correlated()))
    assert quantizer.rounded(graph.layers[0], 4) is quantizer.rounded(graph.layers[0], 4)


def test_the_same_statistics_give_the_same_integers() -> None:
    graph, batch = linear_graph(), correlated()
    first, second = (Quantizer(graph, statistics(graph, batch)).rounded(graph.layers[0], 3) for _ in range(2))
    assert np.array_equal(first.weight, second.weight)
    assert np.array_equal(first.scale, second.scale)
    assert np.array_equal(first.bias, second.bias)


def test_a_measured_interval_decides_the_input_scale() -> None:
    graph, batch = linear_graph(), correlated()
    stats = statistics(graph, batch)
    tensors = (replace(stats.tensors[0], interval=(-1.0, 1.55)), *stats.tensors[1:])
    assert Quantizer(graph, replace(stats, tensors=tensors)).quantizations["t0"].scale == pytest.approx(0.01)


def test_the_output_keeps_its_whole_range_under_any_setting() -> None:
    graph, batch = linear_graph(), correlated()
    stats = statistics(graph, batch)
    seen = stats.tensor("t1")
    for method in ("mse", "percentile", "measured"):
        scale = Quantizer(graph, stats, QuantizerSettings(activation_range=method)).quantizations["t1"].scale
        assert scale == pytest.approx((max(seen.maximum, 0.0) - min(seen.minimum, 0.0)) / 255)


def test_a_dead_channel_with_a_bias_gets_a_step_at_which_the_bias_fits() -> None:
    weight = np.random.default_rng(0).normal(size=(3, 24))
    weight[1] = 1e-12
    graph = linear_graph()
    dead = replace(graph.layers[0], weight=weight, bias=np.array([0.0, 5.0, 0.0]))
    graph = chain([(24,), (3,)], dead)
    record = quantized(graph, 2)
    constants = record.constants[0]
    real_bias = constants.bias * constants.weight_scale * record.quantization("t0").scale
    assert real_bias[1] == pytest.approx(5.0, rel=1e-4)
    assert abs(constants.bias[1]) <= 1 << 22


def test_the_bias_is_in_units_of_input_step_times_weight_step() -> None:
    graph, batch = linear_graph(), correlated()
    stats = statistics(graph, batch)
    quantizer = Quantizer(graph, stats, NEAREST)
    constants = quantizer.quantize(config(graph, 8)).constants[0]
    rounded = quantizer.rounded(graph.layers[0], 8)
    np.testing.assert_array_equal(constants.bias, np.rint(rounded.bias / (quantizer.quantizations["t0"].scale * rounded.scale)))


def test_a_fused_relu6_clamps_between_the_integers_of_0_and_6() -> None:
    graph = linear_graph(clamp=(0.0, 6.0))
    record = Quantizer(graph, statistics(graph, correlated()), NEAREST).quantize(config(graph, 8))
    output = record.quantization("t1")
    constants = record.constants[0]
    assert constants.lowest == output.zero_point == -128
    assert (constants.highest - output.zero_point) * output.scale == pytest.approx(6.0, abs=output.scale)


def test_a_table_holds_the_function_of_every_integer() -> None:
    graph = chain([(40,), (40,)], layer("l", Unary(function="tanh"), ("t0",), "t1"))
    record = quantized(graph, settings=NEAREST)
    source, output = record.quantizations
    reals = (np.arange(-128, 128) - source.zero_point) * source.scale
    errors = (record.constants[0].table.astype(int) - output.zero_point) * output.scale - np.tanh(reals)
    assert np.abs(errors).max() <= output.scale  # half a step, and as much again where the range seen ends


def test_padding_is_the_integer_of_its_real_value() -> None:
    graph = chain([(4, 4, 1), (5, 4, 1)], layer("l", Pad(before=(1, 0, 0), after=(0, 0, 0), value=0.5), ("t0",), "t1"), quantizers=(0, 0))
    record = quantized(graph, settings=NEAREST)
    scale = record.quantizations[1]
    assert (record.constants[0].pad_value - scale.zero_point) * scale.scale == pytest.approx(0.5, abs=scale.scale / 2)


def test_pooling_that_ignores_padding_has_a_multiplier_for_every_count() -> None:
    op = AvgPool2d(kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1), count_padding=False)
    graph = chain([(4, 4, 2), (4, 4, 2)], layer("l", op, ("t0",), "t1"))
    params = quantized(graph).constants[0].requantize[0]
    real = params.multiplier * 2.0 ** (params.left_shift - 32.0 - params.right_shift)
    np.testing.assert_allclose(real * np.arange(1, 10), real[0], rtol=1e-6)


def test_ops_with_two_inputs_and_means_have_the_constants_their_kernels_read() -> None:
    image = (3, 3, 2)
    added, product = (chain([image, image, image], layer("l", op, ("t0", "t1"), "t2"), inputs=2) for op in (Add(), Mul()))
    mean = chain([image, (1, 1, 2)], layer("l", Mean(axes=(0, 1)), ("t0",), "t1"))
    assert [len(quantized(graph).constants[0].requantize) for graph in (added, product, mean)] == [3, 1, 1]


def test_an_accumulator_beyond_32_bits_is_refused() -> None:
    fan_in = 140_000
    graph = chain([(fan_in,), (1,)], layer("wide", Linear(), ("t0",), "t1", np.ones((1, fan_in))))
    stats = statistics(graph, draw(graph, 4))
    with pytest.raises(QuantizationError, match=r"Layer 'wide': an accumulator can reach .*, wanted less than 2\^31"):
        Quantizer(graph, stats, NEAREST).quantize(config(graph, 8))


def test_statistics_of_another_model_are_refused() -> None:
    graph = linear_graph()
    with pytest.raises(QuantizationError, match=r"The calibration belongs to model .*, this one is"):
        Quantizer(linear_graph(seed=1), statistics(graph, correlated()))


def test_a_config_of_another_model_is_refused() -> None:
    graph = linear_graph()
    foreign = BitWidthConfig(model_digest="0" * 64, precisions=config(graph, 4).precisions)
    with pytest.raises(RecordError, match="The config was made for model 000000000000"):
        Quantizer(graph, statistics(graph, correlated())).quantize(foreign)


@pytest.mark.parametrize(
    ("field", "message"),
    [("weight_range", "did you mean mse"), ("activation_range", "did you mean mse"), ("rounding", "known: gptq, nearest")],
)
def test_an_unknown_method_is_refused_with_the_known_names(field: str, message: str) -> None:
    with pytest.raises(QuantizationError, match=rf"Quantizer settings: {field} is 'mse1'. Hint: .*{message}"):
        QuantizerSettings(**{field: "mse1"})


def test_a_convolution_over_groups_rounds_each_group_on_its_own_inputs() -> None:
    graph = chain([(6, 6, 4), (6, 6, 8)], layer("dw", Conv2d(padding=(1, 1, 1, 1), groups=4), ("t0",), "t1", (8, 3, 3, 1)))
    quantizer = Quantizer(graph, statistics(graph, draw(graph, 64)))
    rounded = quantizer.rounded(graph.layers[0], 4)
    assert np.abs(rounded.dequantized - graph.layers[0].weight).max() < 2 * rounded.scale.max()
