# SPDX-License-Identifier: Apache-2.0
"""`mpsearch hw check` finds every mistake of a device's file at once, with its line, and says what is unlikely."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpsearch.catalog import HardwareCheck, check_hardware_model, list_names
from mpsearch.cli import main

GOOD = """\
name: good
description: a device whose numbers mean nothing
clock_hz: {value: 100e6, source: a data sheet}
flash_bytes: {value: 1000000, source: a data sheet}
ram_bytes: {value: 64000, source: a data sheet}
compute:
  - operators: [conv2d, depthwise, dense]
    activation_bits: 8
    macs_per_cycle: {4: 0.8, 8: 0.7}
    macs_per_instruction: {4: 0.9, 8: 0.8}
    picojoules_per_mac: {4: 1, 8: 2}
    source: counted in an emulator
  - operators: [add, mul, max_pool, avg_pool, mean, copy, lookup]
    activation_bits: 8
    values_per_cycle: 0.1
    source: counted in an emulator
memories:
  - name: flash
    holds: [weights]
    size_bytes: {value: 1000000, source: a data sheet}
    bytes_per_cycle: {value: 2.5, source: a data sheet}
    picojoules_per_byte: {value: 10, source: a data sheet}
  - name: sram
    holds: [activations]
    size_bytes: {value: 64000, source: a data sheet}
    bytes_per_cycle: {value: 4, source: a data sheet}
    picojoules_per_byte: {value: 1, source: a data sheet}
terms:
  - per: output
    operators: [conv2d]
    cycles: 20
    source: counted in an emulator
accuracy: {median: 0.1, worst_tenth: 0.2, source: counted in an emulator}
"""


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write the good file with changes."""
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "good.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def checked(folder: Path, *changes: tuple[str, str]) -> HardwareCheck:
    """Return the check of the good file with changes."""
    return check_hardware_model(written(folder, *changes))


