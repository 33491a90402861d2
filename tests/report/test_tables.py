# SPDX-License-Identifier: Apache-2.0
"""The terminal shows the same run: every layer with its total, the budget, and the comparison."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest
from rich.console import Console
from rich.table import Table

from mpsearch.report.measured_tables import beside_line, beside_table
from mpsearch.report.quantities import show_bytes, show_count, show_error, show_gap, show_quantity, show_rate, show_score
from mpsearch.report.tables import layer_table, limit_table, reason_lines, summary_table
from tests.report.sample import HOSTILE, sample_measurement, sample_report


def render(table: Table, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_layer_table_lists_layers_with_constants_or_work_and_adds_up() -> None:
    lines = render(layer_table(sample_report())).splitlines()
    rows = [line for line in lines if "blocks." in line]
    assert len(rows) == 6
    assert re.split(r"\s{2,}", rows[1].strip()) == ["blocks.1.conv1", "conv2d", "w3a8", "0.25", "2,000", "100 k", "240 k"]
    total = next(line for line in lines if "total" in line)
    assert "21,000" in total
    assert "1.05 M" in total
    assert "2.52 M" in total
    assert "flatten" not in "".join(lines)


def test_without_a_target_the_layer_table_has_no_cycles() -> None:
    assert "cycles" not in render(layer_table(sample_report(with_target=False)))


def test_the_limit_table_shows_budget_achieved_and_share() -> None:
    lines = render(limit_table(sample_report())).splitlines()
    assert re.split(r"\s{2,}", next(line for line in lines if "flash" in line).strip()) == ["flash", "2 MB", "1.998 MB", "99.9%"]
    assert re.split(r"\s{2,}", next(line for line in lines if "ram" in line).strip()) == ["ram", "–", "40.96 kB", "–"]


def test_on_a_narrow_terminal_names_give_way_and_numbers_stay() -> None:
    data = sample_report()
    data = dataclasses.replace(data, layers=(dataclasses.replace(data.layers[5], name="block." * 20, flash_bytes=123_456_789),))
    lines = render(layer_table(data), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(number in next(line for line in lines if "w7a8" in line) for number in ("0.0833", "123,456,789", "300 k", "720 k"))


def test_the_summary_compares_float_uniform_and_chosen() -> None:
    lines = render(summary_table(sample_report())).splitlines()
    assert [line for line in lines if "float" in line and "8,573,000" in line and "0.67 %" in line]
    assert [line for line in lines if "chosen" in line and "1,998,336" in line and "0.83 %" in line]


def test_markup_in_names_is_shown_not_obeyed() -> None:
    data = sample_report()
    data = dataclasses.replace(data, layers=(dataclasses.replace(data.layers[0], name=HOSTILE),))
    assert HOSTILE in render(layer_table(data))


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (show_quantity(1_998_336, "byte"), "1.998 MB"),
        (show_quantity(999.9996e3, "byte"), "1 MB"),
        (show_quantity(512, "byte"), "512 B"),
        (show_quantity(0, "byte"), "0 B"),
        (show_quantity(0.0123, "s"), "12.3 ms"),
        (show_quantity(2e-6, "J"), "2 µJ"),
        (show_quantity(1e10, "op"), "10 Gop"),
        (show_quantity(3.5, "bit"), "3.5 bit"),
        (show_quantity(None, "byte"), "–"),
        (show_quantity(float("nan"), "s"), "–"),
        (show_count(2_359_296), "2.359 M"),
        (show_count(None), "–"),
        (show_bytes(1_998_336), "1,998,336"),
        (show_bytes(None), "–"),
        (show_rate(0.73812), "0.738"),
        (show_rate(16384), "16,384"),
        (show_rate(None), "–"),
        (show_score(0.012345), "0.0123"),
        (show_score(float("nan")), "–"),
        (show_error(0.8333, "%"), "0.83 %"),
        (show_error(2.1294, "bit"), "2.129 bit"),
        (show_error(None, "%"), "–"),
        (show_gap(0.0), "0.000%"),
        (show_gap(float("inf")), "–"),
    ],
)
def test_numbers_read_as_people_write_them(shown: str, wanted: str) -> None:
    assert shown == wanted


def test_a_name_that_looks_like_markup_is_shown_as_it_is() -> None:
    hostile = dataclasses.replace(sample_report(), workload="models.py:two: [bold]")
    assert "models.py:two: [bold]: precision of every layer" in render(layer_table(hostile))


def test_the_terminal_shows_predicted_beside_measured() -> None:
    lines = render(beside_table(sample_measurement())).splitlines()
    row = next(line for line in lines if "blocks.2.conv1" in line)
    assert re.split(r"\s{2,}", row.strip()) == ["blocks.2.conv1", "Conv2d", "w4a8", "150 k", "300 k", "2.00", "330 k", "+10.0 %"]
    total = next(line for line in lines if "total" in line)
    assert re.split(r"\s{2,}", total.strip()) == ["total", "1.05 M", "2.15 M", "2.31 M", "+7.4 %"]


def test_without_a_prediction_the_terminal_shows_counts() -> None:
    run = dataclasses.replace(sample_measurement(), compared="", device="")
    text = render(beside_table(run))
    assert "error" not in text
    assert "2.15 M" in text
    assert beside_line(run) == ""


def test_the_terminal_gives_the_reasons_of_the_slowest_layers() -> None:
    data = dataclasses.replace(sample_report(), reasons=("general",), layer_reasons=tuple(f"layer {index}" for index in range(7)))
    assert reason_lines(data) == [
        "why: general",
        *(f"why: layer {index}" for index in range(5)),
        "(and 2 more groups of layers in report.html)",
    ]
    assert reason_lines(sample_report()) == []
