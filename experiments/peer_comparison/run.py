# SPDX-License-Identifier: Apache-2.0
"""Integer accuracy at a mean-bits budget on three pretrained networks, beside what Sony MCT reaches with the same data and options.

    python experiments/peer_comparison/run.py [--space w248-a8] [--space w2to8-a8]

Needs the data folder (MPSEARCH_DATA). Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from mpsearch.pipeline import optimize
from mpsearch.runs.request import RunRequest
from mpsearch.workloads.load import load_workload

# Percent right: Sony MCT 2.6.1 with LP and plain PTQ, and with gradient-based PTQ; measured by others on the same calibration data.
ROWS = (
    ("cifar10_resnet20", 4, 87.6, "87.7"),
    ("cifar10_resnet20", 3, 79.8, "85.7"),
    ("kws_dscnn_s", 4, 85.0, "86.0"),
    ("kws_dscnn_s", 3, 67.5, "68.0"),
    ("imagenet_mobilenetv1_025_128", 5, 38.2, "–"),
    ("imagenet_mobilenetv1_025_128", 4, 23.2, "19.6"),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--space", action="append")
    spaces = parser.parse_args().space or ["w248-a8", "w2to8-a8"]
    header = ["network", "mean bits", "float", "MCT", "MCT, gradient", *(f"mpsearch {space}" for space in spaces), "seconds"]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header), flush=True)
    for name, bits, plain, gradient in ROWS:
        cells, seconds, floating = [], [], 0.0
        for space in spaces:
            started = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                request = RunRequest(workload=name, budget=(f"bits={bits}",), space=space)
                summary, _ = optimize(load_workload(name), request, Path(folder) / "run")
            seconds.append(f"{time.monotonic() - started:.0f}")
            first = next(trial for trial in summary.trials if trial.kind == "solver")
            cells.append(f"{100 - summary.chosen.error:.1f} ({100 - first.error:.1f})")
            floating = 100 - summary.floating.error
        print(f"| {name} | {bits} | {floating:.1f} | {plain} | {gradient} | {' | '.join(cells)} | {' / '.join(seconds)} |", flush=True)


if __name__ == "__main__":
    main()
