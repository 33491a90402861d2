# SPDX-License-Identifier: Apache-2.0
"""The latency table that HAQ published beside the device file of its accelerator, and its published bits beside the exact optimum.

    python experiments/haq/run.py

Needs nothing but the repository; the published numbers are among the tests' data. Prints Markdown tables.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mpsearch.catalog import load_hardware_model
from mpsearch.search.ilp import solve_ilp
from tests.golden import haq


def kind(index: int) -> str:
    """Return what a layer of the network is."""
    shape = haq.mobilenet_v2()[index]
    if shape.operator != "conv2d":
        return shape.operator
    return "first" if index == 0 else "expanding 1x1" if shape.output[2] > shape.input[2] else "projecting 1x1"


def print_errors(predicted: haq.Floats, published: haq.Floats) -> None:
    """Print how far the device file is off, by kind of layer."""
    error = np.abs(predicted / published - 1)
    kinds = [kind(index) for index in range(len(error))]
    print("| layers | entries | median error | worst tenth above | worst |\n|---|---|---|---|---|")
    for name in (*dict.fromkeys(kinds), "all"):
        chosen = error[[name in (each, "all") for each in kinds]].ravel()
        print(f"| {name} | {chosen.size} | {np.median(chosen):.1%} | {np.quantile(chosen, 0.9):.1%} | {chosen.max():.1%} |")
    searched = error[:, 1:, 1:].ravel()
    print(f"| all, 2 to 8 bits | {searched.size} | {np.median(searched):.1%} | {np.quantile(searched, 0.9):.1%} | {searched.max():.1%} |")


def print_totals(predicted: haq.Floats, published: haq.Floats) -> None:
    """Print cycles of the whole network."""
    print("\n| bits | published, cycles | ratio | device file, cycles | ratio | error |\n|---|---|---|---|---|---|")
    rows = {"8": haq.EIGHT_BITS, "6": ((6, 6),) * 53, "4": ((4, 4),) * 53, "2": ((2, 2),) * 53, "HAQ": haq.STRATEGY, "HAQ, its count": haq.AS_COUNTED}
    whole = [haq.total(table, haq.EIGHT_BITS) for table in (published, predicted)]
    for name, bits in rows.items():
        theirs, ours = haq.total(published, bits), haq.total(predicted, bits)
        print(f"| {name} | {theirs:,.0f} | {theirs / whole[0]:.4f} | {ours:,.0f} | {ours / whole[1]:.4f} | {ours / theirs - 1:+.1%} |")


def print_optima(predicted: haq.Floats, published: haq.Floats) -> None:
    """Print the exact optima beside the published bits."""
    print("\n| noise counted by | problem | costs from | ratio by the published table | noise / HAQ's | status |\n|---|---|---|---|---|---|")
    whole = haq.total(published, haq.EIGHT_BITS)
    for sensitivity in ("values", "macs"):
        noise = haq.noise(sensitivity)  # type: ignore[arg-type]
        theirs = haq.total(noise, haq.STRATEGY)
        limits = [haq.RATIO * haq.total(table, haq.EIGHT_BITS) for table in (published, predicted)]
        for problem, costs, instance in (
            ("least noise at HAQ's latency", "published table", haq.choose_bits_problem(noise, published, limits[0])),
            ("least noise at HAQ's latency", "device file", haq.choose_bits_problem(noise, predicted, limits[1])),
            ("least latency at HAQ's noise", "published table", haq.choose_bits_problem(published, noise, theirs)),
            ("least latency at HAQ's noise", "device file", haq.choose_bits_problem(predicted, noise, theirs)),
        ):
            result = solve_ilp(instance, 0)
            bits = haq.bits_of(result)
            ratio, level = haq.total(published, bits) / whole, haq.total(noise, bits) / theirs
            print(f"| {sensitivity} | {problem} | {costs} | {ratio:.4f} | {level:.3f} | {result.status} |")


def main() -> None:
    published, predicted = haq.published_cycles(), haq.predicted_cycles(load_hardware_model("bitfusion-haq"))
    print_errors(predicted, published)
    print_totals(predicted, published)
    print_optima(predicted, published)


if __name__ == "__main__":
    main()
