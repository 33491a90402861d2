# SPDX-License-Identifier: Apache-2.0
"""Simulated execution: real arithmetic on fake-quantised weights and activations, differentiable by the straight-through estimator.

References: [Jacob2018] arXiv:1712.05877, sec. 3; [Bengio2013] arXiv:1308.3432.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mpsearch.evaluate.operations import apply_real
from mpsearch.evaluate.walk import Inputs, to_memory, walk
from mpsearch.records import Layer, Quantization, QuantizedGraph


def fake_quantize(values: torch.Tensor, quantization: Quantization) -> torch.Tensor:
    """Return the nearest representable real numbers; gradients pass where the value lies inside the range."""
    scaled = values / quantization.scale + quantization.zero_point
    clamped = scaled.clamp(quantization.lowest, quantization.highest)
    rounded = clamped + (clamped.round() - clamped).detach()
    return (rounded - quantization.zero_point) * quantization.scale


class SimulatedNetwork:
    """A QuantizedGraph on real numbers that lie on its grids."""

    def __init__(self, quantized: QuantizedGraph) -> None:
        """Dequantise weights and biases."""
        self.graph = quantized.graph
        self._quantizations = {tensor.name: item for tensor, item in zip(quantized.graph.tensors, quantized.quantizations, strict=True)}
        self._shapes = {tensor.name: tensor.shape for tensor in quantized.graph.tensors}
        self.parameters = {}
        for layer, constants in zip(quantized.graph.layers, quantized.constants, strict=True):
            if constants.weight is None or constants.weight_scale is None:
                continue
            scale = torch.tensor(constants.weight_scale, dtype=torch.float32)
            weight = torch.tensor(constants.weight, dtype=torch.float32) * scale.reshape(-1, *([1] * (constants.weight.ndim - 1)))
            bias = torch.tensor(constants.bias, dtype=torch.float32) * scale * self._quantizations[layer.inputs[0]].scale
            self.parameters[layer.name] = (weight, bias)

    def output(self, inputs: Inputs) -> torch.Tensor:
        """Return the real output (memory order) of a batch."""
        values = {name: fake_quantize(value, self._quantizations[name]) for name, value in to_memory(self.graph, inputs).items()}
        return walk(self.graph, self._run, values)

    def _run(self, layer: Layer, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        weight, bias = self.parameters.get(layer.name, (None, None))
        return fake_quantize(apply_real(layer, inputs, self._shapes[layer.output], weight, bias), self._quantizations[layer.output])
