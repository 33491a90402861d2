# SPDX-License-Identifier: Apache-2.0
"""Cycles that the Ethos-U files predict for whole networks against the estimates of Arm's own compiler, layer by layer.

    PYTHONPATH=. python experiments/ethos_u/run.py --vela PATH/bin/vela [--networks NAME ...] [--accelerators NAME ...] [--layers]

Vela (PyPI ethos-u-vela, version 5.2.0) belongs into an environment of its own. Networks are written as TensorFlow Lite models with 8-bit weights and
activations: the real ones with their trained weights (MPSEARCH_DATA), the drawn ones with random weights. A mean over height and width is written as
the average pooling that it is; --means keeps it a MEAN. Vela's rows go by the tensor that they write; a row that writes none of ours counts for the
layer after it, as padding does that only TensorFlow Lite needs. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from mpsearch.catalog import load_hardware_model
from mpsearch.cost import layer_costs
from mpsearch.records import AvgPool2d, Mean, QuantizedGraph, Reshape
from tests.interop.test_tflite import eight_bit_network
from tests.interop.tflite_graph import translate
from tests.interop.tflite_models import TfliteMaker

REAL = ("cifar10_resnet20", "kws_dscnn_s", "kws_dscnn_mlperf", "imagenet_mobilenetv1_025_128", "digits", "mnist_resnet_tinymaix")
DRAWN = tuple(f"{kind}_{seed}" for kind in ("residual", "separable", "plain") for seed in (1, 2, 3))
ACCELERATORS = tuple(f"ethos-{name}" for name in ("u55-32", "u55-64", "u55-128", "u55-256", "u65-256", "u65-512"))


def drawn_network(name: str) -> QuantizedGraph:
    """Return a network with random widths and weights: residual blocks, separable convolutions, or plain ones with pooling."""
    kind, seed = name.split("_")
    maker = TfliteMaker(int(seed))
    random = np.random.default_rng(int(seed) + 100)

    def width(least: int, most: int) -> int:
        return int(random.integers(least, most))

    size = 8 * width(3, 13)
    value = maker.conv(maker.input(size, size, int(random.choice([1, 3]))), 8 * width(1, 5), (3, 3), stride=(2, 2), padding=(0, 1, 0, 1))
    for _ in range(width(3, 6)):
        height, channels = maker.shape(value)[0], maker.shape(value)[2]
        if kind == "residual":
            inner = maker.conv(value, channels, (3, 3), padding=(1, 1, 1, 1))
            value = maker.add(value, maker.conv(inner, channels, (3, 3), padding=(1, 1, 1, 1)))
            value = maker.conv(value, channels + 4 * width(1, 12), (1, 1))
        elif kind == "separable":
            value = maker.conv(value, channels, (3, 3), groups=channels, padding=(1, 1, 1, 1))
            value = maker.conv(value, width(channels, 3 * channels + 1), (1, 1))
        else:
            kernel = int(random.choice([3, 5]))
            value = maker.conv(value, channels + 8 * width(1, 9), (kernel, kernel), padding=(kernel // 2,) * 4)
            if height >= 8 and height % 2 == 0:
                value = maker.max_pool(value, (2, 2), (2, 2), (0, 0, 0, 0))
    value = maker.mean(value, (0, 1))
    return maker.finish(maker.linear(maker.linear(value, width(16, 200)), 10))


def with_pooling(quantized: QuantizedGraph) -> QuantizedGraph:
    """Return a network whose means over height and width are average poolings, which keep the scale of their input, and a change of shape."""
    tensors = dict(zip((tensor.name for tensor in quantized.graph.tensors), quantized.graph.tensors, strict=True))
    quantizations = dict(zip(tensors, quantized.quantizations, strict=True))
    layers, constants = [], []
    for layer, of_layer in zip(quantized.graph.layers, quantized.constants, strict=True):
        source = tensors[layer.inputs[0]]
        if isinstance(layer.op, Mean) and len(source.shape) == 3 and set(layer.op.axes) == {0, 1}:
            pooled = replace(tensors[layer.output], name=f"{layer.output}_pooled", shape=(1, 1, source.shape[2]))
            tensors[pooled.name] = pooled
            sharing = [name for name, tensor in tensors.items() if tensor.quantizer == pooled.quantizer]
            quantizations |= dict.fromkeys(sharing, quantizations[source.name])
            layers.append(replace(layer, name=f"{layer.name}_pooled", op=AvgPool2d(kernel=source.shape[:2], stride=(1, 1)), output=pooled.name))
            constants.append(replace(of_layer, layer=f"{layer.name}_pooled", lowest=-128, highest=127))
            layer, of_layer = replace(layer, op=Reshape(), inputs=(pooled.name,)), replace(of_layer, lowest=-128, highest=127)
        layers.append(layer)
        constants.append(of_layer)
    graph = replace(quantized.graph, tensors=tuple(tensors.values()), layers=tuple(layers))
    return replace(quantized, graph=graph, quantizations=tuple(quantizations.values()), constants=tuple(constants))


def vela_cycles(vela: Path, quantized: QuantizedGraph, accelerator: str) -> tuple[float, dict[str, float]]:
    """Return Vela's cycles of a network, and layer name -> those of its rows."""
    writes = {layer.output: layer.name.removesuffix("_pooled") for layer in quantized.graph.layers}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "network.tflite"
        model.write_bytes(translate(quantized, "FULLY_CONNECTED"))
        command = [str(vela), str(model), "--accelerator-config", accelerator, "--output-dir", folder, "--verbose-performance"]
        subprocess.run(command, check=True, capture_output=True)
        with (Path(folder) / "network_per-layer.csv").open() as file:
            rows = [(row["Name"], float(row["Op Cycles"])) for row in csv.DictReader(file)]
    found = dict.fromkeys(writes.values(), 0.0)
    waiting = 0.0
    for tensor, cycles in rows:
        layer = writes.get(tensor) or writes.get(tensor.removesuffix("_intermediate"))
        waiting += cycles
        if layer is not None:
            found[layer] += waiting
            waiting = 0.0
    return sum(cycles for _, cycles in rows), found


