# SPDX-License-Identifier: Apache-2.0
"""Whole networks on every target: instructions of one inference with 8-bit weights everywhere, and with a searched config of 4 bits on average.

Needs the networks of MPSEARCH_DATA besides the tools of count_instructions.py. Every output equals the integer execution, or the script stops:

    python benchmarks/count_networks.py                                          the table of benchmarks/kernel_instructions.md
    python benchmarks/count_networks.py kws_dscnn_s --on cortex-m55,rv32,host
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from mpsearch.errors import ExportError, MpsearchError
from mpsearch.export.cores import CORES
from mpsearch.export.counting import TargetRun
from mpsearch.export.host_count import run_on_host
from mpsearch.export.qemu import run_on_target
from mpsearch.pipeline import Pipeline
from mpsearch.records import BitWidthConfig
from mpsearch.runs.folder import RunFolder
from mpsearch.runs.request import RunRequest
from mpsearch.runs.stamp import stamped
from mpsearch.workloads.load import load_workload

WORKLOADS = ("cifar10_resnet20", "kws_dscnn_s")
TARGETS = (*CORES, "host")
BUDGET = "bits=4"


def mean_bits(pipeline: Pipeline, config: BitWidthConfig) -> float:
    """Return the average bits of a weight, each weight counted once."""
    weights = [(layer.weight.size, config[layer.name].weight_bits) for layer in pipeline.graph.weighted_layers if layer.weight is not None]
    return sum(size * bits for size, bits in weights) / sum(size for size, _ in weights)


def write_bundles(name: str, folder: Path) -> list[tuple[str, Path]]:
    """Search a workload and write its two bundles; returns (title, folder) of each."""
    workload = load_workload(name)
    request = stamped(RunRequest(workload=name, budget=(BUDGET,)), workload)
    pipeline = Pipeline(workload, request, RunFolder(folder / "run"))
    pipeline.folder.reopen(request)
    configs = {"all 8": pipeline.config(pipeline.uniform(8)), f"searched, {BUDGET}": pipeline.config(pipeline.candidates()[0][1])}
    bundles = []
    for index, (title, config) in enumerate(configs.items()):
        pipeline.export(config, folder / f"bundle{index}")
        bundles.append((f"{title} ({mean_bits(pipeline, config):.2f})", folder / f"bundle{index}"))
    return bundles


def run(bundle: Path, target: str) -> TargetRun:
    """Run a bundle.

    Raises:
        ExportError: An output differs, or nothing was counted.
    """
    result = run_on_host(bundle) if target == "host" else run_on_target(bundle, target)
    if result.mismatches or result.count is None:
        raise ExportError(f"{bundle} on {target}: {result.mismatches} mismatches; {' '.join(result.notes)}")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description="Instructions of whole networks.")
    parser.add_argument("workloads", nargs="*", default=WORKLOADS, help=f"default: {' '.join(WORKLOADS)}")
    parser.add_argument("--on", default=",".join(TARGETS), help="targets, separated by commas (default: %(default)s)")
    options = parser.parse_args()
    targets = options.on.split(",")
    print(f"| network | weight bits (mean) | {' | '.join(targets)} |")
    print("|---|---|" + "---|" * len(targets))
    for workload in options.workloads:
        with tempfile.TemporaryDirectory() as name:
            for title, bundle in write_bundles(workload, Path(name)):
                counts = [run(bundle, target).count for target in targets]
                cells = [f"{count.instructions / 1e6:.2f}" for count in counts if count is not None]
                print(f"| {workload}, M instructions | {title} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MpsearchError as error:
        sys.exit(str(error))
