# SPDX-License-Identifier: Apache-2.0
"""Whole networks: the latency model of cost/ against the instructions that the exported bundle executes in the emulator.

Needs the networks of MPSEARCH_DATA besides the tools of count_instructions.py:

    python benchmarks/predict_bundles.py [WORKLOAD ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from mpsearch.catalog import load_hardware_model
from mpsearch.cost import layer_costs
from mpsearch.errors import MpsearchError
from mpsearch.evaluate.integer import IntegerNetwork
from mpsearch.evaluate.real import RealNetwork
from mpsearch.export.bundle import write_bundle
from mpsearch.export.qemu import run_on_target
from mpsearch.graph.capture import capture
from mpsearch.quant.calibrate import calibrate
from mpsearch.quant.quantize import Quantizer, QuantizerSettings
from mpsearch.records import BitWidthConfig, LayerGraph, Precision
from mpsearch.workloads.load import load_workload

WORKLOADS = ("cifar10_resnet20", "kws_dscnn_s")
CONFIGS = {"8": (8,), "4": (4,), "2": (2,), "3, 5, 6": (3, 5, 6), "2, 4, 8": (2, 4, 8)}
DUAL_ISSUE = {"cortex-m4": 1.0, "cortex-m7": 0.6}


def config_of(graph: LayerGraph, widths: tuple[int, ...]) -> BitWidthConfig:
    """Give the groups of layers the widths in turn; the first and the last keep 8 bits."""
    last = len(graph.groups) - 1
    bits = {name: 8 if index in (0, last) else widths[index % len(widths)] for index, group in enumerate(graph.groups) for name in group.layers}
    precisions = tuple((layer.name, Precision(weight_bits=bits[layer.name], activation_bits=8)) for layer in graph.weighted_layers)
    return BitWidthConfig(model_digest=graph.model_digest, precisions=precisions)


def compare(name: str, folder: Path) -> None:
    """Print one line for each config and core of a workload."""
    workload = load_workload(name)
    graph = capture(workload.model, workload.calibration[0])
    real = RealNetwork(graph)
    quantizer = Quantizer(graph, calibrate(graph, lambda: real.activations(workload.calibration[:1])), QuantizerSettings(rounding="nearest"))
    for title, widths in CONFIGS.items():
        config = config_of(graph, widths)
        quantized = quantizer.quantize(config)
        network = IntegerNetwork(quantized)
        given = workload.calibration[0]
        integers = network.quantize_inputs(given[:1] if isinstance(given, torch.Tensor) else tuple(value[:1] for value in given))
        output = network.integer_output(integers)[0].to(torch.int8).numpy()
        bundle = folder / f"{name}-{title.replace(', ', '_')}"
        write_bundle(quantized, [([integers[tensor][0].to(torch.int8).numpy() for tensor in graph.inputs], output)], bundle)
        for core in DUAL_ISSUE:
            hardware = load_hardware_model(core)
            costs = layer_costs(graph, config, hardware)
            predicted = sum(cost.cycles or 0.0 for cost in costs)
            run = run_on_target(bundle, core)
            counted = run.count.cycles * DUAL_ISSUE[core]
            print(
                f"| {name} | {title} | {core} | {run.count.instructions / 1e6:.2f} | {run.count.instructions / run.macs:.2f} | {counted / 1e6:.2f} | "
                f"{predicted / 1e6:.2f} | {predicted / counted - 1:+.1%} | {1e3 * predicted / hardware.clock_hz.value:.1f} | {run.mismatches} |",
                flush=True,
            )


def main() -> int:
    print("| network | weight bits | core | M instructions | per MAC | M cycles (est.) | M cycles, predicted | error | predicted ms | mismatches |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for workload in sys.argv[1:] or WORKLOADS:
            compare(workload, Path(name))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MpsearchError as error:
        sys.exit(str(error))
