# SPDX-License-Identifier: Apache-2.0
"""What the Ethos-U files predict for whole networks against what Arm's compiler Vela estimates for the same TensorFlow Lite files.

    python -m experiments.ethos_u.run --vela VELA [--networks NAME ...] [--devices NAME ...] [--layers]

VELA is the executable of the PyPI package ethos-u-vela, in an environment of its own; run with default options for each accelerator. Needs the
data folder (MPSEARCH_DATA) for the trained networks, and the test extras, whose writer makes the files. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
from scipy.stats import spearmanr

from mpsearch.catalog import HardwareModel, load_hardware_model
from mpsearch.cost.latency import layer_roofline
from mpsearch.cost.work import default_live_bytes, layer_work
from mpsearch.records import LayerGraph, Precision, QuantizedGraph
from tests.interop.test_tflite import eight_bit_network
from tests.interop.tflite_graph import translate
from tests.interop.tflite_models import TfliteMaker

TRAINED = ("cifar10_resnet20", "kws_dscnn_s", "kws_dscnn_mlperf", "imagenet_mobilenetv1_025_128", "mnist_resnet_tinymaix", "digits")
DRAWN = tuple(f"drawn-{seed}" for seed in range(1, 9))
DEVICES = ("ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512")
OPERATORS = {
    "Conv2D": "conv2d",
    "DepthwiseConv2D": "depthwise",
    "FullyConnected": "dense",
    "Add": "add",
    "Mul": "mul",
    "Mean": "mean",
    "AvgPool": "avg_pool",
    "MaxPool": "max_pool",
}
"""Operator of a TensorFlow Lite file, as Vela names it -> operator class; all others move values."""

Cycles = dict[str, list[tuple[int, float]]]
"""Operator class -> MACs and cycles of each layer of it, in order of execution."""


def drawn_network(seed: int) -> QuantizedGraph:
    """Return a network of random layers with random weights: convolutions of all kinds, residual sums, a pooling, a dense layer."""
    draw, maker = np.random.default_rng(seed), TfliteMaker(seed)
    size, channels = int(draw.choice([24, 32, 48, 64, 96])), int(draw.choice([1, 3]))
    x = maker.conv(maker.input(size, size, channels), int(draw.choice([8, 16, 24, 32])), (3, 3), stride=(2, 2), padding=(0, 1, 0, 1))
    for _ in range(int(draw.integers(4, 9))):
        height, _, channels = maker.shape(x)
        wider = min(256, int(channels * draw.choice([1, 1.5, 2])) // 8 * 8)
        match draw.choice(["separable", "full", "residual", "strided"]):
            case "separable":
                x = maker.conv(x, channels, (3, 3), groups=channels, padding=(1, 1, 1, 1))
                x = maker.conv(x, wider, (1, 1))
            case "full":
                x = maker.conv(x, wider, (3, 3), padding=(1, 1, 1, 1))
            case "residual":
                x = maker.add(x, maker.conv(x, channels, (3, 3), padding=(1, 1, 1, 1)))
            case "strided" if height > 6:
                odd = height % 2
                x = maker.conv(x, wider, (3, 3), stride=(2, 2), padding=(odd, 1, odd, 1))
    height, width, channels = maker.shape(x)
    x = maker.avg_pool(x, (height, width), (height, width), (0, 0, 0, 0), True)
    return maker.finish(maker.linear(maker.reshape(x, channels), 10))


def network(name: str) -> QuantizedGraph:
    """Return a network with 8 bits everywhere."""
    return drawn_network(int(name.removeprefix("drawn-"))) if name.startswith("drawn-") else eight_bit_network(name)[0]


def estimated(model: Path, device: str, vela: str) -> tuple[float, Cycles]:
    """Return the cycles that Vela estimates, in all and of each layer."""
    command = [vela, "--accelerator-config", device, "--verbose-performance", "--output-dir", str(model.parent / device), str(model)]
    subprocess.run(command, check=True, capture_output=True)
    total, cycles = 0.0, defaultdict(list)
    with (model.parent / device / f"{model.stem}_per-layer.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            total += float(row["Op Cycles"])
            if not row["NNG Operator"].startswith("Relu"):
                cycles[OPERATORS.get(row["Original Operator"], "copy")].append((int(row["MAC Count"]), float(row["Op Cycles"])))
    return total, cycles


def predicted(graph: LayerGraph, hardware: HardwareModel) -> tuple[float, Cycles]:
    """Return the same by the device file."""
    live, total, cycles = default_live_bytes(graph), 0.0, defaultdict(list)
    for layer in graph.layers:
        work = layer_work(graph, layer, Precision(weight_bits=8) if layer.weight is not None else None, live[layer.name])
        taken = layer_roofline(work, hardware).total
        total += taken
        if work.shape.operator != "view":
            cycles[work.shape.operator].append((work.shape.macs, taken))
    return total, cycles


def pairs_of(ours: Cycles, theirs: Cycles) -> list[tuple[str, float, float]]:
    """Return (operator, predicted, estimated) of each layer.

    Vela may do layers in another order and makes several operators of one that is no sum of products, so layers with weights are matched by their
    MACs, and means and copies only in all.
    """
    pairs = []
    for operator in ours:
        mine, vela = ours[operator], theirs.get(operator, [])
        if operator in ("mean", "copy"):
            pairs.append((operator, sum(cycles for _, cycles in mine), sum(cycles for _, cycles in vela)))
            continue
        if operator in ("conv2d", "depthwise", "dense"):
            mine, vela = sorted(mine, key=lambda layer: layer[0]), sorted(vela, key=lambda layer: layer[0])
        pairs.extend((operator, one[1], other[1]) for one, other in zip(mine, vela, strict=True))
    return pairs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vela", required=True, help="the executable")
    parser.add_argument("--networks", nargs="+", default=[*TRAINED, *DRAWN])
    parser.add_argument("--devices", nargs="+", default=list(DEVICES), choices=DEVICES)
    parser.add_argument("--layers", action="store_true", help="print every layer that is 20 % off or more")
    options = parser.parse_args()
    print("| network | device | predicted | Vela | total | rank correlation of layers | median error of a layer |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks:
            quantized = network(name)
            model = Path(folder) / f"{name}.tflite"
            model.write_bytes(translate(quantized, "FULLY_CONNECTED"))
            for device in options.devices:
                (own, ours), (other, theirs) = predicted(quantized.graph, load_hardware_model(device)), estimated(model, device, options.vela)
                pairs = pairs_of(ours, theirs)
                rank = spearmanr([pair[1] for pair in pairs], [pair[2] for pair in pairs]).statistic
                off = median(abs(one / cycles - 1) for _, one, cycles in pairs if cycles)
                print(f"| {name} | {device} | {own:,.0f} | {other:,.0f} | {own / other - 1:+.1%} | {rank:.3f} | {off:.1%} |", flush=True)
                if options.layers:
                    for operator, one, cycles in pairs:
                        if not 0.8 <= one / max(cycles, 1) <= 1.2:
                            print(f"|  {operator} | | {one:,.0f} | {cycles:,.0f} | | | |")


if __name__ == "__main__":
    main()