def test_nothing_is_said_against_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path)
    assert main(["hw", "check", str(path)]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith(f"{path} is a hardware model: 'good'; mistakes: 0, warnings: 0\n")
    for text in ("Roofs", "ridge", "Memories", "sram", "Rates per cycle", "w4 0.8, w8 0.7", "output"):
        assert text in printed


def test_the_ridge_is_where_two_ops_a_mac_meet_the_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["hw", "check", str(written(tmp_path)), "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert (printed["valid"], printed["mistakes"], printed["warnings"]) == (True, [], [])
    roofs = {roof["precisions"][0]: roof["ridge_ops_per_byte"] for roof in printed["device"]["roofs"]}
    assert roofs == {"w4a8": pytest.approx(2 * 0.8 / 6.5), "w8a8": pytest.approx(2 * 0.7 / 6.5)}


MANY = (
    ("clock_hz: {value: 100e6, source: a data sheet}", "clock_hz: {value: 100 MHz, source: a data sheet}"),
    ("flash_bytes: {value: 1000000, source: a data sheet}", "flash_bytes: 1000000"),
    ("ram_bytes:", "ram_kb:"),
    ("[conv2d, depthwise, dense]", "[conv2d, depthwize, dense]"),
    ("    source: counted in an emulator\n  - operators: [add", "  - operators: [add"),
    ("values_per_cycle: 0.1", "values_per_cycle: 0.1\n    values_per_cycle: 0.2"),
    ("holds: [weights]", "holds: [weightss]"),
    ("bytes_per_cycle: {value: 4, source: a data sheet}", "bytes_per_cycle: {value: 4, source: ''}"),
    ("per: output", "pro: output"),
    ("worst_tenth: 0.2", "worst_tenth: .inf"),
)
WANTED = [
    (None, "ram_bytes is missing", "add it."),
    (3, "clock_hz.value: got '100 MHz', wanted a valid number", "the unit of the key: 100000000."),
    (4, "flash_bytes: got 1000000, wanted value and source", "write flash_bytes: {value: 1000000, source: where it comes from}."),
    (5, "ram_kb is not a known key", "write ram_bytes, with the number in that unit."),
    (7, "compute.0.operators.1: got 'depthwize', wanted 'conv2d'", "did you mean depthwise?"),
    (7, "compute.0.source is missing", "say where the number comes from"),
    (15, "compute.1.values_per_cycle is given a second time; the first is on line 14", "keep one of them."),
    (19, "memories.0.holds.0: got 'weightss', wanted 'weights' or 'activations'", "did you mean weights?"),
    (26, "memories.1.bytes_per_cycle.source: got '', wanted a text of at least 1 character", "the shipped files"),
    (29, "terms.0.per is missing", "add it."),
    (29, "terms.0.pro is not a known key", "did you mean 'per'?"),
    (33, "accuracy.worst_tenth: got inf, wanted a finite number", "the shipped files"),
]


def test_every_mistake_is_found_at_once_with_line_place_got_wanted_and_hint(tmp_path: Path) -> None:
    check = checked(tmp_path, *MANY)
    assert check.hardware is None
    assert len(check.mistakes) == len(WANTED)
    for mistake, (line, message, hint) in zip(check.mistakes, WANTED, strict=True):
        assert (mistake.line, mistake.message[: len(message)]) == (line, message)
        assert hint in mistake.hint


@pytest.mark.parametrize("change", range(len(MANY)))
def test_a_mistake_is_found_alone_too(tmp_path: Path, change: int) -> None:
    alone = {mistake.where for mistake in checked(tmp_path, MANY[change]).mistakes}
    together = {mistake.where for mistake in checked(tmp_path, *MANY).mistakes}
    assert alone
    assert alone <= together


def test_mistakes_of_the_whole_file_are_found_behind_those_of_its_parts(tmp_path: Path) -> None:
    check = checked(
        tmp_path,
        ("[conv2d, depthwise, dense]", "[conv2d, dense, add]"),
        ("  - operators: [add, mul", "  - operators: [dense]\n    activation_bits: 8\n    macs_per_cycle: {4: 1}\n  - operators: [dense, mul"),
        ("values_per_cycle: 0.1\n    source: counted", "macs_per_cycle: {4: 2}\n    source: counted"),
        ("[dense, mul, max_pool, avg_pool, mean, copy, lookup]", "[dense]"),
        ("name: sram", "name: flash"),
    )
    assert [(mistake.line, mistake.where) for mistake in check.mistakes] == [
        (7, "compute.0"),  # mixes operators with weights and without
        (13, "compute.1.source"),
        (16, "compute.2"),  # gives dense at w4 again, as compute.1
        (20, "memories"),  # two of one name
    ]
    assert "two rates for dense at w4 a8, as in compute.1" in check.mistakes[2].message


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("operators: [conv2d]", "operators: conv2d", "terms.0.operators: got 'conv2d', wanted a list", "write operators: [conv2d]."),
        ("holds: [weights]", "holds:", "memories.0.holds: got nothing, wanted a list", "the shipped files"),
        ("macs_per_cycle: {4: 0.8, 8: 0.7}", "macs_per_cycle: 0.8", "compute.0.macs_per_cycle: got 0.8, wanted a mapping", "the shipped files"),
        (
            "{value: 64000, source: a data sheet}",
            "{value: 64 KB, source: a data sheet}",
            "ram_bytes.value: got '64 KB', wanted",
            "of the key: 64000.",
        ),
        (
            "{value: 64000, source: a data sheet}",
            "{value: 64 KiB, source: a data sheet}",
            "ram_bytes.value: got '64 KiB', wanted",
            "of the key: 65536.",
        ),
        ("{value: 10, source: a data sheet}", "10", "memories.0.picojoules_per_byte: got 10, wanted value and source", "{value: 10, source: where"),
        ("{value: 10, source: a data sheet}", "[10]", "memories.0.picojoules_per_byte: got [10], wanted a mapping", "the shipped files"),
        ("per: output", "per: outputx", "terms.0.per: got 'outputx', wanted one of", "did you mean output"),
        ("clock_hz:", "clock_mhz:", "clock_mhz is not a known key", "write clock_hz, with the number in that unit."),
        ("[conv2d, depthwise, dense]", "[conv2d, conv2d, dense]", "compute.0: two rates for conv2d at w4 a8, wanted one", "the shipped files"),
        ("name: good", "name: 4", "name: got 4, wanted a text", "the shipped files"),
        (
            "holds: [weights]",
            "holds: [weights]\n    buffers: 1",
            "memories.0.buffers: got 1, wanted a value that is true or false",
            "the shipped files",
        ),
    ],
)
def test_a_value_of_the_wrong_form_says_what_is_wanted(tmp_path: Path, old: str, new: str, message: str, hint: str) -> None:
    found = [mistake for mistake in checked(tmp_path, (old, new)).mistakes if mistake.message.startswith(message)]
    assert len(found) == 1
    assert hint in found[0].hint


