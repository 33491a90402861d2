# SPDX-License-Identifier: Apache-2.0
"""Output KL: the distance by hand, and only what a change can reach is computed again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from mpsearch.evaluate import real as real_module
from mpsearch.evaluate.operations import apply_real
from mpsearch.records import Layer
from mpsearch.sensitivity import PROXIES
from mpsearch.sensitivity.output_kl import kl_divergence, noise_to_signal
from tests.graph.quantized import captured
from tests.sensitivity.probes import dense_chain, precisions, probe_of

BITS = precisions(2, 4, 8)


def batches(name: str, *counts: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(count, *captured(name).batch[0].shape[1:], generator=generator) for count in counts]


def test_kl_of_two_coins() -> None:
    first, second = torch.tensor([[0.0, 0.0]]), torch.tensor([[float(np.log(3)), 0.0]])  # (1/2, 1/2) and (3/4, 1/4)
    wanted = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    assert kl_divergence(first, second).tolist() == pytest.approx([wanted])
    assert kl_divergence(first, first).tolist() == [0]


def test_kl_of_a_sequence_is_the_mean_over_its_tokens() -> None:
    rows = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    single = kl_divergence(rows[0], rows[1])
    assert float(kl_divergence(rows[:1], rows[1:])) == pytest.approx(float(single.mean()))


def test_noise_over_signal_of_a_vector() -> None:
    assert noise_to_signal(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 5.0]])).tolist() == pytest.approx([1 / 25])


@pytest.mark.parametrize("metric", ["top1_error", "mse"])
@pytest.mark.parametrize("name", ["resnet", "tied", "inception", "ecg"])
def test_reusing_the_prefix_gives_the_scores_of_whole_runs(name: str, metric: str) -> None:
    probe = probe_of(captured(name).graph, list(batches(name, 6, 3)), BITS, metric)
    table = PROXIES["output_kl"](probe)
    distance = kl_divergence if metric == "top1_error" else noise_to_signal
    for row, group in zip(table.score, probe.graph.groups, strict=True):
        whole = []
        for precision in BITS:
            replaced = probe.lowered(group, precision)
            with torch.no_grad():
                pairs = [(probe.network.output(batch), probe.network.output(batch, replaced)) for batch in probe.batches]
            whole.append(sum(float(distance(*pair).sum()) for pair in pairs) / 9)
        never_rising = np.maximum.accumulate(np.maximum(whole[::-1], 0))[::-1]
        assert row == pytest.approx(never_rising, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("name", ["resnet", "tied", "inception"])
def test_the_float_prefix_is_computed_once_a_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: Counter[str] = Counter()

    def counted(layer: Layer, inputs: Sequence[torch.Tensor], *rest: object) -> torch.Tensor:
        runs[layer.name] += 1
        return apply_real(layer, inputs, *rest)  # type: ignore[arg-type]

    data = list(batches(name, 4, 2))
    probe = probe_of(captured(name).graph, data, BITS)
    for group, precision in probe.candidates:
        probe.lowered(group, precision)
    monkeypatch.setattr(real_module, "apply_real", counted)
    PROXIES["output_kl"](probe)
    reached = {layer.name: 0 for layer in probe.graph.layers}
    for group in probe.graph.groups:
        dirty: set[str] = set()
        for layer in probe.graph.layers:
            if layer.name in group.layers or dirty & set(layer.inputs):
                dirty.add(layer.output)
                reached[layer.name] += 1
    assert runs == {key: len(data) * (1 + len(BITS) * count) for key, count in reached.items()}
    first = probe.graph.weighted_layers[0].name
    assert runs[first] == len(data) * (1 + len(BITS))


def test_forward_passes_count_the_part_behind_each_candidate() -> None:
    probe = probe_of(dense_chain(np.eye(4) + 0.1, np.eye(4) + 0.2), [torch.randn(3, 4)], BITS)
    assert PROXIES["output_kl"](probe).forward_passes == pytest.approx(1 + 3 * 1 + 3 * 0.5)


def test_a_change_in_a_dead_end_scores_nothing() -> None:
    probe = probe_of(dense_chain(np.eye(3) + 0.1, np.zeros((3, 3)) + 1e-30), [torch.randn(5, 3)], BITS)
    assert PROXIES["output_kl"](probe).score[0] == pytest.approx([0, 0, 0], abs=1e-12)
