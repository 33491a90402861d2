# SPDX-License-Identifier: Apache-2.0
"""Who shares a precision, who shares a quantizer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from mpsearch.graph.capture import capture
from mpsearch.graph.groups import UnionFind, activation_sets
from mpsearch.records import PASS_THROUGH, Add, Concat, Layer, Mul, Op, Unary
from tests.graph.networks import IMAGE, Lambda, Network, small
from tests.graph.quantized import NETWORKS, captured

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_union_find_agrees_with_merging_sets(pairs: list[tuple[int, int]]) -> None:
    names = [str(index) for index in range(10)]
    found, sets = UnionFind(names), {name: {name} for name in names}
    for first, second in pairs:
        found.union([str(first), str(second)])
        merged = sets[str(first)] | sets[str(second)]
        sets.update(dict.fromkeys(merged, merged))
    for name in names:
        assert found.find(name) == min(sets[name], key=int)  # known by its first member


@pytest.mark.parametrize("name", NETWORKS)
def test_sets_of_a_network_are_what_its_ops_ask_for(name: str) -> None:
    graph = captured(name).graph
    for layer in graph.layers:
        tensors = [graph.tensor(item) for item in (*layer.inputs, layer.output)]
        if isinstance(layer.op, PASS_THROUGH):
            assert len({tensor.quantizer for tensor in tensors}) == 1
        else:
            assert tensors[-1].quantizer not in {tensor.quantizer for tensor in tensors[:-1]} or _returns(graph.layers, layer)
        if isinstance(layer.op, (Add, Mul, Concat)):
            assert len({tensor.precision_group for tensor in tensors[:-1]}) == 1
    for first in graph.tensors:
        for second in graph.tensors:
            if first.quantizer == second.quantizer:
                assert first.precision_group == second.precision_group


def _returns(layers: tuple[Layer, ...], layer: Layer) -> bool:
    """Whether what a layer writes meets one of its inputs again in a concat."""
    return any(isinstance(other.op, Concat) for other in layers)


def layer(op: Op, inputs: str, output: str) -> Layer:
    return Layer(name=output, op=op, inputs=tuple(inputs), output=output)


RELU = Unary(function="relu")


@pytest.mark.parametrize("op", [Add(), Mul()])
def test_operands_share_a_precision_but_keep_their_own_scale(op: Op) -> None:
    quantizers, precisions = activation_sets("xabc", [layer(RELU, "x", "a"), layer(RELU, "x", "b"), layer(op, "ab", "c")])
    assert quantizers == [0, 1, 2, 3]
    assert precisions == [0, 1, 1, 2]


def test_a_concat_shares_one_scale_among_all() -> None:
    quantizers, precisions = activation_sets("xabc", [layer(RELU, "x", "a"), layer(RELU, "x", "b"), layer(Concat(axis=0), "ab", "c")])
    assert quantizers == precisions == [0, 1, 1, 1]


def test_sets_join_across_several_layers() -> None:
    layers = [layer(RELU, "x", "a"), layer(Concat(axis=0), "xa", "b"), layer(RELU, "b", "c"), layer(Add(), "bc", "d")]
    assert activation_sets("xabcd", layers) == ([0, 0, 0, 1, 2], [0, 0, 0, 0, 1])


def groups_of(function: Callable[..., torch.Tensor], **modules: nn.Module) -> list[tuple[str, ...]]:
    network = Network(build=lambda: Lambda(function, **modules), shapes=((4,),))
    return [group.layers for group in capture(network.model(), network.batch(2)).groups]


def test_a_module_that_is_called_twice_is_one_decision() -> None:
    dense = {"first": nn.Linear(4, 4), "second": nn.Linear(4, 4)}
    assert groups_of(lambda self, x: self.first(torch.tanh(self.second(torch.tanh(self.first(x))))), **dense) == [("first", "first#2"), ("second",)]


def test_a_module_under_two_names_is_one_decision() -> None:
    dense = nn.Linear(4, 4)
    assert groups_of(lambda self, x: self.second(torch.tanh(self.first(x))), first=dense, second=dense) in (
        [("first", "first#2")],
        [("first", "second")],
    )


def test_a_parameter_that_two_modules_share_is_one_decision() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    assert groups_of(lambda self, x: self.second(torch.tanh(self.first(x))), first=first, second=second) == [("first", "second")]


def test_a_product_with_a_shared_matrix_joins_the_group() -> None:
    assert groups_of(lambda self, x: torch.tanh(self.first(x)) @ self.first.weight.t(), first=nn.Linear(4, 4))[0][0] == "first"


def test_equal_weights_of_different_parameters_are_two_decisions() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.load_state_dict(first.state_dict())
    assert groups_of(lambda self, x: self.second(torch.tanh(self.first(x))), first=first, second=second) == [("first",), ("second",)]


def test_one_convolution_with_two_batch_norms_is_two_decisions() -> None:
    graph = captured("tied").graph
    shared = [group.layers for group in graph.groups if any("shared" in name for name in group.layers)]
    assert shared == [("shared",), ("shared#2",)]
    first, second = (graph.layer(name).weight for name in ("shared", "shared#2"))
    assert first is not None
    assert second is not None
    assert not (first == second).all()


def test_residual_partners_may_take_different_weight_bits() -> None:
    network = Network(build=small(lambda self, x: self.conv(x) + x), shapes=IMAGE)
    assert len(capture(network.model(), network.batch(2)).groups) == 1
    assert all(len(group.layers) == 1 for group in captured("resnet").graph.groups)


def test_every_weighted_layer_is_in_exactly_one_group() -> None:
    for name in NETWORKS:
        graph = captured(name).graph
        grouped = [layer for group in graph.groups for layer in group.layers]
        assert sorted(grouped) == sorted(layer.name for layer in graph.weighted_layers)
        assert [group.name for group in graph.groups] == [group.layers[0] for group in graph.groups]


def test_a_parameter_read_whole_and_channel_by_channel_is_stored_twice() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 1, 3, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            whole = functional.conv2d(x[:, :1], self.weight)
            return whole + functional.conv2d(x, self.weight, groups=4)

    graph = capture(Both(), torch.randn(2, 4, 6, 6))
    assert len({layer.weight_key for layer in graph.weighted_layers}) == 2
    assert len(graph.groups) == 2
