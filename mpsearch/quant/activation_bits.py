# SPDX-License-Identifier: Apache-2.0
"""How many bits each activation has: a layer's precision says so of its input; whatever no layer with weights reads has 8.

Only convolutions and dense layers read and write 4 and 16 bits, so a tensor of these widths passes from such layers to such layers.
"""

from __future__ import annotations

from mpsearch.errors import QuantizationError
from mpsearch.records import BitWidthConfig, Conv2d, Layer, LayerGraph, Linear

DEFAULT_BITS = 8


def activation_bits(graph: LayerGraph, config: BitWidthConfig) -> dict[str, int]:
    """Return the bits of every tensor.

    Raises:
        QuantizationError: Two layers read one tensor at different widths, or a tensor of 4 or 16 bits meets an op that only has 8.
    """
    bits = {tensor.name: DEFAULT_BITS for tensor in graph.tensors}
    readers: dict[str, Layer] = {}
    for layer in graph.weighted_layers:
        name, wanted = layer.inputs[0], config[layer.name].activation_bits
        first = readers.setdefault(name, layer)
        if first is not layer and bits[name] != wanted:
            raise QuantizationError(
                f"Layer '{layer.name}' reads tensor '{name}' at {config[layer.name]}, but layer '{first.name}' reads it at {config[first.name]}.",
                "give layers that read one tensor the same activation bits.",
            )
        bits[name] = wanted
    for name, reader in readers.items():
        if bits[name] != DEFAULT_BITS and (why := _obstacle(graph, name)):
            raise QuantizationError(
                f"Layer '{reader.name}': {type(reader.op).__name__} at {config[reader.name]} reads tensor '{name}', {why}.",
                "only tensors that pass from convolutions (not depthwise) or dense layers to such layers take 4 or 16 bits; give this layer 8.",
            )
    return bits


def takes_other_bits(graph: LayerGraph, layer: Layer) -> bool:
    """Return whether a search may give a layer's input other bits than 8 by deciding that layer's group alone."""
    if layer.weight is None or _obstacle(graph, layer.inputs[0]):
        return False
    readers = {other.name for other in graph.layers if layer.inputs[0] in other.inputs}
    return any(readers <= set(group.layers) for group in graph.groups if layer.name in group.layers)


def _obstacle(graph: LayerGraph, name: str) -> str:
    """Return why a tensor must have 8 bits; "" if it need not."""
    if name in graph.inputs:
        return "which is an input of the model"
    if name == graph.output:
        return "which is the output of the model"
    for layer in graph.layers:
        if name in (*layer.inputs, layer.output) and not (isinstance(layer.op, Conv2d | Linear) and not layer.is_depthwise):
            what = "a depthwise convolution" if layer.is_depthwise else type(layer.op).__name__
            return f"which {'is written' if name == layer.output else 'is also read'} by layer '{layer.name}', {what}"
    return ""
