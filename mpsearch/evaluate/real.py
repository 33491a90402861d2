# SPDX-License-Identifier: Apache-2.0
"""Real execution: the folded graph in float32, with any layer's weights replaced on request."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import torch

from mpsearch.evaluate.operations import apply_real
from mpsearch.evaluate.walk import Inputs, Run, rewalk, split_batch, to_memory, walk, walk_all
from mpsearch.records import Layer, LayerGraph

Parameters = tuple[torch.Tensor, torch.Tensor]
"""A layer's weight and bias."""


class RealNetwork:
    """The folded network in float32: what calibration watches, proxies probe and reports compare with."""

    def __init__(self, graph: LayerGraph) -> None:
        """Copy the weights into torch tensors."""
        self.graph = graph
        self.parameters: dict[str, Parameters] = {
            layer.name: (torch.tensor(layer.weight), torch.tensor(layer.bias)) for layer in graph.weighted_layers
        }
        self._shapes = {tensor.name: tensor.shape for tensor in graph.tensors}

    def output(self, inputs: Inputs, replaced: Mapping[str, Parameters] | None = None) -> torch.Tensor:
        """Return the output (memory order) of a batch, some layers' parameters replaced."""
        return walk(self.graph, self._run(replaced), to_memory(self.graph, inputs))

    def activations(self, batches: Sequence[Inputs]) -> Iterator[dict[str, torch.Tensor]]:
        """Yield every activation, by tensor name, of each part of each batch."""
        with torch.no_grad():
            for part in (part for batch in batches for part in split_batch(batch)):
                yield walk_all(self.graph, self._run(None), to_memory(self.graph, part))

    def changed_output(self, values: Mapping[str, torch.Tensor], replaced: Mapping[str, Parameters]) -> torch.Tensor:
        """Return the output with some layers' parameters replaced, reusing the activations that do not depend on them."""
        changed: Collection[str] = replaced.keys()
        return rewalk(self.graph, self._run(replaced), values, changed)

    def output_with(self, values: Mapping[str, torch.Tensor], replaced: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the output with some activations replaced, reusing those that do not depend on them."""
        with torch.no_grad():
            return rewalk(self.graph, self._run(None), values, (), replaced)

    def _run(self, replaced: Mapping[str, Parameters] | None) -> Run:
        chosen = {**self.parameters, **(replaced or {})}

        def run(layer: Layer, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
            weight, bias = chosen.get(layer.name, (None, None))
            return apply_real(layer, inputs, self._shapes[layer.output], weight, bias)

        return run
