# SPDX-License-Identifier: Apache-2.0
"""Measuring on every emulated core: the counts are those of a program that runs one layer with constants known when it is compiled."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.layer_counts import Bench, Shape
from mpsearch.export.cores import CORES
from mpsearch.export.emit_project import WARNINGS
from mpsearch.export.measure import MeasuredFile, measure_layers
from mpsearch.export.measure_program import measure_flags
from mpsearch.export.measure_qemu import BATCH_LAYERS, QemuMeter, batches
from mpsearch.export.measure_wire import LayerRequest
from mpsearch.export.qemu import compile_source
from mpsearch.records import LayerShape, MeasuredTable, Precision
from tests.target.emulated import on_cores

pytestmark = pytest.mark.target

CONV = LayerShape(operator="conv2d", input=(9, 7, 12), output=(9, 7, 10), kernel=(3, 3), padding=(1, 1, 1, 1))
DEPTHWISE = LayerShape(operator="depthwise", input=(9, 7, 24), output=(9, 7, 24), kernel=(3, 3), padding=(1, 1, 1, 1), groups=24)
DENSE = LayerShape(operator="dense", input=(1, 1, 96), output=(1, 1, 20))
ADD = LayerShape(operator="add", input=(8, 8, 16), output=(8, 8, 16), operands=2)
POOL = LayerShape(operator="max_pool", input=(8, 8, 16), output=(4, 4, 16), kernel=(2, 2), stride=(2, 2))
SAME = (
    (CONV, Shape("CONV", 9, 7, 12, 10, 3), 4),
    (CONV, Shape("CONV", 9, 7, 12, 10, 3), 7),
    (DEPTHWISE, Shape("DEPTHWISE", 9, 7, 24, 24, 3), 8),
    (DENSE, Shape("DENSE", 1, 1, 96, 20), 2),
    (ADD, Shape("ADD", 8, 8, 16, 16), 8),
    (POOL, Shape("MAX_POOL", 8, 8, 16, 16, 2), 8),
)
BRANCHES_ON_DATA = 0.03
"""Cores without saturating instructions branch where a value is clamped, and the two programs have other values."""

CALL = 12
"""Instructions by which two calls of one kernel differ: where the arguments come from."""

PLACES = 0.03
"""The estimate of cycles looks at neighbouring instructions within a translated block, and blocks end where pages of memory do."""


def request(shape: LayerShape, bits: int) -> LayerRequest:
    return LayerRequest(shape=shape, precision=Precision(weight_bits=bits) if shape.has_weights else None)


def empty(meter: QemuMeter) -> MeasuredTable:
    return MeasuredTable(target=meter.target, method=meter.method, clock_hz=meter.clock_hz, rows=())


@pytest.mark.parametrize("core", on_cores())
def test_counts_are_those_of_a_program_that_runs_nothing_else(core: str, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    bench, meter = Bench(tmp_path / "one"), QemuMeter(tmp_path / "many", core)
    table = measure_layers(meter, [request(shape, bits) for shape, _, bits in SAME], empty(meter), MeasuredFile()).table
    for row, (shape, alone, bits) in zip(table.rows, SAME, strict=True):
        wanted = bench.count(core, alone, bits)
        slack = 0 if core in ("cortex-m4", "cortex-m7", "cortex-m55") else BRANCHES_ON_DATA * wanted.instructions
        assert row.instructions == pytest.approx(wanted.instructions, abs=CALL + slack), (shape, bits)
        assert (row.cycles is None) == (wanted.cycles is None)
        if wanted.cycles is not None:
            assert row.cycles == pytest.approx(wanted.cycles, rel=PLACES, abs=4 * CALL), (shape, bits)


@pytest.mark.parametrize("core", on_cores(["cortex-m4", "rv32"]))
def test_the_same_target_gives_the_same_bytes_however_often_it_is_interrupted(core: str, tmp_path: Path) -> None:
    requests = [request(CONV, bits) for bits in (2, 3, 4, 8)] + [request(POOL, 8), request(DENSE, 5)]
    whole, parts = tmp_path / "whole.json", tmp_path / "parts.json"
    meter = QemuMeter(tmp_path, core)
    measure_layers(meter, requests, empty(meter), MeasuredFile(path=whole))
    for end in (2, 5, 6):
        measure_layers(meter, requests[:end], empty(meter), MeasuredFile(path=parts, resume=True))
    assert whole.read_bytes() == parts.read_bytes()


@pytest.mark.parametrize("core", on_cores(["cortex-m4"]))
def test_what_does_not_fit_the_board_is_left_out_and_the_rest_counted(core: str, tmp_path: Path) -> None:
    huge = LayerShape(operator="add", input=(2000, 1000, 1), output=(2000, 1000, 1), operands=2)
    group = LayerShape(operator="conv2d", input=(4, 4, 5), output=(4, 4, 4), groups=5)
    meter = QemuMeter(tmp_path, core)
    measurement = measure_layers(meter, [request(POOL, 8), request(huge, 8), request(DENSE, 4)], empty(meter), MeasuredFile())
    alone = measure_layers(meter, [request(DENSE, 4)], empty(meter), MeasuredFile())
    assert [(item.shape, "memory" in reason) for item, reason in measurement.left_out] == [(huge, True)]
    assert [row.shape for row in measurement.table.rows] == [POOL, DENSE]
    assert measurement.table.rows[1] == alone.table.rows[0]
    with pytest.raises(ValueError, match="5 groups, w4a8: the kernel refused its parameters"):
        measure_layers(meter, [request(group, 4)], empty(meter), MeasuredFile())


def test_batches_keep_the_order_and_are_neither_too_long_nor_too_slow() -> None:
    large = LayerShape(operator="conv2d", input=(64, 64, 64), output=(64, 64, 64), kernel=(3, 3))
    requests = [request(POOL, 8)] * (BATCH_LAYERS + 3) + [request(large, 8)] * 2 + [request(POOL, 8)]
    found = list(batches(requests))
    assert [item for batch in found for item in batch] == requests
    assert [len(batch) for batch in found] == [BATCH_LAYERS, 3, 1, 1, 1]


def test_every_core_says_how_it_was_measured(tmp_path: Path) -> None:
    from tests.target.emulated import lacking

    for core in CORES:
        if lacking(core):
            continue
        method = QemuMeter(tmp_path, core).method
        assert method.startswith("QEMU ")
        assert "gcc" in method
        assert "-O2" in method
        assert ("cycles estimated" in method) == CORES[core].estimates_cycles


@pytest.mark.parametrize("core", on_cores(["cortex-m4", "cortex-m7"]))
def test_the_port_that_the_manual_shows_compiles_without_a_warning(core: str, tmp_path: Path) -> None:
    manual = (Path(__file__).resolve().parents[2] / "docs" / "measure-protocol.md").read_text(encoding="utf-8")
    (tmp_path / "port_board.c").write_text(manual.split("```c\n")[1].split("```")[0], encoding="utf-8")
    assert compile_source(tmp_path, CORES[core], tmp_path / "port_board.c", ["-O2", *WARNINGS, *measure_flags(98304)]).exists()
