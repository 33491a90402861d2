# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from mpsearch.catalog import HardwareModel, load_hardware_model
from mpsearch.records import Add, Conv2d, Layer, LayerGraph, Linear, MaxPool2d, Precision, QuantizerGroup, Reshape, Tensor


def tensor(name: str, *shape: int) -> Tensor:
    """Return a tensor with a quantizer of its own."""
    return Tensor(name=name, shape=shape, quantizer=0, precision_group=0)


@pytest.fixture
def graph() -> LayerGraph:
    """Two 3x3 convolutions that share a decision, a sum, a depthwise convolution, a pooling, a reshape and a dense layer."""
    weight, depthwise, dense = np.ones((4, 3, 3, 4), np.float32), np.ones((4, 3, 3, 1), np.float32), np.ones((10, 64), np.float32)
    pad = (1, 1, 1, 1)
    return LayerGraph(
        inputs=("x",),
        input_permutations=((0, 1, 2),),
        output="y",
        output_permutation=(0,),
        tensors=(
            tensor("x", 8, 8, 4),
            tensor("a", 8, 8, 4),
            tensor("b", 8, 8, 4),
            tensor("s", 8, 8, 4),
            tensor("d", 8, 8, 4),
            tensor("p", 4, 4, 4),
            tensor("f", 64),
            tensor("y", 10),
        ),
        layers=(
            Layer(name="conv1", op=Conv2d(padding=pad), inputs=("x",), output="a", weight=weight, bias=np.zeros(4), macs=9216, weight_key="k1"),
            Layer(name="conv2", op=Conv2d(padding=pad), inputs=("a",), output="b", weight=weight, bias=np.zeros(4), macs=9216, weight_key="k2"),
            Layer(name="add", op=Add(), inputs=("a", "b"), output="s"),
            Layer(
                name="dw", op=Conv2d(padding=pad, groups=4), inputs=("s",), output="d", weight=depthwise, bias=np.zeros(4), macs=2304, weight_key="k3"
            ),
            Layer(name="pool", op=MaxPool2d(kernel=(2, 2), stride=(2, 2)), inputs=("d",), output="p"),
            Layer(name="flat", op=Reshape(), inputs=("p",), output="f"),
            Layer(name="fc", op=Linear(), inputs=("f",), output="y", weight=dense, bias=np.zeros(10), macs=640, weight_key="k4"),
        ),
        groups=(
            QuantizerGroup(name="conv1", layers=("conv1", "conv2")),
            QuantizerGroup(name="dw", layers=("dw",)),
            QuantizerGroup(name="fc", layers=("fc",)),
        ),
    )


@pytest.fixture
def precisions() -> tuple[Precision, ...]:
    """The columns of the tables."""
    return tuple(Precision(weight_bits=bits) for bits in (2, 4, 8))


@pytest.fixture
def offered(precisions: tuple[Precision, ...]) -> dict[str, tuple[Precision, ...]]:
    """Everything, but no 2 bits for the depthwise layer."""
    return {"conv1": precisions, "dw": precisions[1:], "fc": precisions}


@pytest.fixture
def hardware() -> HardwareModel:
    """A shipped device."""
    return load_hardware_model("cortex-m4")
