# SPDX-License-Identifier: Apache-2.0
"""A device known by what its layers took, one by one: a measured table that stands wherever a hardware model does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mpsearch.catalog import ComputeRates, HardwareModel, Memory, Quantity, load_hardware_model
from mpsearch.errors import HardwareModelError
from mpsearch.records import OPERATOR_CLASSES, WEIGHTED_CLASSES, LayerShape, MeasuredLayer, MeasuredTable, Widths
from mpsearch.storage import load_record

UNLIMITED_BYTES = 2.0**40
"""Capacity where neither the table nor a device says one."""

NANOSECOND_HZ = 1e9
"""Clock where only seconds were measured and nothing gives one: a cycle is then a nanosecond."""

MeasuredRows = Mapping[tuple[LayerShape, Widths | None], MeasuredLayer]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDevice(HardwareModel):
    """A hardware model whose layers take what was measured, and that has no others.

    Attributes:
        rows: Every (shape, precision) that was measured.
        remedy: The command that measures more.
    """

    rows: MeasuredRows
    remedy: str

    def has(self, shape: LayerShape, precision: Widths | None) -> bool:
        """Return whether a layer was measured."""
        return shape.operator == "view" or (shape, precision) in self.rows

    def row(self, layer: str, shape: LayerShape, precision: Widths | None) -> MeasuredLayer:
        """Return what a layer took.

        Args:
            layer: Its name, for the message.
            shape: What it computes on.
            precision: None without weights.

        Raises:
            HardwareModelError: It was not measured.
        """
        if (shape, precision) not in self.rows:
            raise self.unmeasured(layer, shape, () if precision is None else (precision,))
        return self.rows[shape, precision]

    def unmeasured(self, layer: str, shape: LayerShape, precisions: Sequence[Widths]) -> HardwareModelError:
        """Return the error that says that a layer was measured at none of some precisions, and how it can be; none without weights."""
        listed = ",".join(map(str, precisions))
        return HardwareModelError(
            f"Layer '{layer}': the table of '{self.name}' does not have {shape}" + (f" at {listed.replace(',', ', ')}." if listed else "."),
            f"measure it: {self.remedy}" + (f" --bits {listed}" if listed else ""),
        )

    def cycles(self, row: MeasuredLayer) -> float:
        """Return what stands for a row's cycles: they themselves, else its seconds times the clock, else its instructions."""
        return cycles_of(row, self.clock_hz.value)


def cycles_of(row: MeasuredLayer, clock_hz: float) -> float:
    """Return what stands for a row's cycles, see `MeasuredDevice.cycles`."""
    if row.cycles is not None:
        return row.cycles
    return row.seconds * clock_hz if row.seconds is not None else float(row.instructions or 0)


def load_target(name_or_path: str | Path) -> HardwareModel:
    """Load a hardware model by name or by path, or a measured table by the path of its JSON.

    Raises:
        HardwareModelError: The name is unknown, the file is wrong, or the table does not say enough.
        RecordError: The JSON is missing, damaged, or no measured table.
    """
    if str(name_or_path).endswith(".json"):
        path = Path(name_or_path).expanduser()
        return measured_device(load_record(path, MeasuredTable), path)
    return load_hardware_model(name_or_path)


def measured_device(table: MeasuredTable, path: Path) -> MeasuredDevice:
    """Return the device that a table describes.

    Its clock, memories, capacities and power are those of the device that the table names as `like`. Without one, capacities are unlimited and the
    clock is the table's own.

    Args:
        table: What was measured.
        path: Where it is kept, for messages.

    Raises:
        HardwareModelError: The table is empty, holds a layer twice or without a number, or nothing gives a clock.
    """
    rows = _rows_of(table, path)
    like = None if table.like is None else load_hardware_model(table.like)
    clock = _clock(table, like, path)
    cycles = {key: cycles_of(row, clock.value) for key, row in rows.items()}
    unlimited = Quantity(value=UNLIMITED_BYTES, source=f"{path} names no device that it is like, so that nothing limits it")
    options = "" if table.like in (None, table.target) else f" --like {table.like}"
    return MeasuredDevice(
        name=table.target,
        description=f"Layers as they were measured on {table.target}: {table.method}{_stands_for(table)}.",
        clock_hz=clock,
        flash_bytes=like.flash_bytes if like else unlimited,
        ram_bytes=like.ram_bytes if like else unlimited,
        compute=_fastest(rows, cycles, table.method),
        memories=_memories(rows, cycles, like, table.method),
        core=table.target,
        active_power_w=like.active_power_w if like else None,
        rows=rows,
        remedy=f"mpsearch measure WORKLOAD --on {table.target} --out {path} --resume{options}",
    )


