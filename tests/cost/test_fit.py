# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.catalog import COUNTABLE, HardwareModel, load_hardware_model
from mpsearch.cli import main
from mpsearch.cost.counted import COUNTED
from mpsearch.cost.device_file import device_text, write_device_file
from mpsearch.cost.fit import FitError, Scale, find_like, fit_device
from mpsearch.cost.latency import layer_roofline
from mpsearch.cost.least_squares import FOLDS, folds_of, predict, solve, split_by_operator
from mpsearch.cost.work import LayerWork
from mpsearch.errors import HardwareModelError
from mpsearch.records import LayerShape, MeasuredLayer, MeasuredTable, Precision
from mpsearch.storage import save_record

PER_STEP = {2: 0.5, 4: 0.75, 8: 1.25}
CALL, OUTPUT, LAID = 400, 16, 2


def convolution(size: int, inputs: int, outputs: int, kernel: int = 3) -> LayerShape:
    """Return a convolution that keeps its size."""
    return LayerShape(
        operator="conv2d",
        input=(size, size, inputs),
        output=(size, size, outputs),
        kernel=(kernel, kernel),
        padding=(kernel // 2,) * 4,
    )


def addition(size: int, channels: int) -> LayerShape:
    """Return a sum of two tensors."""
    return LayerShape(operator="add", input=(size, size, channels), output=(size, size, channels), operands=2)


def taken(shape: LayerShape, bits: int) -> float:
    """Return what a layer takes on the synthetic core, from the definition of each count."""
    if shape.operator == "add":
        return 20.0 * shape.output_values + 100
    laid = shape.output[0] * shape.output[1] * shape.kernel[0] * shape.kernel[1] * shape.input[2]
    return PER_STEP[bits] * shape.macs + CALL + OUTPUT * shape.output_values + LAID * laid


SHAPES = tuple(convolution(size, inputs, outputs, kernel) for size, inputs, outputs, kernel in [
    (8, 16, 16, 3), (6, 8, 24, 3), (4, 32, 8, 3), (10, 4, 12, 3), (7, 12, 20, 1), (5, 24, 40, 1), (9, 16, 4, 1), (12, 3, 8, 5), (3, 48, 16, 3),
    (11, 5, 7, 3), (16, 1, 8, 3), (2, 64, 64, 1), (1, 40, 30, 1), (14, 7, 9, 5), (6, 20, 28, 1), (13, 8, 32, 1),
])  # fmt: skip


def synthetic(factor: float = 1.0) -> MeasuredTable:
    """Return a table without noise."""
    rows = [
        MeasuredLayer(shape=shape, precision=Precision(weight_bits=bits), cycles=factor * taken(shape, bits), instructions=round(taken(shape, bits)))
        for shape in SHAPES
        for bits in PER_STEP
    ]
    rows += [MeasuredLayer(shape=shape, precision=None, cycles=factor * taken(shape, 8), instructions=round(taken(shape, 8))) for shape in ADDITIONS]
    return MeasuredTable(target="cortex-m4", method="a formula", clock_hz=None, rows=tuple(rows))


ADDITIONS = tuple(addition(size, channels) for size, channels in ((4, 16), (8, 8), (3, 5), (16, 32), (7, 30)))


@pytest.fixture(scope="module")
def like() -> HardwareModel:
    """A device whose clock and memories are taken over."""
    return load_hardware_model("cortex-m4")


def overall(errors: tuple[FitError, ...], what: str) -> FitError:
    """Return the error over all operators."""
    return next(error for error in errors if (error.operator, error.what) == ("all", what))


def test_what_a_term_may_be_paid_for_is_counted_and_nothing_else() -> None:
    assert set(COUNTED) == set(COUNTABLE)


def test_the_counts_of_a_convolution_are_those_counted_by_hand() -> None:
    # 3x3 on 4x4: of 48 rows of windows 8 lie above or below; of the other 40 half touch the left or right edge, three columns each.
    shape = convolution(4, 2, 5)
    counts = {name: COUNTED[name](shape) for name in ("pixel", "laid_value", "gathered_value", "gathered_run", "idle_step_3", "ragged_output_8")}
    assert counts == {
        "pixel": 16,
        "laid_value": 16 * 18,
        "gathered_value": 16 * 18,
        "gathered_run": 8 + 20 + 20 * 3,
        "idle_step_3": 2 * 18 * 5,
        "ragged_output_8": 80,
    }
    assert COUNTED["filled_step_8"](shape) == 80 * 6


def test_the_counts_of_a_depthwise_convolution_are_those_counted_by_hand() -> None:
    shape = LayerShape(operator="depthwise", input=(5, 40, 18), output=(5, 40, 18), kernel=(3, 3), padding=(1, 1, 1, 1), groups=18)
    counts = {name: COUNTED[name](shape) for name in ("block_4", "block_4_row", "block_4_line", "block_16_tap", "odd_row_output", "other_kernel_row")}
    assert counts == {
        "block_4": 5,
        "block_4_row": 5 * 5 * 2,  # 40 columns are two strips
        "block_4_line": 5 * 7,
        "block_16_tap": 2 * 9,
        "odd_row_output": 18 * 40,
        "other_kernel_row": 0,
    }


def test_a_fit_finds_the_coefficients_of_a_table_without_noise(like: HardwareModel) -> None:
    fit = fit_device(synthetic(), like, "mine")
    rates = {entry.operators[0]: entry for entry in fit.hardware.compute}
    assert rates["conv2d"].macs_per_cycle == pytest.approx({bits: 1 / cycles for bits, cycles in PER_STEP.items()}, rel=1e-3)
    assert rates["add"].values_per_cycle == pytest.approx(1 / 20, rel=1e-3)
    paid = {(term.per, bits): term.cycles for term in fit.hardware.terms if "conv2d" in (term.operators or ()) for bits in term.weight_bits or ()}
    for bits in PER_STEP:
        assert paid["output", bits] == pytest.approx(OUTPUT, rel=1e-3)
        assert paid["laid_value", bits] == pytest.approx(LAID, rel=1e-3)
    assert overall(fit.errors, "cycles").worst_tenth < 1e-6


def test_a_fitted_device_predicts_layers_that_the_table_lacks(like: HardwareModel) -> None:
    hardware = fit_device(synthetic(), like, "mine").hardware
    shape = convolution(15, 10, 22)
    work = LayerWork(
        name="new", shape=shape, precision=Precision(weight_bits=4), constant_bytes=1000, input_bytes=2250, output_bytes=4950, live_bytes=7200
    )
    roofline = layer_roofline(work, hardware)
    assert roofline.total == pytest.approx(taken(shape, 4), rel=2e-3)
    assert roofline.instructions == pytest.approx(taken(shape, 4), rel=2e-3)


@given(st.lists(st.floats(1, 1e6), min_size=len(SHAPES), max_size=len(SHAPES)))
def test_no_coefficient_is_below_zero_and_no_rate_without_bound(cycles: list[float]) -> None:
    """Whatever was measured, a step costs something, and at most what the dearest layer took."""
    rows = [MeasuredLayer(shape=shape, precision=Precision(weight_bits=8), cycles=value) for shape, value in zip(SHAPES, cycles, strict=True)]
    (part,) = split_by_operator(rows)
    found = solve(part, np.array(cycles), np.ones(len(rows), dtype=np.bool_))
    assert (found >= 0).all()
    (step,) = (place for place, column in enumerate(part.columns) if column.per == "step")
    assert found[step] > 0


def test_rows_of_one_shape_are_left_out_together() -> None:
    rows = list(synthetic().rows)
    random.Random(0).shuffle(rows)
    folds = folds_of(rows, split_by_operator(rows))
    assert all(len({fold for row, fold in zip(rows, folds, strict=True) if row.shape == shape}) == 1 for shape in (*SHAPES, *ADDITIONS))
    assert set(folds.tolist()) == set(range(FOLDS))


def test_a_prediction_knows_nothing_of_the_rows_that_it_is_for() -> None:
    """Whatever stands in the rows that are left out, they are predicted alike."""
    rows = synthetic().rows
    parts = split_by_operator(rows)
    folds = folds_of(rows, parts)
    values = np.array([row.cycles for row in rows], dtype=np.float64)
    absurd = np.where(folds == 1, 1e9, values)
    assert np.array_equal(predict(parts, values, folds != 1), predict(parts, absurd, folds != 1))


def test_equal_tables_give_equal_bytes_that_load_as_what_was_fitted(like: HardwareModel, tmp_path: Path) -> None:
    first, second = (fit_device(synthetic(), like, "mine").hardware for _ in range(2))
    assert device_text(first) == device_text(second)
    assert load_hardware_model(write_device_file(first, tmp_path / "mine.yaml")) == first


@pytest.mark.parametrize("name", ["cortex-m4", "bitfusion-haq", "t4-hawqv3"])
def test_a_written_device_loads_as_it_was(name: str, tmp_path: Path) -> None:
    hardware = load_hardware_model(name)
    assert load_hardware_model(write_device_file(hardware, tmp_path / f"{name}.yaml")) == hardware


def test_a_file_says_how_far_its_numbers_are_off_and_where_they_come_from(like: HardwareModel) -> None:
    fit = fit_device(synthetic(), like, "mine", Scale(cycles_per_count=0.5, source="assumed for a test"))
    assert fit.hardware.accuracy is not None
    assert fit.hardware.accuracy.median == pytest.approx(overall(fit.errors, "cycles").median, abs=1e-4)
    for words in ("53 rows", "cross-validation", "assumed for a test"):
        assert words in fit.hardware.accuracy.source
    assert "a formula" in fit.hardware.compute[0].source


def test_a_factor_on_the_counts_leaves_instructions_alone(like: HardwareModel) -> None:
    plain, halved = (fit_device(synthetic(), like, "mine", scale).hardware for scale in (None, Scale(cycles_per_count=0.5, source="assumed")))
    assert halved.compute[0].macs_per_cycle == pytest.approx(
        {bits: 2 * rate for bits, rate in (plain.compute[0].macs_per_cycle or {}).items()}, rel=1e-3
    )
    assert halved.compute[0].macs_per_instruction == plain.compute[0].macs_per_instruction


def test_seconds_become_cycles_of_the_clock(like: HardwareModel) -> None:
    table = synthetic()
    timed = replace(
        table,
        clock_hz=1e6,
        rows=tuple(replace(row, cycles=None, instructions=None, seconds=(row.cycles or 0) / 1e6) for row in table.rows),
    )
    assert fit_device(timed, like, "mine").hardware.compute[0].macs_per_cycle == pytest.approx(
        fit_device(table, like, "mine").hardware.compute[0].macs_per_cycle, rel=1e-3
    )


def test_one_shape_is_fitted_but_not_validated(like: HardwareModel) -> None:
    fit = fit_device(replace(synthetic(), rows=synthetic().rows[:1]), like, "mine")
    assert fit.errors == ()
    assert fit.hardware.accuracy is None


ROW = synthetic().rows[0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), "is empty"),
        ((ROW, ROW), "is there twice"),
        ((replace(ROW, cycles=0.0),), "it took 0.0, wanted a number above 0"),
        ((replace(ROW, cycles=float("nan")),), "it took nan"),
        ((replace(ROW, precision=None),), "a precision is for operators with weights"),
        ((replace(ROW, shape=replace(ROW.shape, operator="softmax")),), "no such operator class"),
        ((replace(ROW, cycles=None, instructions=None),), "rows without cycles, seconds and instructions"),
        ((replace(ROW, cycles=None),), "counts instructions only"),
    ],
)
def test_a_table_that_gives_no_device_says_why(like: HardwareModel, rows: tuple[MeasuredLayer, ...], message: str) -> None:
    with pytest.raises(HardwareModelError, match=message):
        fit_device(replace(synthetic(), rows=rows), like, "mine")


