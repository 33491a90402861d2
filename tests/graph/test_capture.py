# SPDX-License-Identifier: Apache-2.0
"""Architectures and odd forwards: the captured graph is the model, and its integers are what C computes."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mpsearch.evaluate.integer import IntegerNetwork
from mpsearch.evaluate.real import RealNetwork
from mpsearch.evaluate.simulated import SimulatedNetwork
from mpsearch.evaluate.walk import from_memory
from mpsearch.export.bundle import write_bundle
from mpsearch.export.host import run_bundle
from mpsearch.graph.capture import capture
from mpsearch.records import Conv2d, MaxPool2d, Pad, Transpose, Unary
from tests.graph.networks import IMAGE, Lambda, Network, densenet, lenet, small
from tests.graph.quantized import NETWORKS, captured, quantized

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def layer_macs(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> int:
    """Count the multiply-accumulates of convolutions and dense layers for one sample, by watching the model run."""
    total = 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        channels = output.shape[-1] if isinstance(module, nn.Linear) else output.shape[1]
        total += output[0].numel() // channels * module.weight.numel()

    hooks = [module.register_forward_hook(count) for module in model.modules() if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        model(*batch)
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize("name", NETWORKS)
def test_the_captured_graph_computes_what_the_model_computes(name: str) -> None:
    item = captured(name)
    fresh = NETWORKS[name].batch(5, seed=2)  # neither the batch size nor the values that it was captured with
    with torch.no_grad():
        wanted, got = item.model(*fresh), from_memory(item.graph, RealNetwork(item.graph).output(fresh))
    assert got.shape == wanted.shape
    assert float((got - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"matrix product"}))
def test_macs_are_those_of_the_modules(name: str) -> None:
    item = captured(name)
    kinds = {path: module for path, module in item.model.named_modules() if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear))}
    assert sum(layer.macs for layer in item.graph.layers if layer.module_path in kinds) == layer_macs(item.model, item.batch)


@pytest.mark.parametrize("name", [name for name, network in NETWORKS.items() if network.macs is not None])
def test_macs_are_those_counted_by_hand(name: str) -> None:
    assert captured(name).graph.macs == NETWORKS[name].macs


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_are_those_that_the_layers_compute(name: str) -> None:
    item = captured(name)
    values = next(iter(RealNetwork(item.graph).activations([item.batch])))
    assert {tensor.name: tensor.shape for tensor in item.graph.tensors} == {key: tuple(value.shape[1:]) for key, value in values.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_integer_execution_follows_the_simulated_one(name: str) -> None:
    integers = quantized(name, seed=3)
    batch = captured(name).batch
    difference = IntegerNetwork(integers).output(batch) - SimulatedNetwork(integers).output(batch)
    steps = difference.abs() / integers.quantization(integers.graph.output).scale
    assert float(steps.max()) < 2.5
    assert float(steps.mean()) < 0.25


@pytest.mark.parametrize("name", NETWORKS)
def test_eight_bits_lose_little(name: str) -> None:
    item = captured(name)
    real = RealNetwork(item.graph).output(item.batch)
    error = IntegerNetwork(quantized(name, seed=0, bits=(8,))).output(item.batch) - real
    assert float(error.square().mean().sqrt()) < 0.05 * float(real.std())


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_exported_program_is_the_integer_execution_bit_for_bit(name: str, tmp_path: Path) -> None:
    integers = quantized(name, seed=5)
    network = IntegerNetwork(integers)
    samples = network.quantize_inputs(NETWORKS[name].batch(3, seed=4))
    wanted = network.integer_output(samples).to(torch.int8).numpy()
    arrays = [samples[tensor].to(torch.int8).numpy() for tensor in integers.graph.inputs]
    write_bundle(integers, [([array[0] for array in arrays], wanted[0])], tmp_path / "bundle")
    assert np.array_equal(run_bundle(tmp_path / "bundle", arrays), wanted)


# ---------------------------------------------------------------- what is left after folding


def test_batch_norm_relu_and_padding_leave_only_convolutions() -> None:
    kinds = {type(layer.op).__name__ for layer in captured("mobilenet_v2").graph.layers}
    assert kinds == {"Conv2d", "Add", "Mean", "Reshape", "Linear"}


def test_causal_padding_folds_into_the_convolution() -> None:
    graph = captured("tcn").graph
    assert not any(isinstance(layer.op, (Pad, Transpose)) for layer in graph.layers)
    assert graph.layer("blocks.1.conv1").op == Conv2d(padding=(0, 0, 4, 0), dilation=(1, 2))


def test_constants_around_a_convolution_fold_into_it() -> None:
    layers = captured("constants").graph.layers
    assert [type(layer.op) for layer in layers] == [Unary, Conv2d, Unary, Conv2d]
    assert [layer.op.function for layer in layers if isinstance(layer.op, Unary)] == ["affine", "leaky_relu"]


def test_normalising_the_input_takes_one_layer() -> None:
    graph = captured("input normalisation").graph
    assert [layer.weight.shape for layer in graph.weighted_layers if layer.weight is not None][:2] == [(3, 1, 1, 1), (6, 3, 3, 3)]


def test_a_scale_does_not_split_a_weight_that_is_shared() -> None:
    graph = captured("shared by two scales").graph
    assert len({layer.weight_key for layer in graph.weighted_layers if layer.module_path == "out"}) == 1


def test_the_largest_over_an_image_is_one_window() -> None:
    for name, window in (("global max pool", (6, 6)), ("amax", (1, 36))):
        pools = [layer.op for layer in captured(name).graph.layers if isinstance(layer.op, MaxPool2d)]
        assert [pool.kernel for pool in pools] == [window]


def test_layers_are_named_after_their_modules() -> None:
    names = [layer.name for layer in captured("resnet").graph.weighted_layers]
    assert names == ["0.0", "1.body.0.0", "1.body.1.0", "2.body.0.0", "2.body.1.0", "2.shortcut.0", "3.2"]
    assert captured("tied").graph.layer("twice#2").module_path == "twice"


# ---------------------------------------------------------------- inputs and precisions of the model


def test_one_sample_is_enough_to_capture() -> None:
    network = NETWORKS["resnet"]
    assert capture(network.model(), network.batch(1)).model_digest == capture(network.model(), network.batch(7)).model_digest


def test_images_that_lie_channels_last_are_captured_the_same() -> None:
    network = NETWORKS["resnet"]
    images = network.batch(2)[0]
    last = images.to(memory_format=torch.channels_last)
    assert capture(network.model(), last).model_digest == capture(network.model(), images).model_digest
    graph = capture(network.model(), last)
    assert torch.equal(RealNetwork(graph).output(last), RealNetwork(graph).output(images))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float16, 2e-2), (torch.bfloat16, 1e-1)])
def test_models_of_other_floating_types_become_float32(dtype: torch.dtype, tolerance: float) -> None:
    network = NETWORKS["lenet"]
    model, batch = network.model().to(dtype), network.batch(3)[0].to(dtype)
    graph = capture(model, batch)
    with torch.no_grad():
        wanted = model(batch).float()
    got = RealNetwork(graph).output(batch)
    assert got.dtype == torch.float32
    assert float((got - wanted).abs().max()) <= tolerance * float(wanted.abs().max())


def test_capture_changes_neither_the_model_nor_its_mode() -> None:
    model = NETWORKS["resnet"].model().train()
    before = copy.deepcopy(model.state_dict())
    capture(model, NETWORKS["resnet"].batch(4))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_dropout_and_batch_statistics_of_training_are_not_captured() -> None:
    network = Network(build=lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.9)), shapes=((4,),))
    model, batch = network.model().train(), network.batch(8)
    graph = capture(model, batch)
    with torch.no_grad():
        assert torch.allclose(RealNetwork(graph).output(batch), model.eval()(*batch), atol=1e-5)


def test_what_the_output_does_not_need_is_not_captured() -> None:
    unused = Network(build=small(lambda self, x: (self.conv(x).softmax(1), self.conv(x))[1]), shapes=IMAGE)
    assert [layer.module_path for layer in capture(unused.model(), unused.batch(2)).layers] == ["conv"]


def test_an_input_that_nothing_reads_stays_an_input() -> None:
    network = Network(build=lambda: Lambda(lambda self, x, y: self.dense(x), dense=nn.Linear(4, 2)), shapes=((4,), (3,)))
    graph = capture(network.model(), network.batch(2))
    assert [graph.tensor(name).shape for name in graph.inputs] == [(4,), (3,)]


def test_a_network_of_the_size_of_densenet_121_is_captured_in_seconds() -> None:
    model, batch = densenet((6, 12, 24, 16), growth=4).eval(), torch.randn(1, 3, 32, 32)
    start = time.perf_counter()
    graph = capture(model, batch)
    assert len(graph.weighted_layers) > 120
    assert time.perf_counter() - start < 30  # 3 s on an idle machine


def test_the_same_model_gives_the_same_digest_and_another_weight_another() -> None:
    torch.manual_seed(0)
    model, image = lenet(), torch.randn(2, 1, 24, 24)
    first, again = capture(model, image).model_digest, capture(copy.deepcopy(model), image * 2).model_digest
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] += 0.5
    assert first == again != capture(model, image).model_digest
