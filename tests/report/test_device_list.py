# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from mpsearch.catalog import list_names, load_hardware_model
from mpsearch.report.device_list import device_list, kind_of

PAGE = Path(__file__).parents[2] / "docs" / "devices.md"


def test_the_page_is_the_one_that_the_files_give() -> None:
    wanted = device_list(load_hardware_model(name) for name in list_names("hw_models"))
    assert PAGE.read_text(encoding="utf-8") == wanted, "run make devices"


def test_every_device_has_a_row_of_its_own() -> None:
    rows = [line.split(" | ")[0] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert rows == [f"| `{name}`" for name in list_names("hw_models")]


def test_a_row_says_memories_precisions_and_where_the_numbers_come_from() -> None:
    row = next(line for line in device_list([load_hardware_model("hexagon-hvx")]).splitlines() if line.startswith("| `"))
    assert "dram 1 GiB (weights, activations); l2 512 KiB (tiles)" in row
    assert "w8 a8; w8, w16 a16" in row
    assert row.endswith("3 document, 6 derived, 7 estimate |")


def test_an_error_that_another_device_was_found_to_have_is_not_this_ones() -> None:
    scaled, counted = device_list([load_hardware_model("cortex-m33")]), device_list([load_hardware_model("cortex-m4")])
    assert " | – | " in scaled
    assert " | – | " not in counted


def test_a_name_with_et_al_does_not_end_the_first_sentence() -> None:
    assert "(Ottavi et al. 2020)" in device_list([load_hardware_model("mpic")])


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("ST DS9405, features: up to 180 MHz", "document"),
        ("instructions of the shipped C kernels counted in QEMU", "counted here"),
        ("fitted with the rates of conv2d", "counted here"),
        ("derived: 128-bit lines, 5 wait states", "derived"),
        ("estimate: a loop of four instructions", "estimate"),
        ("the file cortex-m4, cycles times 0.85: counted in QEMU", "scaled"),
    ],
)
def test_a_source_says_how_the_number_came_about(source: str, kind: str) -> None:
    assert kind_of(source) == kind
