# SPDX-License-Identifier: Apache-2.0
"""Which batch norm of a model directly follows which layer, and whether capture folded it in: then the layer can do its work, and it can go."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mpsearch.errors import RecordError
from mpsearch.evaluate.walk import Inputs
from mpsearch.records import LayerGraph

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d

_SAME_VALUE = 1e-4
"""Relative difference from float32 folding that still counts as the same number."""


def following_norms(model: nn.Module, layers: Collection[nn.Module], example: Inputs) -> dict[int, BatchNorm]:
    """Run a model and return, by the id of the layer, the batch norm that reads its output; only where both are called once.

    Raises:
        RecordError: The model does not run on the example.
    """
    outputs: dict[int, list[object]] = {id(layer): [] for layer in layers}
    inputs: dict[int, tuple[BatchNorm, list[object]]] = {}
    hooks = []
    for module in model.modules():
        if id(module) in outputs:
            hooks.append(module.register_forward_hook(lambda layer, _, output: outputs[id(layer)].append(output)))
        elif isinstance(module, BatchNorm) and module.running_mean is not None and not module._forward_hooks and not module._forward_pre_hooks:
            inputs[id(module)] = (module, [])
            hooks.append(module.register_forward_hook(lambda norm, given, _: inputs[id(norm)][1].append(given[0] if given else None)))
    arguments = example if isinstance(example, tuple) else (example,)
    try:
        with torch.no_grad():
            model(*arguments)
    except RuntimeError as error:
        shapes = ", ".join(str(tuple(value.shape)) for value in arguments)
        raise RecordError(f"The model does not run on inputs of shape {shapes}: {error}", "the run belongs to another model.") from error
    for hook in hooks:
        hook.remove()
    # The tensors are still held, so that no two of them can have one id.
    readers = {id(given[0]): norm for norm, given in inputs.values() if len(given) == 1}
    return {layer: readers[id(given[0])] for layer, given in outputs.items() if len(given) == 1 and id(given[0]) in readers}


def is_folded(norm: BatchNorm, factor: npt.NDArray[np.float64], offset: npt.NDArray[np.float64]) -> bool:
    """Return whether what folding did to a layer is exactly what a batch norm does.

    Args:
        norm: Reads the layer's output.
        factor: (out,), what the layer's weights were multiplied by.
        offset: (out,), what was added to its bias, once that was multiplied.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = 1 / np.sqrt(_numpy(norm.running_var) + norm.eps)
    gain = gain if norm.weight is None else gain * _numpy(norm.weight)
    shift = -_numpy(norm.running_mean) * gain
    shift = shift if norm.bias is None else shift + _numpy(norm.bias)
    return gain.shape == factor.shape and _near(gain, factor) and _near(shift, offset)


def example_of(graph: LayerGraph) -> tuple[torch.Tensor, ...]:
    """Return a batch of noise in the shapes that a graph was captured with."""
    generator = torch.Generator().manual_seed(0)
    shapes = [
        [graph.tensor(name).shape[permutation.index(axis)] for axis in range(len(permutation))]
        for name, permutation in zip(graph.inputs, graph.input_permutations, strict=True)
    ]
    return tuple(torch.randn(2, *shape, generator=generator) for shape in shapes)


def _near(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> bool:
    return bool(np.abs(first - second).max() <= _SAME_VALUE * max(np.abs(first).max(), np.abs(second).max()))


def _numpy(tensor: torch.Tensor) -> npt.NDArray[np.float64]:
    return tensor.detach().to(torch.float64).numpy()
