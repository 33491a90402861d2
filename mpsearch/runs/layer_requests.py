# SPDX-License-Identifier: Apache-2.0
"""The layers of a network that are worth measuring: every distinct shape at every precision that a search may give it."""

from __future__ import annotations

from collections.abc import Sequence

from mpsearch.catalog import SearchSpace
from mpsearch.cost import offered_precisions
from mpsearch.export.measure_wire import LayerRequest
from mpsearch.graph.shapes import layer_shape
from mpsearch.quant.packed_size import kernel_supports
from mpsearch.records import LayerGraph, Precision


def workload_requests(graph: LayerGraph, space: SearchSpace, precisions: Sequence[Precision] | None = None) -> tuple[LayerRequest, ...]:
    """Return the layers of a network, each shape and precision once, in execution order.

    Args:
        graph: The network.
        space: Which precisions each layer may take.
        precisions: Those of every layer with weights, whatever the space says; None for those of the space.

    Raises:
        CatalogError: The space leaves a layer without a precision.
    """
    offered = {} if precisions is not None else offered_precisions(graph, space, kernel_supports)
    group_of = {layer: group.name for group in graph.groups for layer in group.layers}
    requests: list[LayerRequest] = []
    for layer in graph.layers:
        shape = layer_shape(graph, layer)
        if shape.operator == "view":
            continue
        if layer.weight is None:
            requests.append(LayerRequest(shape=shape, precision=None))
            continue
        wanted = offered[group_of[layer.name]] if precisions is None else [item for item in precisions if kernel_supports(layer, item)]
        requests += [LayerRequest(shape=shape, precision=precision) for precision in wanted]
    return tuple(dict.fromkeys(requests))
