# SPDX-License-Identifier: Apache-2.0
"""Roofs, ridges and layers are where the device's file and the cost model put them, in characters and in the picture."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.catalog import ComputeRates, HardwareModel, Memory, Quantity, list_names, load_hardware_model
from mpsearch.cost import LayerCost
from mpsearch.errors import HardwareModelError, PlotError
from mpsearch.records import Precision
from mpsearch.report.device import device_json, sources_of
from mpsearch.report.roofline import MARKS, Roofline, make_roofline
from mpsearch.report.roofline_picture import save_roofline
from mpsearch.report.roofline_text import MARGIN, ROWS, SEVERAL, roofline_plot

ONE = Quantity(value=1.0, source="by hand")


def device(rates: dict[int, float] | None = None) -> HardwareModel:
    """Return a device of one memory, 1 byte per cycle, with dense layers and slower depthwise ones."""
    rates = rates or {4: 8.0, 8: 2.0}
    return HardwareModel(
        name="by hand",
        description="by hand",
        clock_hz=ONE,
        flash_bytes=ONE,
        ram_bytes=ONE,
        compute=(
            ComputeRates(operators=("dense",), activation_bits=8, macs_per_cycle=rates, source="data sheet"),
            ComputeRates(operators=("depthwise",), activation_bits=8, macs_per_cycle={8: 0.5}, source="data sheet"),
        ),
        memories=(Memory(name="ram", holds=("weights", "activations"), size_bytes=ONE, bytes_per_cycle=ONE),),
    )


def layer(name: str, macs: int, cycles: float, ops_per_byte: float) -> LayerCost:
    """Return a layer without overhead."""
    return LayerCost(
        layer=name,
        op="Linear",
        operator="dense",
        precision=Precision(weight_bits=8),
        macs=macs,
        flash_bytes=1,
        ram_bytes=1,
        ops_per_byte=ops_per_byte,
        cycles=cycles,
        binding="compute",
        compute_cycles=cycles,
    )


def plot_lines(roofline: Roofline, columns: int) -> list[str]:
    """Return the characters right of the vertical axis."""
    return [line[MARGIN:] for line in roofline_plot(roofline, columns).plain.splitlines()[1 : 1 + ROWS]]


def test_a_roof_has_the_fastest_operator_of_its_precision_and_a_ridge_where_memory_meets_it() -> None:
    roofline = make_roofline(device())
    assert [(roof.label, roof.macs_per_cycle, roof.ridge_ops_per_byte) for roof in roofline.roofs] == [("w4a8", 8.0, 16.0), ("w8a8", 2.0, 4.0)]
    low = roofline.roofs[1]
    assert [roofline.height(low, intensity) for intensity in (1, 2, 4, 100)] == [0.5, 1.0, 2.0, 2.0]


def test_precisions_of_one_rate_share_a_roof() -> None:
    (roof,) = make_roofline(device(dict.fromkeys((2, 3, 4, 8), 3.0))).roofs
    assert (len(roof.precisions), roof.label) == (4, "w2a8 … w8a8")


def test_a_device_that_multiplies_no_weights_has_no_roof() -> None:
    adds = ComputeRates(operators=("add",), activation_bits=8, values_per_cycle=1.0, source="by hand")
    with pytest.raises(HardwareModelError, match=r"no rate for weights of 2 to 16 bits.*macs_per_cycle for one of conv2d"):
        make_roofline(replace(device(), compute=(adds,)))


def test_layers_on_one_spot_share_a_letter_and_layers_without_macs_have_none() -> None:
    layers = [layer("one", 100, 50, 10), layer("pool", 0, 50, 0), layer("two", 100, 50, 10), layer("three", 100, 50, 11)]
    assert [point.mark for point in make_roofline(device(), layers).points] == ["a", "", "a", "b"]


@given(
    spots=st.lists(st.tuples(st.floats(1e-3, 1e4), st.floats(1e-3, 1e3)), max_size=80),
    rates=st.dictionaries(st.integers(2, 8), st.floats(0.01, 1e4), min_size=1),
    columns=st.integers(20, 200),
)
def test_every_layer_lies_inside_the_plot_and_every_line_is_equally_long(
    spots: list[tuple[float, float]], rates: dict[int, float], columns: int
) -> None:
    roofline = make_roofline(device(rates), [layer(str(index), 1000, 1000 / rate, intensity) for index, (intensity, rate) in enumerate(spots)])
    lines = plot_lines(roofline, columns)
    assert len({len(line) for line in lines}) == 1
    shown = set("".join(lines))
    for point in roofline.drawn:
        assert point.mark in shown or SEVERAL in shown


def test_a_layer_is_drawn_at_its_intensity_and_rate() -> None:
    roofline = make_roofline(device(), [layer("one", 100, 100, 1.0), layer("two", 100, 50, 64.0)])
    lines = plot_lines(roofline, 90)
    # From a quarter of the least intensity to four times the greatest: 1 is a fifth of the way from 2 ** -2 to 2 ** 8.
    across, up = roofline.axes((0, len(lines[0]) - 1), (ROWS - 1, 0))
    assert (across.lowest, across.highest) == (0.25, 256.0)
    assert round(across.place(1.0)) == round((len(lines[0]) - 1) / 5)
    for mark, intensity, rate in (("a", 1.0, 1.0), ("b", 64.0, 2.0)):
        assert lines[round(up.place(rate))][round(across.place(intensity))] == mark


def test_beyond_the_last_letter_layers_share_a_star() -> None:
    layers = [layer(str(index), 100, 100, 1.0 + index) for index in range(len(MARKS) + 2)]
    assert [point.mark for point in make_roofline(device(), layers).points][-3:] == [MARKS[-1], "*", "*"]


@pytest.mark.parametrize("target", list_names("hw_models"))
def test_every_shipped_device_has_roofs_a_plot_and_a_source_for_each_of_its_numbers(target: str) -> None:
    hardware = load_hardware_model(target)
    roofline = make_roofline(hardware)
    heights = [roof.macs_per_cycle for roof in roofline.roofs]
    assert heights == sorted(set(heights), reverse=True)
    assert plot_lines(roofline, 100)
    assert all(source and places for source, places in sources_of(hardware).items())
    assert device_json(hardware)["target"] == hardware.name


def test_sources_say_which_numbers_they_are_for() -> None:
    assert sources_of(device()) == {
        "by hand": ("clock_hz", "flash_bytes", "ram_bytes", "memories ram size_bytes", "memories ram bytes_per_cycle"),
        "data sheet": ("compute dense a8", "compute depthwise a8"),
    }


def test_the_picture_is_a_png_and_the_same_every_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="NO MATPLOTLIB: pip install 'mpsearch[plots]'")
    roofline = make_roofline(device(), [layer("one", 100, 100, 1.0), layer("two", 100, 50, 64.0)], "net, uniform 8")
    for name in ("first.png", "second.png"):
        save_roofline(roofline, tmp_path / name)
    content = (tmp_path / "first.png").read_bytes()
    assert content == (tmp_path / "second.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert [int.from_bytes(content[at : at + 4], "big") for at in (16, 20)] == [1500, 975]


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="NO MATPLOTLIB: pip install 'mpsearch[plots]'")
    with pytest.raises(PlotError, match=r"nowhere/a\.png' cannot be written: No such file"):
        save_roofline(make_roofline(device()), tmp_path / "nowhere" / "a.png")


def test_without_matplotlib_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PlotError, match=r"matplotlib is not installed.*pip install 'mpsearch\[plots\]'"):
        save_roofline(make_roofline(device()), tmp_path / "a.png")
