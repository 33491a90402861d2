# SPDX-License-Identifier: Apache-2.0
"""How an accelerator walks over a layer's output block by block, and how long its arithmetic, its output unit and its memories take for that.

The walk is that of Arm's Ethos-U55 and U65 (Technical Reference Manuals 102420 and 102023): a block of outputs is as large as its sums and the
inputs that it needs fit into the buffers, twice, so that one block is fetched and one written while another is computed. The array goes through a
block in micro-blocks; each step adds a few products to every output of one. Convolutions either take many channels of one tap in a step
(depth-first) or several taps of few channels (part-kernel), whatever wastes less. Of all blocks that fit, the compiler is taken to choose the one
that fetches least for an output.

Weights that several blocks read again are staged in the memory next to the engine while the layer before runs, as far as its time is enough; a layer
waits at least for those of its first channels. Movement that the compiler can leave to a neighbour is not paid: a slice, and a concatenation.

A mean over height and width is taken for an average pooling of its input, the faster of two ways: for the MEAN of a TensorFlow Lite file Vela writes
a depthwise convolution and a multiplication, which take about twice as long.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from mpsearch.catalog import BlockEngine, EngineArray, HardwareModel, Memory
from mpsearch.cost.work import LayerWork
from mpsearch.errors import HardwareModelError
from mpsearch.records import LayerShape

Extent = tuple[int, int, int]
"""Height, width and channels."""

MIN_POOL_TAPS = 4
BLOCKS_IN_FLIGHT = 4
"""Blocks that are read, computed, finished and written at the same time."""

BYTES_IN_FLIGHT = 256
"""Bytes of biases and scales that are under way at once."""

SMALL_BLOCK = 4
"""Height and width up to which, of blocks that fetch equally much, the one that covers more of the input is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A layer as a block engine does it.

    Attributes:
        kind: "full" sums over all input channels, "single" over one; "dense" is a full one without taps; "pool" does not multiply; "values" goes
            through values without blocks.
        input: Of one repeat.
        output: Of one repeat.
        kernel: Taps down and across.
        reach: Height and width of the kernel, gaps included.
        stride: Down and across.
        padding: Zeros above and on the left.
        repeats: How often the engine does it, for samples and for groups of channels.
    """

    kind: Literal["full", "single", "dense", "pool", "values"]
    input: Extent
    output: Extent
    kernel: tuple[int, int] = (1, 1)
    reach: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    repeats: int = 1

    @property
    def sums_all_channels(self) -> bool:
        """Whether each output needs all input channels."""
        return self.kind in ("full", "dense")


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What bounds a block: the numbers of an engine at one width of activations.

    Attributes:
        step: Height, width and channels of a micro-block.
        largest: Height, width and channels of the largest block.
        depth_step: Channels of a block that is not the whole depth are a multiple of it.
        kernel: The largest kernel done at once.
        banks: That inputs and sums may take.
        bank_bytes: Of one bank.
        input_granule: Banks for inputs come by so many.
        sum_granule: Banks for sums come by so many.
        sum_bits: Of a sum.
        value_bytes: Of an activation.
        step_values: Products for each output in a step.
        step_taps: Taps in a step of few channels.
    """

    step: Extent
    largest: Extent
    depth_step: int
    kernel: tuple[int, int]
    banks: int
    bank_bytes: int
    input_granule: int
    sum_granule: int
    sum_bits: int
    value_bytes: int
    step_values: int
    step_taps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """How a layer's output is cut.

    Attributes:
        output: Extent of a block of outputs.
        input: Extent of the inputs that are fetched for it at once.
        part_kernel: Whether steps take several taps of few channels.
        taps: Of each part of a kernel that is done at once.
    """

    output: Extent
    input: Extent
    part_kernel: bool
    taps: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The constants of a layer as the engine reads them.

    Attributes:
        weights: Bytes of encoded weights.
        scales: Bytes of biases and scales.
        passes: How often they are read.
    """

    weights: int
    scales: int
    passes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCost:
    """What a layer takes.

    Attributes:
        compute: Cycles from the first input fetched to the last output written.
        traffic: Memory name -> bytes, those of bursts that are not filled included.
        early: Memory name -> of these, bytes that arrive while the layer before runs.
    """

    compute: float
    traffic: dict[str, float]
    early: dict[str, float]


def engine_cost(work: LayerWork, hardware: HardwareModel, engine: BlockEngine) -> EngineCost:
    """Return what a layer takes on a block engine.

    Args:
        work: The layer, at a precision that the engine has.
        hardware: The device, for its memories.
        engine: The engine of the device.
    """
    bits = work.precision.activation_bits if work.precision else 8
    window, home = as_window(work.shape), hardware.activation_memory(work.live_bytes)
    source = [memory for memory in hardware.memories if "activations" in memory.holds][-1] if work.reads_network_input else home
    table = {str(name): cycles for name, cycles in (engine.output.wide_cycles_per_value if bits == 16 else engine.output.cycles_per_value).items()}
    per_value = table.get(work.shape.operator, max(table.values()))
    brick, value_bytes = engine.stream.brick_channels, bits // 8
    traffic = dict.fromkeys((memory.name for memory in hardware.memories), 0.0)
    written = window.repeats * _filled(window.output, brick) * value_bytes
    if not math.prod(window.output):
        return EngineCost(compute=0.0, traffic=traffic, early={})
    if window.kind == "values":
        traffic[source.name] += work.shape.operands * written
        traffic[home.name] += written
        return EngineCost(compute=per_value * written / value_bytes, traffic=traffic, early={})
    blocks = choose_blocks(window, space_of(engine, bits))
    read_waste, write_waste = _burst_waste(window, blocks, engine, work.reads_network_input, value_bytes, source, home)
    fetched = _fetched_values(window, blocks, engine, work.reads_network_input) * value_bytes
    traffic[source.name] += window.repeats * fetched * read_waste
    traffic[home.name] += written * write_waste
    start = _first_input_values(window, blocks, engine.buffers.kernel) * value_bytes * read_waste / source.bytes_per_cycle.value + _latency(source)
    end = math.prod(_clipped(blocks.output, window.output)) * value_bytes * write_waste / home.bytes_per_cycle.value + _latency(home)
    stream = weight_stream(work.shape, window, blocks, engine) if work.precision else None
    if stream is None:
        compute = window.repeats * (pipelined_cycles(window, blocks, engine.array, bits, per_value) + start + end)
        return EngineCost(compute=compute, traffic=traffic, early={})
    outside, stage = hardware.weight_memory, next(memory for memory in hardware.memories if "activations" in memory.holds)
    alone = start + end + pipelined_cycles(window, blocks, engine.array, bits, per_value)
    rate, share = outside.bytes_per_cycle.value, min(1.0, engine.buffers.block_depth_step / work.shape.output[2])
    slack = 0.0 if work.reads_network_input else alone if work.before is None else slack_after(work.before, engine, bits, rate)
    staged = stage != outside and is_staged(window, stream, slack and alone, outside)
    channel_cycles = engine.stream.channel_bytes * _latency(stage if staged else outside) / BYTES_IN_FLIGHT
    compute = window.repeats * (pipelined_cycles(window, blocks, engine.array, bits, per_value, channel_cycles) + start + end)
    traffic[outside.name] += stream.weights * (1 if staged else stream.passes) + stream.scales * stream.passes
    if not staged:
        return EngineCost(compute=compute, traffic=traffic, early={})
    traffic[stage.name] += stream.weights * (1 + stream.passes)
    transfer = _latency(outside) + (stream.weights + stream.scales) / rate
    first_channels = _latency(outside) + share * (stream.weights + stream.scales) / rate
    waiting = compute + max(0.0, first_channels - slack)
    if work.reads_network_input:
        return EngineCost(compute=waiting, traffic=traffic, early={})
    if transfer > slack:
        waiting = max(waiting, transfer - slack + share * compute)
    return EngineCost(compute=waiting, traffic=traffic, early={outside.name: stream.weights * min(1.0, slack / transfer)})


def slack_after(shape: LayerShape, engine: BlockEngine, bits: int, bytes_per_cycle: float) -> float:
    """Return the cycles of a layer in which weights of the next may arrive: all, or those of its last channels if its own weights take longer.

    Args:
        shape: The layer.
        engine: Runs it.
        bits: Of activations.
        bytes_per_cycle: Rate at which weights arrive.
    """
    window = as_window(shape)
    table = engine.output.wide_cycles_per_value if bits == 16 else engine.output.cycles_per_value
    per_value = table.get(shape.operator, 0.0)  # type: ignore[call-overload]
    if window.kind == "values" or not math.prod(window.output):
        return float(per_value * math.prod(window.output) * window.repeats)
    blocks = choose_blocks(window, space_of(engine, bits))
    cycles = window.repeats * pipelined_cycles(window, blocks, engine.array, bits, per_value)
    late = passes_over_weights(window, blocks) > 1 and shape.weights * engine.stream.weight_bytes > cycles * bytes_per_cycle
    return cycles * min(1.0, engine.buffers.block_depth_step / shape.output[2]) if late else cycles


def as_window(shape: LayerShape) -> Window:
    """Return a layer as a block engine does it."""
    reach = tuple(gap * (taps - 1) + 1 for gap, taps in zip(shape.dilation, shape.kernel, strict=True))
    window = Window(
        kind="values",
        input=shape.input,
        output=shape.output,
        kernel=shape.kernel,
        reach=(reach[0], reach[1]),
        stride=_stride(shape.output, shape.stride),
        padding=(shape.padding[0], shape.padding[2]),
        repeats=shape.batch,
    )
    match shape.operator:
        case "conv2d":
            parts = [(height, width, channels // shape.groups) for height, width, channels in (shape.input, shape.output)]
            return replace(window, kind="full", input=parts[0], output=parts[1], repeats=shape.batch * shape.groups)
        case "depthwise":
            return replace(window, kind="single")
        case "dense":
            return replace(window, kind="dense")
        case "max_pool" | "avg_pool":
            return replace(window, kind="pool")
        case "mean":
            taps = (max(1, shape.input[0] // shape.output[0]), max(1, shape.input[1] // shape.output[1]))
            return replace(window, kind="pool", kernel=taps, reach=taps, stride=_stride(shape.output, taps))
        case "copy":
            moved = _moved(shape)
            return replace(window, kind="pool", input=moved, output=moved) if moved else replace(window, input=(0, 0, 0), output=(0, 0, 0))
        case "lookup":
            return replace(window, kind="pool")
    return window


def _stride(output: Extent, stride: tuple[int, int]) -> tuple[int, int]:
    """Return how far windows lie apart; a single one has no neighbour."""
    return stride[0] if output[0] > 1 else 1, stride[1] if output[1] > 1 else 1


def _moved(shape: LayerShape) -> Extent | None:
    """Return what a copy goes through; None if its reader or its writers do it on the way.

    A layer reads what a slice leaves where it lies, and the parts of a concatenation are written where they belong. Rows and columns that are padded
    are filled in around the rest; where channels are padded, all is copied.
    """
    (height, width, channels), added = shape.output, math.prod(shape.output) - math.prod(shape.input)
    if shape.operands > 1 or added < 0:
        return None
    if added and channels == shape.input[2]:
        return 1, -(-added // channels), channels
    return height, width, channels


def space_of(engine: BlockEngine, bits: int) -> Space:
    """Return what bounds a block at one width of activations."""
    array, buffers = engine.array, engine.buffers
    return Space(
        step=(array.height, array.width, array.depth),
        largest=buffers.block,
        depth_step=buffers.block_depth_step,
        kernel=buffers.kernel,
        banks=buffers.banks,
        bank_bytes=buffers.bank_bytes,
        input_granule=buffers.input_granule,
        sum_granule=buffers.sum_granule[bits],
        sum_bits=buffers.sum_bits[bits],
        value_bytes=bits // 8,
        step_values=array.step_values[bits],
        step_taps=array.step_taps[bits],
    )


# ---------------------------------------------------------------- blocks


def takes_parts_of_the_kernel(window: Window, space: Space) -> bool:
    """Return whether a convolution fills steps better with taps of few channels than with channels of one tap."""
    if window.kind != "full":
        return False
    channels, taps = window.input[2], math.prod(window.kernel)
    few = space.step_values // space.step_taps
    by_depth = channels / _up(channels, space.step_values)
    by_taps = channels / _up(channels, few) * taps / _up(taps, space.step_taps)
    return channels <= few or by_taps >= by_depth


@lru_cache(maxsize=4096)
def choose_blocks(window: Window, space: Space) -> Blocks:
    """Return the blocks that fetch the fewest inputs and weights for an output, among those that fit the buffers twice.

    What fits into both halves of the input buffer is fetched once; such blocks count half.
    """
    part_kernel = takes_parts_of_the_kernel(window, space)
    few = space.step_values // space.step_taps
    depth_at_once = _up(min(window.input[2], 2 * few if part_kernel else space.step_values), few)
    best, best_cost, best_cover = None, math.inf, math.inf
    for block, needed in _fitting(window, space, depth_at_once):
        cost = _fetched_for_an_output(window, space, block, needed)
        if cost > best_cost:
            continue
        cover = math.prod(window.input[:2]) / math.prod(_clipped(needed, window.input)[:2])
        if cost < best_cost:
            best, best_cost, best_cover = (block, needed), cost, math.inf
        elif cover <= best_cover and block[0] <= SMALL_BLOCK and block[1] <= SMALL_BLOCK:
            best, best_cover = (block, needed), cover
    if best is None:
        raise HardwareModelError(
            f"block_engine: no block of a layer from {window.input} to {window.output}, kernel {window.kernel}, fits its buffers.",
            "give buffers.banks and bank_bytes of the device's file a size that holds one micro-block twice.",
        )
    return Blocks(output=best[0], input=best[1], part_kernel=part_kernel, taps=_taps_of_parts(window.kernel, space.kernel))


def _fitting(window: Window, space: Space, depth_at_once: int) -> Iterator[tuple[Extent, Extent]]:
    """Yield the blocks that fit, and the inputs that each needs, by depth, then height, then width."""
    sizes = [_up(min(size, largest), step) for size, largest, step in zip(window.output, space.largest, space.step, strict=True)]
    depths = [depth for depth in range(space.step[2], sizes[2] + 1, space.step[2]) if depth >= window.output[2] or depth % space.depth_step == 0] or [
        sizes[2]
    ]
    for depth, height in itertools.product(depths, range(space.step[0], sizes[0] + 1, space.step[0])):
        for width in range(space.step[1], sizes[1] + 1, space.step[1]):
            rows, columns = (
                _up((size - 1) * stride + min(reach, limit), step)
                for size, stride, reach, limit, step in zip((height, width), window.stride, window.reach, space.kernel, space.step, strict=False)
            )
            needed = (rows, columns, depth_at_once if window.sums_all_channels else depth)
            if not _fits(window, space, (height, width, depth), needed):
                break
            yield (height, width, depth), needed


def _fits(window: Window, space: Space, block: Extent, needed: Extent) -> bool:
    """Return whether a block fits twice. A layer of one row has sums of one row, however high a micro-block is."""
    flat = window.output[0] == 1 and window.kernel[0] == 1 and space.step[0] == 2
    input_bytes = needed[0] * needed[1] * _up(needed[2] * space.value_bytes, 8)
    sum_bytes = (1 if flat else block[0]) * block[1] * _up(block[2], 8) * space.sum_bits // 8
    taken = [_up(2 * -(-size // space.bank_bytes), granule) for size, granule in ((input_bytes, space.input_granule), (sum_bytes, space.sum_granule))]
    return sum(taken) <= space.banks


def _fetched_for_an_output(window: Window, space: Space, block: Extent, needed: Extent) -> float:
    channels, outputs = window.input[2], math.prod(window.output)
    shares = [size / side for size, side in zip(window.output, block, strict=True)]
    whole = [math.ceil(share) for share in shares]
    parts = math.prod(-(-reach // limit) for reach, limit in zip(window.reach, space.kernel, strict=True))
    inputs = needed[0] * needed[1] * channels * parts * shares[0] * shares[1]
    weights = 0.0
    if window.kind in ("full", "single"):
        weights = math.prod(window.kernel) * channels * whole[0] * whole[1]
    if window.sums_all_channels:
        inputs, weights = inputs * whole[2], weights * shares[2] * block[2]
    fetched = (inputs + weights) / outputs
    return fetched / 2 if math.prod(window.input) < 2 * math.prod(needed) else fetched


# ---------------------------------------------------------------- cycles


def pipelined_cycles(window: Window, blocks: Blocks, array: EngineArray, bits: int, output_cycles: float, channel_cycles: float = 0.0) -> float:
    """Return the cycles of one repeat while blocks follow each other: the array computes one while the output unit finishes the one before.

    Args:
        window: The layer.
        blocks: How it is cut.
        array: Computes.
        bits: Of activations.
        output_cycles: Of the output unit for a value.
        channel_cycles: Until the bias and scale of a channel are there.
    """
    first = _clipped(blocks.output, window.output)
    computing = finishing = 0.0
    for part, count in _parts(window.output, first):
        array_part = array_cycles(window, blocks, part, array, bits)
        computing += count * array_part
        finishing += count * _output_cycles(array_part, part, output_cycles, channel_cycles)
    first_array = array_cycles(window, blocks, first, array, bits)
    return max(computing + _output_cycles(first_array, first, output_cycles, channel_cycles), finishing + first_array)


def _output_cycles(array_part: float, part: Extent, output_cycles: float, channel_cycles: float) -> float:
    """Return the cycles of the output unit for a block: no less than a quarter of the block's whole time, as blocks are handed on in four places."""
    own = max(output_cycles * math.prod(part), channel_cycles * part[2])
    return max(own, (array_part + own) / BLOCKS_IN_FLIGHT)


