# SPDX-License-Identifier: Apache-2.0
"""Hardware models: what one YAML file says about a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import ConfigDict, Field

from mpsearch.catalog.block_engine import BlockEngine
from mpsearch.catalog.values import DeviceBits, Lanes, Number, Operators, Rate, Text
from mpsearch.records import WEIGHTED_CLASSES, LayerShape, Precision, Widths

Countable = Literal[
    "call",
    "output",
    "output_pixel",
    "input",
    "input_pixel",
    "step",
    "pixel",
    "channel",
    "weight",
    "laid_value",
    "laid_vector",
    "gathered_value",
    "gathered_run",
    "idle_step_2",
    "idle_step_3",
    "idle_step_4",
    "filled_step_8",
    "filled_step_16",
    "ragged_output_8",
    "ragged_output_16",
    "ragged_channel_step",
    "channel_tile",
    "block_4",
    "block_4_row",
    "block_4_line",
    "block_16_line",
    "block_16_tap",
    "block_16_pixel",
    "block_16_step",
    "strided_output",
    "odd_column_output",
    "odd_row_output",
    "other_kernel_row",
    "other_kernel_step",
    "other_kernel_odd_step",
    "other_kernel_pixel",
    "other_kernel_run",
    "window_row",
    "copied_run",
    "transposed_value",
]
COUNTABLE: tuple[Countable, ...] = get_args(Countable)
"""What a term may be paid for; `mpsearch.cost.counted` counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number of a device, with the place it comes from."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    source: Text