def test_a_misspelt_key_is_not_reported_again_as_what_it_leaves_out(tmp_path: Path) -> None:
    check = checked(tmp_path, ("holds: [weights]", "hold: [weights]"))
    assert [(mistake.line, mistake.message) for mistake in check.mistakes] == [(19, "memories.0.hold is not a known key")]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", None, "the file is empty, wanted a mapping"),
        (b"# nothing\n", None, "the file is empty"),
        (b"- 1\n- 2\n", None, "top level: got [1, 2], wanted"),
        (b"\xff\xfe\x00\x01", None, "cannot be read"),
        (b"a: \x00\n", None, "is not YAML"),
        (b"a: 1\nb: [1, 2\nc: 3\n", 3, "is not YAML"),
        (b"a: &x 1\nb: *x\n", 2, "aliases"),
        (b"a: 1\n\tb: 2\n", 2, "is not YAML"),
        (b"[" * 5000, None, "is not YAML"),
        (b"---\na: 1\n---\nb: 2\n", 3, "is not YAML"),
    ],
    ids=["empty", "comment", "list", "binary", "zero byte", "open bracket", "alias", "tab", "depth", "two documents"],
)
def test_a_file_that_is_no_mapping_has_one_mistake(
    tmp_path: Path, content: bytes, line: int | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "device.yaml"
    path.write_bytes(content)
    assert main(["hw", "check", str(path)]) == 2
    first, *others, last = capsys.readouterr().out.splitlines()
    assert message in first
    assert first.startswith(f"{path}{f':{line}' if line else ''}: wrong: ")
    assert not others
    assert last == f"{path} does not load; mistakes: 1, warnings: 0"


def test_a_folder_has_one_mistake(tmp_path: Path) -> None:
    (mistake,) = check_hardware_model(tmp_path).mistakes
    assert "it is a folder, wanted a file" in mistake.message


def test_what_is_neither_a_file_nor_a_name_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hw", "check", "cortex-m44"]) == 2
    assert "There is no file 'cortex-m44', and no target of that name" in capsys.readouterr().err


@pytest.mark.parametrize("name", list_names("hw_models"))
def test_the_shipped_files_have_no_mistakes(name: str) -> None:
    check = check_hardware_model(name)
    assert check.mistakes == ()
    assert check.hardware is not None


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("name: good", "name: better", "name", "'better' stands in a file called good.yaml"),
        ("value: 100e6", "value: 100", "clock_hz.value", "100 Hz is unlikely"),
        ("value: 100e6", "value: 100e12", "clock_hz.value", "1e+14 Hz is unlikely"),
        ("macs_per_cycle: {4: 0.8,", "macs_per_cycle: {4: 8e6,", "compute.0.macs_per_cycle.4", "8e+06 MACs per cycle is unlikely"),
        ("values_per_cycle: 0.1", "values_per_cycle: 1e7", "compute.1.values_per_cycle", "values per cycle is unlikely"),
        ("macs_per_instruction: {4: 0.9,", "macs_per_instruction: {4: 40,", "compute.0.macs_per_instruction.4", "40 MACs in one instruction"),
        ("macs_per_instruction: {4: 0.9,", "macs_per_instruction: {4: 0.1,", "compute.0.macs_per_instruction", "8 instructions per cycle"),
        ("{4: 0.8, 8: 0.7}", "{1: 0.8, 8: 0.7}", "compute.0", "no search space reaches 1 bits"),
        ("source: counted in an emulator\n  - op", "source: counted\n  - op", "compute.0.source", "the source 'counted' is short"),
        ("{value: 2.5, source", "{value: 2.5e9, source", "memories.0.bytes_per_cycle.value", "bytes per cycle is unlikely"),
        ("flash_bytes: {value: 1000000", "flash_bytes: {value: 1000001", "flash_bytes.value", "more than the memory that holds the weights has"),
        ("ram_bytes: {value: 64000", "ram_bytes: {value: 65536", "ram_bytes.value", "65536 bytes are more than the largest memory"),
        ("size_bytes: {value: 64000", "size_bytes: {value: 64", "memories.1.size_bytes.value", "64 bytes are less than a KiB"),
        ("operators: [conv2d]\n    cycles", "operators: [conv2d]\n    weight_bits: [2]\n    cycles", "terms.0.weight_bits", "never paid"),
        ("cycles: 20", "cycles: 0", "terms.0.cycles", "it costs nothing"),
        ("median: 0.1", "median: 0.3", "accuracy", "larger than that of the worst tenth"),
        ("accuracy: {median: 0.1, worst_tenth: 0.2, source: counted in an emulator}\n", "", "", "accuracy is not given"),
        ("{4: 1, 8: 2}", "{4: 3, 8: 2}", "compute.0.picojoules_per_mac", "narrower weights take more energy"),
        ("{4: 1, 8: 2}", "{4: 1, 8: 2e6}", "compute.0.picojoules_per_mac.8", "2e+06 pJ is unlikely"),
        ("    picojoules_per_mac: {4: 1, 8: 2}\n", "", "", "energy leaves out the arithmetic"),
        ("    picojoules_per_byte: {value: 1, source: a data sheet}\n", "", "", "energy leaves out some of the memories"),
        ("[add, mul, max_pool", "[add, max_pool", "compute", "no rate is given for mul: a network"),
    ],
)
def test_what_is_unlikely_or_left_out_is_a_warning(tmp_path: Path, old: str, new: str, where: str, message: str) -> None:
    check = checked(
        tmp_path, *([("macs_per_instruction: {4: 0.9, 8: 0.8}\n    picojoules_per_mac: {4: 1, 8: 2}\n    ", "")] if "{1:" in new else []), (old, new)
    )
    assert check.mistakes == ()
    found = [warning for warning in check.warnings if message in warning.message]
    assert [warning.where for warning in found] == [where]
    assert found[0].hint


