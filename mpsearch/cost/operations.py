# SPDX-License-Identifier: Apache-2.0
"""Costs that need no device: MACs, bit operations, mean bits per weight."""

from __future__ import annotations

from mpsearch.cost.request import CostRequest, summed
from mpsearch.errors import RecordError
from mpsearch.records import Layer, MetricCost, Precision


def measure_macs(request: CostRequest) -> MetricCost:
    """Return the multiply-accumulates, which no precision changes."""
    return summed(request, "macs", "op", lambda layer, precision: 0.0 if precision else float(layer.macs), fixed=_decided_macs(request))


def measure_bops(request: CostRequest) -> MetricCost:
    """Return the bit operations: MACs x weight bits x activation bits, over the layers with weights."""
    return summed(request, "bops", "op", _layer_bops)


def measure_bits(request: CostRequest) -> MetricCost:
    """Return the mean bits per stored weight; weights that several layers share count once.

    Raises:
        RecordError: The model has no weights.
    """
    counts: dict[str, int] = {}
    seen: set[str] = set()
    for layer in request.graph.weighted_layers:
        key = layer.weight_key or layer.name
        counts[layer.name] = 0 if key in seen else layer.weight_count
        seen.add(key)
    total = sum(counts.values())
    if not total:
        raise RecordError("The metric bits needs a model with weights, this one has none.")
    return summed(request, "bits", "bit", lambda layer, precision: counts[layer.name] * precision.weight_bits / total if precision else 0.0)


def _layer_bops(layer: Layer, precision: Precision | None) -> float:
    return float(layer.macs * precision.weight_bits * precision.activation_bits) if precision else 0.0


def _decided_macs(request: CostRequest) -> float:
    return float(sum(layer.macs for layer in request.graph.layers if layer.name in request.decided))
