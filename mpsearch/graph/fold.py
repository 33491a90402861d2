# SPDX-License-Identifier: Apache-2.0
"""Passes over a draft graph: fold batch norm, fuse activations and padding, drop what moves nothing."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from mpsearch.graph.draft import ChannelAffine, Draft, DraftGraph
from mpsearch.records import Add, AvgPool2d, Conv2d, Linear, Mean, Mul, Pad, Reshape, Slice, Transpose, Unary

FloatArray = npt.NDArray[np.float64]

_FUSES_CLAMP = (Conv2d, Linear, Add, Mul, Mean, AvgPool2d)
_CLAMPS = {"relu": (0.0, math.inf), "relu6": (0.0, 6.0)}


def fold(graph: DraftGraph) -> DraftGraph:
    """Run every pass, in place, and return the graph."""
    for run in (
        drop_idle_movement,
        merge_slices,
        fold_affine,
        fuse_clamps,
        fold_padding,
        lower_channel_affine,
        drop_idle_movement,
        drop_dead,
    ):
        run(graph)
    return graph


def fold_affine(graph: DraftGraph) -> None:
    """Fold batch norms, scales and offsets into the convolution or dense layer before them, and into each other."""
    for draft in list(graph.drafts):
        affine = _affine(draft)
        source = None if affine is None else _sole_source(graph, draft.inputs[0])
        if affine is None or source is None or source.clamp is not None:
            continue
        scale, offset = affine
        channels = graph.shapes[source.output][-1:]
        inner = _affine(source)
        if inner is not None:
            if inner[0].ndim == 1 and scale.ndim == 1 and inner[0].size != scale.size:
                continue
            combined = inner[0] * scale, inner[1] * scale + offset
            if combined[0].ndim == 1:
                draft.op, draft.weight, draft.bias = ChannelAffine(), combined[0], combined[1]
            else:
                draft.op = Unary(function="affine", parameters=(float(combined[0]), float(combined[1])))
            _remove(graph, source)
        elif isinstance(source.op, (Conv2d, Linear)) and scale.shape in ((), channels) and not (scale.ndim == 0 and _is_tied(graph, source)):
            assert source.weight is not None
            assert source.bias is not None
            source.weight = source.weight * scale.reshape(-1, *([1] * (source.weight.ndim - 1)))
            source.bias = source.bias * scale + offset
            _remove(graph, draft)


def _affine(draft: Draft) -> tuple[FloatArray, FloatArray] | None:
    """Return scale and offset of a draft that computes scale * x + offset: (channels,) each, or () for plain numbers."""
    if isinstance(draft.op, ChannelAffine):
        assert draft.weight is not None
        assert draft.bias is not None
        return draft.weight, draft.bias
    if isinstance(draft.op, Unary) and draft.op.function == "affine":
        return np.array(draft.op.parameters[0]), np.array(draft.op.parameters[1])
    return None


def _is_tied(graph: DraftGraph, draft: Draft) -> bool:
    """Whether other layers store the same weight, which then must not be scaled for one of them alone."""
    return bool(draft.weight_name) and sum(other.weight_name == draft.weight_name for other in graph.drafts) > 1


def fuse_clamps(graph: DraftGraph) -> None:
    """Fuse relu, relu6 and clamp into the layer that computes their input."""
    for draft in list(graph.drafts):
        if not isinstance(draft.op, Unary) or (draft.op.function not in _CLAMPS and draft.op.function != "clamp"):
            continue
        lowest, highest = _CLAMPS.get(draft.op.function) or draft.op.parameters
        source = _sole_source(graph, draft.inputs[0])
        if source is not None and isinstance(source.op, _FUSES_CLAMP) and source.clamp is None:
            source.clamp = (lowest, highest)
            _remove(graph, draft)


def fold_padding(graph: DraftGraph) -> None:
    """Fold zero padding of height and width, or of a sequence's length, into the convolution that reads it."""
    for draft in list(graph.drafts):
        if not isinstance(draft.op, Conv2d):
            continue
        source = graph.producer(draft.inputs[0])
        link = source if source is not None and isinstance(source.op, Reshape) else None
        pad = source if link is None else graph.producer(link.inputs[0])
        if pad is None or not isinstance(pad.op, Pad) or pad.op.value != 0 or graph.uses(pad.output) != 1:
            continue
        before, after = pad.op.before, pad.op.after
        if link is not None:
            if graph.uses(link.output) != 1 or graph.shapes[link.output] != (1, *graph.shapes[pad.output]):
                continue
            before, after = (0, *before), (0, *after)
        if len(before) != 3 or before[2] or after[2]:
            continue
        if link is not None:
            graph.shapes[link.output] = (1, *graph.shapes[pad.inputs[0]])
        own = draft.op.padding
        padding = (own[0] + before[0], own[1] + after[0], own[2] + before[1], own[3] + after[1])
        draft.op = Conv2d(stride=draft.op.stride, padding=padding, dilation=draft.op.dilation, groups=draft.op.groups)
        _remove(graph, pad)


