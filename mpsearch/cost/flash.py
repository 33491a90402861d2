# SPDX-License-Identifier: Apache-2.0
"""Flash: the bytes of the constants, exactly as long as what the exporter writes."""

from __future__ import annotations

from mpsearch.cost.request import CostRequest, summed
from mpsearch.quant.packed_size import constant_bytes, header_bytes
from mpsearch.records import MetricCost


def measure_flash(request: CostRequest) -> MetricCost:
    """Return the flash bytes: packed weights, biases, scales, parameters and tables of every layer, and the model's header."""
    graph = request.graph
    return summed(request, "flash", "byte", lambda layer, precision: constant_bytes(graph, layer, precision), fixed=header_bytes(graph))
