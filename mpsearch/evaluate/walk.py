# SPDX-License-Identifier: Apache-2.0
"""The one walk over a LayerGraph that every execution shares.

Activations are (batch, *memory shape) tensors. An execution is a function of (layer, inputs) -> output.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch

from mpsearch.errors import WorkloadError
from mpsearch.records import Layer, LayerGraph

SAMPLES_AT_ONCE = 64
"""Samples that are run together: few enough that their activations stay in cache and in memory, whatever the workload's batches are."""

Inputs = torch.Tensor | tuple[torch.Tensor, ...]
"""A workload's batch of inputs."""

Run = Callable[[Layer, Sequence[torch.Tensor]], torch.Tensor]
"""Compute one layer."""


def split_batch(inputs: Inputs) -> list[Inputs]:
    """Return a batch in parts of at most `SAMPLES_AT_ONCE` samples."""
    if isinstance(inputs, tuple):
        return list(zip(*(torch.split(value, SAMPLES_AT_ONCE) for value in inputs), strict=True))
    return list(torch.split(inputs, SAMPLES_AT_ONCE))


def to_memory(graph: LayerGraph, inputs: Inputs) -> dict[str, torch.Tensor]:
    """Return a workload's batch in memory order, by tensor name.

    Raises:
        WorkloadError: The batch does not have the captured inputs' number or shapes.
    """
    batch = inputs if isinstance(inputs, tuple) else (inputs,)
    values = {}
    for name, permutation, value in zip(graph.inputs, graph.input_permutations, batch, strict=False):
        wanted = graph.tensor(name).shape
        if value.ndim != len(permutation) + 1 or tuple(value.shape[axis + 1] for axis in permutation) != wanted:
            torch_shape = tuple(wanted[permutation.index(axis)] for axis in range(len(wanted)))
            raise WorkloadError(f"Input '{name}': got a batch of shape {tuple(value.shape)}, wanted (batch, {', '.join(map(str, torch_shape))}).")
        values[name] = value.to(torch.float32).permute(0, *(axis + 1 for axis in permutation)).contiguous()
    if len(batch) != len(graph.inputs):
        raise WorkloadError(f"Got {len(batch)} inputs, wanted {len(graph.inputs)} ({', '.join(graph.inputs)}).")
    return values


def from_memory(graph: LayerGraph, output: torch.Tensor) -> torch.Tensor:
    """Return the output tensor in torch's axis order."""
    return output.permute(0, *(axis + 1 for axis in graph.output_permutation))


def walk(graph: LayerGraph, run: Run, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Compute the output tensor (memory order); every activation is dropped after its last use."""
    last_use = {name: index for index, layer in enumerate(graph.layers) for name in layer.inputs}
    values = dict(inputs)
    for index, layer in enumerate(graph.layers):
        values[layer.output] = run(layer, [values[name] for name in layer.inputs])
        for name in set(layer.inputs):
            if last_use[name] == index and name != graph.output:
                del values[name]
    return values[graph.output]


def walk_all(graph: LayerGraph, run: Run, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Compute and keep every activation, by tensor name."""
    values = dict(inputs)
    for layer in graph.layers:
        values[layer.output] = run(layer, [values[name] for name in layer.inputs])
    return values


def rewalk(
    graph: LayerGraph, run: Run, values: Mapping[str, torch.Tensor], changed: Collection[str], replaced: Mapping[str, torch.Tensor] | None = None
) -> torch.Tensor:
    """Compute the output when some layers or activations have changed, reusing every activation that does not depend on them.

    Args:
        graph: The graph.
        run: The execution with the changes in it.
        values: Every activation without the changes, from `walk_all`.
        changed: Names of the changed layers.
        replaced: Activations to take in place of those computed, by tensor name.
    """
    fresh: dict[str, torch.Tensor] = dict(replaced or {})
    for layer in graph.layers:
        if layer.output in (replaced or {}):
            continue
        if layer.name in changed or any(name in fresh for name in layer.inputs):
            fresh[layer.output] = run(layer, [fresh.get(name, values[name]) for name in layer.inputs])
    return fresh.get(graph.output, values[graph.output])
