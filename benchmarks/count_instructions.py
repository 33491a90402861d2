# SPDX-License-Identifier: Apache-2.0
"""Instructions per multiply-accumulate of the C kernels on every emulated core, counted exactly by a QEMU plugin.

Every output is compared with the reference's: a wrong one stops the script. Needs the cross compilers, the emulators and a host C compiler:

    python benchmarks/count_instructions.py                        the Markdown table of benchmarks/kernel_instructions.md
    python benchmarks/count_instructions.py cortex-m4 rv32         some cores
    python benchmarks/count_instructions.py --widths 8,4,2 --level O3 --compiler clang
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from layer_counts import Bench, Shape

from mpsearch.errors import ExportError
from mpsearch.export.cores import COMPILERS, CORES, find_core

WIDTHS = (8, 4, 2, 3, 5, 6, 7)
LAYERS = (
    Shape("CONV", 25, 5, 64, 64, 1),
    Shape("CONV", 32, 32, 16, 16, 3),
    Shape("CONV", 32, 32, 3, 16, 3),
    Shape("DEPTHWISE", 25, 5, 64, 64, 3),
    Shape("DEPTHWISE", 24, 24, 32, 32, 3),
    Shape("DENSE", 1, 1, 640, 128),
    Shape("DENSE", 1, 1, 128, 128),
    Shape("ADD", 32, 32, 16, 16),
    Shape("MEAN", 25, 5, 64, 64),
    Shape("MAX_POOL", 16, 16, 32, 32, 2),
    Shape("AVG_POOL", 16, 16, 32, 32, 2),
)


def requantisation(bench: Bench, core: str, level: str, compiler: str) -> float:
    """Return the instructions that one more output takes, products aside: 64 pixels with twice the channels, less the products."""
    thin, thick = (bench.count(core, Shape("CONV", 8, 8, inputs, 64, 1), 8, level, compiler).instructions for inputs in (64, 128))
    return (2 * thin - thick) / (8 * 8 * 64)


def main() -> int:
    parser = argparse.ArgumentParser(description="Instructions per MAC on emulated cores.")
    parser.add_argument("cores", nargs="*", help=f"default: {', '.join(CORES)}")
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)), help="weight bits, separated by commas (default: %(default)s)")
    parser.add_argument("--level", default="O2", help="of optimisation (default: %(default)s)")
    parser.add_argument("--compiler", choices=COMPILERS, default="gcc", help="default: %(default)s")
    options = parser.parse_args()
    cores, level = options.cores or list(CORES), f"-{options.level}"
    for core in cores:
        find_core(core)
    print(f"| layer ({options.compiler} {level}) | weight bits | per | {' | '.join(cores)} |")
    print("|---|---|---|" + "---|" * len(cores))
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        for layer in LAYERS:
            units, unit = (layer.macs, "MAC") if layer.macs else (layer.input_values, "input value")
            for bits in map(int, options.widths.split(",")) if layer.macs else (8,):
                cells = [f"{bench.count(core, layer, bits, level, options.compiler).instructions / units:.2f}" for core in cores]
                print(f"| {layer} | {bits if layer.macs else '-'} | {unit} | {' | '.join(cells)} |", flush=True)
        cells = [f"{requantisation(bench, core, level, options.compiler):.1f}" for core in cores]
        print(f"| one output, products aside (conv 1x1, 8x8 pixels) | 8 | output | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ExportError as error:
        sys.exit(str(error))
