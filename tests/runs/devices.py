# SPDX-License-Identifier: Apache-2.0
"""Devices whose predictions are easy to work out by hand."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import TypeAdapter

from mpsearch.catalog import Accuracy, ComputeRates, HardwareModel, Memory, Quantity, Term

SOURCE = "made up"
WEIGHTS = dict.fromkeys(range(2, 9), 0.5)


def quantity(value: float) -> Quantity:
    """Return a number without a device."""
    return Quantity(value=value, source=SOURCE)


def plain_device(core: str | None = "cortex-m4", instructions: bool = True, accuracy: Accuracy | None = None) -> HardwareModel:
    """Return a device at 1 MHz: 2 cycles and 4 instructions a MAC or value, 100 cycles and 50 instructions a call; memories never bind."""
    return HardwareModel(
        name="plain",
        description="by hand",
        clock_hz=quantity(1e6),
        flash_bytes=quantity(1 << 20),
        ram_bytes=quantity(1 << 20),
        compute=(
            ComputeRates(
                operators=("conv2d", "depthwise", "dense"),
                activation_bits=8,
                macs_per_cycle=WEIGHTS,
                macs_per_instruction=dict.fromkeys(WEIGHTS, 0.25) if instructions else None,
                source=SOURCE,
            ),
            ComputeRates(
                operators=("add", "mul", "max_pool", "avg_pool", "mean", "copy", "lookup"),
                activation_bits=8,
                values_per_cycle=0.5,
                values_per_instruction=0.25 if instructions else None,
                source=SOURCE,
            ),
        ),
        memories=(Memory(name="ram", holds=("weights", "activations"), size_bytes=quantity(1 << 20), bytes_per_cycle=quantity(1e6)),),
        terms=(Term(per="call", cycles=100, instructions=50, source=SOURCE),),
        core=core,
        accuracy=accuracy,
    )


def write_device(device: HardwareModel, path: Path) -> Path:
    """Write a device's file."""
    content = TypeAdapter(HardwareModel).dump_python(device, mode="json", exclude_none=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path
