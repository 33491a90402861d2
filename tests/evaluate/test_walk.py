# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from mpsearch.errors import WorkloadError
from mpsearch.evaluate.real import RealNetwork
from mpsearch.evaluate.walk import from_memory, to_memory
from mpsearch.records import Add, LayerGraph, Linear, Unary
from tests.evaluate.float_graphs import chain, draw, layer


@pytest.fixture
def residual() -> LayerGraph:
    return chain(
        [(6,), (6,), (6,), (6,), (3,)],
        layer("first", Linear(), ("t0",), "t1", (6, 6), seed=1),
        layer("square", Unary(function="tanh"), ("t1",), "t2"),
        layer("sum", Add(), ("t0", "t2"), "t3"),
        layer("last", Linear(), ("t3",), "t4", (3, 6), seed=2),
    )


def test_the_walk_computes_the_graph(residual: LayerGraph) -> None:
    x = draw(residual, 5)[0]
    network = RealNetwork(residual)
    (first, first_bias), (last, last_bias) = network.parameters["first"], network.parameters["last"]
    wanted = (x + torch.tanh(x @ first.T + first_bias)) @ last.T + last_bias
    torch.testing.assert_close(network.output(x), wanted)


def test_a_changed_layer_gives_what_a_whole_run_gives(residual: LayerGraph) -> None:
    network, batch = RealNetwork(residual), draw(residual, 4)
    values = next(network.activations([batch]))
    replaced = {"first": (torch.ones(6, 6), torch.zeros(6))}
    torch.testing.assert_close(network.changed_output(values, replaced), network.output(batch, replaced), rtol=0, atol=0)
    assert not torch.equal(network.changed_output(values, replaced), values["t4"])


def test_a_replaced_activation_is_taken_as_it_is(residual: LayerGraph) -> None:
    network = RealNetwork(residual)
    values = next(network.activations([draw(residual, 4)]))
    last, bias = network.parameters["last"]
    got = network.output_with(values, {"t2": torch.zeros(4, 6)})
    torch.testing.assert_close(got, values["t0"] @ last.T + bias)
    assert torch.equal(network.output_with(values, {}), values["t4"])
    assert torch.equal(network.output_with(values, {"t4": torch.ones(4, 3)}), torch.ones(4, 3))


def test_a_replaced_input_moves_everything_behind_it(residual: LayerGraph) -> None:
    network = RealNetwork(residual)
    values = next(network.activations([draw(residual, 4)]))
    other = draw(residual, 4, seed=9)[0]
    torch.testing.assert_close(network.output_with(values, {"t0": other}), network.output(other))


def test_torch_order_goes_to_memory_order_and_back() -> None:
    graph = chain([(5, 6, 3), (5, 6, 3)], layer("l", Unary(function="relu"), ("t0",), "t1"))
    object.__setattr__(graph, "input_permutations", ((1, 2, 0),))
    object.__setattr__(graph, "output_permutation", (2, 0, 1))
    image = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    assert to_memory(graph, image)["t0"].shape == (2, 5, 6, 3)
    assert torch.equal(from_memory(graph, RealNetwork(graph).output(image)), image.relu())


def test_a_batch_of_another_shape_is_refused(residual: LayerGraph) -> None:
    with pytest.raises(WorkloadError, match=r"Input 't0': got a batch of shape \(2, 7\), wanted \(batch, 6\)"):
        to_memory(residual, torch.zeros(2, 7))
    with pytest.raises(WorkloadError, match=r"got a batch of shape \(2, 6, 1\)"):
        to_memory(residual, torch.zeros(2, 6, 1))


def test_another_number_of_inputs_is_refused(residual: LayerGraph) -> None:
    with pytest.raises(WorkloadError, match=r"Got 2 inputs, wanted 1 \(t0\)"):
        to_memory(residual, (torch.zeros(2, 6), torch.zeros(2, 6)))
