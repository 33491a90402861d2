# SPDX-License-Identifier: Apache-2.0
"""Float graphs of a few layers, written by hand, with the statistics and integers that follow from random inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mpsearch.evaluate.real import RealNetwork
from mpsearch.quant.calibrate import calibrate
from mpsearch.quant.quantize import Quantizer, QuantizerSettings
from mpsearch.records import BitWidthConfig, CalibrationStats, Layer, LayerGraph, Op, Precision, QuantizedGraph, QuantizerGroup, Tensor


def chain(shapes: Sequence[tuple[int, ...]], *layers: Layer, inputs: int = 1, quantizers: Sequence[int] | None = None) -> LayerGraph:
    """Return a graph whose tensors t0, t1, … have these shapes; the first `inputs` are inputs, the last is the output."""
    names = [f"t{index}" for index in range(len(shapes))]
    return LayerGraph(
        inputs=tuple(names[:inputs]),
        input_permutations=tuple(tuple(range(len(shape))) for shape in shapes[:inputs]),
        output=names[-1],
        output_permutation=tuple(range(len(shapes[-1]))),
        tensors=tuple(
            Tensor(name=name, shape=shape, quantizer=index if quantizers is None else quantizers[index], precision_group=0)
            for index, (name, shape) in enumerate(zip(names, shapes, strict=True))
        ),
        layers=layers,
        groups=tuple(QuantizerGroup(name=layer.name, layers=(layer.name,)) for layer in layers if layer.weight is not None),
    )


def layer(
    name: str,
    op: Op,
    inputs: tuple[str, ...],
    output: str,
    weight: tuple[int, ...] | np.ndarray | None = None,
    *,
    clamp: tuple[float, float] | None = None,
    key: str = "",
    seed: int = 0,
) -> Layer:
    """Return a layer; a shape in place of the weight draws it, and a bias with it."""
    bias = None
    if isinstance(weight, tuple):
        random = np.random.default_rng(seed)
        weight, bias = random.normal(size=weight), random.normal(size=weight[0])
    elif weight is not None:
        bias = np.zeros(len(weight))
    return Layer(
        name=name, op=op, inputs=inputs, output=output, weight=weight, bias=bias, clamp=clamp, weight_key=key or (name if weight is not None else "")
    )


def draw(graph: LayerGraph, samples: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Return a batch of normal inputs."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(samples, *graph.tensor(name).shape, generator=generator) for name in graph.inputs)


def statistics(graph: LayerGraph, *batches: tuple[torch.Tensor, ...]) -> CalibrationStats:
    """Calibrate on these batches."""
    network = RealNetwork(graph)
    return calibrate(graph, lambda: network.activations(list(batches)))


def config(graph: LayerGraph, bits: int) -> BitWidthConfig:
    """Return the config of one weight bit-width."""
    return BitWidthConfig(
        model_digest=graph.model_digest, precisions=tuple((layer.name, Precision(weight_bits=bits)) for layer in graph.weighted_layers)
    )


def quantized(graph: LayerGraph, bits: int = 8, settings: QuantizerSettings | None = None) -> QuantizedGraph:
    """Calibrate on 64 random samples and quantise."""
    return Quantizer(graph, statistics(graph, draw(graph, 64)), settings).quantize(config(graph, bits))