def test_precisions_that_one_operator_lacks_are_a_warning(tmp_path: Path) -> None:
    narrow = "operators: [depthwise]\n    activation_bits: 8\n    macs_per_cycle: {8: 0.1}\n    source: counted in an emulator\n  - "
    check = checked(tmp_path, ("operators: [conv2d, depthwise, dense]", f"{narrow}operators: [conv2d, dense]"))
    assert [warning.message for warning in check.warnings] == ["compute: depthwise has no rate at w4a8, which other operators have"]


def test_layers_that_pay_twice_are_a_warning(tmp_path: Path) -> None:
    again = "  - per: output\n    operators: [conv2d]\n    cycles: 3\n    source: counted in an emulator\n"
    check = checked(tmp_path, ("accuracy:", f"{again}accuracy:"))
    assert [warning.message for warning in check.warnings] == ["terms.1: it is paid for the same as terms.0, so layers pay twice"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_a_file_is_more_than_a_list_of_mistakes(tmp_path: Path, data: st.DataObject) -> None:
    lines = GOOD.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        start = data.draw(st.integers(0, len(lines[index])))
        end = data.draw(st.integers(start, len(lines[index])))
        new = data.draw(
            st.sampled_from(["", "-1", "x", "null", "[]", "{}", "true", "1e400", ": ", "- ", "'", "#", "2024-01-01", "&a", "<<: {a: 1}", "!!set"])
        )
        lines[index] = lines[index][:start] + new + lines[index][end:]
    path = tmp_path / "good.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    check = check_hardware_model(path)
    assert (check.hardware is None) == bool(check.mistakes)
    assert all(mistake.message and mistake.hint for mistake in check.mistakes)
    assert all(mistake.line is None or 1 <= mistake.line <= len(lines) + 1 for mistake in check.mistakes)
