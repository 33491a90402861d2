# SPDX-License-Identifier: Apache-2.0
"""Random chains of layers and movements: whatever is captured computes what torch computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mpsearch.evaluate.real import RealNetwork
from mpsearch.evaluate.walk import from_memory
from mpsearch.graph.capture import capture

Step = Callable[[torch.Tensor], torch.Tensor]

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


class Chain(nn.Module):
    """Runs steps one after another; modules among them are registered."""

    def __init__(self, steps: list[Step]) -> None:
        super().__init__()
        self.steps = steps
        self.parts = nn.ModuleList(step for step in steps if isinstance(step, nn.Module))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for step in self.steps:
            x = step(x)
        return x


def draw_step(data: st.DataObject, shape: tuple[int, ...]) -> Step:
    """Draw a step that accepts a tensor of a shape (without batch)."""
    makers = [pointwise, movement, movement, dense]
    if len(shape) == 3:
        makers += [convolution, pooling, convolution]
    if len(shape) == 2:
        makers += [convolution_1d, pooling_1d]
    return data.draw(st.sampled_from(makers), label="kind")(data, shape)


def norm_of(shape: tuple[int, ...]) -> nn.Module:
    norm = (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0])
    nn.init.uniform_(norm.weight, 0.6, 1.4)
    norm.running_mean.normal_(0, 0.3)
    norm.running_var.uniform_(0.5, 1.5)
    return norm


def pointwise(data: st.DataObject, shape: tuple[int, ...]) -> Step:
    axis = data.draw(st.integers(0, len(shape) - 1))
    vector = torch.linspace(0.5, 1.5, shape[axis]).reshape(-1, *[1] * (len(shape) - 1 - axis))
    steps: list[Step] = [
        F.relu,
        F.relu6,
        torch.tanh,
        F.hardswish,
        lambda x: x.clamp(-1, 0.5),
        lambda x: x * 0.5 - 0.25,
        lambda x: x + x * 0.5,
        lambda x: 1 - x,
        lambda x: x * vector,
        lambda x: x - vector,
        lambda x: x * x.mean(1, keepdim=True).sigmoid(),
        lambda x: x + x.amax(-1, keepdim=True),
    ]
    return norm_of(shape) if len(shape) <= 3 and data.draw(st.booleans()) else data.draw(st.sampled_from(steps))


def movement(data: st.DataObject, shape: tuple[int, ...]) -> Step:
    rank = len(shape)
    axis = data.draw(st.integers(0, rank - 1))
    other = data.draw(st.integers(0, rank - 1))
    order = data.draw(st.permutations(range(1, rank + 1)))
    steps: list[Step] = [lambda x: x.transpose(axis + 1, other + 1), lambda x: x.permute(0, *order), lambda x: torch.cat([x, x * 0.5], axis + 1)]
    if shape[axis] > 2:
        start = data.draw(st.integers(0, 1))
        step = data.draw(st.integers(1, 2))
        steps.append(lambda x: x[(slice(None),) * (axis + 1) + (slice(start, None, step),)])
        steps.append(lambda x: torch.cat(x.split([1, shape[axis] - 1], axis + 1)[::-1], axis + 1))
    if rank > 1:
        steps += [
            lambda x: x.select(axis + 1, shape[axis] - 1),
            lambda x: x.flatten(rank - 1),
            lambda x: x.mean(axis + 1),
            lambda x: x.amax(axis + 1),
        ]
        steps.append(lambda x: x.amax((1, rank), keepdim=True))
    if rank < 4:
        steps.append(lambda x: x.unsqueeze(axis + 1))
        if shape[axis] % 2 == 0:
            steps.append(lambda x: x.unflatten(axis + 1, (2, shape[axis] // 2)))
    if any(size == 1 for size in shape[1:]):
        steps.append(lambda x: x.squeeze(next(index for index in range(2, rank + 1) if shape[index - 1] == 1)))
    before, after = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 1))
    steps.append(lambda x: F.pad(x, (before, after)))
    return data.draw(st.sampled_from(steps))


def dense(data: st.DataObject, shape: tuple[int, ...]) -> Step:
    return nn.Linear(shape[-1], data.draw(st.integers(1, 4)))


def convolution(data: st.DataObject, shape: tuple[int, ...]) -> Step:
    groups = data.draw(st.sampled_from([1, shape[0]]))
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    outputs = groups * data.draw(st.integers(1, 2))
    if data.draw(st.booleans()):
        return nn.Conv2d(shape[0], outputs, kernel, padding="same", dilation=data.draw(st.integers(1, 2)), groups=groups)
    return nn.Conv2d(shape[0], outputs, kernel, stride=data.draw(st.integers(1, 2)), padding=(kernel[0] - 1, kernel[1] - 1), groups=groups)


def convolution_1d(data: st.DataObject, shape: tuple[int, ...]) -> Step:
    kernel = data.draw(st.integers(1, 3))
    return nn.Conv1d(shape[0], data.draw(st.integers(1, 4)), kernel, stride=data.draw(st.integers(1, 2)), padding=kernel - 1)


def pooling(data: st.DataObject, shape: tuple[int, ...]) -> Step:
    kernel = data.draw(st.integers(1, min(3, *shape[1:])))
    stride, padding, ceil = data.draw(st.integers(1, 3)), data.draw(st.integers(0, kernel // 2)), data.draw(st.booleans())
    steps: list[Step] = [
        nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil),
        nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil, count_include_pad=False),
        nn.AvgPool2d(kernel, stride, padding, count_include_pad=True),
        nn.AvgPool2d(kernel, stride, ceil_mode=ceil),
        nn.AdaptiveAvgPool2d((1, None)),
        nn.AdaptiveMaxPool2d(1),
        lambda x: x.mean((2, 3)),
    ]
    return data.draw(st.sampled_from(steps))


def pooling_1d(data: st.DataObject, shape: tuple[int, ...]) -> Step:
    kernel = data.draw(st.integers(1, min(3, shape[1])))
    padding, ceil = data.draw(st.integers(0, kernel // 2)), data.draw(st.booleans())
    steps = [nn.MaxPool1d(kernel, 2, padding, ceil_mode=ceil), nn.AvgPool1d(kernel, 1, padding), nn.AdaptiveAvgPool1d(1), nn.AdaptiveMaxPool1d(1)]
    return data.draw(st.sampled_from(steps))


@settings(max_examples=40)
@given(st.data())
def test_a_random_chain_is_captured_as_it_is(data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 99)))
    shape = data.draw(st.sampled_from([(2, 6, 5), (4, 4, 4), (3, 8), (6,)]), label="input")
    batch = torch.randn(3, *shape)
    value, steps = batch, []
    with torch.no_grad():
        for _ in range(data.draw(st.integers(1, 7))):
            step = draw_step(data, tuple(value.shape[1:]))
            if isinstance(step, nn.Module):
                step.eval()
            steps.append(step)
            value = step(value)
        last = nn.Linear(value.shape[-1], 2)
        wanted = last(value)
    graph = capture(Chain([*steps, last]), batch)
    got = from_memory(graph, RealNetwork(graph).output(batch))
    assert got.shape == wanted.shape
    assert float((got - wanted).abs().max()) <= 1e-4 * max(1.0, float(wanted.abs().max()))
