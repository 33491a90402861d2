# SPDX-License-Identifier: Apache-2.0
"""Each folding pass: what it rewrites, and where it must keep its hands off."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from mpsearch.graph.draft import ChannelAffine, Draft, DraftGraph
from mpsearch.graph.fold import (
    drop_dead,
    drop_idle_movement,
    fold,
    fold_affine,
    fold_padding,
    fuse_clamps,
    lower_channel_affine,
    merge_slices,
)
from mpsearch.records import Add, Conv2d, Linear, MaxPool2d, Op, Pad, Reshape, Slice, Transpose, Unary

RELU = Unary(function="relu")


class Maker:
    """Builds a draft graph; every method returns the name of the tensor that it writes."""

    def __init__(self, *shape: int) -> None:
        self.graph = DraftGraph(shapes={"x": shape}, inputs=["x"], input_orders=[tuple(range(len(shape)))])

    def put(self, op: Op | ChannelAffine, inputs: str | Sequence[str], shape: tuple[int, ...], **fields: object) -> str:
        name = f"d{len(self.graph.drafts)}"
        sources = [inputs] if isinstance(inputs, str) else list(inputs)
        self.graph.drafts.append(Draft(name=name, op=op, inputs=sources, output=name, **fields))  # type: ignore[arg-type]
        self.graph.shapes[name] = shape
        return name

    def conv(self, source: str, outputs: int = 2, **fields: object) -> str:
        height, width, channels = self.graph.shapes[source]
        weight = np.arange(1.0, outputs * channels + 1).reshape(outputs, 1, 1, channels)
        return self.put(Conv2d(), source, (height, width, outputs), weight=weight, bias=np.arange(1.0, outputs + 1), **fields)

    def affine(self, source: str, scale: Sequence[float], offset: Sequence[float]) -> str:
        return self.put(ChannelAffine(), source, self.graph.shapes[source], weight=np.array(scale), bias=np.array(offset))

    def unary(self, source: str, function: str, *parameters: float) -> str:
        return self.put(Unary(function=function, parameters=parameters), source, self.graph.shapes[source])

    def end(self, output: str) -> DraftGraph:
        self.graph.output = output
        return self.graph


def kinds(graph: DraftGraph) -> list[str]:
    return [type(draft.op).__name__ for draft in graph.drafts]


# ---------------------------------------------------------------- scales and offsets


def test_a_batch_norm_folds_into_the_convolution_before_it() -> None:
    maker = Maker(4, 4, 1)
    graph = maker.end(maker.affine(maker.conv("x"), [10, 100], [0.5, -0.5]))
    fold_affine(graph)
    (draft,) = graph.drafts
    assert draft.weight is not None
    assert draft.bias is not None
    assert draft.weight.reshape(-1).tolist() == [10, 200]
    assert draft.bias.tolist() == [10.5, 199.5]
    assert graph.output == draft.output


def test_a_batch_norm_does_not_fold_through_a_clamp() -> None:
    maker = Maker(4, 4, 1)
    graph = maker.end(maker.affine(maker.conv("x", clamp=(0.0, math.inf)), [10, 100], [0, 0]))
    fold_affine(graph)
    assert kinds(graph) == ["Conv2d", "ChannelAffine"]


def test_a_batch_norm_does_not_fold_into_a_convolution_that_others_read() -> None:
    maker = Maker(4, 4, 1)
    conv = maker.conv("x")
    graph = maker.end(maker.put(Add(), [conv, maker.affine(conv, [10, 100], [0, 0])], (4, 4, 2)))
    fold_affine(graph)
    assert kinds(graph) == ["Conv2d", "ChannelAffine", "Add"]


def test_a_batch_norm_does_not_fold_into_the_output() -> None:
    maker = Maker(4, 4, 1)
    conv = maker.conv("x")
    maker.affine(conv, [10, 100], [0, 0])
    graph = maker.end(conv)
    fold_affine(graph)
    assert kinds(graph) == ["Conv2d", "ChannelAffine"]


def test_scales_over_another_axis_than_the_channels_do_not_fold() -> None:
    maker = Maker(4, 3, 1)
    line = maker.put(Reshape(), maker.conv("x", outputs=1), (4, 1, 3))
    graph = maker.end(maker.affine(line, [1, 2, 3], [0, 0, 0]))
    fold_affine(graph)
    assert kinds(graph) == ["Conv2d", "Reshape", "ChannelAffine"]


def test_a_chain_of_scales_becomes_one() -> None:
    maker = Maker(4, 4, 2)
    graph = maker.end(maker.unary(maker.affine(maker.unary("x", "affine", 2, 1), [1, 10], [0, 5]), "affine", -1, 3))
    fold_affine(graph)
    (draft,) = graph.drafts
    assert isinstance(draft.op, ChannelAffine)
    assert draft.inputs == ["x"]
    assert draft.weight is not None
    assert draft.bias is not None
    assert draft.weight.tolist() == [-2, -20]  # 3 - (s * (2x + 1) + o)
    assert draft.bias.tolist() == [2, -12]


def test_plain_numbers_merge_into_plain_numbers() -> None:
    maker = Maker(3)
    graph = maker.end(maker.unary(maker.unary("x", "affine", 2, 1), "affine", 0.5, 1))
    fold_affine(graph)
    assert [draft.op for draft in graph.drafts] == [Unary(function="affine", parameters=(1.0, 1.5))]


@pytest.mark.parametrize(("names", "expected"), [(("w", "w"), ["Linear", "Unary", "Linear"]), (("w", "v"), ["Linear", "Linear"])])
def test_a_plain_scale_stays_outside_a_shared_weight(names: tuple[str, str], expected: list[str]) -> None:
    maker = Maker(2)
    dense = [{"weight": np.eye(2), "bias": np.zeros(2), "weight_name": name} for name in names]
    first = maker.unary(maker.put(Linear(), "x", (2,), **dense[0]), "affine", 0.5, 0)
    graph = maker.end(maker.put(Linear(), first, (2,), **dense[1]))
    fold_affine(graph)
    assert kinds(graph) == expected


def test_a_batch_norm_without_a_layer_becomes_a_depthwise_convolution_and_takes_the_relu() -> None:
    maker = Maker(3, 5, 2)
    graph = fold(maker.end(maker.put(RELU, maker.affine("x", [2, 3], [1, 1]), (3, 5, 2))))
    assert kinds(graph) == ["Reshape", "Conv2d", "Reshape"]
    conv = graph.drafts[1]
    assert conv.op == Conv2d(groups=2)
    assert conv.clamp == (0, math.inf)
    assert graph.shapes[conv.output] == (1, 15, 2)
    assert graph.shapes[graph.output] == (3, 5, 2)


def test_a_batch_norm_of_single_values_becomes_a_convolution_of_one_pixel() -> None:
    maker = Maker(4)
    graph = maker.end(maker.affine("x", [1, 2, 3, 4], [0, 0, 0, 0]))
    lower_channel_affine(graph)
    assert [graph.shapes[draft.output] for draft in graph.drafts] == [(1, 1, 4), (1, 1, 4), (4,)]


# ---------------------------------------------------------------- clamps


@pytest.mark.parametrize(("function", "parameters", "clamp"), [("relu", (), (0, math.inf)), ("relu6", (), (0, 6)), ("clamp", (-1.0, 2.0), (-1, 2))])
def test_a_clamp_fuses_into_its_producer(function: str, parameters: tuple[float, ...], clamp: tuple[float, float]) -> None:
    maker = Maker(4, 4, 1)
    graph = maker.end(maker.unary(maker.conv("x"), function, *parameters))
    fuse_clamps(graph)
    assert [draft.clamp for draft in graph.drafts] == [clamp]


def test_a_second_clamp_and_other_functions_stay() -> None:
    maker = Maker(4, 4, 1)
    graph = maker.end(maker.unary(maker.unary(maker.unary(maker.conv("x"), "relu"), "relu6"), "tanh"))
    fuse_clamps(graph)
    assert kinds(graph) == ["Conv2d", "Unary", "Unary"]


def test_a_clamp_does_not_fuse_into_what_others_read_nor_into_a_pool() -> None:
    maker = Maker(4, 4, 1)
    conv = maker.conv("x")
    pool = maker.put(MaxPool2d(kernel=(1, 1), stride=(1, 1)), conv, (4, 4, 2))
    graph = maker.end(maker.put(Add(), [maker.unary(conv, "relu"), maker.unary(pool, "relu")], (4, 4, 2)))
    fuse_clamps(graph)
    assert kinds(graph) == ["Conv2d", "MaxPool2d", "Unary", "Unary", "Add"]


# ---------------------------------------------------------------- padding and movement


def test_zero_padding_of_an_image_folds_into_the_convolution() -> None:
    maker = Maker(4, 4, 1)
    graph = maker.end(maker.conv(maker.put(Pad(before=(1, 2, 0), after=(3, 4, 0)), "x", (8, 10, 1))))
    fold_padding(graph)
    assert [draft.op for draft in graph.drafts] == [Conv2d(padding=(1, 3, 2, 4))]


def test_zero_padding_of_a_sequence_folds_through_the_reshape() -> None:
    maker = Maker(6, 2)
    padded = maker.put(Pad(before=(3, 0), after=(0, 0)), "x", (9, 2))
    graph = maker.end(maker.conv(maker.put(Reshape(), padded, (1, 9, 2))))
    fold_padding(graph)
    assert kinds(graph) == ["Reshape", "Conv2d"]
    assert graph.drafts[1].op == Conv2d(padding=(0, 0, 3, 0))
    assert graph.shapes[graph.drafts[0].output] == (1, 6, 2)


@pytest.mark.parametrize(
    "pad", [Pad(before=(1, 0, 0), after=(0, 0, 0), value=1.0), Pad(before=(0, 0, 1), after=(0, 0, 0)), Pad(before=(0, 0, 0), after=(0, 0, 2))]
)
def test_other_values_and_padded_channels_stay(pad: Pad) -> None:
    maker = Maker(4, 4, 1)
    shape = tuple(before + size + after for before, size, after in zip(pad.before, (4, 4, 1), pad.after, strict=True))
    graph = maker.end(maker.conv(maker.put(pad, "x", shape)))
    fold_padding(graph)
    assert kinds(graph) == ["Pad", "Conv2d"]


def test_padding_that_others_read_stays() -> None:
    maker = Maker(4, 4, 1)
    padded = maker.put(Pad(before=(1, 1, 0), after=(1, 1, 0)), "x", (6, 6, 1))
    graph = maker.end(maker.put(Add(), [padded, maker.conv(padded, outputs=1)], (6, 6, 1)))
    fold_padding(graph)
    assert kinds(graph) == ["Pad", "Conv2d", "Add"]


def test_slices_of_slices_merge() -> None:
    maker = Maker(20, 3)
    inner = maker.put(Slice(start=(2, 0), stop=(18, 3), step=(3, 1)), "x", (6, 3))
    graph = maker.end(maker.put(Slice(start=(1, 1), stop=(6, 3), step=(2, 1)), inner, (3, 2)))
    merge_slices(graph)
    (draft,) = graph.drafts
    assert isinstance(draft.op, Slice)
    values = np.arange(60).reshape(20, 3)
    both = values[2:18:3][1:6:2, 1:3]
    assert np.array_equal(values[tuple(slice(*ends) for ends in zip(draft.op.start, draft.op.stop, draft.op.step, strict=True))], both)


def test_transposes_that_undo_each_other_vanish() -> None:
    maker = Maker(2, 3, 4)
    there = maker.put(Transpose(permutation=(2, 0, 1)), "x", (4, 2, 3))
    back = maker.put(Transpose(permutation=(1, 2, 0)), there, (2, 3, 4))
    graph = maker.end(maker.put(RELU, back, (2, 3, 4)))
    drop_idle_movement(graph)
    assert kinds(graph) == ["Unary"]
    assert graph.drafts[0].inputs == ["x"]


def test_two_transposes_become_one() -> None:
    maker = Maker(2, 3, 4)
    there = maker.put(Transpose(permutation=(2, 0, 1)), "x", (4, 2, 3))
    graph = maker.end(maker.put(Transpose(permutation=(2, 1, 0)), there, (3, 2, 4)))
    drop_idle_movement(graph)
    (draft,) = graph.drafts
    assert isinstance(draft.op, Transpose)
    values = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(values.transpose(draft.op.permutation), values.transpose(2, 0, 1).transpose(2, 1, 0))


def test_a_transpose_that_others_read_stays_for_them() -> None:
    maker = Maker(2, 3)
    there = maker.put(Transpose(permutation=(1, 0)), "x", (3, 2))
    back = maker.put(Transpose(permutation=(1, 0)), there, (2, 3))
    graph = maker.end(maker.put(Linear(), [there], (3, 3), weight=np.zeros((3, 2)), bias=np.zeros(3)))
    maker.put(RELU, back, (2, 3))
    drop_idle_movement(graph)
    assert kinds(graph) == ["Transpose", "Linear"]


def test_reshapes_merge_and_vanish_where_nothing_changes() -> None:
    maker = Maker(2, 6)
    flat = maker.put(Reshape(), "x", (12,))
    graph = maker.end(maker.put(RELU, maker.put(Reshape(), maker.put(Reshape(), flat, (3, 4)), (2, 6)), (2, 6)))
    drop_idle_movement(graph)
    assert kinds(graph) == ["Unary"]


def test_what_nobody_reads_is_dropped_with_all_that_led_to_it() -> None:
    maker = Maker(4, 4, 1)
    maker.unary(maker.conv("x"), "tanh")
    graph = maker.end(maker.conv("x"))
    drop_dead(graph)
    assert [draft.output for draft in graph.drafts] == [graph.output]


def test_a_graph_knows_who_writes_and_how_often_a_tensor_is_read() -> None:
    maker = Maker(4, 4, 1)
    conv = maker.conv("x")
    graph = maker.end(maker.put(Add(), [conv, conv], (4, 4, 2)))
    assert graph.producer("x") is None
    assert graph.producer(conv) is graph.drafts[0]
    assert [graph.uses(name) for name in ("x", conv, graph.output)] == [1, 2, 1]


def test_a_draft_says_where_it_stands() -> None:
    place = {"name": "a", "op": RELU, "inputs": ["x"], "output": "a"}
    assert Draft(**place, module_path="body.0", source="net.py:7").where == "'a' (module 'body.0', net.py:7)"  # type: ignore[arg-type]
    assert Draft(**place).where == "'a' (the top module)"  # type: ignore[arg-type]
