# SPDX-License-Identifier: Apache-2.0
"""What every proxy keeps."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch

from mpsearch.records import Precision
from mpsearch.sensitivity import PROXIES, Probe
from tests.graph.quantized import captured
from tests.sensitivity.probes import precisions, probe_of

NETWORKS = ("resnet", "tied", "ecg", "inception")
WIDTHS = precisions(2, 3, 4, 6, 8)


@cache
def probe(name: str, metric: str = "top1_error") -> Probe:
    """Return a probe with holes: every other group lacks the narrowest precision, the last is offered 8 bits alone."""
    item = captured(name)
    graph = item.graph
    offered: dict[str, tuple[Precision, ...]] = {group.name: WIDTHS[index % 2 :] for index, group in enumerate(graph.groups)}
    offered[graph.groups[-1].name] = WIDTHS[-1:]
    generator = torch.Generator().manual_seed(9)
    batches = [torch.randn(count, *item.batch[0].shape[1:], generator=generator) for count in (12, 5)]
    return probe_of(graph, batches, offered, metric)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", PROXIES)
def test_scores_are_finite_at_least_zero_and_given_exactly_where_offered(name: str, network: str) -> None:
    given = probe(network)
    table = PROXIES[name](given)
    assert (table.proxy, table.model_digest) == (name, given.graph.model_digest)
    assert table.groups == tuple(group.name for group in given.graph.groups)
    assert table.precisions == WIDTHS
    assert table.score.shape == (len(table.groups), len(WIDTHS))
    for row, group in zip(table.score, table.groups, strict=True):
        assert [not np.isnan(value) for value in row] == [precision in given.offered[group] for precision in WIDTHS]
    known = table.score[~np.isnan(table.score)]
    assert np.isfinite(known).all()
    assert (known >= 0).all()
    assert known.max() > 0


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", PROXIES)
def test_more_bits_never_score_worse(name: str, network: str) -> None:
    for row in PROXIES[name](probe(network)).score:
        known = row[~np.isnan(row)]
        assert (np.diff(known) <= 0).all()


@pytest.mark.parametrize("name", PROXIES)
def test_eight_bits_score_far_better_than_two(name: str) -> None:
    score = PROXIES[name](probe("resnet")).score
    narrow = ~np.isnan(score[:, 0])
    assert (score[narrow, -1] < 0.05 * score[narrow, 0]).all()


@pytest.mark.parametrize("metric", ["top1_error", "mse"])
@pytest.mark.parametrize("name", PROXIES)
def test_the_same_seed_gives_the_same_scores(name: str, metric: str) -> None:
    given = probe("resnet", metric)
    first, second = PROXIES[name](given), PROXIES[name](dataclasses.replace(given))
    assert np.array_equal(first.score, second.score, equal_nan=True)


@pytest.mark.parametrize("name", PROXIES)
def test_scoring_changes_neither_network_nor_data(name: str) -> None:
    given = probe("tied")
    weights = {key: (weight.clone(), bias.clone()) for key, (weight, bias) in given.network.parameters.items()}
    batches = [batch.clone() for batch in given.batches if isinstance(batch, torch.Tensor)]
    with torch.no_grad():
        output = given.network.output(batches[0])
    PROXIES[name](given)
    for key, (weight, bias) in given.network.parameters.items():
        assert torch.equal(weight, weights[key][0])
        assert torch.equal(bias, weights[key][1])
        assert not weight.requires_grad
    assert all(torch.equal(batch, before) for batch, before in zip(given.batches, batches, strict=True))
    with torch.no_grad():
        assert torch.equal(given.network.output(batches[0]), output)


@pytest.mark.parametrize("name", PROXIES)
def test_forward_passes_are_counted_between_nothing_and_one_a_candidate(name: str) -> None:
    given = probe("resnet")
    passes = PROXIES[name](given).forward_passes
    assert 0 <= passes <= max(3, 1 + len(given.candidates))
    assert (passes == 0) == (name == "weight_sqnr")


@pytest.mark.parametrize("name", PROXIES)
def test_progress_rises_to_its_end(name: str) -> None:
    seen: list[tuple[int, int]] = []
    PROXIES[name](dataclasses.replace(probe("ecg"), progress=lambda done, total: seen.append((done, total))))
    steps = [done for done, _ in seen]
    assert steps == sorted(set(steps))
    assert {total for _, total in seen} == {steps[-1]}


@pytest.mark.parametrize("metric", ["top1_error", "mse"])
@pytest.mark.parametrize("name", PROXIES)
def test_groups_of_tied_layers_are_scored_as_one(name: str, metric: str) -> None:
    given = probe("tied", metric)
    table = PROXIES[name](given)
    assert len(table.groups) == len(given.graph.groups) < len(given.graph.weighted_layers)
