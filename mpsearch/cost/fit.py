# SPDX-License-Identifier: Apache-2.0
"""A hardware model from a measured table, with cross-validated errors: rates and terms by `least_squares`, all else from a device that it is like."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mpsearch.catalog import Accuracy, ComputeRates, HardwareModel, Residual, Term, list_names, load_hardware_model
from mpsearch.cost.least_squares import FOLDS, FloatArray, OperatorRows, folds_of, predict, solve, split_by_operator
from mpsearch.cost.residual import FEATURES, LEAST_SHAPES, ResidualTrees, Trees, features_of, grow_trees
from mpsearch.errors import HardwareModelError
from mpsearch.records import OPERATOR_CLASSES, WEIGHTED_CLASSES, MeasuredLayer, MeasuredTable, digest_of

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
        with_residual: Whether a residual took part.
        layers: Rows that were predicted.
        shapes: Distinct shapes among them.
        median: Half of the rows were nearer.
        worst_tenth: A tenth of the rows were further off.
    """

    operator: str
    activation_bits: int | None
    what: str
    with_residual: bool
    layers: int
    shapes: int
    median: float
    worst_tenth: float

    @property
    def title(self) -> str:
        """Whose prediction it was, in a word or two."""
        return self.operator if self.activation_bits in (None, 8) else f"{self.operator} a{self.activation_bits}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a table gives.

    Attributes:
        hardware: The device; its rates and terms are the table's, all else is that of the device it is like.
        errors: Cross-validated; each operator by itself, then all; without a residual, then with it.
        residual: What is to be saved beside the device's file, under the name that the device gives it; None if none was asked for.
    """

    hardware: HardwareModel
    errors: tuple[FitError, ...]
    residual: ResidualTrees | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Cycles of the device for each count of the table.

    Attributes:
        cycles_per_count: For each of the table's cycles; for each of its instructions where it has no cycles.
        source: Where the factor comes from.
    """

    cycles_per_count: float
    source: str


def fit_device(table: MeasuredTable, like: HardwareModel, name: str, scale: Scale | None = None, residual: bool = False) -> Fit:
    """Return the device whose rates and terms fit a table best.

    Args:
        table: What layers took.
        like: The device's clock, memories, power and name of its core: a table does not tell them.
        name: Of the new device.
        scale: Factor on the table's counts; None for cycles as they were measured.
        residual: Whether to learn what is left over, too.

    Raises:
        HardwareModelError: The table is empty, measured nothing that gives cycles, holds an operator or a number that makes no sense, or one layer
            twice; or XGBoost is missing.
    """
    if like.block_engine is not None:
        raise HardwareModelError(
            f"{like.name} has a block engine, which tells the cycles in place of rates and terms, so that nothing can be fitted.",
            "name another device with --like.",
        )
    rows = _checked(table)
    counts = {"cycles": cycle_counts(table, like, scale)}
    if all(row.instructions for row in rows):
        counts["instructions"] = np.array([row.instructions for row in rows], dtype=np.float64)
    parts = split_by_operator(rows)
    compute: list[ComputeRates] = []
    terms: list[Term] = []
    for part in parts:
        found = {what: solve(part, values[part.index], np.ones(len(part.index), dtype=np.bool_)) for what, values in counts.items()}
        compute.append(_rates(part, found, _source(table, part, scale)))
        terms += _terms(part, found, {what: values[part.index] for what, values in counts.items()})
    errors = cross_validate(rows, parts, counts)
    trees = None
    if residual:
        errors += cross_validate(rows, parts, counts, with_residual=True)
        trees = learn_residual(rows, parts, counts)
    hardware = replace(
        like,
        name=name,
        description=_description(table, like),
        compute=tuple(compute),
        terms=tuple(terms),
        accuracy=_accuracy(table, errors, scale, with_residual=residual),
        residual=_named(table, name, trees),
    )
    return Fit(hardware=hardware, errors=errors, residual=trees)


