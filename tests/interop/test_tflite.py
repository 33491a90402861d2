# SPDX-License-Identifier: Apache-2.0
"""8-bit layers equal TensorFlow Lite's reference kernels (ai-edge-litert from PyPI), bit for bit, in the rounding that both define.

Ours are the C kernels, compiled with -DMPS_DOUBLE_ROUNDING; theirs are the package's kernels of resolver BUILTIN_REF, which is built to round
twice (the first two tests find that out). The constants are the exporter's, from scales rounded to float32, which is what a .tflite file holds.

Where TensorFlow Lite means something else by an operator, the test says so and compares what both define:

* FULLY_CONNECTED's reference kernel multiplies by the scale in double precision. A dense layer is therefore compared as the 1x1 CONV_2D that it is;
  and with FULLY_CONNECTED itself in our single rounding, wherever the real value is not halfway between two integers.
* AVERAGE_POOL_2D divides the sum of the stored integers, once, half away from zero; it has no multiplier. Compared in single rounding, ties left out.
* MEAN cuts the multiplier of the two scales off after dividing it by the count. Where the quotient is below 2^30, our constants cannot hold it.
* Explicit padding becomes a PADV2 before the operator, unless it is what TensorFlow Lite calls SAME.
* Its quantisation scheme keeps weights within [-127, 127]; its kernels compute with -128 like with any other value, and so it is compared too.
"""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import replace
from functools import cache
from itertools import takewhile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mpsearch.evaluate.integer import IntegerNetwork
from mpsearch.evaluate.real import RealNetwork
from mpsearch.graph.capture import capture
from mpsearch.quant.calibrate import calibrate
from mpsearch.quant.quantize import Quantizer, QuantizerSettings
from mpsearch.records import BitWidthConfig, Layer, LayerGraph, Precision, QuantizedGraph, QuantizerGroup, Rounding
from mpsearch.workloads.load import load_workload
from tests.export.harness import run_kernels

pytest.importorskip("ai_edge_litert", reason="NO AI-EDGE-LITERT: nothing was compared with TensorFlow Lite", exc_type=ImportError)

# After the skip: they import ai_edge_litert.
from tests.interop.tflite_graph import TfliteModel, in_float32, is_expressible, same_padding
from tests.interop.tflite_models import TfliteMaker
from tests.kernels.builds import build_library

SEEDS = st.integers(0, 2**32 - 1)
STRIDES = st.tuples(st.integers(1, 3), st.integers(1, 3))

Int8Array = npt.NDArray[np.int8]


def compile_kernels(tmp_path_factory: pytest.TempPathFactory, name: str, rounding: Rounding) -> ctypes.CDLL:
    if shutil.which("gcc") is None:
        pytest.skip("NO GCC: the kernels were not built")
    return build_library(tmp_path_factory.mktemp("kernels"), name, rounding)


