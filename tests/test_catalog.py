# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from mpsearch.catalog import list_names, load_hardware_model, load_search_space, shipped_folder
from mpsearch.errors import CatalogError, HardwareModelError
from mpsearch.records import Precision

SPACE = (shipped_folder("search_spaces") / "w248-a8.yaml").read_text(encoding="utf-8")
TARGET = """\
name: edited
description: a device whose numbers mean nothing
clock_hz:
  value: 180000000
  source: a data sheet
flash_bytes: {value: 1000000, source: a data sheet}
ram_bytes: {value: 64000, source: a data sheet}
compute:
  - operators: [conv2d, dense]
    activation_bits: 8
    macs_per_cycle: {2: 0.9, 3: 0.5, 8: 0.7}
    source: counted in an emulator
  - operators: [dense]
    activation_bits: 16
    macs_per_cycle: {8: 0.4}
    source: counted in an emulator
  - operators: [add, mean]
    activation_bits: 8
    values_per_cycle: 0.1
    source: counted in an emulator
memories:
  - name: flash
    holds: [weights]
    size_bytes: {value: 1000000, source: a data sheet}
    bytes_per_cycle: {value: 2.5, source: a data sheet}
  - name: sram
    holds: [activations]
    size_bytes: {value: 64000, source: a data sheet}
    bytes_per_cycle: {value: 4, source: a data sheet}
terms:
  - per: output
    operators: [conv2d]
    cycles: 20
    source: counted in an emulator
"""


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
        ("value: 2.5,", "value: .nan,", r"memories\.0\.bytes_per_cycle\.value: got nan"),
        ("  source: a data sheet\n", "", r"clock_hz\.source is missing"),
        (
            "value: 1000000, source: a data sheet",
            "value: 1000000, source: ' '",
            r"flash_bytes\.source: got ' ', wanted a text of at least 1 character",
        ),
        ("flash_bytes: {value: 1000000, source: a data sheet}", "flash_bytes: 1000000", "flash_bytes: got 1000000, wanted value and source"),
        ("operators: [dense]", "operators: [conv3d]", r"compute\.1\.operators\.0: got 'conv3d', wanted 'conv2d'.*did you mean conv2d"),
        ("operators: [dense]", "operators: []", r"compute\.1\.operators: got \[\], .*at least 1"),
        ("activation_bits: 16", "activation_bits: 8", r"compute\.1: two rates for dense at w8 a8, as in compute\.0, wanted one"),
        ("operators: [dense]", "operators: [dense, add]", r"operators \['dense', 'add'\] mix some with weights and some without"),
        ("values_per_cycle: 0.1", "macs_per_cycle: {8: 0.1}", "add, mean: wanted values_per_cycle, not macs_per_cycle"),
        ("macs_per_cycle: {8: 0.4}", "values_per_cycle: 0.4", "dense: wanted macs_per_cycle, not values_per_cycle"),
        ("{8: 0.4}", "{8: 0.4}\n    macs_per_instruction: {4: 1.0}", r"macs_per_instruction has weight bits \[4\], wanted .*\[8\]"),
        ("macs_per_cycle: {8: 0.4}", "macs_per_cycle: {}", r"macs_per_cycle: .*at least 1"),
        ("{8: 0.4}", "{eight: 0.4}", r"compute\.1\.macs_per_cycle\.eight: got 'eight' as a key, wanted a valid integer"),
        ("{8: 0.4}", "{8: 0}", r"compute\.1\.macs_per_cycle\.8: got 0, wanted greater than 0"),
        ("holds: [activations]", "holds: [weights]", "2 of them hold weights, wanted exactly one"),
        ("holds: [activations]", "buffers: true", "none of them holds activations, wanted at least one"),
        ("holds: [activations]", "holds: []", "memory sram holds nothing and buffers nothing"),
        ("name: sram", "name: flash", "they are named flash, flash, wanted distinct names"),
        ("per: output", "per: outputs", r"terms\.0\.per: got 'outputs', wanted .*did you mean output"),
        ("cycles: 20", "cycles: -1", r"terms\.0\.cycles: got -1, wanted greater than or equal to 0"),
        ("ram_bytes:", "flash_bytes:", r"Mistakes in this file: 2"),
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


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "device.yaml").mkdir()
    with pytest.raises(HardwareModelError, match="There is no target file"):
        load_hardware_model(tmp_path / "device.yaml")


def test_a_mistake_is_given_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(HardwareModelError, match=r"edited\.yaml:4: clock_hz\.value: got 'fast'"):
        load_hardware_model(edited(tmp_path, TARGET, "value: 180000000", "value: fast"))


def test_numbers_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    assert load_hardware_model(edited(tmp_path, TARGET, "180000000", "180e6")).clock_hz.value == 180e6


def test_the_rates_of_a_device_are_looked_up_by_both_widths(tmp_path: Path) -> None:
    device = load_hardware_model(edited(tmp_path, TARGET, "180000000", "180000000"))
    assert [str(precision) for precision in device.precisions("dense")] == ["w2a8", "w3a8", "w8a8", "w8a16"]
    assert [str(precision) for precision in device.precisions("conv2d")] == ["w2a8", "w3a8", "w8a8"]
    assert device.precisions("add") == device.precisions("depthwise") == ()
    wide, addition = device.rate("dense", Precision(weight_bits=8, activation_bits=16)), device.rate("add", None)
    assert wide is not None
    assert addition is not None
    assert (wide.per_cycle, addition.per_cycle) == (0.4, 0.1)
    assert device.rate("dense", Precision(weight_bits=4)) is device.rate("mul", None) is None


def test_an_installation_without_the_shipped_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpsearch.catalog.load.__file__", str(tmp_path / "mpsearch" / "catalog" / "load.py"))
    with pytest.raises(CatalogError, match="has no folder 'search_spaces'"):
        list_names("search_spaces")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: 2024-99-99", "is not YAML"),
        ("a: &a [*a]", "aliases"),
        ("[" * 3000, "is not YAML"),
        ("a: &a [x]\nb: [*a, *a]", "aliases"),
        ("name: a\nname: b", "name is given a second time; the first is on line 1"),
        ("", "the file is empty"),
        ("---\n---\n", "is not YAML"),
        ("2024-01-01: x", "2024-01-01 is not a known key"),
        ("!!python/object:os.system {}", "is not a known key|is missing"),
        ("name: " + "9" * 5000, "is not YAML"),
        ("#" * 2_000_000, "wanted at most 1000000"),
    ],
    ids=["date", "circle", "depth", "alias", "twice", "empty", "two documents", "date as a key", "tag", "digits", "size"],
)
def test_hostile_yaml_is_one_clear_error(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "device.yaml").write_text(text)
    with pytest.raises(HardwareModelError, match=message):
        load_hardware_model(tmp_path / "device.yaml")
