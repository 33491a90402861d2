# SPDX-License-Identifier: Apache-2.0
"""A hardware model from a measured table: non-negative least squares on what layers are counted by, with cross-validated errors.

Every operator class is fitted by itself: cycles (and instructions, where they were counted) = steps x one coefficient for each weight width + the
counts of COLUMNS x coefficients that widths share as SHARED says. What is minimised is the sum of the squares of the relative errors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from mpsearch.catalog import Accuracy, ComputeRates, Countable, HardwareModel, Term, list_names, load_hardware_model
from mpsearch.cost.counted import COUNTED
from mpsearch.errors import HardwareModelError
from mpsearch.records import OPERATOR_CLASSES, WEIGHTED_CLASSES, LayerShape, MeasuredLayer, MeasuredTable

COLUMNS: Mapping[str, tuple[Countable, ...]] = {
    "conv2d": (
        "call",
        "output",
        "pixel",
        "laid_value",
        "gathered_value",
        "gathered_run",
        "idle_step_2",
        "idle_step_3",
        "idle_step_4",
        "ragged_output",
        "filled_step_8",
        "filled_step_16",
    ),
    "dense": (
        "call",
        "output",
        "channel",
        "pixel",
        "laid_value",
        "laid_vector",
        "idle_step_2",
        "idle_step_3",
        "idle_step_4",
        "ragged_output",
        "filled_step_8",
        "filled_step_16",
        "ragged_channel_step",
        "channel_tile",
    ),
    "depthwise": (
        "call",
        "output",
        "block_4",
        "block_4_row",
        "block_4_line",
        "block_16_line",
        "block_16_tap",
        "block_16_pixel",
        "block_16_step",
        "strided_output",
        "odd_column_output",
        "odd_row_output",
        "other_kernel_row",
        "other_kernel_step",
        "other_kernel_odd_step",
        "other_kernel_pixel",
        "other_kernel_run",
    ),
    "add": ("call", "output_pixel"),
    "mul": ("call", "output_pixel"),
    "max_pool": ("call", "output", "output_pixel", "window_row"),
    "avg_pool": ("call", "output", "output_pixel", "window_row"),
    "mean": ("call", "output", "output_pixel", "input_pixel"),
    "copy": ("call", "copied_run", "transposed_value"),
    "lookup": ("call",),
}
"""What an operator is paid for besides its steps."""

SHARED: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "conv2d": ((2, 4), (3, 5, 6, 7), (8,)),
    "dense": ((2, 4), (3, 5, 6, 7), (8,)),
    "depthwise": ((2, 3, 4, 5, 6), (7,), (8,)),
}
"""Weight widths that share the coefficients of COLUMNS: those of one plane of bits, of several, bytes. Depthwise kernels differ by how many products
add up in 16 bits."""

FOLDS = 5
LEAST_STEP = 1e-4
"""Smallest cost of a step: rates are finite."""
NEGLIGIBLE = 1e-3
"""A term that makes less than this part of every layer is left out."""
DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FitError:
    """How far predictions of layers are off whose shape took no part in the fit, as relative errors.

    Attributes:
        operator: Operator class; "all" for every row.
        activation_bits: Of these rows; None for every width.
        what: "cycles" or "instructions".
        layers: Rows that were predicted.
        shapes: Distinct shapes among them.
        median: Half of the rows were nearer.
        worst_tenth: A tenth of the rows were further off.
    """

    operator: str
    activation_bits: int | None
    what: str
    layers: int
    shapes: int
    median: float
    worst_tenth: float

    @property
    def title(self) -> str:
        """What was predicted, in a word or two."""
        return self.operator if self.activation_bits in (None, 8) else f"{self.operator} a{self.activation_bits}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a table gives.

    Attributes:
        hardware: The device; its rates and terms are the table's, all else is that of the device it is like.
        errors: Cross-validated; each operator by itself, then all.
    """

    hardware: HardwareModel
    errors: tuple[FitError, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Cycles of the device for each count of the table.

    Attributes:
        cycles_per_count: For each of the table's cycles; for each of its instructions where it has no cycles.
        source: Where the factor comes from.
    """

    cycles_per_count: float
    source: str


def fit_device(table: MeasuredTable, like: HardwareModel, name: str, scale: Scale | None = None) -> Fit:
    """Return the device whose rates and terms fit a table best.

    Args:
        table: What layers took.
        like: The device's clock, memories, power and name of its core: a table does not tell them.
        name: Of the new device.
        scale: Factor on the table's counts; None for cycles as they were measured.

    Raises:
        HardwareModelError: The table is empty, measured nothing that gives cycles, holds an operator or a number that makes no sense, or one layer
            twice.
    """
    rows = _checked(table)
    cycles = cycle_counts(table, like, scale)
    counts = {"cycles": cycles}
    if all(row.instructions for row in rows):
        counts["instructions"] = np.array([row.instructions for row in rows], dtype=np.float64)
    compute: list[ComputeRates] = []
    terms: list[Term] = []
    errors: list[FitError] = []
    pooled: dict[str, list[npt.NDArray[np.float64]]] = {what: [] for what in counts}
    for operator, bits in _classes(rows):
        chosen = np.array([row.shape.operator == operator and _activation_bits(row) == bits for row in rows])
        own = [row for row, is_own in zip(rows, chosen, strict=True) if is_own]
        columns = columns_of(operator, own)
        matrix = count_matrix(own, columns)
        found = {what: solve(matrix, values[chosen]) for what, values in counts.items()}
        source = _source(table, own, scale)
        compute.append(_rates(operator, bits, columns, found, source))
        terms += _terms(operator, bits, columns, matrix, found, {what: values[chosen] for what, values in counts.items()})
        for what, values in counts.items():
            off = cross_validated(own, matrix, values[chosen])
            if off is not None:
                errors.append(_error(operator, bits, what, own, off))
                pooled[what].append(off)
    for what, parts in pooled.items():
        if parts:
            errors.append(_error("all", None, what, rows, np.concatenate(parts)))
    hardware = replace(
        like,
        name=name,
        description=_description(table, like),
        compute=tuple(compute),
        terms=tuple(terms),
        accuracy=_accuracy(table, errors, scale),
    )
    return Fit(hardware=hardware, errors=tuple(errors))


def find_like(table: MeasuredTable, name: str | None) -> HardwareModel:
    """Return the device whose clock, memories and power a fitted one takes over.

    Args:
        table: What layers took.
        name: Of the device, or its file; None for the shipped device of the table's target: its core, or its name.

    Raises:
        HardwareModelError: There is no such device, or none is shipped for the table's target.
    """
    if name is not None:
        return load_hardware_model(name)
    shipped = [load_hardware_model(name) for name in list_names("hw_models")]
    for hardware in shipped:
        if table.target in (hardware.core, hardware.name):
            return hardware
    raise HardwareModelError(
        f"A table says nothing of clock, memories and power, and no shipped device has the core '{table.target}'.",
        f"name the one that yours is like, or a file with these numbers: --like cortex-m4.",
    )


def cycle_counts(table: MeasuredTable, like: HardwareModel, scale: Scale | None) -> npt.NDArray[np.float64]:
    """Return the cycles of every row: those of the table, else its seconds times the clock, else its instructions, by the scale.

    Raises:
        HardwareModelError: Only instructions were counted and nothing says how many cycles one takes.
    """
    factor = 1.0 if scale is None else scale.cycles_per_count
    if all(row.cycles for row in table.rows):
        return np.array([row.cycles for row in table.rows], dtype=np.float64) * factor
    if all(row.seconds for row in table.rows):
        return np.array([row.seconds for row in table.rows], dtype=np.float64) * (table.clock_hz or like.clock_hz.value) * factor
    if not all(row.instructions for row in table.rows):
        raise HardwareModelError(
            f"The table of {table.target} has rows without cycles, seconds and instructions, wanted one of them in every row.", "measure again."
        )
    if scale is None:
        raise HardwareModelError(
            f"The table of {table.target} counts instructions only, which says nothing of cycles.",
            "say how many cycles one takes, and where that comes from: --cycles-per-count 1.3 --because 'a data sheet'.",
        )
    return np.array([row.instructions for row in table.rows], dtype=np.float64) * factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One unknown: what it is paid for, at which weight bits; None for operators without weights."""

    per: Countable
    weight_bits: tuple[int, ...] | None = None


def columns_of(operator: str, rows: Sequence[MeasuredLayer]) -> tuple[Column, ...]:
    """Return the unknowns of an operator: a step at each weight width that the rows have, then what widths share."""
    if operator not in WEIGHTED_CLASSES:
        return tuple(Column(per=per) for per in ("step", *COLUMNS[operator]))
    present = {_weight_bits(row) for row in rows}
    steps = [Column(per="step", weight_bits=(bits,)) for bits in sorted(present)]
    known = {bits for group in SHARED[operator] for bits in group}
    groups = [*SHARED[operator], tuple(sorted(present - known))]
    shared = [tuple(bits for bits in group if bits in present) for group in groups]
    return (*steps, *(Column(per=per, weight_bits=group) for per in COLUMNS[operator] for group in shared if group))


def count_matrix(rows: Sequence[MeasuredLayer], columns: Sequence[Column]) -> npt.NDArray[np.float64]:
    """Return float64 (rows, columns): how often each row pays for each column."""
    counts = {shape: {column.per: COUNTED[column.per](shape) for column in columns} for shape in {row.shape for row in rows}}
    pays = [[column.weight_bits is None or _weight_bits(row) in column.weight_bits for column in columns] for row in rows]
    values = [[counts[row.shape][column.per] for column in columns] for row in rows]
    return np.where(np.array(pays), np.array(values, dtype=np.float64), 0.0)


def solve(matrix: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the coefficients, at least 0, with the least sum of squares of relative errors.

    Args:
        matrix: (rows, columns), as from `count_matrix`.
        values: (rows,), measured, > 0.
    """
    relative = matrix / values[:, None]
    size = relative.max(axis=0)
    size[size == 0] = 1.0
    found, _ = nnls(relative / size, np.ones(len(values)), maxiter=100 * matrix.shape[1] + 1000)
    coefficients: npt.NDArray[np.float64] = found / size
    return coefficients


def folds_of(rows: Sequence[MeasuredLayer]) -> npt.NDArray[np.int64]:
    """Return int64 (rows,): the fold of every row. Rows of one shape, whatever their widths, share a fold."""
    shapes: dict[LayerShape, int] = {}
    for row in rows:
        shapes.setdefault(row.shape, len(shapes))
    return np.array([shapes[row.shape] % FOLDS for row in rows], dtype=np.int64)


def cross_validated(
    rows: Sequence[MeasuredLayer], matrix: npt.NDArray[np.float64], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64] | None:
    """Return float64 (rows,): the relative error of every row, predicted by a fit to the rows of other folds; None if there is but one shape."""
    folds = folds_of(rows)
    if folds.max() == 0:
        return None
    off = np.zeros(len(values))
    for fold in range(folds.max() + 1):
        left_out = folds == fold
        off[left_out] = matrix[left_out] @ solve(matrix[~left_out], values[~left_out]) / values[left_out] - 1
    return off


def _checked(table: MeasuredTable) -> tuple[MeasuredLayer, ...]:
    """Return the rows.

    Raises:
        HardwareModelError: See `fit_device`.
    """
    if not table.rows:
        raise HardwareModelError(f"The table of {table.target} is empty, wanted at least one measured layer.", "measure some: mpsearch measure.")
    seen = set()
    for row in table.rows:
        what = f"The table of {table.target}: {row.shape.operator} at {row.precision or 'a8'}"
        if row.shape.operator not in OPERATOR_CLASSES:
            raise HardwareModelError(f"{what}: no such operator class.", f"wanted one of {', '.join(OPERATOR_CLASSES)}.")
        if row.shape.has_weights != (row.precision is not None):
            raise HardwareModelError(f"{what}: a precision is for operators with weights, and only for them.", "measure again.")
        if (row.shape, row.precision) in seen:
            raise HardwareModelError(f"{what}: the shape {row.shape.input} to {row.shape.output} is there twice.", "keep one of the rows.")
        seen.add((row.shape, row.precision))
        for number in (row.cycles, row.instructions, row.seconds):
            if number is not None and not (math.isfinite(number) and number > 0):
                raise HardwareModelError(f"{what}: it took {number}, wanted a number above 0.", "measure again.")
    return table.rows


def _weight_bits(row: MeasuredLayer) -> int:
    return row.precision.weight_bits if row.precision else 0


def _activation_bits(row: MeasuredLayer) -> int:
    return row.precision.activation_bits if row.precision else 8


def _classes(rows: Sequence[MeasuredLayer]) -> list[tuple[str, int]]:
    """Return the (operator, activation bits) that the rows have, in the order of OPERATOR_CLASSES."""
    present = {(row.shape.operator, _activation_bits(row)) for row in rows}
    return [(operator, bits) for operator in OPERATOR_CLASSES for bits in sorted({bits for name, bits in present if name == operator})]


def rounded(value: float) -> float:
    """Return a number of DIGITS digits."""
    return float(f"{value:.{DIGITS}g}")


def _rates(operator: str, bits: int, columns: Sequence[Column], found: Mapping[str, npt.NDArray[np.float64]], source: str) -> ComputeRates:
    steps = [index for index, column in enumerate(columns) if column.per == "step"]
    rates = {what: {columns[i].weight_bits: rounded(1 / max(values[i], LEAST_STEP)) for i in steps} for what, values in found.items()}
    if operator not in WEIGHTED_CLASSES:
        return ComputeRates(
            operators=(operator,),  # type: ignore[arg-type]
            activation_bits=bits,
            values_per_cycle=rates["cycles"][None],
            values_per_instruction=rates["instructions"][None] if "instructions" in rates else None,
            source=source,
        )
    tables = {what: {widths[0]: rate for widths, rate in values.items() if widths} for what, values in rates.items()}
    return ComputeRates(
        operators=(operator,),  # type: ignore[arg-type]
        activation_bits=bits,
        macs_per_cycle=tables["cycles"],
        macs_per_instruction=tables.get("instructions"),
        source=source,
    )


def _terms(
    operator: str,
    bits: int,
    columns: Sequence[Column],
    matrix: npt.NDArray[np.float64],
    found: Mapping[str, npt.NDArray[np.float64]],
    counts: Mapping[str, npt.NDArray[np.float64]],
) -> list[Term]:
    """Return the terms that make more than a negligible part of some layer."""
    terms = []
    for index, column in enumerate(columns):
        shares = [(matrix[:, index] * values[index] / counts[what]).max() for what, values in found.items()]
        if column.per == "step" or max(shares) < NEGLIGIBLE:
            continue
        terms.append(
            Term(
                per=column.per,
                cycles=rounded(found["cycles"][index]),
                instructions=rounded(found["instructions"][index]) if "instructions" in found else None,
                operators=(operator,),  # type: ignore[arg-type]
                weight_bits=column.weight_bits,
                activation_bits=(bits,),
                source=f"fitted with the rates of {operator}",
            )
        )
    return terms


def _error(operator: str, bits: int | None, what: str, rows: Sequence[MeasuredLayer], off: npt.NDArray[np.float64]) -> FitError:
    size = np.abs(off)
    return FitError(
        operator=operator,
        activation_bits=bits,
        what=what,
        layers=len(off),
        shapes=len({row.shape for row in rows}),
        median=float(np.median(size)),
        worst_tenth=float(np.quantile(size, 0.9)),
    )


def _accuracy(table: MeasuredTable, errors: Sequence[FitError], scale: Scale | None) -> Accuracy | None:
    """Return the error of cycles over all operators, with that of instructions in words; None where there was nothing to validate with."""
    overall = {error.what: error for error in errors if error.operator == "all"}
    if not overall:
        return None
    cycles = overall["cycles"]
    texts = [f"cycles of {cycles.layers} rows of the table of {table.target} ({table.method})"]
    if scale is not None:
        texts.append(f"times {scale.cycles_per_count:g}, {scale.source}")
    texts.append(f"each predicted by a fit to the other shapes ({FOLDS}-fold cross-validation, grouped by shape)")
    if "instructions" in overall:
        counted = overall["instructions"]
        texts.append(f"instructions likewise: median {counted.median:.3f}, worst tenth {counted.worst_tenth:.3f}")
    return Accuracy(median=rounded(cycles.median), worst_tenth=rounded(cycles.worst_tenth), source="; ".join(texts))


def _source(table: MeasuredTable, rows: Sequence[MeasuredLayer], scale: Scale | None) -> str:
    shapes = len({row.shape for row in rows})
    factor = "" if scale is None else f"; cycles: times {scale.cycles_per_count:g}, {scale.source}"
    return f"non-negative least squares on {len(rows)} rows ({shapes} shapes) of the table of {table.target}: {table.method}{factor}"


def _description(table: MeasuredTable, like: HardwareModel) -> str:
    if table.target in (like.name, like.core):
        return like.description
    return f"Fitted to what layers took on {table.target} ({table.method}); clock, memories and power are those of {like.name}."
