# SPDX-License-Identifier: Apache-2.0
"""Fits the rates in hw_models/cortex-m4.yaml and cortex-m7.yaml to what the shipped kernels execute.

Every layer of a grid is run on an emulated core; cycles are estimated for a Cortex-M4 without wait states (kernels/qemu/count_plugin.c). The model of
cost/latency.py, MACs / rate + outputs x requantisation + values gathered and laid out + pixels + overhead, is fitted to the relative errors, every
coefficient at least 0; the first layer of an RGB image, few values under a small share of the work, and 5x5 depthwise kernels, which are not
specialised, count a fifth.

    python benchmarks/fit_cortex.py            prints the fit and its errors
    python benchmarks/fit_cortex.py --write    and puts it into the device files
"""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

sys.path.insert(0, str(Path(__file__).resolve().parent))

from layer_counts import Bench, Shape, relative_error

from mpsearch.errors import ExportError

MODELS = Path(__file__).resolve().parent.parent / "hw_models"
WIDTHS = (2, 3, 4, 5, 6, 7, 8)
GRID = {
    "conv2d": (
        Shape("CONV", 32, 32, 16, 16, 3),
        Shape("CONV", 16, 16, 32, 32, 3),
        Shape("CONV", 8, 8, 64, 64, 3),
        Shape("CONV", 32, 32, 3, 16, 3),
        Shape("CONV", 25, 5, 64, 64, 1),
        Shape("CONV", 16, 16, 32, 64, 1),
        Shape("CONV", 8, 8, 128, 128, 1),
        Shape("CONV", 16, 16, 16, 32, 1),
    ),
    "dense": (Shape("DENSE", 1, 1, 640, 128), Shape("DENSE", 1, 1, 128, 128), Shape("DENSE", 1, 1, 64, 12)),
    "depthwise": (
        Shape("DEPTHWISE", 25, 5, 64, 64, 3),
        Shape("DEPTHWISE", 12, 12, 32, 32, 3),
        Shape("DEPTHWISE", 8, 8, 128, 128, 3),
        Shape("DEPTHWISE", 8, 8, 48, 48, 5),
    ),
}
ADD = Shape("ADD", 32, 32, 16, 16)
DUAL_ISSUE = {"cortex-m4": 1.0, "cortex-m7": 0.6}
COUNTED = "instructions of the shipped C kernels (gcc 12, -O2) counted in QEMU, Cortex-M4 cycles estimated without wait states"
HALVED = {"cortex-m4": "", "cortex-m7": "; times 0.6, assumed for the dual issue of Cortex-M7"}


LEAST = 0.01
WHAT = {
    "overhead": "one kernel call",
    "requantize": "per output, from the sum to the stored byte with the loops around it",
    "gather": "per value that a convolution with a window copies",
    "layout": "per value laid out for the products, once for all output channels",
    "pixel": "per output pixel of a layer that lays out its values",
}
SHARED = ("requantize", "requantize_depthwise", "gather", "layout", "pixel", "overhead")


@dataclass(frozen=True)
class Fit:
    """Cycles on the core, before the factor for dual issue; `errors` maps (operator, bits) to the relative error of each layer of the grid."""

    cycles_per_mac: dict[tuple[str, int], float]
    errors: dict[tuple[str, int], list[float]]
    shared: dict[str, float]
    element: float


def shared_counts(shape: Shape) -> tuple[int, ...]:
    """Return what a layer has of each of SHARED."""
    if shape.kind == "DEPTHWISE":
        return 0, shape.output_values, 0, 0, 0, 1
    pixels = shape.height * shape.width
    laid = pixels * shape.inputs * shape.kernel**2
    return shape.output_values, 0, laid if shape.kind == "CONV" and shape.kernel > 1 else 0, laid, pixels, 1


