# SPDX-License-Identifier: Apache-2.0
"""Blocks and rows of a small array, counted by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.catalog import ComputeRates, HardwareModel, Memory, MultiplierArray, Quantity
from mpsearch.cost.array import array_steps, matrix_products, row_bytes
from mpsearch.cost.latency import layer_roofline
from mpsearch.cost.work import LayerWork
from mpsearch.errors import QuantizationError
from mpsearch.records import DeviceWidths, LayerShape

ARRAY = MultiplierArray(inputs=32, outputs=8, pixels=4)
CONVOLUTION = LayerShape(operator="conv2d", input=(5, 5, 4), output=(5, 5, 10), kernel=(3, 3), padding=(1, 1, 1, 1), batch=2)
DEPTHWISE = LayerShape(operator="depthwise", input=(3, 3, 20), output=(3, 3, 20), kernel=(3, 3), padding=(1, 1, 1, 1), groups=20, batch=2)
DENSE = LayerShape(operator="dense", input=(1, 1, 33), output=(1, 1, 9), batch=6)


def one(value: float) -> Quantity:
    return Quantity(value=value, source="by hand")


def device(array: MultiplierArray | None, *, feeds_array: bool = True) -> HardwareModel:
    """Return a device of 2 MACs a cycle at w1a3, whose weights come at 2 and activations at 4 bytes a cycle."""
    return HardwareModel(
        name="small",
        description="by hand",
        clock_hz=one(1e6),
        flash_bytes=one(1e6),
        ram_bytes=one(1e6),
        compute=(
            ComputeRates(
                operators=("conv2d", "depthwise", "dense"), activation_bits=3, macs_per_cycle={1: 2.0, 2: 1.0}, array=array, source="by hand"
            ),
        ),
        memories=(
            Memory(name="left", holds=("weights",), feeds_array=feeds_array, size_bytes=one(1e6), bytes_per_cycle=one(2)),
            Memory(name="right", holds=("activations",), feeds_array=feeds_array, size_bytes=one(1e6), bytes_per_cycle=one(4)),
        ),
    )


def work(shape: LayerShape, weight_bits: int = 1) -> LayerWork:
    return LayerWork(
        name="layer",
        shape=shape,
        precision=DeviceWidths(weight_bits=weight_bits, activation_bits=3),
        constant_bytes=100,
        input_bytes=200,
        output_bytes=40,
        live_bytes=0,
    )


@pytest.mark.parametrize(
    ("shape", "products", "steps"),
    [
        # 25 pixels are 7 blocks of 4, 36 values 2 of 32, 10 channels 2 of 8.
        (CONVOLUTION, (2, 25, 36, 10), 2 * 7 * 2 * 2 * 4 * 32 * 8),
        # 20 channels are 3 times 8, each a sum over 8 windows of 9 values: 3 blocks of 32.
        (DEPTHWISE, (2 * 3, 9, 72, 8), 2 * 3 * 3 * 3 * 4 * 32 * 8),
        # The 6 samples are the rows of one product.
        (DENSE, (1, 6, 33, 9), 2 * 2 * 2 * 4 * 32 * 8),
    ],
)
def test_a_layer_pays_for_every_block_that_it_touches(shape: LayerShape, products: tuple[int, ...], steps: int) -> None:
    assert matrix_products(shape, ARRAY) == products
    assert array_steps(shape, ARRAY) == steps


def test_groups_are_products_of_their_own() -> None:
    grouped = dataclasses.replace(CONVOLUTION, groups=2)
    assert matrix_products(grouped, ARRAY) == (4, 25, 18, 5)


def test_rows_are_taken_whole() -> None:
    assert row_bytes(work(CONVOLUTION), device(ARRAY), ARRAY) == {"left": 2 * 10 * 64 / 8, "right": 2 * 25 * 64 * 3 / 8}
    assert row_bytes(work(DEPTHWISE, 2), device(ARRAY), ARRAY) == {"left": 6 * 8 * 96 * 2 / 8, "right": 6 * 9 * 96 * 3 / 8}
    assert row_bytes(work(DENSE), device(ARRAY), ARRAY) == {"left": 9 * 64 / 8, "right": 6 * 64 * 3 / 8}


def test_a_roofline_with_an_array_counts_blocks_and_rows() -> None:
    roofline = layer_roofline(work(CONVOLUTION), device(ARRAY))
    assert roofline.compute == array_steps(CONVOLUTION, ARRAY) / 2
    assert dict(roofline.memories) == {"left": 160 / 2, "right": 1200 / 4}


def test_a_roofline_without_an_array_counts_macs_and_bytes() -> None:
    for hardware in (device(None), device(None, feeds_array=False)):
        roofline = layer_roofline(work(CONVOLUTION), hardware)
        assert roofline.compute == CONVOLUTION.macs / 2
        assert dict(roofline.memories) == {"left": 100 / 2, "right": 240 / 4}


def test_only_memories_that_feed_the_array_count_rows() -> None:
    assert dict(layer_roofline(work(CONVOLUTION), device(ARRAY, feeds_array=False)).memories) == {"left": 100 / 2, "right": 240 / 4}


@given(
    size=st.tuples(*[st.integers(1, 9)] * 2),
    channels=st.tuples(*[st.integers(1, 40)] * 2),
    lanes=st.tuples(*[st.sampled_from([1, 2, 8, 16])] * 3),
    operator=st.sampled_from(["conv2d", "dense"]),
)
def test_idle_lanes_never_make_a_layer_faster(size: tuple[int, int], channels: tuple[int, int], lanes: tuple[int, int, int], operator: str) -> None:
    shape = LayerShape(operator=operator, input=(*size, channels[0]), output=(*size, channels[1]), batch=2)
    inputs, outputs, pixels = lanes
    steps = array_steps(shape, MultiplierArray(inputs=inputs, outputs=outputs, pixels=pixels))
    assert steps >= shape.macs
    assert steps % math.prod(lanes) == 0
    assert array_steps(shape, MultiplierArray()) == shape.macs


def test_an_array_without_macs_is_refused() -> None:
    with pytest.raises(ValueError, match="wanted array only where there is macs_per_cycle"):
        ComputeRates(operators=("add",), activation_bits=8, values_per_cycle=1.0, array=ARRAY, source="by hand")


@pytest.mark.parametrize("bits", [0, 33])
def test_a_device_has_1_to_32_bits(bits: int) -> None:
    with pytest.raises(QuantizationError, match=f"weight_bits is {bits}, wanted 1 to 32"):
        DeviceWidths(weight_bits=bits, activation_bits=8)
