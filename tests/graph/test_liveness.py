# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from mpsearch.graph.liveness import assign_storages, live_bytes
from mpsearch.records import Add, Concat, Layer, LayerGraph, MaxPool2d, Mul, Op, Reshape, Tensor, Unary

POOL = MaxPool2d(kernel=(1, 1), stride=(1, 1))
RELU = Unary(function="relu")


def make_graph(shapes: dict[str, tuple[int, ...]], layers: list[tuple[Op, str, str]], inputs: tuple[str, ...] = ("x",)) -> LayerGraph:
    """Layers are (op, names of the inputs, name of the output)."""
    return LayerGraph(
        inputs=inputs,
        input_permutations=tuple((0, 1, 2) for _ in inputs),
        output=layers[-1][2],
        output_permutation=(0, 1, 2),
        tensors=tuple(Tensor(name=name, shape=shape, quantizer=i, precision_group=i) for i, (name, shape) in enumerate(shapes.items())),
        layers=tuple(Layer(name=f"{target}_layer", op=op, inputs=tuple(sources.split()), output=target) for op, sources, target in layers),
        groups=(),
    )


def test_a_chain_needs_input_and_output_of_each_step() -> None:
    graph = make_graph({"x": (4, 4, 1), "a": (4, 4, 2), "y": (4, 4, 3)}, [(POOL, "x", "a"), (POOL, "a", "y")])
    assert live_bytes(graph) == (16 + 32, 32 + 48)


def test_a_shortcut_stays_alive_until_it_is_added_in_place() -> None:
    graph = make_graph(dict.fromkeys("xaby", (4, 4, 1)), [(POOL, "x", "a"), (POOL, "a", "b"), (Add(), "b x", "y")])
    assert live_bytes(graph) == (32, 48, 32)


def test_an_elementwise_layer_overwrites_an_operand_that_nobody_reads_later() -> None:
    graph = make_graph(dict.fromkeys("xay", (4, 4, 1)), [(RELU, "x", "a"), (RELU, "a", "y")])
    assert live_bytes(graph) == (16, 16)
    assert [item.tensors for item in assign_storages(graph)] == [("x", "a", "y")]


def test_an_operand_that_is_read_later_is_not_overwritten() -> None:
    graph = make_graph(dict.fromkeys("xay", (4, 4, 1)), [(RELU, "x", "a"), (Add(), "a x", "y")])
    assert live_bytes(graph) == (32, 32)


def test_a_broadcast_operand_is_not_overwritten() -> None:
    graph = make_graph({"x": (1, 1, 4), "b": (4, 4, 4), "y": (4, 4, 4)}, [(Mul(), "x b", "y")], inputs=("x", "b"))
    assert live_bytes(graph) == (4 + 64,)
    assert [item.tensors for item in assign_storages(graph)] == [("x",), ("b", "y")]


def test_an_operand_whose_alias_is_broadcast_is_not_overwritten() -> None:
    shapes = {"x": (1, 1, 4), "r": (1, 4, 1), "y": (1, 4, 4)}
    graph = make_graph(shapes, [(Reshape(), "x", "r"), (Mul(), "x r", "y")])
    assert live_bytes(graph) == (4, 20)


def test_a_reshape_is_an_alias_and_keeps_its_source_alive() -> None:
    graph = make_graph(
        {"x": (4, 4, 1), "r": (16, 1, 1), "a": (16, 1, 1), "y": (16, 1, 1)}, [(Reshape(), "x", "r"), (POOL, "r", "a"), (RELU, "a", "y")]
    )
    assert live_bytes(graph) == (16, 32, 16)


def test_the_input_waits_from_the_start_and_a_tensor_nobody_reads_lives_one_step() -> None:
    graph = make_graph(
        {"x": (8, 1, 1), "late": (4, 1, 1), "dead": (8, 1, 1), "a": (8, 1, 1), "y": (12, 1, 1)},
        [(POOL, "x", "dead"), (POOL, "x", "a"), (Concat(axis=0), "a late", "y")],
        inputs=("x", "late"),
    )
    assert live_bytes(graph) == (8 + 4 + 8, 8 + 4 + 8, 8 + 4 + 12)


def test_sizes_are_rounded_up_to_four_bytes() -> None:
    graph = make_graph({"x": (5, 1, 1), "y": (3, 1, 1)}, [(POOL, "x", "y")])
    assert live_bytes(graph) == (8 + 4,)
