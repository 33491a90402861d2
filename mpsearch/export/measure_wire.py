# SPDX-License-Identifier: Apache-2.0
"""The line protocol between mpsearch and a program that measures layers, as docs/measure-protocol.md describes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mpsearch.errors import ExportError
from mpsearch.records import LayerShape, MeasuredLayer, Precision

PROTOCOL = 1
Unit = Literal["cycles", "nanoseconds", "instructions", "nothing"]
UNITS: tuple[Unit, ...] = get_args(Unit)

LARGEST_COUNT = 1 << 63
"""Counts are less."""

LEFT_OUT = {"unsupported": "the program has no kernel for it", "memory": "it does not fit the program's memory"}
"""Reasons for which a layer is left out of a table; after any other the measurement stops."""

_REASONS = {
    "request": "the program cannot read the request",
    "refused": "the kernel refused its parameters",
    "differs": "the kernel's output is not that of the reference",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRequest:
    """One layer to measure.

    Attributes:
        shape: What it computes on.
        precision: None without weights.
    """

    shape: LayerShape
    precision: Precision | None

    def __str__(self) -> str:
        """Return shape and precision."""
        return f"{self.shape}, {self.precision}" if self.precision else str(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a program says about itself.

    Attributes:
        unit: Of its counts.
        clock_hz: Of the core; None where it is not known.
        description: Board, compiler and options.
    """

    unit: Unit
    clock_hz: float | None
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a program answers for one layer: a count, or why there is none."""

    count: int = 0
    reason: str = ""


def request_line(number: int, request: LayerRequest) -> str:
    """Return the line that asks for a layer.

    Args:
        number: Of the request, to tell answers apart.
        request: The layer; its batch is 1, its precision has no groups.

    Raises:
        ExportError: The protocol cannot say it.
    """
    shape, precision = request.shape, request.precision
    if shape.batch != 1 or (precision is not None and precision.group_size is not None) or shape.has_weights != (precision is not None):
        raise ExportError(
            f"{request} cannot be measured: batch {shape.batch}, precision {precision}.",
            "wanted batch 1, a precision for layers with weights and only for them, and no groups of weights.",
        )
    bits = (0, 8) if precision is None else (precision.weight_bits, precision.activation_bits)
    window = (*shape.kernel, *shape.stride, *shape.dilation, *shape.padding)
    fields = (*shape.input, *shape.output, *window, shape.groups, shape.operands, *bits)
    return f"layer {number} {shape.operator} {' '.join(map(str, fields))}"


def read_hello(line: str) -> Hello | None:
    """Return what a program says about itself; None if the line is no greeting, such as what a board prints when it starts.

    Raises:
        ExportError: It speaks another version, or counts in a unit that is not known.
    """
    words = line.split(maxsplit=4)
    if len(words) < 4 or words[0] != "hello" or not words[1].isdecimal() or not words[3].isdecimal():
        return None
    if int(words[1]) != PROTOCOL:
        raise ExportError(
            f"The program speaks version {words[1]} of the protocol, wanted {PROTOCOL}.", "build it with this mpsearch's kernels/measure."
        )
    unit = next((unit for unit in UNITS if unit == words[2]), None)
    if unit is None:
        raise ExportError(f"The program counts in '{words[2]}', wanted one of {', '.join(UNITS)}.")
    clock = int(words[3])
    return Hello(unit=unit, clock_hz=float(clock) if clock else None, description=words[4] if len(words) > 4 else "")


def read_answer(line: str, number: int) -> Answer:
    """Return what a program answers.

    Args:
        line: The line.
        number: Of the request that was asked last.

    Raises:
        ExportError: It is no answer, or one to another request.
    """
    words = line.split()
    if len(words) >= 3 and words[1] == str(number):
        if words[0] == "ok" and len(words) == 3 and words[2].isascii() and words[2].isdecimal():
            return Answer(count=int(words[2]))
        if words[0] == "error":
            return Answer(reason=words[2])
    raise ExportError(
        f"The program answered {line[:100]!r}, wanted 'ok {number} <count>' or 'error {number} <reason>'.", "see docs/measure-protocol.md."
    )


def check_reason(request: LayerRequest, reason: str) -> str:
    """Return why a layer is left out.

    Raises:
        ExportError: It should not have failed.
    """
    if reason in LEFT_OUT:
        return LEFT_OUT[reason]
    raise ExportError(f"{request}: {_REASONS.get(reason, f'the program answered error {reason}')}.", "see docs/measure-protocol.md.")


def measured_layer(request: LayerRequest, unit: Unit, count: int) -> MeasuredLayer:
    """Return a row of the table.

    Raises:
        ExportError: The count makes no sense.
    """
    if count < 1:
        raise ExportError(f"{request}: the program counted {count} {unit}, wanted at least 1.", "is its counter running?")
    if count >= LARGEST_COUNT:
        raise ExportError(f"{request}: the program counted 2^63 {unit} or more, wanted less.", "did its counter wrap?")
    return MeasuredLayer(
        shape=request.shape,
        precision=request.precision,
        cycles=float(count) if unit == "cycles" else None,
        instructions=count if unit == "instructions" else None,
        seconds=count / 1e9 if unit == "nanoseconds" else None,
    )
