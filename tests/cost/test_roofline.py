# SPDX-License-Identifier: Apache-2.0
"""Rooflines of one layer, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.catalog import Term
from mpsearch.cost.latency import gives_energy, layer_energy, layer_roofline
from mpsearch.cost.work import LayerWork
from mpsearch.errors import HardwareModelError
from mpsearch.records import LayerShape, Precision
from tests.cost.devices import device, macs, memory, quantity, term, values

W4, W8, W8A16 = Precision(weight_bits=4), Precision(weight_bits=8), Precision(weight_bits=8, activation_bits=16)
CONVOLUTION = LayerShape(operator="conv2d", input=(6, 8, 4), output=(6, 8, 5), kernel=(3, 3), padding=(1, 1, 1, 1))
CHECKED_MACS = 6 * 8 * 5 * 3 * 3 * 4  # 8640
ADDITION = LayerShape(operator="add", input=(6, 8, 4), output=(6, 8, 4), operands=2)


def work(shape: LayerShape = CONVOLUTION, precision: Precision | None = W8, constants: int = 200) -> LayerWork:
    """Return a layer with 200 bytes of constants and one byte a value."""
    return LayerWork(
        name="layer",
        shape=shape,
        precision=precision,
        constant_bytes=constants,
        input_bytes=shape.input_values * shape.operands,
        output_bytes=shape.output_values,
        live_bytes=shape.input_values * shape.operands + shape.output_values,
    )


def test_a_layer_takes_as_long_as_its_slowest_resource() -> None:
    # 8640 MACs at 4 a cycle: 2160 cycles. 200 bytes at 0.1 a cycle: 2000. 192 + 240 bytes at 0.16 a cycle: 2700.
    hardware = device(macs("conv2d", {8: 4.0}), memories=(memory("flash", "weights", rate=0.1), memory("sram", "activations", rate=0.16)))
    roofline = layer_roofline(work(), hardware)
    assert (roofline.compute, roofline.memories, roofline.terms) == (2160.0, (("flash", 2000.0), ("sram", 2700.0)), 0.0)
    assert (roofline.total, roofline.binding) == (2700.0, "sram")


@pytest.mark.parametrize(
    ("rate", "flash", "sram", "terms", "binding", "cycles"),
    [
        (1.0, 1.0, 1.0, (), "compute", 8640),
        (100.0, 0.5, 1.0, (), "sram", 432),
        (100.0, 0.125, 1.0, (), "flash", 1600),
        (100.0, 0.125, 1.0, (term("call", 1599.0),), "flash", 1600 + 1599),
        (100.0, 0.125, 1.0, (term("call", 1601.0),), "overhead", 1600 + 1601),
        (1.0, 1.0, 1.0, (term("output", 10.0),), "compute", 8640 + 2400),
    ],
)
def test_the_binding_resource_is_named(rate: float, flash: float, sram: float, terms: tuple[Term, ...], binding: str, cycles: float) -> None:
    memories = (memory("flash", "weights", rate=flash), memory("sram", "activations", rate=sram))
    roofline = layer_roofline(work(), device(macs("conv2d", {8: rate}), memories=memories, terms=terms))
    assert (roofline.binding, roofline.total) == (binding, cycles)


@pytest.mark.parametrize(
    ("per", "count"),
    [
        ("call", 1),
        ("output", 6 * 8 * 5),
        ("input", 6 * 8 * 4),
        ("step", CHECKED_MACS),
        ("pixel", 6 * 8),
        ("channel", 5),
        ("weight", 5 * 3 * 3 * 4),
        ("laid_value", 6 * 8 * 3 * 3 * 4),
        ("gathered_value", 6 * 8 * 3 * 3 * 4),
    ],
)
def test_a_term_is_paid_once_for_each_of_what_it_names(per: str, count: int) -> None:
    assert layer_roofline(work(), device(terms=(term(per, 3.0), term("call", 7.0)))).terms == 3.0 * count + 7.0


@pytest.mark.parametrize(
    ("limits", "paid"),
    [
        ({}, (True, True, True)),
        ({"operators": ("conv2d", "dense")}, (True, True, False)),
        ({"operators": ("add",)}, (False, False, True)),
        ({"weight_bits": (3, 4)}, (True, False, False)),
        ({"activation_bits": (8,)}, (True, True, True)),
        ({"activation_bits": (16,)}, (False, False, False)),
        ({"operators": ("conv2d",), "weight_bits": (8,), "activation_bits": (8, 16)}, (False, True, False)),
    ],
)
def test_a_term_is_paid_at_its_operators_and_bits_only(limits: dict[str, tuple[object, ...]], paid: tuple[bool, ...]) -> None:
    layers = (work(precision=W4), work(precision=W8), work(ADDITION, None))
    hardware = device(terms=(term("call", 9.0, **limits),))
    assert tuple(layer_roofline(layer, hardware).terms == 9.0 for layer in layers) == paid


def test_the_rate_is_that_of_both_widths() -> None:
    hardware = device(macs("conv2d", {4: 8.0, 8: 4.0}), macs("conv2d", {8: 2.0}, activation_bits=16))
    assert [layer_roofline(work(precision=at), hardware).compute for at in (W4, W8, W8A16)] == [1080.0, 2160.0, 4320.0]


def test_operators_without_weights_count_values() -> None:
    pool = LayerShape(operator="max_pool", input=(6, 8, 4), output=(3, 4, 4), kernel=(3, 3), stride=(2, 2))
    hardware = device(values("add", rate=0.5), values("max_pool", rate=2.0))
    assert layer_roofline(work(ADDITION, None), hardware).compute == 6 * 8 * 4 / 0.5
    assert layer_roofline(work(pool, None), hardware).compute == 3 * 4 * 4 * 9 / 2.0


def test_instructions_are_steps_and_terms() -> None:
    rates = macs("conv2d", {4: 1.0, 8: 1.0}, macs_per_instruction={4: 2.0, 8: 4.0})
    hardware = device(rates, values("add"), terms=(term("output", 1.0, instructions=3.0), term("call", 50.0)))
    assert layer_roofline(work(precision=W4), hardware).instructions == 8640 / 2 + 240 * 3
    assert layer_roofline(work(precision=W8), hardware).instructions == 8640 / 4 + 240 * 3
    assert layer_roofline(work(ADDITION, None), hardware).instructions is None


def test_energy_is_that_of_every_mac_and_of_every_byte_moved() -> None:
    hardware = device(
        macs("conv2d", {4: 1.0, 8: 1.0}, picojoules_per_mac={4: 0.5, 8: 2.0}),
        values("add", picojoules_per_value=0.25),
        memories=(memory("flash", "weights", picojoules=100.0), memory("sram", "activations", picojoules=1.5)),
    )
    assert layer_energy(layer_roofline(work(precision=W8), hardware), hardware) == pytest.approx((8640 * 2.0 + 200 * 100.0 + 432 * 1.5) * 1e-12)
    assert layer_energy(layer_roofline(work(precision=W4, constants=100), hardware), hardware) == pytest.approx(
        (8640 * 0.5 + 100 * 100.0 + 432 * 1.5) * 1e-12
    )
    assert layer_energy(layer_roofline(work(ADDITION, None, constants=0), hardware), hardware) == pytest.approx((192 * 0.25 + 576 * 1.5) * 1e-12)


def test_power_comes_on_top_of_the_energy_of_macs() -> None:
    hardware = device(macs("conv2d", {8: 1.0}, picojoules_per_mac={8: 1e6}), active_power_w=quantity(0.5))
    assert layer_energy(layer_roofline(work(), hardware), hardware) == pytest.approx(0.5 * 8640 / 1e6 + 8640 * 1e-6)


def test_a_device_gives_energy_if_any_number_says_something_about_it() -> None:
    bare = device(macs("conv2d", {8: 1.0}))
    assert not gives_energy(bare)
    assert gives_energy(replace(bare, active_power_w=quantity(1.0)))
    assert gives_energy(device(macs("conv2d", {8: 1.0}, picojoules_per_mac={8: 1.0})))
    assert gives_energy(replace(bare, memories=(memory("flash", "weights", "activations", picojoules=1.0),)))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (work(precision=W4), r"Layer 'layer': target 'by-hand' has no rate for conv2d at w4a8"),
        (work(precision=W8A16), r"has no rate for conv2d at w8a16"),
        (work(ADDITION, None), r"has no rate for add at a8"),
        (work(replace(CONVOLUTION, operator="depthwise", groups=4, output=(6, 8, 4))), r"has no rate for depthwise at w8a8"),
    ],
)
def test_what_the_device_does_not_have_is_an_error(layer: LayerWork, message: str) -> None:
    with pytest.raises(HardwareModelError, match=message):
        layer_roofline(layer, device(macs("conv2d", {8: 1.0})))


def test_a_view_takes_nothing() -> None:
    roofline = layer_roofline(work(LayerShape(operator="view", input=(6, 8, 4), output=(1, 1, 192)), None), device(terms=(term("call", 5.0),)))
    assert (roofline.total, roofline.instructions, roofline.binding) == (0.0, 0.0, "none")


@given(rates=st.tuples(*[st.floats(1e-3, 1e3)] * 3), factor=st.floats(1.0, 100.0), index=st.integers(0, 2))
def test_a_faster_part_never_makes_a_layer_slower(rates: tuple[float, ...], factor: float, index: int) -> None:
    def cycles(compute: float, flash: float, sram: float) -> float:
        memories = (memory("flash", "weights", rate=flash), memory("sram", "activations", rate=sram))
        return layer_roofline(work(), device(macs("conv2d", {8: compute}), memories=memories)).total

    faster = tuple(rate * factor if place == index else rate for place, rate in enumerate(rates))
    assert cycles(*faster) <= cycles(*rates)
