# SPDX-License-Identifier: Apache-2.0
"""Devices with round numbers, for rooflines that are worked out by hand."""

from __future__ import annotations

from dataclasses import replace

from mpsearch.catalog import ComputeRates, HardwareModel, Memory, Quantity, Term
from mpsearch.records import OPERATOR_CLASSES, WEIGHTED_CLASSES

BY_HAND = "worked out by hand"


def quantity(value: float) -> Quantity:
    """Return a number of a device."""
    return Quantity(value=value, source=BY_HAND)


def memory(name: str, *holds: str, size: float = 1e9, rate: float = 1e9, picojoules: float | None = None, buffers: bool = False) -> Memory:
    """Return a memory, by default one that is never too small or too slow."""
    return Memory(
        name=name,
        holds=holds,  # type: ignore[arg-type]
        buffers=buffers,
        size_bytes=quantity(size),
        bytes_per_cycle=quantity(rate),
        picojoules_per_byte=None if picojoules is None else quantity(picojoules),
    )


def macs(operator: str, rates: dict[int, float], activation_bits: int = 8, **numbers: object) -> ComputeRates:
    """Return the rates of an operator with weights."""
    return ComputeRates(operators=(operator,), activation_bits=activation_bits, macs_per_cycle=rates, source=BY_HAND, **numbers)  # type: ignore[arg-type]


def values(*operators: str, rate: float = 1.0, **numbers: object) -> ComputeRates:
    """Return the rate of operators without weights."""
    return ComputeRates(operators=operators, activation_bits=8, values_per_cycle=rate, source=BY_HAND, **numbers)  # type: ignore[arg-type]


def term(per: str, cycles: float, **limits: object) -> Term:
    """Return a term."""
    return Term(per=per, cycles=cycles, source=BY_HAND, **limits)  # type: ignore[arg-type]


def device(*compute: ComputeRates, **parts: object) -> HardwareModel:
    """Return a device with these rates, by default one MAC a cycle at 2, 4 and 8 bits, one value a cycle, and memories that never bind."""
    weighted = tuple(macs(operator, dict.fromkeys((2, 4, 8), 1.0)) for operator in WEIGHTED_CLASSES)
    others = values(*(operator for operator in OPERATOR_CLASSES if operator not in WEIGHTED_CLASSES))
    hardware = HardwareModel(
        name="by-hand",
        description=BY_HAND,
        clock_hz=quantity(1e6),
        flash_bytes=quantity(1e9),
        ram_bytes=quantity(1e9),
        compute=compute or (*weighted, others),
        memories=(memory("flash", "weights"), memory("sram", "activations")),
    )
    return replace(hardware, **parts)  # type: ignore[arg-type]