def test_a_table_of_an_unknown_core_wants_a_device_that_it_is_like() -> None:
    assert find_like(synthetic(), None).name == "cortex-m4"
    assert find_like(replace(synthetic(), target="abacus", like="cortex-m7"), None).name == "cortex-m7"
    with pytest.raises(HardwareModelError, match=r"no shipped device has the core 'abacus'.*--like"):
        find_like(replace(synthetic(), target="abacus"), None)


def test_a_device_whose_engine_tells_the_cycles_cannot_be_fitted() -> None:
    with pytest.raises(HardwareModelError, match=r"ethos-u55-128 has a block engine.*--like"):
        fit_device(synthetic(), load_hardware_model("ethos-u55-128"), "mine")


@pytest.mark.parametrize("factor", [0.0, -1.0, 1e308, float("nan")])
def test_a_factor_that_is_none_is_refused(like: HardwareModel, factor: float) -> None:
    with pytest.raises(HardwareModelError, match=r"--cycles-per-count is .*, wanted 1e-6 to 1e6"):
        fit_device(synthetic(), like, "mine", Scale(cycles_per_count=factor, source="none"))


def test_shapes_that_fall_into_one_fold_are_not_held_back(like: HardwareModel) -> None:
    dense = [LayerShape(operator="dense", input=(1, 1, 8 * size), output=(1, 1, 4 * size)) for size in range(1, FOLDS + 2)]
    rows = [MeasuredLayer(shape=shape, precision=Precision(weight_bits=8), cycles=10.0 * shape.macs) for shape in dense]
    wide = Precision(weight_bits=8, activation_bits=16)
    rows += [MeasuredLayer(shape=dense[place], precision=wide, cycles=20.0 * dense[place].macs) for place in (0, FOLDS)]
    fit = fit_device(MeasuredTable(target="mine", method="made up", clock_hz=None, rows=tuple(rows)), like, "mine")
    assert all(np.isfinite(error.median) for error in fit.errors)


def test_the_command_writes_a_device_and_prints_its_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = save_record(synthetic(), tmp_path / "table.json")
    assert main(["fit", str(table), "--out", str(tmp_path / "mine.yaml"), "--cycles-per-count", "0.6", "--because", "a guess"]) == 0
    printed = capsys.readouterr().out
    assert "conv2d" in printed
    assert "worst tenth" in printed
    assert load_hardware_model(tmp_path / "mine.yaml").core == "cortex-m4"
