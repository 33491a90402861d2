# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from mpsearch.evaluate.real import RealNetwork
from mpsearch.quant import measured_range
from mpsearch.quant.measured_range import measure_intervals
from mpsearch.quant.ranges import mse_interval
from mpsearch.records import CalibrationStats, Linear, MaxPool2d, Slice, Unary
from tests.evaluate.float_graphs import chain, layer, statistics

# The first feature is a hundred times the others, and saturates: beyond 4 nobody minds what it is.
SATURATING = chain(
    [(4,), (4,), (2,), (2,)],
    layer("bounded", Unary(function="clamp", parameters=(-1.0, 4.0)), ("t0",), "t1"),
    layer("last", Linear(), ("t1",), "t2", (2, 4)),
    layer("out", Unary(function="affine", parameters=(1.0, 0.0)), ("t2",), "t3"),
)


def wide_inputs(samples: int = 200) -> torch.Tensor:
    values = torch.rand(samples, 4, generator=torch.Generator().manual_seed(0))
    values[:, 0] *= 100
    return values


def measured(samples: int = 200) -> tuple[CalibrationStats, CalibrationStats, list[int]]:
    network, batch = RealNetwork(SATURATING), wide_inputs(samples)
    before = statistics(SATURATING, (batch,))
    sizes = []

    def distance(values: dict[str, torch.Tensor], replaced: dict[str, torch.Tensor]) -> float:
        sizes.append(len(values["t0"]))
        return float((network.output_with(values, replaced) - values["t3"]).square().sum())

    after = measure_intervals(SATURATING, before, lambda: network.activations(list(batch.split(50))), distance)
    return before, after, sizes


def test_a_range_that_the_network_does_not_mind_losing_is_clipped() -> None:
    before, after, _ = measured()
    interval = after.tensor("t0").interval
    assert interval is not None
    assert interval[1] < 0.5 * mse_interval(before.tensor("t0"), 8)[1]


def test_tensors_that_matter_little_and_the_output_are_not_measured() -> None:
    _, after, _ = measured()
    assert after.tensor("t1").interval is None
    assert after.tensor("t3").interval is None


def test_the_ends_are_plain_numbers_so_that_records_are_saved_alike() -> None:
    _, after, _ = measured()
    assert {type(end) for end in after.tensor("t0").interval} == {float}


def test_whole_batches_are_seen_until_there_are_enough_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_range, "SAMPLES", 60)
    _, after, sizes = measured()
    monkeypatch.setattr(measured_range, "SAMPLES", 10_000)
    _, whole, more = measured()
    assert len(more) / len(sizes) > 1.5  # two batches of four, and the search goes much the same way
    assert after.tensor("t0").interval[1] < 50
    assert whole.tensor("t0").interval[1] < 50


def test_a_network_that_minds_nothing_measures_nothing() -> None:
    network, batch = RealNetwork(SATURATING), wide_inputs()
    before = statistics(SATURATING, (batch,))
    after = measure_intervals(SATURATING, before, lambda: network.activations([batch]), lambda values, replaced: 0.0)
    assert all(tensor.interval is None for tensor in after.tensors)


def test_tensors_that_pass_a_scale_through_share_one_measurement() -> None:
    graph = chain(
        [(4, 4, 1), (2, 2, 1), (1, 2, 1), (1, 2, 1)],
        layer("pool", MaxPool2d(kernel=(2, 2), stride=(2, 2)), ("t0",), "t1"),
        layer("cut", Slice(start=(0, 0, 0), stop=(1, 2, 1), step=(1, 1, 1)), ("t1",), "t2"),
        layer("out", Unary(function="tanh"), ("t2",), "t3"),
        quantizers=(0, 0, 0, 1),
    )
    network, batch = RealNetwork(graph), torch.randn(64, 4, 4, 1, generator=torch.Generator().manual_seed(0))
    replaced_names = set()

    def distance(values: dict[str, torch.Tensor], replaced: dict[str, torch.Tensor]) -> float:
        replaced_names.update(replaced)
        return float((network.output_with(values, replaced) - values["t3"]).square().sum())

    after = measure_intervals(graph, statistics(graph, (batch,)), lambda: network.activations([batch]), distance)
    assert replaced_names == {"t0"}
    assert after.tensor("t0").interval == after.tensor("t1").interval == after.tensor("t2").interval
    assert after.tensor("t0").interval is not None
