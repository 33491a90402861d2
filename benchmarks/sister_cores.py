# SPDX-License-Identifier: Apache-2.0
"""Device files of cores that no emulator here counts, from the file of a core that executes the same instructions.

Cortex-M33 has the DSP extension of Cortex-M4, and Cortex-M85 the vectors of Cortex-M55, so the shipped kernels execute the same instructions there.
What differs is how many cycles these take: one assumed factor each, with its reason. Run it again whenever the files of the two others have changed:

    python benchmarks/sister_cores.py [FOLDER]     (or make devices)
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from mpsearch.catalog import ComputeRates, HardwareModel, Memory, Quantity, Term, load_hardware_model, shipped_folder
from mpsearch.cost.device_file import write_device_file
from mpsearch.cost.fit import rounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Sister:
    """A device whose rates are those of another core, times a factor on cycles.

    Attributes:
        like: Name of the file whose rates are taken over.
        factor: Cycles of this core for each of the other's.
        because: Where the factor comes from.

    The other fields are those of the device's file.
    """

    like: str
    factor: float
    because: str
    name: str
    description: str
    clock_hz: Quantity
    flash_bytes: Quantity
    ram_bytes: Quantity
    memories: tuple[Memory, ...]
    active_power_w: Quantity | None = None


def _quantity(value: float, source: str) -> Quantity:
    return Quantity(value=value, source=source)


SISTERS = (
    Sister(
        like="cortex-m4",
        factor=0.85,
        because=(
            "Arm gives 4.02 CoreMark/MHz for Cortex-M33 and 3.42 for Cortex-M4, a factor of 0.85 on general code; assumed for the kernels too, which "
            "gcc 12 compiles for either core into as many SMLAD and, within 0.3 %, as many bytes"
        ),
        name="cortex-m33",
        description=(
            "STM32U585-class microcontroller: Cortex-M33 with the DSP extension at 160 MHz, 2 MB of flash, 768 KB of contiguous SRAM. Cortex-M33 "
            "executes the instructions of the shipped Cortex-M4 kernels; the rates are those of the file cortex-m4 with a factor of 0.85 on cycles. "
            "Neither an emulator nor a chip was measured for this file."
        ),
        clock_hz=_quantity(160e6, "ST DS13086, STM32U585xx data sheet, features: up to 160 MHz"),
        flash_bytes=_quantity(2 * 2**20, "ST DS13086, features: 2 MB of flash (2 MiB)"),
        ram_bytes=_quantity(
            768 * 2**10, "ST DS13086, embedded SRAM: SRAM1 192 KB + SRAM2 64 KB + SRAM3 512 KB are contiguous (768 KiB of 786 KB); without SRAM4"
        ),
        memories=(
            Memory(
                name="flash",
                holds=("weights",),
                size_bytes=_quantity(2 * 2**20, "as flash_bytes"),
                bytes_per_cycle=_quantity(
                    3.2,
                    "ST RM0456, flash interface: lines of 128 bits, 4 wait states at 160 MHz in voltage range 1, so 16 bytes per 5 cycles; hits of "
                    "the instruction cache are not counted",
                ),
            ),
            Memory(
                name="sram",
                holds=("activations",),
                size_bytes=_quantity(768 * 2**10, "as ram_bytes"),
                bytes_per_cycle=_quantity(4, "Arm 100230, Cortex-M33 TRM: 32-bit AHB5 system bus, one word per cycle"),
            ),
        ),
        active_power_w=_quantity(
            0.0103,
            "ST DS13086, features: 19.5 uA/MHz in run mode at 3.3 V with the step-down converter, times 160 MHz and 3.3 V; the core without "
            "peripherals, not measured",
        ),
    ),
    Sister(
        like="cortex-m55",
        factor=0.83,
        because=(
            "Arm announced Cortex-M85 (April 2022) with about 20 % more machine-learning performance per MHz than Cortex-M55, a factor of 0.83; "
            "general code gains more, 6.28 against 4.4 CoreMark/MHz. Assumed for all of the kernels, built for Cortex-M55"
        ),
        name="cortex-m85",
        description=(
            "Renesas-RA8M1-class microcontroller: Cortex-M85 with vectors (MVE, two beats a cycle) at 480 MHz, 2 MB of flash, 896 KB of SRAM beside "
            "the tightly coupled memories. Cortex-M85 executes the instructions of the shipped Cortex-M55 kernels; the rates are those of the file "
            "cortex-m55 with a factor of 0.83 on cycles. Neither an emulator nor a chip was measured for this file."
        ),
        clock_hz=_quantity(480e6, "Renesas, RA8M1 Group data sheet, features: maximum operating frequency 480 MHz"),
        flash_bytes=_quantity(2 * 2**20, "Renesas, RA8M1 Group data sheet, features: up to 2 MB of code flash (2 MiB)"),
        ram_bytes=_quantity(
            896 * 2**10, "Renesas, RA8M1 Group data sheet, features: 1 MB of SRAM, of which 128 KB are tightly coupled memories and 896 KB user SRAM"
        ),
        memories=(
            Memory(
                name="flash",
                holds=("weights",),
                size_bytes=_quantity(2 * 2**20, "as flash_bytes"),
                bytes_per_cycle=_quantity(
                    4,
                    "estimate: reads of 128 bits, and a flash clock of a quarter of the core clock (480 and 120 MHz), so 16 bytes per 4 core cycles; "
                    "hits of the data cache are not counted",
                ),
            ),
            Memory(
                name="sram",
                holds=("activations",),
                size_bytes=_quantity(896 * 2**10, "as ram_bytes"),
                bytes_per_cycle=_quantity(
                    4,
                    "estimate: the 64-bit AXI bus of Arm 101924, Cortex-M85 TRM, at half the core clock (240 MHz), so 8 bytes per 2 core cycles",
                ),
            ),
        ),
    ),
)


def make_sister(sister: Sister) -> HardwareModel:
    """Return the device: as many instructions as its sister, each of them in fewer or more cycles."""
    like = load_hardware_model(sister.like)
    source = f"the file {sister.like}, cycles times {sister.factor:g}: {sister.because}"
    return HardwareModel(
        name=sister.name,
        description=sister.description,
        clock_hz=sister.clock_hz,
        flash_bytes=sister.flash_bytes,
        ram_bytes=sister.ram_bytes,
        compute=tuple(_faster(rates, sister.factor, source) for rates in like.compute),
        memories=sister.memories,
        terms=tuple(_cheaper(term, sister) for term in like.terms),
        active_power_w=sister.active_power_w,
    )


def _faster(rates: ComputeRates, factor: float, source: str) -> ComputeRates:
    return replace(
        rates,
        macs_per_cycle=rates.macs_per_cycle and {bits: rounded(rate / factor) for bits, rate in rates.macs_per_cycle.items()},
        values_per_cycle=rates.values_per_cycle and rounded(rates.values_per_cycle / factor),
        source=source,
    )


def _cheaper(term: Term, sister: Sister) -> Term:
    return replace(term, cycles=rounded(term.cycles * sister.factor), source=f"as the rates, from {sister.like}")


def main() -> None:
    """Write the files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else shipped_folder("hw_models")
    for sister in SISTERS:
        sys.stdout.write(f"{write_device_file(make_sister(sister), folder / f'{sister.name}.yaml')}\n")


if __name__ == "__main__":
    main()