def cross_validate(
    rows: Sequence[MeasuredLayer], parts: Sequence[OperatorRows], counts: Mapping[str, FloatArray], with_residual: bool = False
) -> tuple[FitError, ...]:
    """Return how far every row is off when it is predicted by a fit to the shapes of other folds: by operator, then all together."""
    folds = folds_of(rows, parts)
    tested = folds >= 0
    off = {what: np.full(len(rows), np.nan) for what in counts}
    for what, values in counts.items():
        for fold in range(FOLDS):
            left_out = folds == fold
            if not left_out.any():
                continue
            predicted = predict(parts, values, ~left_out)
            if with_residual:
                predicted *= _factors(rows, parts, predicted, values, ~left_out)
            off[what][left_out] = (predicted / values - 1)[left_out]
    errors = [_error(rows, part.index, off[what], part, what, with_residual) for part in parts for what in counts if tested[part.index].all()]
    if tested.any():
        errors += [_error(rows, np.flatnonzero(tested), off[what], None, what, with_residual) for what in counts]
    return tuple(errors)


def learn_residual(rows: Sequence[MeasuredLayer], parts: Sequence[OperatorRows], counts: Mapping[str, FloatArray]) -> ResidualTrees | None:
    """Return trees of what a fit to all rows leaves over; None if there is too little of every operator.

    Raises:
        HardwareModelError: XGBoost is missing.
    """
    learned = _learned(rows, parts)
    if not learned:
        return None
    everything = np.ones(len(rows), dtype=np.bool_)
    trees = {what: _left_over(rows, parts, predict(parts, values, everything), values, everything) for what, values in counts.items()}
    return ResidualTrees(features=FEATURES, operators=learned, cycles=trees["cycles"], instructions=trees.get("instructions"))


def _learned(rows: Sequence[MeasuredLayer], parts: Sequence[OperatorRows]) -> tuple[str, ...]:
    """Return the operator classes with enough shapes to learn from."""
    shapes = {part.operator: len({row.shape for row in rows if row.shape.operator == part.operator}) for part in parts}
    return tuple(operator for operator, count in shapes.items() if count >= LEAST_SHAPES)


def _left_over(
    rows: Sequence[MeasuredLayer], parts: Sequence[OperatorRows], predicted: FloatArray, values: FloatArray, used: npt.NDArray[np.bool_]
) -> Trees:
    """Return trees of log(measured / predicted) of the used rows."""
    learned = _learned(rows, parts)
    places = [place for place, row in enumerate(rows) if used[place] and predicted[place] > 0 and row.shape.operator in learned]
    features = [features_of(rows[place].shape, rows[place].precision) for place in places]
    return grow_trees(features, np.log(values[places] / predicted[places]))


def _factors(
    rows: Sequence[MeasuredLayer], parts: Sequence[OperatorRows], predicted: FloatArray, values: FloatArray, used: npt.NDArray[np.bool_]
) -> FloatArray:
    """Return float64 (rows,): what trees grown on the used rows multiply every row by."""
    learned = _learned(rows, parts)
    if not learned:
        return np.ones(len(rows))
    trees = _left_over(rows, parts, predicted, values, used)
    return np.array([math.exp(trees.sum_of(features_of(row.shape, row.precision))) if row.shape.operator in learned else 1.0 for row in rows])


def _named(table: MeasuredTable, name: str, trees: ResidualTrees | None) -> Residual | None:
    """Return how the device's file names its residual."""
    if trees is None:
        return None
    source = f"boosted trees on the {', '.join(trees.operators)} rows of the table of {table.target}"
    return Residual(file=f"{name}.residual.json", digest=digest_of(trees), source=source)


def find_like(table: MeasuredTable, name: str | None) -> HardwareModel:
    """Return the device whose clock, memories and power a fitted one takes over.

    Args:
        table: What layers took.
        name: Of the device, or its file; None for the one that the table names, else the shipped device of its target: its core, or its name.

    Raises:
        HardwareModelError: There is no such device, or none is shipped for the table's target.
    """
    if name or table.like:
        return load_hardware_model(name or table.like or "")
    shipped = [load_hardware_model(name) for name in list_names("hw_models")]
    for hardware in shipped:
        if table.target in (hardware.core, hardware.name):
            return hardware
    raise HardwareModelError(
        f"A table says nothing of clock, memories and power, and no shipped device has the core '{table.target}'.",
        "name the one that yours is like, or a file with these numbers: --like cortex-m4.",
    )


def cycle_counts(table: MeasuredTable, like: HardwareModel, scale: Scale | None) -> npt.NDArray[np.float64]:
    """Return the cycles of every row: those of the table, else its seconds times the clock, else its instructions, by the scale.

    Raises:
        HardwareModelError: Only instructions were counted and nothing says how many cycles one takes.
    """
    factor = 1.0 if scale is None else scale.cycles_per_count
    if not 1e-6 <= factor <= 1e6:
        raise HardwareModelError(f"--cycles-per-count is {factor:g}, wanted 1e-6 to 1e6.", "it is what one counted cycle or instruction takes.")
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


