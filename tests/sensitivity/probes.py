# SPDX-License-Identifier: Apache-2.0
"""Networks ready to be scored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from mpsearch.evaluate.real import RealNetwork
from mpsearch.quant.calibrate import calibrate
from mpsearch.quant.quantize import Quantizer, QuantizerSettings
from mpsearch.records import Layer, LayerGraph, Linear, Precision, QuantizerGroup, Tensor
from mpsearch.sensitivity import Probe

PLAIN = QuantizerSettings(weight_range="minmax", activation_range="minmax", bias_correction=False, rounding="nearest")
"""Rounding that can be followed by hand."""


def precisions(*bits: int) -> tuple[Precision, ...]:
    return tuple(Precision(weight_bits=width) for width in bits)


def dense_chain(*weights: npt.ArrayLike) -> LayerGraph:
    """Return dense layers without bias, one after another: no activation between them, so that the whole is linear."""
    arrays = [np.asarray(weight, dtype=np.float32) for weight in weights]
    names = [f"dense{index}" for index in range(len(arrays))]
    tensors = ["x", *names]
    sizes = [arrays[0].shape[1], *(len(array) for array in arrays)]
    layers = [
        Layer(name=name, op=Linear(), inputs=(source,), output=name, weight=array, bias=np.zeros(len(array)), weight_key=name, macs=array.size)
        for name, source, array in zip(names, tensors, arrays, strict=False)
    ]
    return LayerGraph(
        inputs=("x",),
        input_permutations=((0,),),
        output=names[-1],
        output_permutation=(0,),
        tensors=tuple(
            Tensor(name=name, shape=(size,), quantizer=i, precision_group=i) for i, (name, size) in enumerate(zip(tensors, sizes, strict=True))
        ),
        layers=tuple(layers),
        groups=tuple(QuantizerGroup(name=name, layers=(name,)) for name in names),
    )


def probe_of(
    graph: LayerGraph,
    batches: list[torch.Tensor],
    offered: tuple[Precision, ...] | Mapping[str, tuple[Precision, ...]],
    metric: str = "top1_error",
    seed: int = 0,
    settings: QuantizerSettings | None = None,
) -> Probe:
    network = RealNetwork(graph)
    stats = calibrate(graph, lambda: network.activations(batches))
    choice = offered if isinstance(offered, Mapping) else {group.name: offered for group in graph.groups}
    return Probe(network=network, quantizer=Quantizer(graph, stats, settings), batches=batches, offered=choice, metric=metric, seed=seed)
