# SPDX-License-Identifier: Apache-2.0
"""Whole graphs of random layers through the exporter's constants, memory plan and kernels, against the NumPy interpreter.

What a kernel computes is tests/kernels' claim; here it meets its neighbours: tensors that share an arena, counted constants, counted scratch.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpsearch.records import QuantizedGraph
from tests.export.harness import run_kernels
from tests.export.models import GraphMaker
from tests.export.reference import run_reference
from tests.kernels.builds import BUILDS, build_library

SEEDS = st.integers(0, 2**32 - 1)
BITS = st.integers(2, 8)
STEPS = ("conv", "strided", "grouped", "depthwise", "pointwise", "residual", "gate", "max_pool", "avg_pool", "pad", "turn", "cut", "join", "dense")


@pytest.fixture(scope="session", params=["gcc-O2", "gcc-simd"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Every kernel; the second build takes the paths of Armv7E-M."""
    if not BUILDS[request.param].present:
        pytest.skip("NO GCC: the kernels were not built")
    return build_library(tmp_path_factory.mktemp("kernels"), request.param)


def assert_same(kernels: ctypes.CDLL, maker: GraphMaker, quantized: QuantizedGraph, samples: int = 2) -> None:
    inputs = maker.samples(samples)
    for i in range(samples):
        given_inputs = [item[i] for item in inputs]
        np.testing.assert_array_equal(run_kernels(kernels, quantized, given_inputs), run_reference(quantized, given_inputs))


def append(maker: GraphMaker, value: str, step: str, bits: int, channels: int) -> str:
    """Return the output of one more layer, or of a few that belong together."""
    height, width, inputs = maker.shape(value)
    match step:
        case "conv":
            return maker.conv(value, channels, (3, 2), bits, padding=(1, 1, 1, 0))
        case "strided":
            return maker.conv(value, channels, (2, 3), bits, padding=(1, 0, 1, 1), stride=(2, 1), dilation=(1, 1))
        case "grouped":
            return maker.conv(value, 2 * inputs, (1, 3), bits, padding=(0, 0, 2, 2), dilation=(1, 2), groups=inputs if inputs % 2 else 2)
        case "depthwise":
            return maker.conv(value, inputs, (3, 3), bits, padding=(1, 1, 1, 1), groups=inputs)
        case "pointwise":
            return maker.conv(value, channels, (1, 1), bits)
        case "residual":
            return maker.add(value, maker.conv(value, inputs, (3, 3), bits, padding=(1, 1, 1, 1)))
        case "gate":
            return maker.mul(value, maker.unary(maker.mean(value, (0, 1), keep=True)))
        case "max_pool":
            return maker.max_pool(value, (2, 3), (1, 2), (1, 0, 1, 1))
        case "avg_pool":
            return maker.avg_pool(value, (3, 2), (2, 1), (1, 1, 1, 0), whole=channels % 2 == 0)
        case "pad":
            return maker.pad(value, [0, 1, 2], [1, 0, 0])
        case "turn":
            return maker.transpose(value, (2, 0, 1) if channels % 2 else (1, 0, 2))
        case "cut":
            return maker.slice(value, [0, 0, inputs // 3], [height, width, inputs], [1, 2, 1])
        case "join":
            return maker.concat([value, maker.unary(value)], channels % 3)
        case _:
            return maker.linear(value, channels, bits)


@settings(max_examples=200)
@given(
    seed=SEEDS,
    extreme=st.booleans(),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 20)),
    steps=st.lists(st.tuples(st.sampled_from(STEPS), BITS, st.integers(1, 20)), min_size=1, max_size=6),
)
def test_any_graph_computes_in_its_arena_what_the_interpreter_does(
    kernels: ctypes.CDLL, seed: int, extreme: bool, size: tuple[int, int, int], steps: list[tuple[str, int, int]]
) -> None:
    maker = GraphMaker(seed, extreme)
    value = maker.input(*size)
    for step in steps:
        if np.prod(maker.shape(value)) < 3000:
            value = append(maker, value, *step)
    value = maker.linear(maker.reshape(value, int(np.prod(maker.shape(value)))), 3, 5)
    assert_same(kernels, maker, maker.finish(value))


@pytest.mark.parametrize("step", STEPS)
def test_every_kind_of_layer_is_counted_and_planned(kernels: ctypes.CDLL, step: str) -> None:
    for bits in range(2, 9):
        maker = GraphMaker(bits)
        assert_same(kernels, maker, maker.finish(append(maker, maker.input(5, 4, 12), step, bits, 7)), samples=1)


def test_large_windows_gather_fewer_pixels_at_once(kernels: ctypes.CDLL) -> None:
    maker = GraphMaker(3)
    assert_same(kernels, maker, maker.finish(maker.conv(maker.input(6, 5, 64), 3, (3, 3), 5, padding=(1, 1, 1, 1))), samples=1)


@given(seed=SEEDS, bits=BITS)
def test_layers_that_share_weights_store_them_once(kernels: ctypes.CDLL, seed: int, bits: int) -> None:
    maker = GraphMaker(seed)
    value = maker.linear(maker.input(3, 12), 12, bits, key="tied")
    quantized = maker.finish(maker.linear(value, 12, bits, key="tied"))
    assert_same(kernels, maker, quantized)
