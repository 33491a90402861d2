# SPDX-License-Identifier: Apache-2.0
"""What the device files predict for whole networks against what their exported bundles execute in the emulator, layer by layer.

    python experiments/predict_networks/run.py [--networks NAME ...] [--cores CORE ...]

Needs the data folder (MPSEARCH_DATA), the cross compilers and QEMU. The device files were fitted to single layers of a grid, in
which many layers of these networks occur (held_out.py leaves them out). Weight bits
are given to the groups of layers in turn, 8 to the first and the last. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

from mpsearch.catalog import HardwareModel, list_names, load_hardware_model
from mpsearch.cost import layer_costs
from mpsearch.export.counting import TargetRun
from mpsearch.export.qemu import run_on_target
from mpsearch.pipeline import Pipeline
from mpsearch.records import BitWidthConfig, LayerGraph, Precision
from mpsearch.runs.folder import RunFolder
from mpsearch.runs.request import RunRequest
from mpsearch.workloads.load import load_workload

NETWORKS = ("cifar10_resnet20", "kws_dscnn_s", "imagenet_mobilenetv1_025_128", "digits", "kws_dscnn_mlperf", "mnist_resnet_tinymaix")
CONFIGS = {"8": (8,), "2, 4, 8": (2, 4, 8), "3, 5, 6": (3, 5, 6), "4, 7": (4, 7)}
CORES = ("cortex-m4", "cortex-m7", "cortex-m55", "rv32", "cortex-m0")
CYCLES_PER_ESTIMATE = {"cortex-m4": 1.0, "cortex-m7": 0.6}
"""Where the counting plugin estimates cycles (of a Cortex-M4), what the device file takes of them."""


def config_of(graph: LayerGraph, widths: tuple[int, ...]) -> BitWidthConfig:
    """Give the groups of layers the widths in turn; the first and the last keep 8 bits."""
    last = len(graph.groups) - 1
    bits = {name: 8 if index in (0, last) else widths[index % len(widths)] for index, group in enumerate(graph.groups) for name in group.layers}
    precisions = tuple((layer.name, Precision(weight_bits=bits[layer.name])) for layer in graph.weighted_layers)
    return BitWidthConfig(model_digest=graph.model_digest, precisions=precisions)


def device_of(core: str) -> HardwareModel:
    """Return the shipped device with that core."""
    return next(hardware for hardware in map(load_hardware_model, list_names("hw_models")) if hardware.core == core)


def errors_of(pairs: list[tuple[float, float]]) -> str:
    """Return the cells of a row for (predicted, counted) of every layer: predicted in millions, error of the total, median and largest of a layer."""
    predicted, counted = (sum(column) for column in zip(*pairs, strict=True))
    off = [abs(one / other - 1) for one, other in pairs]
    return f"{predicted / 1e6:.2f} | {predicted / counted - 1:+.1%} | {median(off):.1%} | {max(off):.0%}"


def compare(graph: LayerGraph, config: BitWidthConfig, run: TargetRun, core: str) -> str:
    """Return the cells of a row: instructions, then cycles where they are estimated."""
    costs = layer_costs(graph, config, device_of(core))
    layers = [(cost, layer.count) for cost, layer in zip(costs, run.layers, strict=True) if layer.count and layer.count.instructions]
    instructions = [(cost.instructions or 0.0, float(count.instructions)) for cost, count in layers]
    cells = f"{sum(counted for _, counted in instructions) / 1e6:.2f} | {errors_of(instructions)}"
    if core not in CYCLES_PER_ESTIMATE:
        return f"{cells} | | | | |"
    cycles = [(cost.cycles or 0.0, CYCLES_PER_ESTIMATE[core] * (count.cycles or 0)) for cost, count in layers]
    return f"{cells} | {sum(counted for _, counted in cycles) / 1e6:.2f} | {errors_of(cycles)} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--cores", nargs="+", default=CORES)
    options = parser.parse_args()
    columns = "predicted | total | median layer | worst layer"
    print(f"| network | weight bits | core | M instructions | {columns} | M cycles (est.) | {columns} |\n|{'---|' * 13}", flush=True)
    for name in options.networks:
        with tempfile.TemporaryDirectory() as folder:
            pipeline = Pipeline(load_workload(name), RunRequest(workload=name, budget=("bits=8",)), RunFolder(Path(folder) / "unused"))
            for title, widths in CONFIGS.items():
                config = config_of(pipeline.graph, widths)
                bundle = Path(folder) / title.replace(", ", "_")
                pipeline.export(config, bundle)
                for core in options.cores:
                    run = run_on_target(bundle, core)
                    assert run.mismatches == 0
                    print(f"| {name} | {title} | {core} | {compare(pipeline.graph, config, run, core)}", flush=True)


if __name__ == "__main__":
    main()
