# SPDX-License-Identifier: Apache-2.0
"""What a device's file says of an accelerator that walks over a layer block by block."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from mpsearch.catalog.values import DeviceBits, Lanes, Number, Operator, Rate, Text

ByWidth = Annotated[dict[DeviceBits, Lanes], Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineArray:
    """The multipliers of a block engine: they add up a few products for each output of a micro-block in one step.

    Attributes:
        height: Rows of outputs of a micro-block.
        width: Columns of outputs.
        depth: Channels of outputs.
        cores: Arrays that share the channels of a block.
        cycles_per_step: Of one micro-block.
        step_values: Activation bits -> products that a step adds to each output; all of one tap and different channels, or of `step_taps` taps.
        step_taps: Activation bits -> taps that a step takes, where input channels are few or each output channel reads its own.
        weights_per_cycle: Weights that arrive at the array; few micro-blocks that share them wait for them.
        wait_cycles: Before a step may add to the same, only micro-block again.
        pool_passes: Steps that a window of a pooling takes for each tap and micro-block, and for four taps at least.
        source: Where the numbers come from.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    height: Lanes
    width: Lanes
    depth: Lanes
    cores: Lanes = 1
    cycles_per_step: Lanes
    step_values: ByWidth
    step_taps: ByWidth
    weights_per_cycle: Lanes
    wait_cycles: Number
    pool_passes: Lanes
    source: Text

    def __post_init__(self) -> None:
        """Check that both tables have the same widths, and that taps divide products."""
        if set(self.step_values) != set(self.step_taps):
            raise ValueError(f"step_values has activation bits {sorted(self.step_values)}, step_taps {sorted(self.step_taps)}, wanted the same")
        for bits, taps in self.step_taps.items():
            if self.step_values[bits] % taps:
                raise ValueError(f"step_taps is {taps} at {bits} bits, wanted a divisor of step_values, {self.step_values[bits]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBuffers:
    """The memory inside a block engine that holds the inputs and the sums of two blocks, one at work and one on its way.

    Attributes:
        banks: That inputs and sums may take.
        bank_bytes: Of one bank.
        input_granule: Banks are taken for inputs by so many.
        sum_bits: Activation bits -> bits of a sum.
        sum_granule: Activation bits -> banks are taken for sums by so many.
        block: Height, width and channels of the largest block.
        block_depth_step: Channels of a block that is not the whole depth are a multiple of it.
        kernel: Height and width of the largest kernel done at once; larger ones are done in parts.
        source: Where the numbers come from.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    banks: Lanes
    bank_bytes: Lanes
    input_granule: Lanes
    sum_bits: ByWidth
    sum_granule: ByWidth
    block: tuple[Lanes, Lanes, Lanes]
    block_depth_step: Lanes
    kernel: tuple[Lanes, Lanes]
    source: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOutput:
    """The unit of a block engine that scales, clamps and writes outputs.

    Attributes:
        cycles_per_value: Operator -> cycles of one output at 8-bit activations.
        wide_cycles_per_value: Operator -> likewise at 16-bit activations.
        source: Where the numbers come from.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    cycles_per_value: Annotated[dict[Operator, Rate], Field(min_length=1)]
    wide_cycles_per_value: dict[Operator, Rate] = field(default_factory=dict)
    source: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStream:
    """How tensors and constants lie in the memories that a block engine reads.

    Attributes:
        brick_channels: Channels that lie together; a tensor's channels are filled up to a multiple. The network's own input lies pixel by pixel.
        weight_bytes: Of one weight in the stream.
        filler_bytes: Of one zero that fills up a step.
        channel_bytes: Bias and scale of an output channel.
        alignment: Streams are filled up to a multiple of so many bytes.
        source: Where the numbers come from.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    brick_channels: Lanes
    weight_bytes: Rate
    filler_bytes: Number
    channel_bytes: Lanes
    alignment: Lanes
    source: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEngine:
    """An accelerator that walks over a layer's output block by block, as Arm's Ethos-U does; see `mpsearch.cost.block_engine`.

    Attributes:
        array: Multiplies and adds.
        buffers: Hold what a block needs, and so bound its size.
        output: Finishes what the array adds up.
        stream: How the engine reads and writes memories.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    array: EngineArray
    buffers: EngineBuffers
    output: EngineOutput
    stream: EngineStream
