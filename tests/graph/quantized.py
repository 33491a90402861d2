# SPDX-License-Identifier: Apache-2.0
"""From a test network to its integers: captured, calibrated, rounded to random bit-widths."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import nn

from mpsearch.evaluate.real import RealNetwork
from mpsearch.graph.capture import capture
from mpsearch.quant.calibrate import calibrate
from mpsearch.quant.quantize import Quantizer
from mpsearch.records import BitWidthConfig, LayerGraph, Precision, QuantizedGraph
from tests.graph.networks import ARCHITECTURES, FORWARDS, Network

NETWORKS: dict[str, Network] = {**ARCHITECTURES, **FORWARDS}
SAMPLES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A network, what was captured of it, and the batch that it saw."""

    model: nn.Module
    graph: LayerGraph
    batch: tuple[torch.Tensor, ...]


@cache
def captured(name: str) -> Captured:
    network = NETWORKS[name]
    model, batch = network.model(), network.batch(SAMPLES)
    return Captured(model=model, graph=capture(model, batch), batch=batch)


def quantized(name: str, seed: int, bits: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)) -> QuantizedGraph:
    item = captured(name)
    real = RealNetwork(item.graph)
    stats = calibrate(item.graph, lambda: real.activations([item.batch]))
    random = np.random.default_rng(seed)
    chosen = {layer: Precision(weight_bits=int(width)) for group in item.graph.groups for width in (random.choice(bits),) for layer in group.layers}
    precisions = tuple((layer.name, chosen[layer.name]) for layer in item.graph.weighted_layers)
    return Quantizer(item.graph, stats).quantize(BitWidthConfig(model_digest=item.graph.model_digest, precisions=precisions))
