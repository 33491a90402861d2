# SPDX-License-Identifier: Apache-2.0
"""One layer as a hardware model sees it: its shape, its precision and the bytes it moves."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from mpsearch.graph.liveness import live_bytes
from mpsearch.graph.shapes import layer_shape
from mpsearch.quant.activation_bits import DEFAULT_BITS
from mpsearch.quant.packed_size import constant_bytes
from mpsearch.records import Layer, LayerGraph, LayerShape, Precision, Widths

__all__ = ["LayerWork", "default_live_bytes", "layer_shape", "layer_work"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWork:
    """What one layer does at one precision.

    Attributes:
        name: Of the layer.
        shape: What it computes on.
        precision: None without weights.
        constant_bytes: Weights and all that goes with them.
        input_bytes: All its inputs, each once.
        output_bytes: Its output.
        live_bytes: Activations that must exist while it runs.
        reads_network_input: Whether its (first) input comes from outside, as the caller laid it out.
        before: What the layer before it in execution order computes on, layers that do nothing left out; None if there is none or it is not known.
    """

    name: str
    shape: LayerShape
    precision: Widths | None
    constant_bytes: int
    input_bytes: int
    output_bytes: int
    live_bytes: int
    reads_network_input: bool = False
    before: LayerShape | None = None

    @property
    def moved_bytes(self) -> int:
        """Constants, inputs and output, each byte once."""
        return self.constant_bytes + self.input_bytes + self.output_bytes


def layer_work(graph: LayerGraph, layer: Layer, precision: Precision | None, live: int, bits: Mapping[str, int] | None = None) -> LayerWork:
    """Return what a layer does.

    Args:
        graph: Gives the shapes.
        layer: One of its layers.
        precision: None for a layer without weights.
        live: Activation bytes that must exist while it runs, as from `live_bytes`.
        bits: Tensor name -> bits of its values; None for those of the precision (8 without) in and out.
    """
    default = precision.activation_bits if precision else DEFAULT_BITS

    def stored(name: str) -> int:
        return graph.tensor(name).stored_bytes(bits[name] if bits else default)

    return LayerWork(
        name=layer.name,
        shape=layer_shape(graph, layer),
        precision=precision,
        constant_bytes=constant_bytes(graph, layer, precision),
        input_bytes=sum(stored(name) for name in layer.inputs),
        output_bytes=stored(layer.output),
        live_bytes=live,
        reads_network_input=layer.inputs[0] in graph.inputs,
        before=_before(graph, layer),
    )


def _before(graph: LayerGraph, layer: Layer) -> LayerShape | None:
    earlier = [layer_shape(graph, other) for other in itertools.takewhile(lambda other: other.name != layer.name, graph.layers)]
    return next((shape for shape in reversed(earlier) if shape.operator != "view"), None)


def default_live_bytes(graph: LayerGraph) -> dict[str, int]:
    """Return layer name -> activation bytes that must exist while it runs, at 8 bits."""
    return dict(zip((layer.name for layer in graph.layers), live_bytes(graph), strict=True))