def _rows_of(table: MeasuredTable, path: Path) -> MeasuredRows:
    if not table.rows:
        raise HardwareModelError(f"{path} holds no measured layer, wanted at least one.", "run mpsearch measure again.")
    rows: dict[tuple[LayerShape, Widths | None], MeasuredLayer] = {}
    for row in table.rows:
        what = f"{path}: {row.shape} at {row.precision or 'a8'}"
        if (row.shape, row.precision) in rows:
            raise HardwareModelError(f"{what} is there twice, wanted once.", "keep one of the rows.")
        if row.shape.operator not in OPERATOR_CLASSES:
            raise HardwareModelError(f"{what}: no such operator class.", f"wanted one of {', '.join(OPERATOR_CLASSES)}.")
        if not 0 < cycles_of(row, 1.0) < math.inf:
            raise HardwareModelError(f"{what} has no cycles, seconds or instructions above 0.", "measure it again.")
        if _unit(row) != _unit(table.rows[0]):
            raise HardwareModelError(
                f"{what} was measured in {_unit(row)}, the first row in {_unit(table.rows[0])}, wanted one unit.", "measure all in one way."
            )
        rows[row.shape, row.precision] = row
    return rows


def _unit(row: MeasuredLayer) -> str:
    """Return what stands for a row's cycles, see `cycles_of`."""
    return "cycles" if row.cycles is not None else "seconds" if row.seconds is not None else "instructions"


def _clock(table: MeasuredTable, like: HardwareModel | None, path: Path) -> Quantity:
    if table.clock_hz is not None and not 0 < table.clock_hz < math.inf:
        raise HardwareModelError(f"{path}: clock_hz is {table.clock_hz:g}, wanted more than 0.", "measure again.")
    if table.clock_hz:
        return Quantity(value=table.clock_hz, source=f"{path}, as the program that measured said")
    if like is not None:
        return like.clock_hz
    if all(row.seconds for row in table.rows):
        return Quantity(value=NANOSECOND_HZ, source="no clock: a cycle is a nanosecond of what was measured")
    raise HardwareModelError(
        f"{path}: the table of {table.target} counts {_counted(table)}, and nothing gives a clock, so there is no latency.",
        "name the device that it is like when you measure: --like NAME.",
    )


def _counted(table: MeasuredTable) -> str:
    return "cycles" if all(row.cycles is not None for row in table.rows) else "instructions"


def _stands_for(table: MeasuredTable) -> str:
    counted = all(row.cycles is None and row.seconds is None for row in table.rows)
    return "; instructions stand for cycles, one for each" if counted else ""


def _fastest(rows: MeasuredRows, cycles: Mapping[tuple[LayerShape, Widths | None], float], method: str) -> tuple[ComputeRates, ...]:
    """Return the best rate of each operator at each precision: the roofs under which the measured layers lie."""
    best: dict[tuple[str, int], dict[int, list[float]]] = {}
    for (shape, precision), row in rows.items():
        weight, activation = (0, 8) if precision is None else (precision.weight_bits, precision.activation_bits)
        rate = row.shape.steps / cycles[shape, precision]
        best.setdefault((shape.operator, activation), {}).setdefault(weight, []).append(rate)
    compute = []
    for (operator, activation), by_bits in sorted(best.items(), key=lambda item: (OPERATOR_CLASSES.index(item[0][0]), item[0][1])):
        fastest = {weight: max(found) for weight, found in sorted(by_bits.items())}
        compute.append(
            ComputeRates(
                operators=(operator,),  # type: ignore[arg-type]
                activation_bits=activation,
                macs_per_cycle=fastest if operator in WEIGHTED_CLASSES else None,
                values_per_cycle=None if operator in WEIGHTED_CLASSES else fastest[0],
                source=f"the fastest of {sum(map(len, by_bits.values()))} measured layers: {method}",
            )
        )
    return tuple(compute)


def _memories(
    rows: MeasuredRows, cycles: Mapping[tuple[LayerShape, Widths | None], float], like: HardwareModel | None, method: str
) -> tuple[Memory, ...]:
    """Return the memories of the device that a table is like, without energies, for a table tells none; else one as fast as any layer needed it."""
    if like is not None:
        return tuple(replace(memory, picojoules_per_byte=None) for memory in like.memories)
    fastest = max(_moved_bytes(shape, precision) / cycles[shape, precision] for shape, precision in rows)
    return (
        Memory(
            name="memory",
            holds=("weights", "activations"),
            size_bytes=Quantity(value=UNLIMITED_BYTES, source="no device that the table is like: nothing limits it"),
            bytes_per_cycle=Quantity(value=fastest, source=f"the most that a measured layer moved, each byte counted once: {method}"),
        ),
    )


def _moved_bytes(shape: LayerShape, precision: Widths | None) -> float:
    weight, activation = (0, 8) if precision is None else (precision.weight_bits, precision.activation_bits)
    return (shape.weights * weight + (shape.input_values * shape.operands + shape.output_values) * activation) / 8
