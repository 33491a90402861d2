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
from tests.export.random_graphs import STEPS, append, random_graphs
from tests.export.reference import run_reference
from tests.kernels.builds import BUILDS, build_library

SEEDS = st.integers(0, 2**32 - 1)
BITS = st.integers(2, 8)


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


@settings(max_examples=200)
@given(made=random_graphs())
def test_any_graph_computes_in_its_arena_what_the_interpreter_does(kernels: ctypes.CDLL, made: tuple[GraphMaker, QuantizedGraph]) -> None:
    assert_same(kernels, *made)


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
