# SPDX-License-Identifier: Apache-2.0
"""The exported C against the Python integer execution, value by value, on real inputs; and the C under sanitizers.

    python experiments/bit_exact/run.py [--samples 1000]

Needs the data folder (MPSEARCH_DATA) and a C compiler. Every network gets a random width from 2 to 8 bits in every layer. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from mpsearch.evaluate.integer import IntegerNetwork
from mpsearch.evaluate.walk import split_batch
from mpsearch.export.host import run_bundle
from mpsearch.pipeline import Pipeline
from mpsearch.records import BitWidthConfig, Precision
from mpsearch.runs.folder import RunFolder
from mpsearch.runs.request import RunRequest
from mpsearch.workloads.load import load_workload

NETWORKS = ("cifar10_resnet20", "kws_dscnn_s", "mnist_resnet_tinymaix", "digits")
SANITIZED = 50


def compare(name: str, samples: int, folder: Path) -> tuple[int, int, int, int]:
    """Return real inputs compared, shifted ones, output values compared, values that differ (with those of the sanitized build)."""
    workload = load_workload(name)
    pipeline = Pipeline(workload, RunRequest(workload=name, budget=("bits=8",)), RunFolder(folder / "unused"))
    random = np.random.default_rng(0)
    widths = [(layer.name, Precision(weight_bits=int(random.integers(2, 9)))) for layer in pipeline.graph.weighted_layers]
    config = BitWidthConfig(model_digest=pipeline.graph.model_digest, precisions=tuple(widths))
    network = IntegerNetwork(pipeline.quantizer.quantize(config))
    pipeline.export(config, folder / "bundle")
    real = torch.cat([batch for batch, _ in workload.evaluation] + list(workload.calibration))[:samples]  # type: ignore[arg-type, misc]
    shifted = torch.roll(real, 1, dims=2)[: samples - len(real)]  # where the data set is smaller: the same inputs, one row down
    inputs = torch.cat([real, shifted])
    parts = [network.quantize_inputs(part) for part in split_batch(inputs)]
    wanted = torch.cat([network.integer_output(part) for part in parts]).numpy().astype(np.int8)
    given = torch.cat([part[pipeline.graph.inputs[0]] for part in parts]).numpy().astype(np.int8)
    wrong = int((run_bundle(folder / "bundle", given) != wanted).sum())
    wrong += int((run_bundle(folder / "bundle", given[:SANITIZED], sanitize=True) != wanted[:SANITIZED]).sum())
    return len(real), len(shifted), wanted.size, wrong


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=1000)
    samples = parser.parse_args().samples
    print("| network | real inputs | shifted by a row | output values | mismatches | ASan + UBSan |\n|---|---|---|---|---|---|", flush=True)
    for name in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            inputs, shifted, values, wrong = compare(name, samples, Path(folder))
        print(f"| {name} | {inputs} | {shifted} | {values} | {wrong} | clean on {min(SANITIZED, inputs)} inputs |", flush=True)


if __name__ == "__main__":
    main()
