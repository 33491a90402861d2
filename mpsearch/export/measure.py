# SPDX-License-Identifier: Apache-2.0
"""Measures layers one by one, whatever runs them, and keeps what was measured when it stops early."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from mpsearch.errors import ExportError, RecordError
from mpsearch.export.measure_wire import LayerRequest
from mpsearch.records import MeasuredLayer, MeasuredTable
from mpsearch.storage import load_record, save_record

SAVE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one request.

    Attributes:
        request: The layer.
        row: What it took; None if it was left out.
        reason: Why it was.
    """

    request: LayerRequest
    row: MeasuredLayer | None
    reason: str = ""


class Meter(Protocol):
    """Something that measures layers."""

    @property
    def method(self) -> str:
        """How it measures, as in `MeasuredTable.method`."""

    @property
    def clock_hz(self) -> float | None:
        """Core clock, as in `MeasuredTable.clock_hz`."""

    def measure(self, requests: Sequence[LayerRequest]) -> Iterator[Outcome]:
        """Measure layers in order; each outcome comes as soon as it is known.

        Raises:
            ExportError: Something broke; what was yielded before is right.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A table, and what is missing from it.

    Attributes:
        table: What was measured.
        left_out: Layers that could not be, each with the reason.
    """

    table: MeasuredTable
    left_out: tuple[tuple[LayerRequest, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredFile:
    """Where a table is kept.

    Attributes:
        path: The JSON file; None if it is kept nowhere.
        resume: Whether rows that are there already are taken over.
    """

    path: Path | None = None
    resume: bool = False


def measure_layers(
    meter: Meter,
    requests: Sequence[LayerRequest],
    empty: MeasuredTable,
    file: MeasuredFile,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Measurement:
    """Measure layers; rows are written to the file as they come.

    Args:
        meter: What measures them.
        requests: The layers.
        empty: The table without rows: target, method, clock.
        file: Where it is kept.
        progress: Told "measure", how many layers are done, and of how many.

    Raises:
        ExportError: Something broke; rows measured so far are in the file.
        RecordError: The file cannot be written, or holds a table of something else.
    """
    rows = list(_rows_before(empty, file))
    known = {(row.shape, row.precision) for row in rows}
    missing = [request for request in dict.fromkeys(requests) if (request.shape, request.precision) not in known]
    left_out: list[tuple[LayerRequest, str]] = []
    total, saved_at, unsaved = len(rows) + len(missing), time.monotonic(), 0

    def save() -> None:
        nonlocal saved_at, unsaved
        if file.path is not None and unsaved:
            save_record(replace(empty, rows=tuple(rows)), file.path)
            saved_at, unsaved = time.monotonic(), 0

    try:
        for outcome in meter.measure(missing):
            if outcome.row is None:
                left_out.append((outcome.request, outcome.reason))
            else:
                rows.append(outcome.row)
                unsaved += 1
            progress("measure", len(rows) + len(left_out), total)
            if time.monotonic() - saved_at > SAVE_EVERY_S:
                save()
    except ExportError as error:
        kept = f"{len(rows)} rows measured so far are in {file.path}: go on with --resume" if file.path and rows else ""
        raise ExportError(error.message, "; ".join(part for part in (error.hint.rstrip("."), kept) if part) + ".") from error
    finally:
        save()
    return Measurement(table=replace(empty, rows=tuple(rows)), left_out=tuple(left_out))


def _rows_before(empty: MeasuredTable, file: MeasuredFile) -> tuple[MeasuredLayer, ...]:
    """Return the rows that a table has already.

    Raises:
        RecordError: It was measured elsewhere, or otherwise.
    """
    if not file.resume or file.path is None or not file.path.exists():
        return ()
    before = load_record(file.path, MeasuredTable)
    if replace(before, rows=()) != empty:
        raise RecordError(
            f"{file.path} holds what was measured on {before.target} ({before.method}), not on {empty.target} ({empty.method}).",
            "name another file, or leave out --resume to start anew.",
        )
    return before.rows