@pytest.fixture(scope="module", params=["gcc-O1", "gcc-simd"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Every kernel, rounding twice; also on the paths of Armv7E-M."""
    return compile_kernels(tmp_path_factory, request.param, "tflite_double")


@pytest.fixture(scope="module")
def kernels_single(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Every kernel, rounding once."""
    return compile_kernels(tmp_path_factory, "gcc-O1", "single")


def assert_same(kernels: ctypes.CDLL, maker: TfliteMaker, output: str, samples: int = 2) -> None:
    quantized = maker.finish(output)
    model = TfliteModel(quantized)
    for sample in zip(*maker.samples(samples), strict=True):
        np.testing.assert_array_equal(run_kernels(kernels, quantized, list(sample)), model.output(list(sample)))


# ---------------------------------------------------------------- random layers


@given(seed=SEEDS, channels=st.integers(1, 40), power=st.booleans())
def test_every_accumulator_is_rounded_alike(kernels: ctypes.CDLL, seed: int, channels: int, power: bool) -> None:
    """Most accumulators lie on a tie or a hair beside one: this is what tells roundings apart."""
    quantized = given_accumulators(seed, channels, power)
    nothing = [np.zeros((1, 1, 1), np.int8)]
    np.testing.assert_array_equal(run_kernels(kernels, quantized, nothing), TfliteModel(quantized).output(nothing))


def test_a_kernel_that_rounds_once_is_noticed(kernels_single: ctypes.CDLL) -> None:
    nothing = [np.zeros((1, 1, 1), np.int8)]
    for power in (False, True):
        quantized = given_accumulators(0, 40, power)
        assert (run_kernels(kernels_single, quantized, nothing) != TfliteModel(quantized).output(nothing)).any()


def given_accumulators(seed: int, channels: int, power: bool) -> QuantizedGraph:
    """Return a layer whose accumulators are its biases, near halves of output steps; `power` makes the scales powers of two."""
    maker = TfliteMaker(seed)
    output = maker.conv(maker.input(1, 1, 1), channels, (1, 1))
    maker.quantizations[:] = [replace(item, zero_point=0) for item in maker.quantizations]
    real = 2.0 ** (-maker.random.integers(2, 20, channels) if power else maker.random.uniform(-20, -1, channels))
    scale = np.float32(real * maker.quantizations[1].scale / maker.quantizations[0].scale)
    bias = np.rint((maker.random.integers(-129, 129, channels) + 0.5) / real).astype(np.int64) + maker.random.integers(-1, 2, channels)
    maker.constants[0] = replace(maker.constants[0], weight_scale=scale, bias=bias, weight=np.ones((channels, 1, 1, 1)), lowest=-128, highest=127)
    return maker.finish(output)


@given(data=st.data(), seed=SEEDS, extreme=st.booleans(), stride=STRIDES, same=st.booleans())
def test_convolution(kernels: ctypes.CDLL, data: st.DataObject, seed: int, extreme: bool, stride: tuple[int, int], same: bool) -> None:
    maker = TfliteMaker(seed, extreme)
    kernel = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = data.draw(st.sampled_from([(1, 1), (2, 1), (2, 2)]))
    reach = tuple((kernel[i] - 1) * dilation[i] + 1 for i in (0, 1))
    size = [data.draw(st.integers(reach[i], 10)) for i in (0, 1)]
    padding = same_padding(size, reach, stride) if same else data.draw(st.tuples(*[st.integers(0, 2)] * 4))
    groups, per_group, out_per_group = data.draw(st.sampled_from([(1, 3, 5), (1, 8, 4), (1, 1, 1), (2, 2, 3), (1, 67, 3)]))
    source = maker.input(*size, groups * per_group)
    output = maker.conv(source, groups * out_per_group, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    assert_same(kernels, maker, output)


@given(data=st.data(), seed=SEEDS, extreme=st.booleans(), stride=st.integers(1, 2), same=st.booleans())
def test_depthwise_convolution(kernels: ctypes.CDLL, data: st.DataObject, seed: int, extreme: bool, stride: int, same: bool) -> None:
    maker = TfliteMaker(seed, extreme)
    channels, multiplier = data.draw(st.sampled_from([(2, 1), (5, 1), (16, 1), (67, 1), (131, 1), (3, 2), (40, 3)]))
    kernel = data.draw(st.sampled_from([(3, 3), (1, 3), (5, 5), (4, 2)]))
    size = [data.draw(st.integers(kernel[i], 9)) for i in (0, 1)]
    padding = same_padding(size, kernel, (stride, stride)) if same else data.draw(st.tuples(*[st.integers(0, 3)] * 4))
    output = maker.conv(maker.input(*size, channels), channels * multiplier, kernel, stride=(stride, stride), padding=padding, groups=channels)
    assert_same(kernels, maker, output, samples=1)


@given(seed=SEEDS, extreme=st.booleans(), rows=st.integers(1, 9), inputs=st.integers(1, 200), outputs=st.integers(1, 20))
def test_dense_layer_as_the_convolution_that_it_is(kernels: ctypes.CDLL, seed: int, extreme: bool, rows: int, inputs: int, outputs: int) -> None:
    maker = TfliteMaker(seed, extreme)
    assert_same(kernels, maker, maker.linear(maker.input(rows, inputs), outputs))


@given(seed=SEEDS, extreme=st.booleans(), rows=st.integers(1, 9), inputs=st.integers(1, 200), outputs=st.integers(1, 20))
def test_fully_connected_where_the_real_value_is_no_tie(
    kernels_single: ctypes.CDLL, seed: int, extreme: bool, rows: int, inputs: int, outputs: int
) -> None:
    """Its reference kernel computes round(accumulator x scale) in double precision; 31 bits of the scale tell the same unless that is a tie."""
    maker = TfliteMaker(seed, extreme)
    quantized = maker.finish(maker.linear(maker.input(rows, inputs), outputs), "single")
    (sample,) = (item[0] for item in maker.samples(1))
    source, target, constants = quantized.quantizations[0], quantized.quantizations[1], quantized.constants[0]
    accumulator = (sample.astype(np.int64) - source.zero_point) @ constants.weight.astype(np.int64).T + constants.bias
    real = accumulator * (source.scale * constants.weight_scale / target.scale)
    clear = np.abs(np.abs(real - np.floor(real)) - 0.5) > 1e-6 * np.maximum(1, np.abs(real))
    ours, theirs = run_kernels(kernels_single, quantized, [sample]), TfliteModel(quantized, "FULLY_CONNECTED").output([sample])
    np.testing.assert_array_equal(ours[clear], theirs[clear])


@given(
    seed=SEEDS,
    extreme=st.booleans(),
    product=st.booleans(),
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    ones=st.tuples(*[st.integers(0, 7)] * 2),
)
def test_sums_and_products(kernels: ctypes.CDLL, seed: int, extreme: bool, product: bool, shape: tuple[int, int, int], ones: tuple[int, int]) -> None:
    """Both shift the operands of a sum left by 20 bits and scale them to twice the larger of their scales."""
    maker = TfliteMaker(seed, extreme)
    operands = [maker.input(*(1 if mask >> axis & 1 else size for axis, size in enumerate(shape))) for mask in ones]
    assert_same(kernels, maker, (maker.mul if product else maker.add)(*operands), samples=4)


@given(seed=SEEDS, extreme=st.booleans(), shape=st.tuples(*[st.integers(1, 8)] * 3), mask=st.integers(1, 7), keep=st.booleans())
def test_means_whose_multiplier_has_31_bits(
    kernels: ctypes.CDLL, seed: int, extreme: bool, shape: tuple[int, int, int], mask: int, keep: bool
) -> None:
    maker = TfliteMaker(seed, extreme)
    output = maker.mean(maker.input(*shape), tuple(axis for axis in range(3) if mask >> axis & 1), keep)
    quantized = maker.finish(output)
    assume(is_expressible(quantized, quantized.graph.layers[0]))
    assert_same(kernels, maker, output, samples=4)


@given(data=st.data(), seed=SEEDS, extreme=st.booleans(), stride=STRIDES, same=st.booleans())
def test_maximum_pooling(kernels: ctypes.CDLL, data: st.DataObject, seed: int, extreme: bool, stride: tuple[int, int], same: bool) -> None:
    maker = TfliteMaker(seed, extreme)
    kernel = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    size = [data.draw(st.integers(kernel[i], 9)) for i in (0, 1)]
    padding = same_padding(size, kernel, stride) if same else tuple(data.draw(st.integers(0, kernel[i // 2] // 2)) for i in range(4))
    assert_same(kernels, maker, maker.max_pool(maker.input(*size, 3), kernel, stride, padding))


@given(data=st.data(), seed=SEEDS, extreme=st.booleans(), stride=STRIDES, same=st.booleans())
def test_average_pooling_where_the_mean_is_no_tie(
    kernels_single: ctypes.CDLL, data: st.DataObject, seed: int, extreme: bool, stride: tuple[int, int], same: bool
) -> None:
    maker = TfliteMaker(seed, extreme)
    kernel = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    size = [data.draw(st.integers(kernel[i], 9)) for i in (0, 1)]
    padding = same_padding(size, kernel, stride) if same else (0, 0, 0, 0)
    quantized = maker.finish(maker.avg_pool(maker.input(*size, 3), kernel, stride, padding, whole=not any(padding)), "single")
    (sample,) = (item[0] for item in maker.samples(1))
    ours, theirs = run_kernels(kernels_single, quantized, [sample]), TfliteModel(quantized).output([sample])
    clear = ~tied_windows(sample, kernel, stride, padding)
    np.testing.assert_array_equal(ours[clear], theirs[clear])


def tied_windows(image: Int8Array, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int, int, int]) -> npt.NDArray[np.bool_]:
    """Return whether the mean of each window lies halfway between two integers."""
    top, _, left, _ = padding
    rows, columns = ((image.shape[i] + sum(padding[2 * i : 2 * i + 2]) - kernel[i]) // stride[i] + 1 for i in (0, 1))
    tied = np.zeros((rows, columns, image.shape[2]), dtype=bool)
    for y in range(rows):
        for x in range(columns):
            row, column = y * stride[0] - top, x * stride[1] - left
            window = image[max(row, 0) : row + kernel[0], max(column, 0) : column + kernel[1]].astype(np.int64)
            count = window.shape[0] * window.shape[1]
            tied[y, x] = 2 * window.sum(axis=(0, 1)) % (2 * count) == count
    return tied


@given(data=st.data(), seed=SEEDS, shape=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_moving_operators(kernels: ctypes.CDLL, data: st.DataObject, seed: int, shape: list[int]) -> None:
    maker = TfliteMaker(seed)
    rank, source = len(shape), maker.input(*shape)
    value = maker.transpose(source, data.draw(st.permutations(range(rank))))
    value = maker.pad(value, *(data.draw(st.lists(st.integers(0, 2), min_size=rank, max_size=rank)) for _ in range(2)))
    bounds = [sorted(data.draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True))) for size in maker.shape(value)]
    steps = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    part = maker.slice(value, [low for low, _ in bounds], [high for _, high in bounds], steps)
    joined = maker.concat([part, value, part], 0) if maker.shape(part)[1:] == maker.shape(value)[1:] else maker.concat([part, part], rank - 1)
    assert_same(kernels, maker, maker.reshape(joined, int(np.prod(maker.shape(joined)))))


@given(seed=SEEDS, extreme=st.booleans())
def test_a_network_of_many_layers(kernels: ctypes.CDLL, seed: int, extreme: bool) -> None:
    maker = TfliteMaker(seed, extreme)
    first = maker.conv(maker.input(8, 8, 3), 8, (3, 3), padding=(1, 1, 1, 1))
    value = maker.add(first, maker.conv(maker.conv(first, 8, (3, 3), groups=8, padding=(1, 1, 1, 1)), 8, (1, 1)))
    value = maker.mul(value, maker.mean(value, (0, 1), keep=True))
    value = maker.max_pool(value, (2, 2), (2, 2), (0, 0, 0, 0))
    assert_same(kernels, maker, maker.linear(maker.reshape(value, 128), 10))


# ---------------------------------------------------------------- real layers

NETWORKS = ("cifar10_resnet20", "kws_dscnn_s", "imagenet_mobilenetv1_025_128")
SAMPLES = 2


@cache
def eight_bit_network(name: str) -> tuple[QuantizedGraph, list[Int8Array]]:
    """Return a pretrained network with 8 bits everywhere and float32 scales, and real inputs."""
    workload = load_workload(name)
    graph = capture(workload.model, workload.calibration[0])
    stats = calibrate(graph, lambda: RealNetwork(graph).activations([workload.calibration[0][:16]]))
    config = BitWidthConfig(
        model_digest=graph.model_digest, precisions=tuple((layer.name, Precision(weight_bits=8)) for layer in graph.weighted_layers)
    )
    quantizer = Quantizer(graph, stats, QuantizerSettings(activation_range="mse", rounding="nearest"))
    quantized = in_float32(quantizer.quantize(config))
    integers = IntegerNetwork(quantized).quantize_inputs(workload.evaluation[0][0][:SAMPLES])
    return quantized, list(integers[graph.inputs[0]].numpy().astype(np.int8))


def part_of(quantized: QuantizedGraph, layers: tuple[Layer, ...]) -> QuantizedGraph:
    """Return some neighbouring layers as a graph of its own."""
    written = {layer.output for layer in layers}
    read = dict.fromkeys(name for layer in layers for name in layer.inputs if name not in written)
    names, tensors = {*written, *read}, quantized.graph.tensors
    kept = [index for index, tensor in enumerate(tensors) if tensor.name in names]
    inputs, output = tuple(read), layers[-1].output
    layers = tuple(replace(layer, weight_key=layer.name if layer.weight_key else "") for layer in layers)
    graph = LayerGraph(
        inputs=inputs,
        input_permutations=tuple(tuple(range(len(quantized.graph.tensor(name).shape))) for name in inputs),
        output=output,
        output_permutation=tuple(range(len(quantized.graph.tensor(output).shape))),
        tensors=tuple(tensors[index] for index in kept),
        layers=layers,
        groups=tuple(QuantizerGroup(name=layer.name, layers=(layer.name,)) for layer in layers if layer.weight is not None),
    )
    precisions = tuple((layer.name, quantized.config[layer.name]) for layer in layers if layer.weight is not None)
    constants = {item.layer: item for item in quantized.constants}
    return QuantizedGraph(
        graph=graph,
        config=BitWidthConfig(model_digest=graph.model_digest, precisions=precisions),
        quantizations=tuple(quantized.quantizations[index] for index in kept),
        constants=tuple(constants[layer.name] for layer in layers),
        rounding=quantized.rounding,
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_of_a_real_network_on_real_activations(kernels: ctypes.CDLL, name: str, data_folder: Path) -> None:
    """Layer by layer, each on what our kernels computed before it: all of them but the mean of the keyword spotter, over 25 x 5 values."""
    quantized, samples = eight_bit_network(name)
    parts = [part_of(quantized, (layer,)) for layer in quantized.graph.layers]
    models = {part.graph.output: TfliteModel(part) for part in parts if is_expressible(quantized, part.graph.layers[0])}
    assert len(models) == len(parts) - (name == "kws_dscnn_s")
    for sample in samples:
        values = {quantized.graph.inputs[0]: sample}
        for part in parts:
            operands, output = [values[name] for name in part.graph.inputs], part.graph.output
            values[output] = run_kernels(kernels, part, operands)
            if output in models:
                np.testing.assert_array_equal(values[output], models[output].output(operands), err_msg=part.graph.layers[0].name)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_whole_real_network(kernels: ctypes.CDLL, name: str, data_folder: Path) -> None:
    """From the image to the logits; the keyword spotter up to its mean."""
    quantized, samples = eight_bit_network(name)
    layers = tuple(takewhile(lambda layer: is_expressible(quantized, layer), quantized.graph.layers))
    whole = part_of(quantized, layers)
    model = TfliteModel(whole)
    for sample in samples:
        np.testing.assert_array_equal(run_kernels(kernels, whole, [sample]), model.output([sample]))
