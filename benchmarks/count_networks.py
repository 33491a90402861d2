# SPDX-License-Identifier: Apache-2.0
"""Instructions of whole networks on every target: 8-bit weights everywhere, and a searched config of 4 bits on average from each search space.

Needs the networks of MPSEARCH_DATA besides the tools of count_instructions.py. Every output equals the integer execution, or the script stops:

    python benchmarks/count_networks.py                                          the table of benchmarks/kernel_instructions.md
    python benchmarks/count_networks.py kws_dscnn_s --on cortex-m55,rv32,host --spaces w248-a8
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
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
SPACES = ("w2to8-a8", "w248-a8")
BUDGET = "bits=4"


def mean_bits(pipeline: Pipeline, config: BitWidthConfig) -> float:
    """Return the average bits of a weight, each weight counted once."""
    weights = [(layer.weight.size, config[layer.name].weight_bits) for layer in pipeline.graph.weighted_layers if layer.weight is not None]
    return sum(size * bits for size, bits in weights) / sum(size for size, _ in weights)


def write_bundles(name: str, spaces: Sequence[str], folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (title, folder) of a workload's bundle with 8 bits everywhere, and of one for each search space."""
    workload = load_workload(name)
    for space in spaces:
        request = stamped(RunRequest(workload=name, budget=(BUDGET,), space=space), workload)
        pipeline = Pipeline(workload, request, RunFolder(folder / space))
        pipeline.folder.reopen(request)
        if not (folder / "bundle-8").exists():
            pipeline.export(pipeline.config(pipeline.uniform(8)), folder / "bundle-8")
            yield "all 8", folder / "bundle-8"
        config = pipeline.config(pipeline.candidates()[0][1])
        pipeline.export(config, folder / f"bundle-{space}")
        yield f"{mean_bits(pipeline, config):.2f}, searched in {space}", folder / f"bundle-{space}"


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
    parser.add_argument("--spaces", default=",".join(SPACES), help="search spaces, separated by commas (default: %(default)s)")
    parser.add_argument("--on", default=",".join(TARGETS), help="targets, separated by commas (default: %(default)s)")
    options = parser.parse_args()
    targets = options.on.split(",")
    print(f"| network, M instructions | weight bits, mean | {' | '.join(targets)} |")
    print("|---|---|" + "---|" * len(targets))
    for workload in options.workloads:
        with tempfile.TemporaryDirectory() as name:
            for title, bundle in write_bundles(workload, options.spaces.split(","), Path(name)):
                counts = [run(bundle, target).count for target in targets]
                cells = [f"{count.instructions / 1e6:.2f}" for count in counts if count is not None]
                print(f"| {workload} | {title} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MpsearchError as error:
        sys.exit(str(error))