def lower_channel_affine(graph: DraftGraph) -> None:
    """Turn batch norms that found no layer to fold into, into 1x1 depthwise convolutions."""
    for draft in list(graph.drafts):
        if not isinstance(draft.op, ChannelAffine):
            continue
        assert draft.weight is not None
        channels = draft.weight.size
        shape = graph.shapes[draft.output]
        position = graph.drafts.index(draft)
        spatial = (1, math.prod(shape[:-1]), channels)
        entry, inner = f"{draft.name}.in", f"{draft.name}.out"
        graph.shapes[entry] = graph.shapes[inner] = spatial
        place = {"module_path": draft.module_path, "source": draft.source}
        before = Draft(name=entry, op=Reshape(), inputs=draft.inputs, output=entry, **place)  # type: ignore[arg-type]
        after = Draft(name=inner, op=Reshape(), inputs=[inner], output=draft.output, **place)  # type: ignore[arg-type]
        draft.op, draft.inputs, draft.output = Conv2d(groups=channels), [entry], inner
        draft.weight = draft.weight.reshape(channels, 1, 1, 1)
        graph.drafts[position : position + 1] = [before, draft, after]
    fuse_clamps(graph)


def merge_slices(graph: DraftGraph) -> None:
    """Merge a slice of a slice into one."""
    for draft in list(graph.drafts):
        if not isinstance(draft.op, Slice):
            continue
        inner = graph.producer(draft.inputs[0])
        if inner is None or not isinstance(inner.op, Slice) or graph.uses(inner.output) != 1:
            continue
        axes = list(zip(inner.op.start, inner.op.step, draft.op.start, draft.op.stop, draft.op.step, strict=True))
        start = tuple(base + first * step for base, step, first, _, _ in axes)
        stop = tuple(base + (last - 1) * step + 1 for base, step, _, last, _ in axes)
        draft.op = Slice(start=start, stop=stop, step=tuple(step * outer for _, step, _, _, outer in axes))
        draft.inputs = list(inner.inputs)
        graph.drafts.remove(inner)


def drop_idle_movement(graph: DraftGraph) -> None:
    """Drop transposes that undo each other, reshapes of reshapes, and reshapes to the same shape."""
    for draft in list(graph.drafts):
        before = graph.producer(draft.inputs[0]) if draft.inputs else None
        if isinstance(draft.op, Transpose) and before is not None and isinstance(before.op, Transpose):
            permutation = tuple(before.op.permutation[axis] for axis in draft.op.permutation)
            draft.op, draft.inputs = Transpose(permutation=permutation), list(before.inputs)
        if isinstance(draft.op, Reshape) and before is not None and isinstance(before.op, Reshape):
            draft.inputs = list(before.inputs)
        shapes = graph.shapes
        idle_reshape = isinstance(draft.op, Reshape) and shapes[draft.inputs[0]] == shapes[draft.output]
        idle_transpose = isinstance(draft.op, Transpose) and draft.op.permutation == tuple(range(len(draft.op.permutation)))
        if idle_reshape or idle_transpose:
            graph.drafts.remove(draft)
            graph.replace_tensor(draft.output, draft.inputs[0])
    drop_dead(graph)


def drop_dead(graph: DraftGraph) -> None:
    """Drop layers whose output nobody reads."""
    for draft in reversed(list(graph.drafts)):
        if graph.uses(draft.output) == 0:
            graph.drafts.remove(draft)


def _sole_source(graph: DraftGraph, tensor: str) -> Draft | None:
    """Return the draft that computes a tensor which nobody else reads, looking through reshapes, which keep every value's place in memory."""
    draft = graph.producer(tensor)
    while draft is not None and graph.uses(draft.output) == 1:
        if not isinstance(draft.op, Reshape):
            return draft
        draft = graph.producer(draft.inputs[0])
    return None


def _remove(graph: DraftGraph, draft: Draft) -> None:
    graph.drafts.remove(draft)
    graph.replace_tensor(draft.output, draft.inputs[0])
