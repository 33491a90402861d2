# SPDX-License-Identifier: Apache-2.0
"""Non-negative least squares on what layers are paid for, one operator class at a time, and predictions for layers that took no part.

What a row takes = its steps x one coefficient for each weight width + the counts of COLUMNS x coefficients that widths share as SHARED says. What is
minimised is the sum of the squares of the relative errors, so that small layers count as much as large ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from mpsearch.catalog import Countable
from mpsearch.cost.counted import COUNTED
from mpsearch.records import OPERATOR_CLASSES, WEIGHTED_CLASSES, LayerShape, MeasuredLayer

FloatArray = npt.NDArray[np.float64]

FOLDS = 5
LEAST_SHARE = 0.3

COLUMNS: Mapping[str, tuple[Countable, ...]] = {
    "conv2d": (
        "call",
        "output",
        "channel",
        "pixel",
        "laid_value",
        "gathered_value",
        "gathered_run",
        "idle_step_2",
        "idle_step_3",
        "idle_step_4",
        "ragged_output_8",
        "ragged_output_16",
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
        "ragged_output_8",
        "ragged_output_16",
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
    "dense": ((2, 4), (3,), (5, 6), (7,), (8,)),
    "depthwise": ((2, 3, 4, 5, 6), (7,), (8,)),
}
"""Weight widths that share the coefficients of COLUMNS: those of one plane of bits, of several, bytes. Depthwise kernels differ by how many products
add up in 16 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One unknown: what it is paid for, at which weight bits; None for operators without weights."""

    per: Countable
    weight_bits: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OperatorRows:
    """The rows of a table that are fitted together.

    Attributes:
        operator: Their operator class.
        activation_bits: Bits per activation.
        index: int64 (n,), where they stand in the table.
        columns: The unknowns, m of them.
        matrix: float64 (n, m): how often each row pays for each column.
    """

    operator: str
    activation_bits: int
    index: npt.NDArray[np.int64]
    columns: tuple[Column, ...]
    matrix: FloatArray


def split_by_operator(rows: Sequence[MeasuredLayer]) -> tuple[OperatorRows, ...]:
    """Return the rows by operator class and activation bits, in the order of OPERATOR_CLASSES."""
    keys = [(row.shape.operator, _activation_bits(row)) for row in rows]
    parts = []
    for operator, bits in sorted(set(keys), key=lambda key: (OPERATOR_CLASSES.index(key[0]), key[1])):
        index = [place for place, key in enumerate(keys) if key == (operator, bits)]
        own = [rows[place] for place in index]
        columns = columns_of(operator, own)
        parts.append(OperatorRows(operator=operator, activation_bits=bits, index=np.array(index), columns=columns, matrix=count_matrix(own, columns)))
    return tuple(parts)


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


def count_matrix(rows: Sequence[MeasuredLayer], columns: Sequence[Column]) -> FloatArray:
    """Return float64 (rows, columns): how often each row pays for each column."""
    counts = {shape: {column.per: COUNTED[column.per](shape) for column in columns} for shape in {row.shape for row in rows}}
    pays = [[column.weight_bits is None or _weight_bits(row) in column.weight_bits for column in columns] for row in rows]
    values = [[counts[row.shape][column.per] for column in columns] for row in rows]
    return np.where(np.array(pays), np.array(values, dtype=np.float64), 0.0)


def solve(part: OperatorRows, values: FloatArray, used: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the coefficients, at least 0, with the least sum of squares of relative errors.

    Where every output takes as many steps, as with depthwise kernels of one size, nothing tells a step from an output; so that rates mean
    something, a step costs at least LEAST_SHARE of what it costs, all included, in the row where it costs least.

    Args:
        part: The rows of an operator.
        values: (rows,), measured, > 0.
        used: (rows,), those to fit.
    """
    matrix, measured = part.matrix[used], values[used]
    least = np.zeros(len(part.columns))
    for place, column in enumerate(part.columns):
        own = matrix[:, place] > 0
        if column.per == "step" and own.any():
            least[place] = LEAST_SHARE * (measured[own] / matrix[own, place]).min()
    relative = matrix / measured[:, None]
    size = relative.max(axis=0)
    size[size == 0] = 1.0
    found, _ = nnls(relative / size, 1 - relative @ least, maxiter=100 * matrix.shape[1] + 1000)
    coefficients: FloatArray = found / size + least
    return coefficients


def folds_of(rows: Sequence[MeasuredLayer], parts: Sequence[OperatorRows]) -> npt.NDArray[np.int64]:
    """Return int64 (rows,): the fold of every row. Rows of one shape, whatever their widths, share a fold; -1 where an operator has but one shape."""
    folds = np.zeros(len(rows), dtype=np.int64)
    places: dict[LayerShape, int] = {}
    counted = dict.fromkeys((part.operator for part in parts), 0)
    for row in rows:
        if row.shape not in places:
            places[row.shape] = counted[row.shape.operator]
            counted[row.shape.operator] += 1
    for part in parts:
        own = [places[rows[place].shape] % FOLDS for place in part.index]
        folds[part.index] = own if len(set(own)) > 1 else -1
    return folds


def predict(parts: Sequence[OperatorRows], values: FloatArray, used: npt.NDArray[np.bool_]) -> FloatArray:
    """Return float64 (rows,): every row as a fit to the used rows predicts it; NaN where no row of its operator was used.

    Args:
        parts: As from `split_by_operator`.
        values: (rows,), measured, > 0.
        used: (rows,), the rows to fit.
    """
    predicted = np.full(len(values), np.nan)
    for part in parts:
        own = used[part.index]
        if own.any():
            predicted[part.index] = part.matrix @ solve(part, values[part.index], own)
    return predicted


def _weight_bits(row: MeasuredLayer) -> int:
    return row.precision.weight_bits if row.precision else 0


def _activation_bits(row: MeasuredLayer) -> int:
    return row.precision.activation_bits if row.precision else 8
