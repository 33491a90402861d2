# SPDX-License-Identifier: Apache-2.0
"""What a bundle took on a target, beside what the device's file predicts."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mpsearch.report.quantities import show_quantity

Compared = Literal["", "instructions", "cycles", "seconds"]
"""What prediction and measurement have in common; "" for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMeasurement:
    """One layer, of one inference.

    Attributes:
        layer: Its name.
        op: Its kind, e.g. "Conv2d".
        precision: "" without weights.
        macs: Multiply-accumulates.
        instructions: Counted; None if they were not.
        cycles: Estimated by the emulator's rules, which are those of one core; None where they say nothing.
        predicted_instructions: By the device's file; None if it says nothing about them.
        predicted_cycles: By the device's file; None without one.
        error: Predicted over measured less 1, of what is compared; None where either is unknown, or nothing was executed.
    """

    layer: str
    op: str
    precision: str
    macs: int
    instructions: int | None = None
    cycles: int | None = None
    predicted_instructions: float | None = None
    predicted_cycles: float | None = None
    error: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One run of a bundle's self-test on a target.

    Attributes:
        target: Where it ran: "host", or an emulated core.
        bundle_digest: SHA-256 of the bundle's manifest.
        vectors: Test vectors that ran.
        mismatches: Output values that differ from them.
        layers: In execution order.
        instructions: Of one inference; None if they were not counted.
        cycles: Likewise, estimated by the emulator's rules.
        seconds: Of one inference; None where only a chip could tell.
        device: Name of the device's file; "" if there is none.
        device_error: Median relative error of a layer that the file states; None if it states none.
        clock_hz: Of the device; None without one.
        compared: What prediction and measurement have in common.
        predicted_instructions: Of one inference; None if the file says nothing about them.
        predicted_cycles: Likewise; None without a device.
        error_total: Predicted over measured less 1.
        error_cycles: Likewise of the cycles, where the emulator's rules are those of the device's core; else None.
        error_median_layer: Median of the layers' errors, without their signs.
        tools: What compiled it and what ran it, with their versions.
        notes: What the reader should know, e.g. why nothing is predicted.
    """

    target: str
    bundle_digest: str
    vectors: int
    mismatches: int
    layers: tuple[LayerMeasurement, ...]
    instructions: int | None = None
    cycles: int | None = None
    seconds: float | None = None
    device: str = ""
    device_error: float | None = None
    clock_hz: float | None = None
    compared: Compared = ""
    predicted_instructions: float | None = None
    predicted_cycles: float | None = None
    error_total: float | None = None
    error_cycles: float | None = None
    error_median_layer: float | None = None
    tools: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def predicted_latency_s(self) -> float | None:
        """Predicted seconds of one inference; None without a device."""
        return self.predicted_cycles / self.clock_hz if self.predicted_cycles is not None and self.clock_hz else None

    @property
    def latency_from(self) -> Compared:
        """What the measured latency is made of: the clock; else cycles by the rules of the very core; else instructions; "" if it is not known."""
        if self.compared == "seconds":
            return "seconds"
        if self.error_cycles is not None:
            return "cycles"
        return "instructions" if self.compared == "instructions" and self.predicted_instructions else ""

    @property
    def latency_s(self) -> float | None:
        """Seconds of one inference as measured; from instructions, at the predicted cycles of each. None if it is not known."""
        match self.latency_from:
            case "seconds":
                return self.seconds
            case "cycles" if self.cycles is not None and self.clock_hz:
                return self.cycles / self.clock_hz
            case "instructions" if self.predicted_latency_s is not None and self.predicted_instructions and self.instructions is not None:
                return self.predicted_latency_s * self.instructions / self.predicted_instructions
            case _:
                return None

    @property
    def error_latency(self) -> float | None:
        """Predicted over measured latency less 1."""
        return relative_error(self.predicted_latency_s, self.latency_s)

    @property
    def of_total(self) -> tuple[float | None, float | None]:
        """Predicted and measured, of what is compared."""
        match self.compared:
            case "instructions":
                return self.predicted_instructions, self.instructions
            case "cycles":
                return self.predicted_cycles, self.cycles
            case "seconds":
                return self.predicted_latency_s, self.seconds
            case _:
                return None, None

    def of_layer(self, layer: LayerMeasurement) -> tuple[float | None, float | None]:
        """Return predicted and measured of a layer, of what is compared; seconds are not known by layer."""
        if self.compared == "cycles":
            return layer.predicted_cycles, layer.cycles
        return (layer.predicted_instructions, layer.instructions) if self.compared == "instructions" else (None, None)


def relative_error(predicted: float | None, measured: float | None) -> float | None:
    """Return predicted over measured less 1; None where either is unknown, or measured is 0."""
    return predicted / measured - 1 if predicted is not None and measured else None


def median_error(errors: Iterable[float | None]) -> float | None:
    """Return the median of relative errors without their signs; None if none is known."""
    known = [abs(error) for error in errors if error is not None]
    return statistics.median(known) if known else None


def check_latency(budget: float | None, measurement: Measurement) -> str:
    """Return whether what was measured keeps a latency budget, in a sentence; "" without a budget or a latency.

    Args:
        budget: Seconds; None for no limit.
        measurement: Says what an inference took.
    """
    predicted, measured = measurement.predicted_latency_s, measurement.latency_s
    if budget is None or predicted is None or measured is None:
        return ""
    excess = measured / budget - 1
    verdict = "kept" if excess <= 0 else f"exceeded by {excess:.1%}"
    if excess > 0 and measurement.device_error is not None:
        verdict += (
            f", {'within' if excess <= measurement.device_error else 'more than'} the {measurement.device_error:.1%} that {measurement.device} states"
        )
    how = {"seconds": "timed", "cycles": "from the estimated cycles", "instructions": "from the counted instructions at the predicted cycles of each"}
    return (
        f"latency budget {show_quantity(budget, 's')}: predicted {show_quantity(predicted, 's')}, measured {show_quantity(measured, 's')} on "
        f"{measurement.target} ({measured / predicted - 1:+.1%}; {how[measurement.latency_from]}): {verdict}"
    )
