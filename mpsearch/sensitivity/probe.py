# SPDX-License-Identifier: Apache-2.0
"""What every proxy is given, and the one way to turn its raw numbers into a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from mpsearch.quant.quantize import Quantizer
from mpsearch.records import Layer, LayerGraph, Precision, QuantizerGroup, SensitivityTable

LOGIT_METRICS = ("top1_error", "bits_per_token")
"""Workload metrics whose outputs are logits, on the last axis."""

Inputs = torch.Tensor | tuple[torch.Tensor, ...]
Parameters = tuple[torch.Tensor, torch.Tensor]


class ProbedNetwork(Protocol):
    """As much of the real execution as scoring needs."""

    graph: LayerGraph
    parameters: dict[str, Parameters]

    def output(self, inputs: Inputs, replaced: Mapping[str, Parameters] | None = None, /) -> torch.Tensor:
        """Return the output of a batch, some layers' parameters replaced."""
        ...

    def activations(self, batches: Sequence[Inputs], /) -> Iterator[dict[str, torch.Tensor]]:
        """Yield every activation of each batch."""
        ...

    def changed_output(self, values: Mapping[str, torch.Tensor], replaced: Mapping[str, Parameters], /) -> torch.Tensor:
        """Return the output with some parameters replaced, reusing what does not depend on them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probe:
    """A network ready to be scored.

    Attributes:
        network: The real execution.
        quantizer: Rounds any (layer, bit-width).
        batches: Calibration inputs.
        offered: Group name -> the precisions that the search may choose from.
        metric: The workload's metric; "top1_error" and "bits_per_token" mean that outputs are logits.
        seed: Seed of whatever the proxy draws.
        progress: Called with (steps done, steps in all).
    """

    network: ProbedNetwork
    quantizer: Quantizer
    batches: Sequence[Inputs]
    offered: Mapping[str, tuple[Precision, ...]]
    metric: str = "top1_error"
    seed: int = 0
    progress: Callable[[int, int], None] = lambda done, total: None

    @property
    def graph(self) -> LayerGraph:
        """The captured graph."""
        return self.network.graph

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Every precision that any group is offered, rising in bits."""
        return tuple(sorted({precision for offered in self.offered.values() for precision in offered}))

    @property
    def samples(self) -> int:
        """How many samples the batches hold."""
        return sum(len(batch[0] if isinstance(batch, tuple) else batch) for batch in self.batches)

    @property
    def outputs_are_logits(self) -> bool:
        """Whether the last axis of the output holds logits."""
        return self.metric in LOGIT_METRICS

    @property
    def candidates(self) -> list[tuple[QuantizerGroup, Precision]]:
        """Every (group, precision) on offer, groups in graph order."""
        return [(group, precision) for group in self.graph.groups for precision in self.offered[group.name]]

    def lowered(self, group: QuantizerGroup, precision: Precision) -> dict[str, Parameters]:
        """Return the parameters of a group's layers at a precision, bias corrected."""
        replaced = {}
        for name in group.layers:
            rounded = self.quantizer.rounded(self.graph.layer(name), precision.weight_bits)
            replaced[name] = (torch.from_numpy(rounded.dequantized), torch.tensor(rounded.bias, dtype=torch.float32))
        return replaced

    def weight_error(self, layer: Layer, precision: Precision) -> npt.NDArray[np.float64]:
        """Return rounded minus real weights, in the weight's shape."""
        assert layer.weight is not None
        return self.quantizer.rounded(layer, precision.weight_bits).dequantized.astype(np.float64) - layer.weight


Proxy = Callable[[Probe], SensitivityTable]
"""A proxy scores every (group, precision) on offer; lower is better."""


def finish_table(proxy: str, probe: Probe, raw: Mapping[tuple[str, Precision], float], forward_passes: float) -> SensitivityTable:
    """Return raw scores as a table: at least 0, never rising with the bits, NaN where nothing is offered.

    A wider precision that scored worse than a narrower one did so by noise; the narrower one is lifted to its score.
    """
    names, precisions = [group.name for group in probe.graph.groups], probe.precisions
    score = np.full((len(names), len(precisions)), np.nan)
    for (name, precision), value in raw.items():
        score[names.index(name), precisions.index(precision)] = max(0.0, value)
    for row in score:
        floor = 0.0
        for column in reversed(range(len(precisions))):
            if not np.isnan(row[column]):
                row[column] = floor = max(floor, row[column])
    return SensitivityTable(
        proxy=proxy,
        groups=tuple(names),
        precisions=precisions,
        score=score,
        forward_passes=forward_passes,
        model_digest=probe.graph.model_digest,
    )