def array_cycles(window: Window, blocks: Blocks, part: Extent, array: EngineArray, bits: int) -> float:
    """Return the cycles in which the array computes one block of outputs of some extent."""
    height, width = array.height, array.width
    if height == 2 and window.sums_all_channels and window.output[0] == 1 and window.output[1] % 2 == 0 and window.kernel[0] == 1:
        height, width = 1, 2 * array.width
    places, slices = -(-part[0] // height) * -(-part[1] // width), -(-part[2] // array.depth)
    if window.kind == "pool":
        taps = sum(max(MIN_POOL_TAPS, taps) for taps in blocks.taps)
        return taps * array.pool_passes * bits // 8 * places * slices / array.cores
    few = array.step_values[bits] // array.step_taps[bits]
    taps_at_once = array.step_taps[bits] if blocks.part_kernel or window.kind == "single" else 1
    repeats = -(-min(window.input[2], blocks.input[2]) // few) if blocks.part_kernel else 1
    pace = max(array.cycles_per_step * places, array.step_values[bits] * array.depth // array.weights_per_cycle)
    total = 0.0
    for taps in blocks.taps:
        steps = -(-taps // taps_at_once)
        waits = (steps if slices == 1 else (steps - 1) * slices) if places == 1 else 0
        total += repeats * (pace * steps * slices + array.wait_cycles * waits)
    if window.sums_all_channels:
        total *= -(-window.input[2] // blocks.input[2])
    return total / array.cores


def passes_over_weights(window: Window, blocks: Blocks) -> int:
    """Return how often the weights are read: once for every block of a plane."""
    return math.prod(-(-size // side) for size, side in zip(window.output[:2], blocks.output[:2], strict=True))


def _taps_of_parts(kernel: tuple[int, int], largest: tuple[int, int]) -> tuple[int, ...]:
    """Return the taps of each part that a kernel is done in."""
    down, across = ([min(limit, taps - start) for start in range(0, taps, limit)] for taps, limit in zip(kernel, largest, strict=True))
    return tuple(rows * columns for rows in down for columns in across)


def _parts(whole: Extent, block: Extent) -> Iterator[tuple[Extent, int]]:
    """Yield the extents of the blocks of an output, those at its edges included, with how many of each there are."""
    axes = [
        [(side, count) for side, count in ((side, size // side), (size % side, 1)) if side and count] for size, side in zip(whole, block, strict=True)
    ]
    for (height, rows), (width, columns), (depth, slices) in itertools.product(*axes):
        yield (height, width, depth), rows * columns * slices


# ---------------------------------------------------------------- memories


def _fetched_values(window: Window, blocks: Blocks, engine: BlockEngine, pixel_by_pixel: bool) -> int:
    """Return the input values that one repeat reads, those that blocks share each time."""
    area = math.prod(_clipped(blocks.input, window.input)[:2])
    count = passes_over_weights(window, blocks)
    if window.sums_all_channels:
        count *= -(-window.output[2] // blocks.output[2])
    parts = math.prod(-(-taps // limit) for taps, limit in zip(window.kernel, engine.buffers.kernel, strict=True))
    return area * (window.input[2] if pixel_by_pixel else _up(window.input[2], engine.stream.brick_channels)) * count * parts


def _first_input_values(window: Window, blocks: Blocks, kernel: tuple[int, int]) -> int:
    """Return the input values that must be there before the first block is computed."""
    rows, columns = (
        min(size, max(1, (side - 1) * stride + min(reach, limit) - zeros))
        for size, side, stride, reach, limit, zeros in zip(
            window.input, _clipped(blocks.output, window.output), window.stride, window.reach, kernel, window.padding, strict=False
        )
    )
    return math.prod((rows, columns, min(window.input[2], blocks.input[2])))


def _burst_waste(
    window: Window, blocks: Blocks, engine: BlockEngine, pixel_by_pixel: bool, value_bytes: int, source: Memory, home: Memory
) -> tuple[float, float]:
    """Return by what factor reads, and writes, take longer because runs in memory are shorter than a burst."""
    brick, depth = engine.stream.brick_channels, blocks.input[2]
    read = brick * blocks.input[1]
    if pixel_by_pixel:
        read = depth * blocks.input[1] if depth == window.input[2] else depth
    written = brick * blocks.output[1] * engine.array.cores
    bursts = [memory.burst_bytes.value if memory.burst_bytes else 1.0 for memory in (source, home)]
    return max(1.0, bursts[0] / (read * value_bytes)), max(1.0, bursts[1] / (written * value_bytes))


def weight_stream(shape: LayerShape, window: Window, blocks: Blocks, engine: BlockEngine) -> Stream:
    """Return the constants of a layer as the engine reads them. Zeros fill up the steps that a kernel's taps or channels do not."""
    array, taps = engine.array, blocks.taps
    outputs = _up(window.output[2], array.depth)
    few = array.step_values[8] // array.step_taps[8]
    if window.kind == "single":
        filled = sum(_up(part, array.step_taps[8]) for part in taps) * outputs
    elif blocks.part_kernel:
        filled = sum(_up(part, array.step_taps[8]) for part in taps) * _up(window.input[2], few) * outputs
    else:
        filled = sum(taps) * _up(window.input[2], 2 * few) * outputs
    filler = max(0, filled * shape.groups // (shape.groups if window.kind == "single" else 1) - shape.weights)
    weights = shape.weights * engine.stream.weight_bytes + filler * engine.stream.filler_bytes
    return Stream(
        weights=_up(math.ceil(weights), engine.stream.alignment),
        scales=_up(shape.output[2] * engine.stream.channel_bytes, engine.stream.alignment),
        passes=passes_over_weights(window, blocks) * shape.batch,
    )


def is_staged(window: Window, stream: Stream, compute: float, outside: Memory) -> bool:
    """Return whether weights are copied next to the engine first: if they are read again, or if the layer's own time is enough for it.

    The engine reads those of a dense layer of one row only once, whatever their size.
    """
    arrives_early = stream.weights + stream.scales <= compute * outside.bytes_per_cycle.value
    return stream.passes > 1 or (window.kind != "dense" and arrives_early)


def _latency(memory: Memory) -> float:
    return memory.latency_cycles.value if memory.latency_cycles else 0.0


def _filled(extent: Extent, channels: int) -> int:
    return extent[0] * extent[1] * _up(extent[2], channels)


def _clipped(block: Extent, whole: Extent) -> Extent:
    return min(block[0], whole[0]), min(block[1], whole[1]), min(block[2], whole[2])


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