def predicted_cycles(quantized: QuantizedGraph, accelerator: str) -> dict[str, float]:
    """Return layer name -> cycles by the device's file."""
    costs = layer_costs(quantized.graph, quantized.config, load_hardware_model(accelerator))
    return {cost.layer: cost.cycles or 0.0 for cost in costs}


def rank_correlation(first: list[float], second: list[float]) -> float:
    """Return Spearman's coefficient; equals share their mean rank."""

    def ranks(values: list[float]) -> list[float]:
        ordered = np.sort(values)
        return [float(np.searchsorted(ordered, value, "left") + np.searchsorted(ordered, value, "right")) for value in values]

    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def compared(ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[str]:
    """Return the layers that cost anything on either side."""
    return [name for name in ours if ours[name] or theirs[name]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--vela", type=Path, required=True, help="the vela command")
    parser.add_argument("--networks", nargs="+", default=[*REAL, *DRAWN])
    parser.add_argument("--accelerators", nargs="+", default=ACCELERATORS)
    parser.add_argument("--means", action="store_true", help="write means as MEAN, which Vela takes apart into a depthwise convolution and a product")
    parser.add_argument("--layers", action="store_true", help="print every layer too")
    options = parser.parse_args()
    print("| network | accelerator | Vela, cycles | predicted | error | rank correlation | median error of a layer |\n|---|---|---|---|---|---|---|")
    for network in options.networks:
        quantized = drawn_network(network) if network in DRAWN else eight_bit_network(network)[0]
        for accelerator in options.accelerators:
            total, theirs = vela_cycles(options.vela, quantized if options.means else with_pooling(quantized), accelerator)
            ours = predicted_cycles(quantized, accelerator)
            names = compared(ours, theirs)
            rank = rank_correlation([ours[name] for name in names], [theirs[name] for name in names])
            errors = [abs(ours[name] / theirs[name] - 1) for name in names if theirs[name]]
            error = sum(ours.values()) / total - 1
            print(f"| {network} | {accelerator} | {total:,.0f} | {sum(ours.values()):,.0f} | {error:+.1%} | {rank:.3f} | {median(errors):.1%} |")
            if options.layers:
                for name in names:
                    print(f"    {name:24} {ours[name]:12,.0f} {theirs[name]:12,.0f}")


if __name__ == "__main__":
    main()
