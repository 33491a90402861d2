# SPDX-License-Identifier: Apache-2.0
"""A latency budget below uniform 8 bits: what the search finds, what its bundle takes when it is counted, and what accuracy it costs.

    python experiments/latency_budget/run.py

Needs the data folder (MPSEARCH_DATA), the cross compilers and QEMU; a few minutes. Prints a Markdown table.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

NETWORKS = ("kws_dscnn_s", "cifar10_resnet20")
BUDGETS = {"rv32": 0.75, "cortex-m4": 0.92}
"""Target -> part of the latency of uniform 8 bits."""


def mpsearch(*arguments: str) -> dict[str, Any]:
    """Run a command and return what it says to machines."""
    done = subprocess.run([sys.executable, "-m", "mpsearch.cli", *arguments, "--json"], capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main() -> int:
    print("| network | target | 8 bits, error | budget, ms | predicted | counted | instructions, M | stated error | error |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for network in NETWORKS:
            only = ("--space", "w48-a8", "--budget", "bits=8", "--trials", "1", "--front-points", "0", "--quiet")
            uniform = mpsearch("optimize", network, *only, "--out", str(folder / network))
            for target, part in BUDGETS.items():
                budget = 1e3 * part * mpsearch("cost", network, "--target", target)["latency_s"]
                out = folder / f"{network}-{target}"
                found = mpsearch("optimize", network, "--target", target, "--budget", f"latency={budget}ms", "--out", str(out), "--quiet")
                run = mpsearch("run", str(out / "bundle"), "--on", target)
                print(
                    f"| {network} | {target} | {uniform['error_uniform']:.2f} % | {budget:.2f} | {1e3 * found['cost']['latency']:.2f} | "
                    f"{1e3 * run['latency_s']:.2f} | {run['instructions'] / 1e6:.2f} | {run['device_error']:.1%} | {found['error']:.2f} % |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