Content = Literal["weights", "activations"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiplierArray:
    """A spatial array of multipliers: it computes a block of a matrix product at a time, and what a layer leaves empty of a block is lost.

    Attributes:
        inputs: Values of each window that are multiplied and summed at once.
        outputs: Output channels at once.
        pixels: Output pixels (rows of a dense layer) at once.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    inputs: Lanes = 1
    outputs: Lanes = 1
    pixels: Lanes = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeRates:
    """Peak arithmetic of some operators at one width of activations, in one table with one source.

    Attributes:
        operators: Operator classes.
        activation_bits: Bits per activation.
        macs_per_cycle: Bits per weight -> multiply-accumulates per cycle; for operators with weights.
        values_per_cycle: Values handled per cycle (`LayerShape.steps`); for operators without.
        macs_per_instruction: Bits per weight -> multiply-accumulates per instruction, where instructions are predicted too.
        values_per_instruction: Likewise for operators without weights.
        picojoules_per_mac: Bits per weight -> energy of one multiply-accumulate; None if the file gives none.
        picojoules_per_value: Likewise for operators without weights.
        array: The array whose blocks the layers are padded to; macs_per_cycle is then what all its lanes do. None where no lanes go idle.
        source: Where the numbers come from.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    operators: Operators
    activation_bits: DeviceBits
    macs_per_cycle: Annotated[dict[DeviceBits, Rate], Field(min_length=1)] | None = None
    values_per_cycle: Rate | None = None
    macs_per_instruction: dict[DeviceBits, Rate] | None = None
    values_per_instruction: Rate | None = None
    picojoules_per_mac: dict[DeviceBits, Number] | None = None
    picojoules_per_value: Number | None = None
    array: MultiplierArray | None = None
    source: Text

    def __post_init__(self) -> None:
        """Check that MACs are counted exactly where there are weights, and that every table has the same columns."""
        weighted = {operator in WEIGHTED_CLASSES for operator in self.operators}
        if len(weighted) > 1:
            raise ValueError(f"operators {list(self.operators)} mix some with weights and some without, wanted two entries")
        wanted, other = ("macs_per_cycle", "values_per_cycle") if True in weighted else ("values_per_cycle", "macs_per_cycle")
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise ValueError(f"{', '.join(self.operators)}: wanted {wanted}, not {other}")
        for name in ("macs_per_instruction", "picojoules_per_mac"):
            table = getattr(self, name)
            if table is not None and set(table) != set(self.macs_per_cycle or ()):
                raise ValueError(f"{name} has weight bits {sorted(table)}, wanted those of macs_per_cycle, {sorted(self.macs_per_cycle or ())}")
        if self.array is not None and self.macs_per_cycle is None:
            raise ValueError(f"{', '.join(self.operators)}: wanted array only where there is macs_per_cycle")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateOf:
    """What `HardwareModel.rate` answers: one operator at one precision.

    Attributes:
        per_cycle: MACs (values, without weights) per cycle.
        per_instruction: Likewise per instruction; None if the file gives none.
        picojoules: Of one MAC (value); None if the file gives none.
        array: The array that does them; None where no lanes go idle.
    """

    per_cycle: float
    per_instruction: float | None = None
    picojoules: float | None = None
    array: MultiplierArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """What a layer pays besides arithmetic and traffic, not overlapped with them: so much for each of something that its shape tells.

    Attributes:
        per: What is paid for, one of COUNTABLE.
        cycles: For each.
        instructions: For each, where instructions are predicted too.
        operators: Operator classes that pay; None for all.
        weight_bits: Weight bits at which it is paid; None for all, and for operators without weights.
        activation_bits: Activation bits at which it is paid; None for all.
        source: Where the numbers come from.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    per: Countable
    cycles: Number
    instructions: Number | None = None
    operators: Operators | None = None
    weight_bits: tuple[DeviceBits, ...] | None = None
    activation_bits: tuple[DeviceBits, ...] | None = None
    source: Text

    def applies(self, operator: str, precision: Widths | None) -> bool:
        """Return whether a layer pays it."""
        weight, activation = (None, 8) if precision is None else (precision.weight_bits, precision.activation_bits)
        return (
            (self.operators is None or operator in self.operators)
            and (self.weight_bits is None or weight in self.weight_bits)
            and (self.activation_bits is None or activation in self.activation_bits)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One memory of the device.

    Attributes:
        name: What the data sheet calls it.
        holds: What the deployed model may keep there. Weights have one home; activations may have several: each layer's live activations lie
            in the first memory, in the order of the file, that is large enough for them.
        buffers: Whether data from the homes streams through it tile by tile. What does not fit at once is then read from its home several times.
        size_bytes: Capacity.
        bytes_per_cycle: Sequential rate, bytes per core cycle.
        picojoules_per_byte: Energy of moving a byte; None if the file gives none.
        feeds_array: Whether an array of multipliers takes whole rows of windows and weights from here, and results leave on a way of their own;
            only these rows count then, for operators that have an array.
        result_bytes: What each output value of a layer with weights moves here, where sums pass through before they are requantised; None where only
            the stored output does.
        latency_cycles: Before the first byte of a transfer arrives; None for 0. A block engine pays it for its first input and last output.
        burst_bytes: What the memory moves at once; shorter runs take as long. None for 1; asked by block engines.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: Text
    holds: tuple[Content, ...] = ()
    buffers: bool = False
    size_bytes: Quantity
    bytes_per_cycle: Quantity
    picojoules_per_byte: Quantity | None = None
    feeds_array: bool = False
    result_bytes: Quantity | None = None
    latency_cycles: Quantity | None = None
    burst_bytes: Quantity | None = None

    def __post_init__(self) -> None:
        """Check that the memory is for something."""
        if self.feeds_array and self.result_bytes is not None:
            raise ValueError(f"memory {self.name} has result_bytes, but where it feeds an array no result passes through it, wanted one or the other")
        if not self.holds and not self.buffers:
            raise ValueError(
                f"memory {self.name} holds nothing and buffers nothing, wanted holds: [weights], [activations] or both, or buffers: true"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How far the model was found off, as relative errors per layer; 0.1 is 10 %.

    Attributes:
        median: Half of the layers were nearer.
        worst_tenth: A tenth of the layers were further off.
        source: What was compared with what.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    median: Number
    worst_tenth: Number
    source: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """What rates and terms leave over, learned from layers' shapes; its numbers lie in a file of their own.

    Attributes:
        file: Its name; it lies beside the device's file. Once loaded, its path.
        digest: SHA-256 of what the file holds.
        source: What it was learned from.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    file: Text
    digest: Text
    source: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareModel:
    """Roofline model of one device. Every number says where it comes from.

    A layer takes as long as the slowest of its arithmetic and the traffic of each memory; the terms come on top.

    Attributes:
        name: As in the file's name.
        description: The device, and what the rates describe.
        clock_hz: Core clock.
        flash_bytes: Bytes that the model's constants may take: flash of a microcontroller, the memory that weights live in elsewhere.
        ram_bytes: Bytes that the arena of activations may take.
        compute: Rates by operator class, weight bits and activation bits; what is not listed the device does not have.
        memories: Where weights and activations live, and what they stream through.
        terms: What layers pay on top.
        block_engine: How it walks over a layer, which then tells the cycles of arithmetic instead of the rates: these say what there is, and how fast
            it is at its best. None for devices whose rates tell all.
        core: The emulated core whose counts the rates describe, for `mpsearch run --on`; None if there is none.
        accuracy: How far the model was found off; None if it was compared with nothing.
        residual: What layers' cycles and instructions are multiplied by after all else; None if nothing was learned.
        active_power_w: Power while computing; None if unknown. Where energies per MAC and byte are given too, they come on top of it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: Text
    description: Text
    clock_hz: Quantity
    flash_bytes: Quantity
    ram_bytes: Quantity
    compute: Annotated[tuple[ComputeRates, ...], Field(min_length=1)]
    memories: Annotated[tuple[Memory, ...], Field(min_length=1)]
    terms: tuple[Term, ...] = ()
    block_engine: BlockEngine | None = None
    core: Text | None = None
    accuracy: Accuracy | None = None
    residual: Residual | None = None
    active_power_w: Quantity | None = None

    def __post_init__(self) -> None:
        """Check that rates are unique and that weights have one home and activations at least one."""
        seen: dict[tuple[str, int, int | None], int] = {}
        wrong: list[str] = []
        for index, rates in enumerate(self.compute):
            for operator in rates.operators:
                for weight_bits in rates.macs_per_cycle or (None,):
                    key = (operator, rates.activation_bits, weight_bits)
                    if key in seen:
                        weight = "" if weight_bits is None else f" w{weight_bits}"
                        other = "" if seen[key] == index else f", as in compute.{seen[key]}"
                        wrong.append(f"compute.{index}: two rates for {operator} at{weight} a{rates.activation_bits}{other}, wanted one")
                    seen.setdefault(key, index)
        if self.block_engine is not None:
            array, buffers = self.block_engine.array, self.block_engine.buffers
            known = set(array.step_values) & set(buffers.sum_bits) & set(buffers.sum_granule)
            wanted = {8, *(rates.activation_bits for rates in self.compute)}
            if not wanted <= known or not wanted <= {8, 16}:
                raise ValueError(
                    f"block_engine: its tables have activation bits {sorted(known)}, wanted {sorted(wanted)} of 8 and 16, as compute has"
                )
        names = [memory.name for memory in self.memories]
        if len(set(names)) < len(names):
            wrong.append(f"memories: they are named {', '.join(names)}, wanted distinct names")
        homes = [memory.name for memory in self.memories if "weights" in memory.holds]
        if len(homes) != 1:
            wrong.append(f"memories: {len(homes)} of them hold weights, wanted exactly one")
        if not any("activations" in memory.holds for memory in self.memories):
            wrong.append("memories: none of them holds activations, wanted at least one")
        if wrong:
            raise ValueError("\n".join(wrong))

    def rate(self, operator: str, precision: Widths | None) -> RateOf | None:
        """Return how fast an operator runs at a precision, or None if the device does not have it.

        Args:
            operator: Operator class.
            precision: Precision of the layer; None for 8-bit activations without weights.
        """
        weight, activation = (None, 8) if precision is None else (precision.weight_bits, precision.activation_bits)
        for rates in self.compute:
            if operator not in rates.operators or rates.activation_bits != activation:
                continue
            if rates.values_per_cycle is not None:
                return RateOf(per_cycle=rates.values_per_cycle, per_instruction=rates.values_per_instruction, picojoules=rates.picojoules_per_value)
            if weight is not None and weight in (rates.macs_per_cycle or {}):
                assert rates.macs_per_cycle is not None
                return RateOf(
                    per_cycle=rates.macs_per_cycle[weight],
                    per_instruction=(rates.macs_per_instruction or {}).get(weight),
                    picojoules=(rates.picojoules_per_mac or {}).get(weight),
                    array=rates.array,
                )
        return None

    def has(self, shape: LayerShape, precision: Widths | None) -> bool:
        """Return whether the device runs a layer of that shape at a precision (None without weights)."""
        return shape.operator == "view" or self.rate(shape.operator, precision) is not None

    def precisions(self, operator: str) -> tuple[Precision, ...]:
        """Return the precisions at which the device has an operator with weights, rising in bits."""
        return tuple(
            sorted(
                Precision(weight_bits=weight, activation_bits=rates.activation_bits)
                for rates in self.compute
                if operator in rates.operators
                for weight in rates.macs_per_cycle or ()
                if 2 <= weight <= 16 and 2 <= rates.activation_bits <= 16
            )
        )

    @property
    def weight_memory(self) -> Memory:
        """The memory that holds the weights."""
        return next(memory for memory in self.memories if "weights" in memory.holds)

    def activation_memory(self, live_bytes: int) -> Memory:
        """Return the memory in which a layer's live activations lie: the first that is large enough, else the last."""
        homes = [memory for memory in self.memories if "activations" in memory.holds]
        return next((memory for memory in homes if live_bytes <= memory.size_bytes.value), homes[-1])

    @property
    def buffer(self) -> Memory | None:
        """The memory that data streams through, if there is one."""
        return next((memory for memory in self.memories if memory.buffers), None)
