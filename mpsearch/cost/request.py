# SPDX-License-Identifier: Apache-2.0
"""What a metric is asked, and the two forms of its answer: a sum over layers, or rows whose largest counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpsearch.catalog import HardwareModel
from mpsearch.errors import HardwareModelError, RecordError
from mpsearch.records import Layer, LayerGraph, MetricCost, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRequest:
    """What every metric is computed from.

    Attributes:
        graph: The model.
        offered: Group name -> the precisions that it may take.
        precisions: Columns of the table, rising in bits; holds every offered one.
        hardware: The target; None if there is none.
    """

    graph: LayerGraph
    offered: Mapping[str, tuple[Precision, ...]]
    precisions: tuple[Precision, ...]
    hardware: HardwareModel | None = None

    def __post_init__(self) -> None:
        """Check that every group is offered something, and nothing beyond the columns."""
        for group in self.graph.groups:
            if not self.offered.get(group.name):
                raise RecordError(f"Group '{group.name}' is offered no precision.")
            if strange := [str(precision) for precision in self.offered[group.name] if precision not in self.precisions]:
                raise RecordError(f"Group '{group.name}' is offered {', '.join(strange)}, which the table has no column for.")

    def hardware_for(self, metric: str) -> HardwareModel:
        """Return the target, which some metrics cannot do without.

        Raises:
            HardwareModelError: There is none.
        """
        if self.hardware is None:
            raise HardwareModelError(f"The metric {metric} needs a target, got none.", "pass --target, e.g. --target cortex-m7.")
        return self.hardware

    @property
    def decided(self) -> frozenset[str]:
        """Names of the layers whose precision some group decides."""
        return frozenset(name for group in self.graph.groups for name in group.layers)


def cells(request: CostRequest, cost: Callable[[Layer, Precision], float]) -> npt.NDArray[np.float64]:
    """Return float64 (G, P): a layer cost summed over each group's layers; NaN where not offered."""
    table = np.full((len(request.graph.groups), len(request.precisions)), np.nan)
    layers = {layer.name: layer for layer in request.graph.layers}
    for row, group in enumerate(request.graph.groups):
        for precision in request.offered[group.name]:
            table[row, request.precisions.index(precision)] = sum(cost(layers[name], precision) for name in group.layers)
    return table


def summed(request: CostRequest, metric: str, unit: str, cost: Callable[[Layer, Precision | None], float], fixed: float = 0.0) -> MetricCost:
    """Return a metric that adds up over layers.

    Args:
        request: What is asked.
        metric: Its name.
        unit: Its base unit.
        cost: Cost of one layer at a precision; None for a layer that no group decides.
        fixed: What belongs to the whole model.
    """
    undecided = sum(cost(layer, None) for layer in request.graph.layers if layer.name not in request.decided)
    return MetricCost(metric=metric, unit=unit, cost=cells(request, cost)[None], fixed=np.array([fixed + undecided]))
