# SPDX-License-Identifier: Apache-2.0
"""What the hardware pays for every (group, precision)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mpsearch.catalog import HardwareModel
from mpsearch.cost.flash import measure_flash
from mpsearch.cost.latency import gives_energy, measure_energy, measure_latency, peak_bytes_per_cycle
from mpsearch.cost.layers import LayerCost, layer_costs
from mpsearch.cost.offered import offered_precisions
from mpsearch.cost.operations import measure_bits, measure_bops, measure_macs
from mpsearch.cost.ram import measure_ram
from mpsearch.cost.request import CostRequest
from mpsearch.errors import RecordError, nearest_names
from mpsearch.records import CostTable, LayerGraph, MetricCost, Precision

__all__ = [
    "HARDWARE_METRICS",
    "METRICS",
    "LayerCost",
    "build_cost_table",
    "gives_energy",
    "layer_costs",
    "offered_precisions",
    "peak_bytes_per_cycle",
]

Metric = Callable[[CostRequest], MetricCost]

METRICS: Mapping[str, Metric] = {
    "flash": measure_flash,
    "ram": measure_ram,
    "latency": measure_latency,
    "energy": measure_energy,
    "bops": measure_bops,
    "bits": measure_bits,
    "macs": measure_macs,
}

HARDWARE_METRICS = frozenset({"latency", "energy"})
"""Metrics that need a target."""


def build_cost_table(
    graph: LayerGraph,
    offered: Mapping[str, tuple[Precision, ...]],
    precisions: tuple[Precision, ...],
    hardware: HardwareModel | None,
    metrics: Sequence[str],
) -> CostTable:
    """Compute the metrics for every (group, precision).

    Args:
        graph: The model.
        offered: Group name -> the precisions that it may take, as from `offered_precisions`.
        precisions: Columns of the table, rising in bits.
        hardware: The target; latency and energy need one.
        metrics: Names, see METRICS.

    Raises:
        RecordError: A metric is unknown.
        HardwareModelError: A metric needs a target, or something that the target's file lacks.
    """
    request = CostRequest(graph=graph, offered=offered, precisions=precisions, hardware=hardware)
    for name in metrics:
        if name not in METRICS:
            raise RecordError(f"Unknown metric '{name}'.", nearest_names(name, METRICS))
    return CostTable(
        groups=tuple(group.name for group in graph.groups),
        precisions=precisions,
        metrics=tuple(METRICS[name](request) for name in metrics),
        target=hardware.name if hardware else "",
        model_digest=graph.model_digest,
    )