def fit(bench: Bench, core: str) -> Fit:
    """Count the grid on a core and fit the model."""
    keys = [(operator, bits) for operator in GRID for bits in WIDTHS]
    rows, counted, owners, weight = [], [], [], []
    for index, (operator, bits) in enumerate(keys):
        for shape in GRID[operator]:
            row = np.zeros(len(keys) + len(SHARED))
            row[index], row[len(keys) :] = shape.macs, shared_counts(shape)
            rows.append(row)
            counted.append(bench.count(core, shape, bits).cycles)
            owners.append((operator, bits))
            weight.append(0.2 if shape.inputs == 3 or shape.kernel == 5 else 1.0)
    matrix, cycles_seen, weights = np.array(rows), np.array(counted, dtype=np.float64), np.array(weight)
    found, _ = nnls(matrix * (weights / cycles_seen)[:, None], weights)
    errors: dict[tuple[str, int], list[float]] = {key: [] for key in keys}
    for key, predicted, seen in zip(owners, matrix @ found, cycles_seen, strict=True):
        errors[key].append(relative_error(float(predicted), float(seen)))
    return Fit(
        cycles_per_mac=dict(zip(keys, found[: len(keys)].tolist(), strict=True)),
        errors=errors,
        shared=dict(zip(SHARED, found[len(keys) :].tolist(), strict=True)),
        element=bench.count(core, ADD, 8).cycles / ADD.output_values,
    )


def compute_block(core: str, result: Fit) -> str:
    """Return the `compute:` section of a device file."""
    factor, lines = DUAL_ISSUE[core], ["compute:"]
    for (operator, bits), cycles in result.cycles_per_mac.items():
        worst = max(abs(error) for error in result.errors[operator, bits])
        lines += [
            f"  - operator: {operator}",
            f"    weight_bits: {bits}",
            "    activation_bits: 8",
            "    macs_per_cycle:",
            f"      value: {1 / (cycles * factor):.4f}",
            "      source: >-",
            f"        1 / {cycles * factor:.3f} cycles per MAC: {COUNTED}{HALVED[core]}. Fitted to {len(GRID[operator])} layers by "
            f"benchmarks/fit_cortex.py, off by at most {worst:.0%} there.",
        ]
        if operator == "depthwise":
            lines += ["    requantize_cycles:", f"      value: {max(result.shared['requantize_depthwise'] * factor, LEAST):.3g}"]
            lines += ["      source: >-", f"        per output, fitted together with the rates: {COUNTED}{HALVED[core]}"]
    lines += [
        "  - operator: elementwise",
        "    activation_bits: 8",
        "    macs_per_cycle:",
        f"      value: {1 / (result.element * factor):.4f}",
        "      source: >-",
        f"        1 / {result.element * factor:.2f} cycles per value of an addition, the dearest of these operators, "
        f"taken for all: {COUNTED}{HALVED[core]}.",
    ]
    return "\n".join(lines) + "\n"


def quantity(key: str, value: float, source: str) -> str:
    """Return one number of a device file with its source."""
    return f"{key}:\n  value: {value:.3g}\n  source: >-\n    {source}\n"


def write(core: str, result: Fit) -> None:
    """Replace the fitted numbers of a device file; the others stay."""
    path, factor = MODELS / f"{core}.yaml", DUAL_ISSUE[core]
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"(?ms)^compute:\n.*?(?=^memories:)", lambda _: compute_block(core, result), text)
    whole = f"fitted together with the rates by benchmarks/fit_cortex.py: {COUNTED}{HALVED[core]}"
    block = "".join(
        quantity(f"{name}_cycles", value, f"{what}, {whole}")
        for name, what in WHAT.items()
        if (value := max(result.shared[name] * factor, LEAST if name in ("overhead", "requantize") else 0)) > 0
    )
    text = re.sub(r"(?ms)^overhead_cycles:\n.*?(?=^active_power_w:)", lambda _: block, text)
    path.write_text(text, encoding="utf-8")


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        for core in DUAL_ISSUE:
            result = fit(bench, core)
            shared = ", ".join(f"{name} {value:.3g}" for name, value in result.shared.items())
            print(f"\n{core}: {shared}, addition {result.element:.1f} cycles\n")
            print("| operator | weight bits | cycles per MAC | errors on the grid |\n|---|---|---|---|")
            for (operator, bits), cycles in result.cycles_per_mac.items():
                errors = ", ".join(f"{error:+.0%}" for error in result.errors[operator, bits])
                print(f"| {operator} | {bits} | {cycles:.2f} | {errors} |")
            if "--write" in sys.argv[1:]:
                write(core, result)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ExportError as error:
        sys.exit(str(error))