def rounded(value: float) -> float:
    """Return a number of DIGITS digits."""
    return float(f"{value:.{DIGITS}g}")


def _rates(part: OperatorRows, found: Mapping[str, FloatArray], source: str) -> ComputeRates:
    """Return what a step costs, as rates."""
    steps = [place for place, column in enumerate(part.columns) if column.per == "step"]
    rates = {what: [rounded(1 / values[place]) for place in steps] for what, values in found.items()}
    counted = rates.get("instructions")
    if part.operator not in WEIGHTED_CLASSES:
        return ComputeRates(
            operators=(part.operator,),  # type: ignore[arg-type]
            activation_bits=part.activation_bits,
            values_per_cycle=rates["cycles"][0],
            values_per_instruction=counted[0] if counted else None,
            source=source,
        )
    widths = [bits for place in steps for bits in part.columns[place].weight_bits or ()]
    return ComputeRates(
        operators=(part.operator,),  # type: ignore[arg-type]
        activation_bits=part.activation_bits,
        macs_per_cycle=dict(zip(widths, rates["cycles"], strict=True)),
        macs_per_instruction=dict(zip(widths, counted, strict=True)) if counted else None,
        source=source,
    )


def _terms(part: OperatorRows, found: Mapping[str, FloatArray], counts: Mapping[str, FloatArray]) -> list[Term]:
    """Return the terms that make more than a negligible part of some layer."""
    terms = []
    for place, column in enumerate(part.columns):
        shares = [(part.matrix[:, place] * values[place] / counts[what]).max() for what, values in found.items()]
        if column.per == "step" or max(shares) < NEGLIGIBLE:
            continue
        terms.append(
            Term(
                per=column.per,
                cycles=rounded(found["cycles"][place]),
                instructions=rounded(found["instructions"][place]) if "instructions" in found else None,
                operators=(part.operator,),  # type: ignore[arg-type]
                weight_bits=column.weight_bits,
                activation_bits=(part.activation_bits,),
                source=f"fitted with the rates of {part.operator}",
            )
        )
    return terms


def _error(
    rows: Sequence[MeasuredLayer], index: npt.NDArray[np.int64], off: FloatArray, part: OperatorRows | None, what: str, with_residual: bool
) -> FitError:
    size = np.abs(off[index])
    return FitError(
        operator=part.operator if part else "all",
        activation_bits=part.activation_bits if part else None,
        what=what,
        with_residual=with_residual,
        layers=len(index),
        shapes=len({rows[place].shape for place in index}),
        median=float(np.median(size)),
        worst_tenth=float(np.quantile(size, 0.9)),
    )


def _accuracy(table: MeasuredTable, errors: Sequence[FitError], scale: Scale | None, with_residual: bool) -> Accuracy | None:
    """Return the error of cycles over all operators, with that of instructions in words; None where there was nothing to validate with."""
    overall = {error.what: error for error in errors if error.operator == "all" and error.with_residual == with_residual}
    if not overall:
        return None
    cycles = overall["cycles"]
    texts = [f"cycles of {cycles.layers} rows of the table of {table.target} ({table.method})"]
    if scale is not None:
        texts.append(f"times {scale.cycles_per_count:g}, {scale.source}")
    texts.append(f"each predicted by a fit to the other shapes ({FOLDS}-fold cross-validation, grouped by shape)")
    if with_residual:
        texts.append("the residual included")
    if "instructions" in overall:
        counted = overall["instructions"]
        texts.append(f"instructions likewise: median {counted.median:.3f}, worst tenth {counted.worst_tenth:.3f}")
    return Accuracy(median=rounded(cycles.median), worst_tenth=rounded(cycles.worst_tenth), source="; ".join(texts))


def _source(table: MeasuredTable, part: OperatorRows, scale: Scale | None) -> str:
    shapes = len({table.rows[place].shape for place in part.index})
    factor = "" if scale is None else f"; cycles: times {scale.cycles_per_count:g}, {scale.source}"
    return f"non-negative least squares on {len(part.index)} rows ({shapes} shapes) of the table of {table.target}: {table.method}{factor}"


def _description(table: MeasuredTable, like: HardwareModel) -> str:
    if table.target in (like.name, like.core):
        return like.description
    return f"Fitted to what layers took on {table.target} ({table.method}); clock, memories and power are those of {like.name}."
