# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from mpsearch.export.exact_placement import Fitting
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


TIGHT = [
    "2:4-6 2:0-1 2:0-2 1:5-5 1:2-5 2:6-6 1:2-3 1:3-4 1:3-3",
    "2:6-6 1:3-3 2:5-6 2:4-5 1:3-4 2:1-1 1:2-3 2:0-2 2:0-0 1:2-4",
    "1:1-2 1:1-4 3:5-5 2:0-1 1:0-3 2:3-5 1:2-3 2:0-0 1:4-4 1:2-2 1:4-4",
]
"""Buffers (words:first-last) that fill every step evenly, but no plan as low as the fullest step holds them."""


def parsed(text: str) -> list[Buffer]:
    """Return the buffers that a line of TIGHT lists."""
    numbers = [[int(number) for number in item.replace("-", ":").split(":")] for item in text.split()]
    return [Buffer(name="", size_bytes=4 * words, first_step=first, last_step=last) for words, first, last in numbers]


def least_arena(buffers: list[Buffer]) -> int:
    """Return the length of the shortest arena, by an integer program: for each pair that meets, one lies above the other."""
    count, largest = len(buffers), sum(buffer.size_bytes for buffer in buffers)
    pairs = [(i, j) for i in range(count) for j in range(i) if buffers[i].meets(buffers[j])]
    # Variables: offsets, the arena's length, and for each pair whether the first lies above.
    rows, upper = [], []
    for index, buffer in enumerate(buffers):
        row = np.zeros(count + 1 + len(pairs))
        row[[index, count]] = 1, -1
        rows.append(row)
        upper.append(-buffer.size_bytes)
    for place, (i, j) in enumerate(pairs):
        for below, above, sign in ((i, j, 1), (j, i, -1)):
            row = np.zeros(count + 1 + len(pairs))
            row[[below, above, count + 1 + place]] = 1, -1, -sign * largest
            rows.append(row)
            upper.append(-buffers[below].size_bytes + (0 if sign == 1 else largest))
    bounds = Bounds(np.zeros(count + 1 + len(pairs)), np.array([largest] * (count + 1) + [1] * len(pairs)))
    objective = np.eye(count + 1 + len(pairs))[count]
    integral = np.array([0] * (count + 1) + [1] * len(pairs))
    solved = milp(objective, constraints=LinearConstraint(np.array(rows), -np.inf, np.array(upper)), bounds=bounds, integrality=integral)
    assert solved.success
    return 4 * round(solved.fun / 4)


def fullest_step(buffers: list[Buffer]) -> int:
    return max(sum(b.size_bytes for b in buffers if b.first_step <= step <= b.last_step) for step in range(20))


@given(buffers=BUFFERS)
def test_buffers_that_are_needed_together_never_overlap(buffers: list[Buffer]) -> None:
    bound = fullest_step(buffers)
    placement = place_buffers(buffers, bound)
    offsets = placement.offsets
    for i, first in enumerate(buffers):
        for j, second in enumerate(buffers[:i]):
            if first.meets(second):
                assert offsets[i] + first.size_bytes <= offsets[j] or offsets[j] + second.size_bytes <= offsets[i]
    assert max(offset + buffer.size_bytes for offset, buffer in zip(offsets, buffers, strict=True)) == placement.height >= bound


@given(seed=st.integers(0, 2**32 - 1), widths=st.lists(st.integers(1, 9), min_size=1, max_size=8), bits=st.integers(2, 8))
def test_a_chain_needs_no_more_than_its_fullest_step(seed: int, widths: list[int], bits: int) -> None:
    maker = GraphMaker(seed)
    value = maker.input(5, 5, 3)
    for width in widths:
        value = maker.conv(value, width, (3, 3), bits, padding=(1, 1, 1, 1))
    quantized = maker.finish(value)
    plan = plan_memory(quantized.graph, quantized.config)
    assert plan.arena_bytes == plan.bound_bytes
    assert plan.proven


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
    assert plan.proven


@pytest.mark.parametrize("text", TIGHT)
def test_where_the_fullest_step_cannot_be_reached_the_least_arena_is_found_and_proven(text: str) -> None:
    buffers = parsed(text)
    placement = place_buffers(buffers, fullest_step(buffers))
    assert placement.height == least_arena(buffers) > fullest_step(buffers)
    assert placement.proven


SPANS = st.lists(
    st.builds(lambda words, first, more: (words, first, first + more), st.integers(1, 6), st.integers(0, 5), st.integers(0, 3)), min_size=1
)


@settings(max_examples=60)
@given(spans=SPANS)
def test_small_plans_are_as_low_as_the_best_of_every_order_of_placing_the_buffers(spans: list[tuple[int, int, int]]) -> None:
    least = min(height_in_order(spans[:6], order) for order in itertools.permutations(range(len(spans[:6]))))
    buffers = [Buffer(name="", size_bytes=4 * words, first_step=first, last_step=last) for words, first, last in spans[:6]]
    for bound in (fullest_step(buffers), 0):  # told nothing, the exact search has to exclude every lower arena by itself
        placement = place_buffers(buffers, bound)
        assert (placement.height, placement.proven) == (4 * least, True)
    search = Fitting(spans=spans[:6], nodes_left=10_000)
    assert search.place_within(least) is not None
    assert search.place_within(least - 1) is None


def height_in_order(spans: list[tuple[int, int, int]], order: tuple[int, ...]) -> int:
    """Return the height if each buffer in turn takes the lowest place that is free at all its steps."""
    taken: set[tuple[int, int]] = set()
    for size, first, last in (spans[index] for index in order):
        cells = {(step, row) for step in range(first, last + 1) for row in range(size)}
        offset = next(at for at in itertools.count() if not any((step, row + at) in taken for step, row in cells))
        taken |= {(step, row + offset) for step, row in cells}
    return 1 + max(row for _, row in taken)


def test_a_plan_that_the_nodes_do_not_settle_is_not_called_proven() -> None:
    buffers = parsed(TIGHT[0])
    placement = place_buffers(buffers, fullest_step(buffers), nodes=2)
    assert (placement.height, placement.proven) == (fullest_step(buffers) + 4, False)


def test_the_same_buffers_are_placed_the_same_way_every_time() -> None:
    assert len({place_buffers(parsed(TIGHT[2]), 20).offsets for _ in range(3)}) == 1


def test_the_search_finds_a_plan_that_no_greedy_order_finds() -> None:
    # Sizes and lifetimes for which every greedy order leaves a gap; the bound is reached by an order between them.
    spans = [(4, 0, 2), (8, 1, 3), (4, 3, 5), (12, 4, 6), (8, 5, 7), (4, 6, 8), (12, 8, 9), (4, 7, 9), (8, 2, 4)]
    buffers = [Buffer(name=str(i), size_bytes=size, first_step=first, last_step=last) for i, (size, first, last) in enumerate(spans)]
    placement = place_buffers(buffers, fullest_step(buffers))
    assert (placement.height, placement.proven) == (fullest_step(buffers), True)


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
