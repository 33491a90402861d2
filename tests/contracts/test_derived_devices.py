# SPDX-License-Identifier: Apache-2.0
"""Numbers of device files that were derived from published ones give these back."""

from __future__ import annotations

import pytest

from benchmarks.sister_cores import SISTERS, Sister, make_sister
from mpsearch.catalog import HardwareModel, load_hardware_model, shipped_folder
from mpsearch.cost.device_file import device_text
from mpsearch.cost.latency import layer_roofline
from mpsearch.cost.work import LayerWork
from mpsearch.records import WEIGHTED_CLASSES, LayerShape, Precision


def work_of(shape: LayerShape, weight_bits: int = 8) -> LayerWork:
    """Return a layer with one byte a value, whose weights are in the cache."""
    return LayerWork(
        name="layer",
        shape=shape,
        precision=Precision(weight_bits=weight_bits) if shape.has_weights else None,
        constant_bytes=0,
        input_bytes=shape.input_values * shape.operands,
        output_bytes=shape.output_values,
        live_bytes=shape.input_values * shape.operands + shape.output_values,
    )


def cycles(hardware: HardwareModel, shape: LayerShape, weight_bits: int = 8) -> float:
    """Return the predicted cycles of a layer."""
    return layer_roofline(work_of(shape, weight_bits), hardware).total


def convolution(side: int, inputs: int, outputs: int, kernel: int = 1, operator: str = "conv2d", padding: int = 0) -> LayerShape:
    """Return a square convolution of stride 1."""
    small = side + 2 * padding - kernel + 1
    return LayerShape(
        operator=operator,
        input=(side, side, inputs),
        output=(small, small, outputs),
        kernel=(kernel, kernel),
        padding=(padding,) * 4,
        groups=inputs if operator == "depthwise" else 1,
    )


TICKS = {
    "1x1, 64 to 64": (convolution(10, 64, 64), 461398),
    "1x1, 16 to 16": (convolution(8, 16, 16), 43578),
    "depthwise 3x3": (convolution(18, 16, 16, 3, "depthwise"), 191931),
    "depthwise 5x5, multiplier 4": (convolution(12, 8, 32, 5, "depthwise", padding=1), 366102),
    "dense": (LayerShape(operator="dense", input=(1, 1, 265), output=(1, 1, 3)), 4439),
    "max pooling": (convolution(16, 16, 16, 3, "max_pool"), 76747),
    "average pooling": (convolution(16, 16, 16, 3, "avg_pool"), 160580),
    "addition": (LayerShape(operator="add", input=(1, 1, 1615), output=(1, 1, 1615), operands=2), 71644),
    "multiplication": (LayerShape(operator="mul", input=(1, 1, 1615), output=(1, 1, 1615), operands=2), 30950),
}
"""README of espressif/esp-nn, commit 0798b58f: ticks on ESP32-S3 at 240 MHz."""


@pytest.mark.parametrize("layer", TICKS)
def test_esp32_s3_gives_the_published_ticks_back(layer: str) -> None:
    shape, ticks = TICKS[layer]
    assert cycles(load_hardware_model("esp32-s3"), shape) == pytest.approx(ticks, rel=0.08 if shape.operator == "depthwise" else 0.01)


def test_esp32_s3_is_off_by_as_much_as_its_description_says() -> None:
    assert 643689 / cycles(load_hardware_model("esp32-s3"), convolution(10, 3, 64, 3)) == pytest.approx(3.2, abs=0.05)


def test_narrow_weights_of_esp32_s3_take_their_unpacking_longer() -> None:
    hardware, shape = load_hardware_model("esp32-s3"), convolution(10, 64, 64)
    assert cycles(hardware, shape, 4) - cycles(hardware, shape) == pytest.approx(3 * 64 * 64)
    assert cycles(hardware, shape, 5) - cycles(hardware, shape) == pytest.approx(4 * 64 * 64)


@pytest.mark.parametrize(
    ("device", "precision", "macs_per_cycle"),
    [
        ("hexagon-hvx", "w8a8", 2 * 2 * 1024 / 8),  # two contexts, two multiplications each, of 1024 bits
        ("hexagon-hvx", "w8a16", 2 * 2 * 1024 / 16),
        ("hexagon-hvx", "w16a16", 2 * 1024 / 16),
        ("hifi4-dsp", "w8a8", 2 * 4),  # two slots, four products each
        ("cortex-a76", "w8a8", 2 * 16),  # two dot products, sixteen products each
        ("cortex-a76", "w4a8", 128 / (8 + 2) * 2),  # two instructions more for eight dot products
    ],
)
def test_the_peak_of_a_device_is_that_of_its_instructions(device: str, precision: str, macs_per_cycle: float) -> None:
    rate = load_hardware_model(device).rate("conv2d", Precision.parse(precision))
    assert rate is not None
    assert rate.per_cycle == pytest.approx(macs_per_cycle)


@pytest.mark.parametrize(
    ("device", "outputs", "as_many"),
    [("hexagon-hvx", 16, 32), ("hexagon-hvx", 33, 64), ("hifi4-dsp", 5, 8), ("cortex-a76", 9, 16)],
)
def test_lanes_that_a_layer_leaves_empty_take_as_long_as_full_ones(device: str, outputs: int, as_many: int) -> None:
    few, full, more = (
        layer_roofline(work_of(convolution(8, 16, count)), load_hardware_model(device)).compute for count in (outputs, as_many, as_many + 1)
    )
    assert few == full < more


@pytest.mark.parametrize("sister", SISTERS, ids=lambda sister: sister.name)
def test_the_file_of_a_sister_core_is_the_one_that_the_other_gives(sister: Sister) -> None:
    shipped = (shipped_folder("hw_models") / f"{sister.name}.yaml").read_text(encoding="utf-8")
    assert shipped == device_text(make_sister(sister)), "run make devices"


@pytest.mark.parametrize("sister", SISTERS, ids=lambda sister: sister.name)
@pytest.mark.parametrize("operator", WEIGHTED_CLASSES)
def test_a_sister_core_takes_the_factor_of_the_cycles_and_as_many_instructions(sister: Sister, operator: str) -> None:
    shape = LayerShape(operator="dense", input=(1, 1, 64), output=(1, 1, 16)) if operator == "dense" else convolution(8, 16, 16, 3, operator)
    mine, other = (layer_roofline(work_of(shape, 4), load_hardware_model(name)) for name in (sister.name, sister.like))
    assert mine.compute + mine.terms == pytest.approx(sister.factor * (other.compute + other.terms), rel=0.01)
    assert mine.instructions == pytest.approx(other.instructions)
