# SPDX-License-Identifier: Apache-2.0
"""Instructions per multiply-accumulate of the C kernels on Cortex-M, counted exactly by a QEMU plugin.

Needs arm-none-eabi-gcc with newlib, qemu-system-arm and a host C compiler. Prints the Markdown table of benchmarks/kernel_instructions.md:

    python benchmarks/count_instructions.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from layer_counts import Bench, Shape

from mpsearch.errors import ExportError

WIDTHS = (8, 4, 2)
JOBS = (
    Shape("CONV", 32, 32, 16, 16, 3),
    Shape("CONV", 25, 5, 64, 64, 1),
    Shape("DEPTHWISE", 25, 5, 64, 64, 3),
    Shape("DENSE", 1, 1, 640, 128),
    Shape("ADD", 32, 32, 16, 16),
)
COLUMNS = (("cortex-m4", "-O2"), ("cortex-m4", "-O3"), ("cortex-m7", "-O2"), ("cortex-m7", "-O3"))


def requantisation(bench: Bench, core: str, level: str) -> tuple[float, float]:
    """Return instructions and cycles that one more output takes, products aside: 64 pixels with twice the channels, less the products."""
    thin, thick = (bench.count(core, Shape("CONV", 8, 8, inputs, 64, 1), 8, level) for inputs in (64, 128))
    outputs = 8 * 8 * 64
    return (2 * thin.instructions - thick.instructions) / outputs, (2 * thin.cycles - thick.cycles) / outputs


def main() -> int:
    print("| layer | weight bits | per | M4 -O2 | M4 -O3 | M7 -O2 | M7 -O3 | M4 -O2 cycles (est.) | M4 -O3 cycles (est.) |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        for job in JOBS:
            units, unit = (job.macs, "MAC") if job.macs else (job.output_values, "element")
            for bits in WIDTHS if job.macs else (8,):
                runs = {column: bench.count(column[0], job, bits, column[1]) for column in COLUMNS}
                cells = [f"{count.instructions / units:.2f}" for count in runs.values()]
                cells += [f"{runs[column].cycles / units:.2f}" for column in COLUMNS[:2]]
                print(f"| {job} | {bits if job.macs else '-'} | {unit} | {' | '.join(cells)} |", flush=True)
        both = {column: requantisation(bench, *column) for column in COLUMNS}
        cells = [f"{pair[0]:.1f}" for pair in both.values()] + [f"{both[column][1]:.1f}" for column in COLUMNS[:2]]
        print(f"| one output, products aside (conv 1x1, 8x8 pixels) | 8 | output | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ExportError as error:
        sys.exit(str(error))
