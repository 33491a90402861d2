# SPDX-License-Identifier: Apache-2.0
"""The walk of a block engine, worked out by hand on an engine of round numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.catalog import BlockEngine, EngineArray, EngineBuffers, EngineOutput, EngineStream, HardwareModel, Memory
from mpsearch.cost.block_engine import as_window, choose_blocks, engine_cost, pipelined_cycles, slack_after, space_of, weight_stream
from mpsearch.cost.latency import layer_roofline
from mpsearch.cost.work import LayerWork
from mpsearch.errors import HardwareModelError
from mpsearch.records import LayerShape, Precision
from tests.cost.devices import BY_HAND, device, macs, quantity, values

ARRAY = EngineArray(
    height=2,
    width=2,
    depth=8,
    cycles_per_step=4,
    step_values={8: 32, 16: 16},
    step_taps={8: 4, 16: 2},
    weights_per_cycle=8,
    wait_cycles=2,
    pool_passes=4,
    source=BY_HAND,
)
BUFFERS = EngineBuffers(
    banks=44,
    bank_bytes=1024,
    input_granule=8,
    sum_bits={8: 32, 16: 40},
    sum_granule={8: 16, 16: 20},
    block=(32, 64, 128),
    block_depth_step=16,
    kernel=(8, 8),
    source=BY_HAND,
)
OUTPUT = EngineOutput(
    cycles_per_value={"conv2d": 0.25, "depthwise": 0.25, "dense": 0.25, "avg_pool": 0.25, "add": 0.75},
    wide_cycles_per_value={"conv2d": 0.5},
    source=BY_HAND,
)
STREAM = EngineStream(brick_channels=16, weight_bytes=1.0, filler_bytes=0.0, channel_bytes=10, alignment=16, source=BY_HAND)
ENGINE = BlockEngine(array=ARRAY, buffers=BUFFERS, output=OUTPUT, stream=STREAM)

POINTWISE = LayerShape(operator="conv2d", input=(16, 16, 64), output=(16, 16, 64))
DEPTHWISE = LayerShape(operator="depthwise", input=(8, 8, 16), output=(8, 8, 16), kernel=(3, 3), padding=(1, 1, 1, 1), groups=16)
CONVOLUTION = LayerShape(operator="conv2d", input=(8, 8, 32), output=(8, 8, 32), kernel=(3, 3), padding=(1, 1, 1, 1))
IMAGE = LayerShape(operator="conv2d", input=(8, 8, 3), output=(8, 8, 16), kernel=(3, 3), padding=(1, 1, 1, 1))


def memory(name: str, *holds: str, rate: float, latency: float, burst: float) -> Memory:
    return Memory(
        name=name,
        holds=holds,  # type: ignore[arg-type]
        size_bytes=quantity(1e6),
        bytes_per_cycle=quantity(rate),
        latency_cycles=quantity(latency),
        burst_bytes=quantity(burst),
    )


def hardware(engine: BlockEngine = ENGINE, flash_rate: float = 1.0) -> HardwareModel:
    """Return a device with the engine: an SRAM of 8 bytes a cycle, and a flash."""
    weighted = [macs(operator, {8: 256.0}) for operator in ("conv2d", "depthwise", "dense")]
    return device(
        *weighted,
        macs("conv2d", {8: 128.0}, activation_bits=16),
        values("add", "avg_pool", "mean", "copy"),
        block_engine=engine,
        memories=(
            memory("sram", "activations", rate=8, latency=32, burst=32),
            memory("flash", "weights", rate=flash_rate, latency=64, burst=128),
        ),
    )


def work(shape: LayerShape, bits: int = 8, reads_network_input: bool = False) -> LayerWork:
    return LayerWork(
        name="layer",
        shape=shape,
        precision=Precision(weight_bits=8, activation_bits=bits) if shape.has_weights else None,
        constant_bytes=shape.weights,
        input_bytes=shape.input_values * bits // 8,
        output_bytes=shape.output_values * bits // 8,
        live_bytes=1000,
        reads_network_input=reads_network_input,
    )


def array_and_output(shape: LayerShape, bits: int = 8, output_cycles: float = 0.25) -> float:
    window = as_window(shape)
    return pipelined_cycles(window, choose_blocks(window, space_of(ENGINE, bits)), ENGINE.array, bits, output_cycles)


def test_a_pointwise_convolution_takes_a_step_for_32_channels() -> None:
    """4x16x64 blocks: 16 micro-blocks of 4 cycles, 8 slices of 8 channels, 2 steps of 32 input channels = 1024 cycles, 4 times; then 4096 outputs."""
    blocks = choose_blocks(as_window(POINTWISE), space_of(ENGINE, 8))
    assert (blocks.output, blocks.input, blocks.part_kernel) == ((4, 16, 64), (4, 16, 32), False)
    assert array_and_output(POINTWISE) == 4 * 1024 + 4 * 16 * 64 * 0.25


def test_a_depthwise_convolution_takes_a_step_for_four_taps() -> None:
    """8x8x16 in one block: 16 micro-blocks of 4 cycles, 2 slices, 3 steps for 9 taps = 384 cycles; 1024 outputs take 256."""
    assert array_and_output(DEPTHWISE) == 16 * 4 * 2 * 3 + 256


def test_channels_of_one_tap_or_taps_of_few_channels_whatever_fills_more_of_a_step() -> None:
    """32 channels fill all of a step; of 3, three quarters of 4 taps of 8 channels are zeros or not there, but one tap would fill 3 of 32."""
    assert not choose_blocks(as_window(CONVOLUTION), space_of(ENGINE, 8)).part_kernel
    assert choose_blocks(as_window(IMAGE), space_of(ENGINE, 8)).part_kernel
    assert array_and_output(IMAGE) == 16 * 4 * 2 * 3 + 256  # 16 micro-blocks, 2 slices, 3 steps


def test_an_output_block_takes_at_least_a_quarter_of_its_whole_time() -> None:
    """9 taps of 32 channels: 16 micro-blocks of 4 cycles, 9 steps, 4 slices = 2304 cycles; the 2048 outputs take 512, less than (2304 + 512) / 4."""
    assert array_and_output(CONVOLUTION) == 2304 + 704


def test_few_micro_blocks_wait_for_weights_and_for_their_own_sums() -> None:
    """One pixel: 32 x 8 weights a step come in 32 cycles. 64 inputs are 2 steps of 1, which has nothing to wait for as there are 2 slices."""
    shape = LayerShape(operator="dense", input=(1, 1, 64), output=(1, 1, 10))
    assert array_and_output(shape) == 32 * 2 * 2 + (128 + 2.5) / 4
    alone = replace(shape, output=(1, 1, 8))
    assert array_and_output(alone) == 32 * 2 + 2 * 2 + (68 + 2) / 4


def test_blocks_at_the_edge_are_as_small_as_what_is_left() -> None:
    """25 rows in blocks of 10: the last has 5, which are 3 rows of micro-blocks."""
    shape = LayerShape(operator="conv2d", input=(25, 5, 64), output=(25, 5, 64))
    assert choose_blocks(as_window(shape), space_of(ENGINE, 8)).output == (10, 6, 64)
    assert array_and_output(shape) == (5 + 5 + 3) * 3 * 4 * 8 * 2 + 10 * 5 * 64 * 0.25


def test_a_large_window_of_a_pooling_is_done_in_parts_of_eight() -> None:
    """25 x 5 values: 40 + 40 + 40 + 5 taps; 4 passes over 8 slices = 4000 cycles. 8 x 5 pixels are fetched first."""
    shape = LayerShape(operator="avg_pool", input=(25, 5, 64), output=(1, 1, 64), kernel=(25, 5), stride=(25, 5))
    compute = engine_cost(work(shape), hardware(), ENGINE).compute
    assert compute == 4000 + (4000 + 16) / 4 + (8 * 5 * 64 / 8 + 32) + (64 / 8 + 32)


def test_the_first_input_and_the_last_output_are_not_hidden() -> None:
    """The first 4 x 16 pixels, of 32 channels at once, and the last 4 x 16 x 64 values, each after 32 cycles."""
    compute = engine_cost(work(POINTWISE), hardware(), ENGINE).compute
    assert compute == 5120 + (4 * 16 * 32 / 8 + 32) + (4 * 16 * 64 / 8 + 32)


def test_weights_that_are_read_again_are_staged_and_arrive_early() -> None:
    """Four blocks of pixels: 4096 weights leave the flash once, and the SRAM four times after it took them in; 640 bytes of scales are not staged."""
    cost = engine_cost(work(POINTWISE), hardware(), ENGINE)
    assert cost.traffic == {"flash": 4096 + 4 * 640, "sram": 4 * 4 * 16 * 64 + 16 * 16 * 64 + 5 * 4096}
    assert cost.early == {"flash": 4096}
    assert dict(layer_roofline(work(POINTWISE), hardware()).memories)["flash"] == 4 * 640


def test_weights_that_are_read_once_and_late_come_straight_from_the_flash() -> None:
    """9216 weights and 320 bytes of scales take longer than the layer, so they do not come early, and bind."""
    cost = engine_cost(work(CONVOLUTION), hardware(), ENGINE)
    assert (cost.traffic["flash"], cost.early) == (9216 + 320, {})
    assert layer_roofline(work(CONVOLUTION), hardware()).binding == "flash"


def test_the_first_layer_waits_for_the_weights_of_its_first_channels() -> None:
    """Nothing runs before: 64 cycles, then a quarter of 4096 weights and 640 bytes of scales at 1 byte a cycle."""
    first, later = (engine_cost(work(POINTWISE, reads_network_input=first), hardware(), ENGINE) for first in (True, False))
    assert first.compute - later.compute == 64 + (4096 + 640) / 4
    assert first.early == {}


def test_the_layer_before_gives_weights_the_time_to_arrive() -> None:
    """512 sums take 384 cycles; the first quarter of 4096 weights and 640 bytes of scales takes 64 + 1184, and all of it 64 + 4736."""
    before = LayerShape(operator="add", input=(4, 8, 16), output=(4, 8, 16), operands=2)
    assert slack_after(before, ENGINE, 8, 1.0) == 384
    long, short = (engine_cost(replace(work(POINTWISE), before=shape), hardware(), ENGINE) for shape in (POINTWISE, before))
    assert short.compute - long.compute == 64 + 1184 - 384
    assert short.early == {"flash": 4096 * 384 / 4800}


def test_an_image_of_three_channels_fills_a_quarter_of_each_burst() -> None:
    """A pixel is read with its neighbours, 8 bytes of a burst of 32: 64 pixels of 3 bytes take 4 times as long; 1024 values are written."""
    cost = engine_cost(work(IMAGE, reads_network_input=True), hardware(), ENGINE)
    assert cost.traffic["sram"] == 4 * 64 * 3 + 1024


def test_zeros_fill_up_the_stream_of_weights() -> None:
    """3 x 3 taps of 3 channels become 12 of 8; half a byte for each of the 1536 - 432 zeros."""
    engine = replace(ENGINE, stream=replace(STREAM, filler_bytes=0.5))
    window = as_window(IMAGE)
    stream = weight_stream(IMAGE, window, choose_blocks(window, space_of(engine, 8)), engine)
    assert (stream.weights, stream.scales, stream.passes) == (-(-(432 + 552) // 16) * 16, 160, 1)


def test_two_cores_halve_the_work_of_the_array() -> None:
    window = as_window(CONVOLUTION)
    blocks = choose_blocks(window, space_of(ENGINE, 8))
    assert pipelined_cycles(window, blocks, replace(ARRAY, cores=2), 8, 0.125) == array_and_output(CONVOLUTION) / 2


def test_values_of_sixteen_bits_take_twice_as_many_steps() -> None:
    """A step adds 16 products; 64 outputs x 32 channels take half a cycle each."""
    window = as_window(CONVOLUTION)
    blocks = choose_blocks(window, space_of(ENGINE, 16))
    assert blocks.input[2] == 16
    assert pipelined_cycles(window, blocks, ARRAY, 16, 0.0) == pytest.approx(2 * 2304 * 1.25)


def test_elementwise_operators_take_the_output_unit_alone() -> None:
    """Of 20 channels a row of bricks holds 32; two operands are read."""
    shape = LayerShape(operator="add", input=(4, 4, 20), output=(4, 4, 20), operands=2)
    cost = engine_cost(work(shape), hardware(), ENGINE)
    assert (cost.compute, cost.traffic["sram"]) == (4 * 4 * 32 * 0.75, 3 * 4 * 4 * 32)


@pytest.mark.parametrize(
    "shape",
    [
        LayerShape(operator="copy", input=(8, 8, 16), output=(4, 4, 16)),
        LayerShape(operator="copy", input=(8, 8, 16), output=(8, 8, 32), operands=2),
    ],
    ids=["slice", "concatenation"],
)
def test_what_a_neighbour_moves_on_the_way_costs_nothing(shape: LayerShape) -> None:
    assert layer_roofline(work(shape), hardware()).total == 0


def test_padded_channels_are_copied_with_the_rest_and_padded_pixels_filled_in_around_it() -> None:
    deep = LayerShape(operator="copy", input=(8, 8, 16), output=(8, 8, 32))
    assert as_window(deep).output == (8, 8, 32)
    wide = LayerShape(operator="copy", input=(8, 8, 16), output=(10, 10, 16))
    assert as_window(wide).output == (1, 10 * 10 - 8 * 8, 16)


def test_groups_are_convolutions_of_their_own() -> None:
    split = replace(CONVOLUTION, input=(8, 8, 64), output=(8, 8, 64), groups=2)
    whole = engine_cost(work(CONVOLUTION), hardware(flash_rate=100), ENGINE)
    assert engine_cost(work(split), hardware(flash_rate=100), ENGINE).compute == 2 * whole.compute


def test_weights_of_four_bits_are_refused() -> None:
    four = replace(work(CONVOLUTION), precision=Precision(weight_bits=4))
    with pytest.raises(HardwareModelError, match="has no rate for conv2d at w4a8; it has conv2d at w8a8, w8a16"):
        layer_roofline(four, hardware())


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 200), st.integers(1, 200), st.sampled_from([1, 2, 3, 5, 7, 11]), st.integers(1, 3))
def test_a_block_fits_and_no_engine_is_faster_than_its_multipliers(
    height: int, width: int, inputs: int, outputs: int, kernel: int, stride: int
) -> None:
    shape = LayerShape(
        operator="conv2d",
        input=((height - 1) * stride + kernel, (width - 1) * stride + kernel, inputs),
        output=(height, width, outputs),
        kernel=(kernel, kernel),
        stride=(stride, stride),
    )
    window, space = as_window(shape), space_of(ENGINE, 8)
    blocks = choose_blocks(window, space)
    banks = [
        -(-2 * -(-blocks.input[0] * blocks.input[1] * -(-blocks.input[2] // 8) * 8 // 1024) // 8) * 8,
        -(-2 * -(-(blocks.output[0] if height > 1 or kernel > 1 else 1) * blocks.output[1] * -(-blocks.output[2] // 8) * 8 * 4 // 1024) // 16) * 16,
    ]
    assert sum(banks) <= 44
    assert engine_cost(work(shape), hardware(), ENGINE).compute >= shape.macs / 256
