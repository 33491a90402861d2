# SPDX-License-Identifier: Apache-2.0
"""The layer latencies that HAWQ-V3 published for a T4 beside two rooflines, and the bits that each of them leads to.

    python experiments/hawqv3_t4/run.py

Needs nothing but the repository; the published numbers are among the tests' data. Prints Markdown tables.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mpsearch.catalog import HardwareModel, load_hardware_model
from tests.golden import hawqv3
from tests.golden.test_hawqv3 import NETWORKS, bits_found

PEAK = {4: 81920.0, 8: 40960.0}
"""MACs a cycle of 320 tensor cores: NVIDIA T4 data sheet, 260 TOPS at INT4 and 130 TOPS at INT8 and 1590 MHz."""


def data_sheet(hardware: HardwareModel) -> HardwareModel:
    """Return the device with the peak rates and bandwidth of the data sheet, and nothing assumed about the kernels."""
    compute = tuple(
        dataclasses.replace(rates, macs_per_cycle={bits: PEAK[bits] for bits in rates.macs_per_cycle}) if rates.macs_per_cycle else rates
        for rates in hardware.compute
    )
    bandwidth = dataclasses.replace(hardware.memories[0].bytes_per_cycle, value=320e9 / hardware.clock_hz.value)
    first = dataclasses.replace(hardware.memories[0], bytes_per_cycle=bandwidth, result_bytes=None)
    return dataclasses.replace(hardware, compute=compute, memories=(first, *hardware.memories[1:]))


def by_shape(network: hawqv3.Network, seconds: hawqv3.Floats) -> hawqv3.Floats:
    """Return the measured seconds with one value a shape, the median of its layers."""
    layers = defaultdict(list)
    for index, shape in enumerate(hawqv3.layer_shapes(network)):
        layers[shape].append(index)
    shared = seconds.copy()
    for indices in layers.values():
        shared[indices] = np.median(seconds[indices], axis=0)
    return shared


def main() -> None:
    device = load_hardware_model("t4-hawqv3")
    models = {"data sheet": data_sheet(device), "t4-hawqv3": device}
    print("| network | roofline | median error | worst tenth above | total INT4 | total INT8 | rank correlation | INT4 | INT8 |\n" + "|---" * 9 + "|")
    for network in NETWORKS:
        measured = hawqv3.measured_seconds(network)
        for name, model in models.items():
            predicted = hawqv3.predicted_seconds(network, model)
            error, total = np.abs(predicted / measured - 1), predicted.sum(axis=0) / measured.sum(axis=0)
            ranks = [spearmanr(*pair).statistic for pair in ((predicted.ravel(), measured.ravel()), *zip(predicted.T, measured.T, strict=True))]
            shown = [f"{np.median(error):.1%}", f"{np.quantile(error, 0.9):.1%}", *(f"x {part:.2f}" for part in total), *(f"{r:.2f}" for r in ranks)]
            print(f"| {network} | {name} | {' | '.join(shown)} |")
    print("\n| network | budget | costs from | layers as published | measured latency / limit |\n|---|---|---|---|---|")
    for network in NETWORKS:
        measured = hawqv3.measured_seconds(network)
        costs = {"measured table, a row a layer": measured, "measured table, a row a shape": by_shape(network, measured)}
        costs |= {f"roofline, {name}": hawqv3.predicted_seconds(network, model) for name, model in models.items()}
        for fraction in (0.75, 0.5, 0.25):
            instance = f"latency_{fraction:g}"
            published = np.array(hawqv3.PUBLISHED[network]["published_bits"][instance])
            low, high = measured.sum(axis=0)
            for name, cost in costs.items():
                bits = np.array(bits_found(network, instance, cost))
                taken = measured[np.arange(len(bits)), bits // 8].sum()
                ratio = taken / (low + fraction * (high - low))
                print(f"| {network} | {fraction:g} | {name} | {(bits == published).sum()} of {len(bits)} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
