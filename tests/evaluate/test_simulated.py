# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from mpsearch.evaluate.integer import IntegerNetwork
from mpsearch.evaluate.simulated import SimulatedNetwork, fake_quantize
from mpsearch.records import Add, AvgPool2d, Conv2d, Linear, Mean, Mul, Pad, Quantization, Unary
from tests.evaluate.float_graphs import chain, draw, layer, quantized

IMAGE = (6, 5, 4)
GRAPHS = {
    "convolution": chain([IMAGE, (3, 5, 6)], layer("l", Conv2d(stride=(2, 1), padding=(1, 0, 2, 0)), ("t0",), "t1", (6, 3, 3, 4))),
    "depthwise": chain([IMAGE, (6, 5, 8)], layer("l", Conv2d(padding=(1, 1, 1, 1), groups=4), ("t0",), "t1", (8, 3, 3, 1), clamp=(0.0, 6.0))),
    "linear": chain([(3, 7), (3, 5)], layer("l", Linear(), ("t0",), "t1", (5, 7))),
    "sum": chain([IMAGE, (1, 1, 4), IMAGE], layer("l", Add(), ("t0", "t1"), "t2", clamp=(0.0, np.inf)), inputs=2),
    "product": chain([IMAGE, (6, 1, 4), IMAGE], layer("l", Mul(), ("t0", "t1"), "t2"), inputs=2),
    "mean": chain([IMAGE, (1, 1, 4)], layer("l", Mean(axes=(0, 1)), ("t0",), "t1")),
    "average": chain(
        [IMAGE, (3, 3, 4)], layer("l", AvgPool2d(kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1), count_padding=False), ("t0",), "t1")
    ),
    "table": chain([IMAGE, IMAGE], layer("l", Unary(function="hardswish"), ("t0",), "t1")),
    "padding": chain([IMAGE, (7, 5, 4)], layer("l", Pad(before=(1, 0, 0), after=(0, 0, 0), value=0.5), ("t0",), "t1"), quantizers=(0, 0)),
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("bits", [8, 3])
def test_one_simulated_layer_is_within_one_step_of_the_integer_layer(name: str, bits: int) -> None:
    graph = GRAPHS[name]
    record = quantized(graph, bits)
    batch = draw(graph, 32, seed=1)
    difference = (SimulatedNetwork(record).output(batch) - IntegerNetwork(record).output(batch)).abs() / record.quantization(graph.output).scale
    assert float(difference.max()) < 1.01
    assert float((difference > 0.01).float().mean()) < 0.02


def test_rounding_passes_gradients_inside_the_range_and_none_outside() -> None:
    values = torch.tensor([-70.0, -3.2, 0.4, 63.4, 70.0], requires_grad=True)
    rounded = fake_quantize(values, Quantization(scale=0.5, zero_point=0))
    rounded.sum().backward()
    assert rounded.tolist() == [-64.0, -3.0, 0.5, 63.5, 63.5]
    assert values.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]
