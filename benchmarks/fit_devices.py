# SPDX-License-Identifier: Apache-2.0
"""Measures every emulated core and fits its device file, then those derived from them: to be run whenever kernels or compilers change.

    python benchmarks/fit_devices.py [--tables FOLDER]

Tables that the folder holds already are taken as they are. Clock, memories and power stay those of the files in hw_models/.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from mpsearch.catalog import shipped_folder
from mpsearch.cli import main as mpsearch

ROOT = Path(__file__).resolve().parent.parent
DEVICES = {
    # core: name of the device, cycles for each of the table's cycles or instructions, and why; "" for its cycles as they are
    "cortex-m4": ("cortex-m4", "", ""),
    "cortex-m7": ("cortex-m7", "0.6", "assumed for the dual issue of a Cortex-M7"),
    "cortex-m55": (
        "cortex-m55",
        "1.5",
        "assumed: a vector instruction takes two cycles, one where it overlaps with its neighbour; scalar ones about one",
    ),
    "rv32": ("rv32", "1.3", "assumed: one cycle each, and some more for taken branches and for loads that are used at once"),
    "cortex-m0": ("cortex-m0plus", "1.4", "assumed: two cycles for loads, stores and taken branches, one for all else"),
}


def fit(core: str, folder: Path) -> None:
    """Measure a core, unless its table is there, and write its device file."""
    name, factor, because = DEVICES[core]
    table, device = folder / f"{core}.json", shipped_folder("hw_models") / f"{name}.yaml"
    if not table.exists() and (status := mpsearch(["measure", "--on", core, "--like", name, "--out", str(table)])):
        raise SystemExit(status)
    scale = ["--cycles-per-count", factor, "--because", because] if factor else []
    if status := mpsearch(["fit", str(table), "--like", str(device), "--out", str(device), *scale]):
        raise SystemExit(status)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=Path, help="where the tables are kept (default: nowhere)")
    with tempfile.TemporaryDirectory() as name:
        folder = parser.parse_args().tables or Path(name)
        for core in DEVICES:
            fit(core, folder)
    for script in ("benchmarks/sister_cores.py", "docs/write_devices.py"):
        subprocess.run([sys.executable, str(ROOT / script)], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
