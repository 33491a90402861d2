# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.export.memory_plan import Buffer, place_buffers, plan_memory
from tests.export.models import GraphMaker

BUFFERS = st.lists(
    st.builds(
        lambda size, first, length: Buffer(name="", size_bytes=4 * size, first_step=first, last_step=first + length),
        st.integers(1, 50),
        st.integers(0, 12),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=14,
)


def fullest_step(buffers: list[Buffer]) -> int:
    return max(sum(b.size_bytes for b in buffers if b.first_step <= step <= b.last_step) for step in range(20))


@given(buffers=BUFFERS)
def test_buffers_that_are_needed_together_never_overlap(buffers: list[Buffer]) -> None:
    bound = fullest_step(buffers)
    offsets = place_buffers(buffers, bound)
    for i, first in enumerate(buffers):
        for j, second in enumerate(buffers[:i]):
            if first.meets(second):
                assert offsets[i] + first.size_bytes <= offsets[j] or offsets[j] + second.size_bytes <= offsets[i]
    assert max(offset + buffer.size_bytes for offset, buffer in zip(offsets, buffers, strict=True)) >= bound


@given(seed=st.integers(0, 2**32 - 1), widths=st.lists(st.integers(1, 9), min_size=1, max_size=8), bits=st.integers(2, 8))
def test_a_chain_needs_no_more_than_its_fullest_step(seed: int, widths: list[int], bits: int) -> None:
    maker = GraphMaker(seed)
    value = maker.input(5, 5, 3)
    for width in widths:
        value = maker.conv(value, width, (3, 3), bits, padding=(1, 1, 1, 1))
    quantized = maker.finish(value)
    plan = plan_memory(quantized.graph, quantized.config)
    assert plan.arena_bytes == plan.bound_bytes


@given(seed=st.integers(0, 2**32 - 1), blocks=st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=6))
def test_a_residual_network_needs_no_more_than_its_fullest_step(seed: int, blocks: list[tuple[int, bool]]) -> None:
    maker = GraphMaker(seed)
    value = maker.conv(maker.input(8, 8, 3), 4, (3, 3), 4, padding=(1, 1, 1, 1))
    for width, project in blocks:
        inner = maker.conv(value, width, (3, 3), 4, padding=(1, 1, 1, 1))
        channels = width if project else maker.shape(value)[2]
        outer = maker.conv(inner, channels, (3, 3), 4, padding=(1, 1, 1, 1))
        value = maker.add(outer, maker.conv(value, width, (1, 1), 4) if project else value)
    quantized = maker.finish(maker.mean(value, (0, 1)))
    plan = plan_memory(quantized.graph, quantized.config)
    assert plan.arena_bytes == plan.bound_bytes


def test_the_search_finds_a_plan_that_no_greedy_order_finds() -> None:
    # Sizes and lifetimes for which every greedy order leaves a gap; the bound is reached by an order between them.
    spans = [(4, 0, 2), (8, 1, 3), (4, 3, 5), (12, 4, 6), (8, 5, 7), (4, 6, 8), (12, 8, 9), (4, 7, 9), (8, 2, 4)]
    buffers = [Buffer(name=str(i), size_bytes=size, first_step=first, last_step=last) for i, (size, first, last) in enumerate(spans)]
    offsets = place_buffers(buffers, fullest_step(buffers))
    assert max(offset + buffer.size_bytes for offset, buffer in zip(offsets, buffers, strict=True)) == fullest_step(buffers)


@pytest.mark.parametrize("bits", [4, 8])
def test_every_step_finds_its_tensors_and_scratch_inside_the_arena(bits: int) -> None:
    maker = GraphMaker(1)
    first = maker.conv(maker.input(6, 6, 4), 8, (3, 3), bits)
    second = maker.linear(maker.reshape(first, 128), 5, bits)
    quantized = maker.finish(second)
    plan = plan_memory(quantized.graph, quantized.config)
    assert {name for name, _ in plan.tensor_offsets} == {tensor.name for tensor in quantized.graph.tensors}
    assert dict(plan.tensor_offsets)["t1"] == dict(plan.tensor_offsets)["t2"]  # the reshape is an alias
    assert all(offset < plan.arena_bytes for offset in plan.scratch_offsets)
