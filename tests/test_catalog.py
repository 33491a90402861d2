# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from mpsearch.catalog import list_names, load_hardware_model, load_search_space, shipped_folder
from mpsearch.errors import CatalogError, HardwareModelError
from mpsearch.records import Precision

SPACE = (shipped_folder("search_spaces") / "w248-a8.yaml").read_text(encoding="utf-8")
TARGET = (shipped_folder("hw_models") / "cortex-m4.yaml").read_text(encoding="utf-8")


def edited(folder: Path, text: str, old: str, new: str) -> Path:
    """Write a copy of a file with one change."""
    assert old in text
    path = folder / "edited.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_the_shipped_names_are_listed() -> None:
    assert list_names("search_spaces") == ("w234-a8", "w248-a8", "w2to8-a8", "w48-a8")
    assert {"cortex-m4", "cortex-m7"} <= set(list_names("hw_models"))
    assert list(list_names("hw_models")) == sorted(path.stem for path in shipped_folder("hw_models").iterdir())


def test_a_name_and_its_path_load_the_same(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(SPACE, encoding="utf-8")
    assert load_search_space(path) == load_search_space(str(path)) == load_search_space("w248-a8")


def test_a_name_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_hardware_model("cortex-m7").clock_hz.value == 480e6


def test_precisions_rise_in_bits() -> None:
    assert [str(precision) for precision in load_search_space("w248-a8").precisions] == ["w2a8", "w4a8", "w8a8"]


def test_a_rate_is_given_only_for_what_the_device_has() -> None:
    target = load_hardware_model("cortex-m4")
    convolution, addition = target.rate("conv2d", Precision(weight_bits=8)), target.rate("add", None)
    assert convolution is not None
    assert addition is not None
    assert 0.5 < convolution.per_cycle < 1.0
    assert 0.02 < addition.per_cycle < 0.05
    assert target.rate("conv2d", Precision(weight_bits=8, activation_bits=4)) is None


def test_an_unknown_space_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(CatalogError, match=r"Unknown search space 'w248a8'.*did you mean w248-a8"):
        load_search_space("w248a8")


def test_an_unknown_target_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(HardwareModelError, match=r"Unknown target 'cortex-m5'.*cortex-m"):
        load_hardware_model("cortex-m5")


def test_a_path_that_does_not_exist_is_an_error_of_its_own() -> None:
    with pytest.raises(CatalogError, match=r"There is no search space file 'nowhere/mine\.yaml'"):
        load_search_space("nowhere/mine.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight_bits:", "weigth_bits:", r"weigth_bits is not a known key.*did you mean 'weight_bits'"),
        ("depthwise: [4, 8]\n", "", "depthwise is missing"),
        ("weight_bits: [2, 4, 8]", "weight_bits: 4", "weight_bits: got 4, wanted"),
        ("weight_bits: [2, 4, 8]", "weight_bits: [2, four, 8]", r"weight_bits\.1: got 'four', wanted a valid integer"),
        ("weight_bits: [2, 4, 8]", "weight_bits: [2, 4, 32]", r"weight_bits\.2: got 32, wanted less than or equal to 16"),
        ("weight_bits: [2, 4, 8]", "weight_bits: [8, 4, 2]", "wanted distinct bits in rising order"),
        ("depthwise: [4, 8]", "depthwise: [4, 6]", r"depthwise allows \[6\], which weight_bits \[2, 4, 8\] lacks"),
        ("depthwise: [4, 8]", "depthwise: []", "depthwise: got .*at least 1"),
        ("name: w248-a8", "name: [", "is not YAML"),
    ],
)
def test_a_wrong_space_says_which_field_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        load_search_space(edited(tmp_path, SPACE, old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("clock_hz:", "clok_hz:", r"clok_hz is not a known key.*did you mean 'clock_hz'"),
        ("value: 180000000", "value: fast", r"clock_hz\.value: got 'fast', wanted a valid number"),
        ("value: 180000000", "value: -3", r"clock_hz\.value: got -3, wanted greater than 0"),
        ("value: 2.67\n", "value: .nan\n", r"memories\.0\.bytes_per_cycle\.value: got nan"),
        ("weight_bits: 3", "weight_bits: 4", "two rates for conv2d, weight_bits 4"),
        ("    weight_bits: 3\n", "", r"compute\.1: weight_bits is None for conv2d, wanted a number"),
        ("operator: conv2d", "operator: conv3d", r"compute\.0\.operator: got 'conv3d', wanted 'conv2d'"),
        ("holds: [activations]", "holds: [weights]", "2 of them hold weights, wanted exactly one"),
        ("as ram_bytes", "", r"memories\.1\.size_bytes\.source: got '', wanted a text of at least 1 character"),
        ("  source: >-\n    ST DS9405, STM32F427xx/F429xx data sheet, features: up to 180 MHz\n", "", r"clock_hz\.source is missing"),
    ],
)
def test_a_wrong_target_says_which_field_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(HardwareModelError, match=message):
        load_hardware_model(edited(tmp_path, TARGET, old, new))


def test_a_file_that_is_not_a_mapping_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n", encoding="utf-8")
    with pytest.raises(CatalogError, match="top level"):
        load_search_space(path)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogError, match="cannot be read"):
        load_search_space(path)


def test_an_installation_without_the_shipped_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpsearch.__file__", str(tmp_path / "mpsearch" / "__init__.py"))
    with pytest.raises(CatalogError, match="has no folder 'search_spaces'"):
        list_names("search_spaces")


@pytest.mark.parametrize(
    ("text", "message"),
    [("name: 2024-99-99", "is not YAML"), ("a: &a [*a]", "aliases"), ("[" * 3000, "is not YAML"), ("a: &a [x]\nb: [*a, *a]", "aliases")],
    ids=["date", "circle", "depth", "alias"],
)
def test_hostile_yaml_is_one_clear_error(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "device.yaml").write_text(text)
    with pytest.raises(HardwareModelError, match=message):
        load_hardware_model(tmp_path / "device.yaml")
