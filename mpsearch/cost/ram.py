# SPDX-License-Identifier: Apache-2.0
"""Peak RAM: the largest, over the schedule, of the activations that are live and the scratch of the kernel that runs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpsearch.cost.request import CostRequest
from mpsearch.graph.liveness import live_bytes
from mpsearch.quant.packed_size import scratch_bytes
from mpsearch.records import MetricCost


def measure_ram(request: CostRequest) -> MetricCost:
    """Return the RAM bytes, one row per schedule step; steps that can never be the peak are left out.

    Alignment and fragmentation of the memory plan come on top of this lower bound, where the plan cannot avoid them.
    """
    graph = request.graph
    offered = np.array([[precision in request.offered[group.name] for precision in request.precisions] for group in graph.groups])
    owner = {name: index for index, group in enumerate(graph.groups) for name in group.layers}
    cost = np.zeros((len(graph.layers), len(graph.groups), len(request.precisions)))
    fixed = np.array(live_bytes(graph), dtype=np.float64)
    for step, layer in enumerate(graph.layers):
        if layer.name not in owner:
            fixed[step] += scratch_bytes(graph, layer, None)
            continue
        group = owner[layer.name]
        for column in np.flatnonzero(offered[group]):
            cost[step, group, column] = scratch_bytes(graph, layer, request.precisions[column])
    kept = _possible_peaks(fixed, cost, offered)
    cost[:, ~offered] = np.nan
    return MetricCost(metric="ram", unit="byte", cost=cost[kept], fixed=fixed[kept], rows=tuple(graph.layers[step].name for step in kept))


def _possible_peaks(fixed: npt.NDArray[np.float64], cost: npt.NDArray[np.float64], offered: npt.NDArray[np.bool_]) -> list[int]:
    """Return the steps that no other step exceeds whatever is chosen; of equal steps the first."""
    least = np.where(offered, cost, np.inf).min(axis=2).sum(axis=1)
    most = np.where(offered, cost, -np.inf).max(axis=2).sum(axis=1)
    floor = (fixed + least).max(initial=0.0)
    kept: list[int] = []
    # From the highest down, so that a step is compared only with steps that may dominate it.
    for step in sorted(range(len(fixed)), key=lambda index: (-(fixed[index] + most[index]), index)):
        below_floor = fixed[step] + most[step] < floor
        dominated = any(fixed[step] <= fixed[other] and (cost[step] <= cost[other]).all() for other in kept)
        if not (below_floor or dominated):
            kept.append(step)
    return sorted(kept)
