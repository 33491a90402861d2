# SPDX-License-Identifier: Apache-2.0
"""What moves between a layer's home memories and the core: each byte once where it fits, and no more than a tiled loop nest otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mpsearch.catalog import ComputeRates, HardwareModel, Memory, Quantity
from mpsearch.cost.latency import memory_traffic, passes_through, peak_bytes_per_cycle
from mpsearch.cost.work import LayerWork
from mpsearch.records import LayerShape, Precision

BYTES = st.integers(0, 5000)
SIZES = st.floats(2, 6000)


def quantity(value: float) -> Quantity:
    return Quantity(value=value, source="by hand")


def memory(name: str, holds: tuple[str, ...] = (), buffers: bool = False, size: float = 1e9) -> Memory:
    return Memory(name=name, holds=holds, buffers=buffers, size_bytes=quantity(size), bytes_per_cycle=quantity(1))  # type: ignore[arg-type]


def device(*memories: Memory) -> HardwareModel:
    """Return a device that has dense layers of 8 bits and these memories."""
    return HardwareModel(
        name="by hand",
        description="by hand",
        clock_hz=quantity(1e6),
        flash_bytes=quantity(1e9),
        ram_bytes=quantity(1e9),
        compute=(ComputeRates(operators=("dense",), activation_bits=8, macs_per_cycle={8: 1.0}, source="by hand"),),
        memories=memories,
    )


def work(constants: int, inputs: int, outputs: int, live: int | None = None) -> LayerWork:
    """Return a layer that moves so many bytes."""
    return LayerWork(
        name="layer",
        shape=LayerShape(operator="dense", input=(1, 1, 1), output=(1, 1, 1)),
        precision=Precision(weight_bits=8),
        constant_bytes=constants,
        input_bytes=inputs,
        output_bytes=outputs,
        live_bytes=inputs + outputs if live is None else live,
    )


def buffered(size: float) -> HardwareModel:
    return device(memory("dram", ("weights", "activations")), memory("buffer", buffers=True, size=size))


def read_by_a_loop_nest(kept: int, streamed: int, half: float) -> int:
    """Return the bytes that a loop over parts of the kept operand reads, each part read once, the other operand once for each part."""
    read, left = 0, float(kept)
    while True:
        part = min(left, half)
        left -= part
        read += streamed
        if left <= 0:
            return read + kept


@given(constants=BYTES, inputs=BYTES, outputs=BYTES, size=SIZES)
@example(constants=0, inputs=0, outputs=0, size=2.0)
def test_every_byte_moves_at_least_once(constants: int, inputs: int, outputs: int, size: float) -> None:
    traffic = memory_traffic(work(constants, inputs, outputs), buffered(size))
    assert traffic["dram"] == traffic["buffer"] >= constants + inputs + outputs


@given(constants=BYTES, inputs=BYTES, outputs=BYTES, size=SIZES)
def test_every_byte_moves_exactly_once_if_constants_or_inputs_fit_into_half_of_the_buffer(
    constants: int, inputs: int, outputs: int, size: float
) -> None:
    once = memory_traffic(work(constants, inputs, outputs), buffered(size))["dram"] == constants + inputs + outputs
    assert once == (min(constants, inputs) <= size / 2)


@given(constants=BYTES, inputs=BYTES, outputs=BYTES, sizes=st.tuples(SIZES, SIZES))
def test_a_larger_buffer_never_moves_more(constants: int, inputs: int, outputs: int, sizes: tuple[float, float]) -> None:
    smaller, larger = (memory_traffic(work(constants, inputs, outputs), buffered(size))["dram"] for size in sorted(sizes))
    assert larger <= smaller


@given(constants=BYTES, inputs=BYTES, outputs=BYTES, size=st.floats(50, 6000))
def test_the_traffic_is_that_of_the_better_of_two_loop_nests(constants: int, inputs: int, outputs: int, size: float) -> None:
    weights_kept = read_by_a_loop_nest(constants, inputs, size / 2)
    inputs_kept = read_by_a_loop_nest(inputs, constants, size / 2)
    assert memory_traffic(work(constants, inputs, outputs), buffered(size))["dram"] == min(weights_kept, inputs_kept) + outputs


def test_a_layer_that_fits_in_neither_way_is_worked_out_by_hand() -> None:
    # Half of the buffer is 100 bytes: 250 of constants are 3 parts, 300 of inputs too. Inputs 3 times: 250 + 900; constants 3 times: 750 + 300.
    assert passes_through(200, 250, 300) == (3, 1)
    assert passes_through(200, 250, 110) == (1, 3)  # 250 + 3 x 110 is less than 2 x 250 + 110
    assert passes_through(200, 250, 100) == (1, 1)


def test_weights_and_activations_load_the_memories_that_they_live_in() -> None:
    split = device(memory("flash", ("weights",)), memory("sram", ("activations",)))
    assert memory_traffic(work(50, 30, 20), split) == {"flash": 50, "sram": 50}
    assert memory_traffic(work(50, 30, 20), device(memory("dram", ("weights", "activations")))) == {"dram": 100}


@pytest.mark.parametrize(("live", "wanted"), [(64, {"flash": 50, "fast": 50, "slow": 0}), (65, {"flash": 50, "fast": 0, "slow": 50})])
def test_activations_lie_in_the_first_memory_that_is_large_enough(live: int, wanted: dict[str, float]) -> None:
    hierarchy = device(memory("flash", ("weights",)), memory("fast", ("activations",), size=64), memory("slow", ("activations",)))
    assert memory_traffic(work(50, 30, 20, live), hierarchy) == wanted


def test_what_lives_in_the_buffer_itself_moves_once_and_is_counted_once() -> None:
    npu = device(memory("dram", ("weights",)), memory("sram", ("activations",), buffers=True, size=100))
    assert memory_traffic(work(5000, 60, 20), npu) == {"dram": 5000, "sram": 5080}


RATES = st.floats(0.1, 64)


@given(constants=BYTES, inputs=BYTES, outputs=BYTES, size=SIZES, rates=st.tuples(RATES, RATES, RATES), arrangement=st.integers(0, 4))
def test_no_layer_moves_its_bytes_faster_than_the_slope_of_the_roof(
    constants: int, inputs: int, outputs: int, size: float, rates: tuple[float, float, float], arrangement: int
) -> None:
    homes = [(("weights",), ("activations",), False), (("weights", "activations"), (), True), (("weights",), ("activations",), True)]
    homes += [(("weights",), ("activations",), "second"), (("weights",), ("activations",), "first")]
    first, second, buffers = homes[arrangement]
    memories = [replace(memory("first", first, buffers == "first", size), bytes_per_cycle=quantity(rates[0]))]
    if second:
        memories.append(replace(memory("second", second, buffers == "second", size), bytes_per_cycle=quantity(rates[1])))
    if buffers is True:
        memories.append(replace(memory("buffer", buffers=True, size=size), bytes_per_cycle=quantity(rates[2])))
    model, layer = device(*memories), work(constants, inputs, outputs)
    traffic = memory_traffic(layer, model)
    cycles = max(traffic[item.name] / item.bytes_per_cycle.value for item in memories)
    assert layer.moved_bytes <= cycles * peak_bytes_per_cycle(model) * (1 + 1e-9)


def test_the_slope_of_the_roof_is_worked_out_by_hand() -> None:
    flash, sram, dram = memory("flash", ("weights",)), memory("sram", ("activations",)), memory("dram", ("weights", "activations"))
    fast = replace(memory("buffer", buffers=True), bytes_per_cycle=quantity(8))
    assert peak_bytes_per_cycle(device(flash, sram)) == 2  # both at once
    assert peak_bytes_per_cycle(device(dram)) == peak_bytes_per_cycle(device(dram, fast)) == 1
    assert peak_bytes_per_cycle(device(flash, sram, replace(fast, bytes_per_cycle=quantity(1.5)))) == 1.5
    assert peak_bytes_per_cycle(device(flash, replace(sram, buffers=True, bytes_per_cycle=quantity(8)))) == 8
