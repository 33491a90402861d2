# SPDX-License-Identifier: Apache-2.0
"""Latency and energy by a roofline: a layer takes as long as the slowest of its arithmetic and of each memory's traffic, and its terms on top."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mpsearch.catalog import HardwareModel
from mpsearch.cost.array import array_steps, row_bytes
from mpsearch.cost.block_engine import engine_cost
from mpsearch.cost.counted import COUNTED
from mpsearch.cost.measured_device import MeasuredDevice
from mpsearch.cost.request import CostRequest, summed
from mpsearch.cost.residual import residual_factors
from mpsearch.cost.work import LayerWork, default_live_bytes, layer_work
from mpsearch.errors import HardwareModelError
from mpsearch.records import Layer, LayerShape, MetricCost, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """Where one layer's time goes.

    Attributes:
        compute: Cycles of arithmetic at the device's rate.
        memories: (memory, cycles of its traffic), in the order of the file.
        terms: Cycles not overlapped with these: calls, requantisation, layout, unpacking.
        instructions: What the core executes; None if the file says nothing about it.
        joules_beside_power: Energy of MACs and bytes.
        residual: Cycles that the device's residual adds or, negative, takes away.
        measured: Cycles as they were measured, whatever they went into; None where a model says.
    """

    compute: float = 0.0
    memories: tuple[tuple[str, float], ...] = ()
    terms: float = 0.0
    instructions: float | None = None
    joules_beside_power: float = 0.0
    residual: float = 0.0
    measured: float | None = None

    @property
    def total(self) -> float:
        """Cycles of the layer."""
        if self.measured is not None:
            return self.measured
        return max(self.compute, *(cycles for _, cycles in self.memories), 0.0) + self.terms + self.residual

    @property
    def binding(self) -> str:
        """The resource that takes longest: "compute", the name of a memory, "overhead" where the terms take more; "none" if nothing moves.

        "measured" where a measurement does not tell.
        """
        if self.total == 0:
            return "none"
        if self.measured is not None:
            return "measured"
        name, cycles = max((("compute", self.compute), *self.memories), key=lambda resource: resource[1])
        return name if cycles >= self.terms else "overhead"


def measure_latency(request: CostRequest) -> MetricCost:
    """Return the seconds of one inference.

    Raises:
        HardwareModelError: There is no target, or it has no rate for a layer.
    """
    hardware = request.hardware_for("latency")
    live = default_live_bytes(request.graph)

    def seconds(layer: Layer, precision: Precision | None) -> float:
        return layer_roofline(layer_work(request.graph, layer, precision, live[layer.name]), hardware).total / hardware.clock_hz.value

    return summed(request, "latency", "s", seconds)


def measure_energy(request: CostRequest) -> MetricCost:
    """Return the joules of one inference: active power times latency, and what every MAC and every byte moved takes.

    Raises:
        HardwareModelError: There is no target, it has no rate for a layer, or its file gives no energy.
    """
    hardware = request.hardware_for("energy")
    if not gives_energy(hardware):
        raise HardwareModelError(
            f"Target '{hardware.name}' gives neither active_power_w nor picojoules, which the metric energy needs.",
            "add active_power_w to the device's file, with its source.",
        )
    live = default_live_bytes(request.graph)

    def joules(layer: Layer, precision: Precision | None) -> float:
        return layer_energy(layer_roofline(layer_work(request.graph, layer, precision, live[layer.name]), hardware), hardware)

    return summed(request, "energy", "J", joules)


def gives_energy(hardware: HardwareModel) -> bool:
    """Return whether a device's file says what an inference takes."""
    per_mac = any(rates.picojoules_per_mac or rates.picojoules_per_value for rates in hardware.compute)
    return hardware.active_power_w is not None or per_mac or any(memory.picojoules_per_byte for memory in hardware.memories)


def layer_energy(roofline: Roofline, hardware: HardwareModel) -> float:
    """Return the joules of one layer."""
    power = hardware.active_power_w.value if hardware.active_power_w else 0.0
    return power * roofline.total / hardware.clock_hz.value + roofline.joules_beside_power


def layer_roofline(work: LayerWork, hardware: HardwareModel) -> Roofline:
    """Return where a layer's time goes.

    Args:
        work: The layer.
        hardware: The target.

    Raises:
        HardwareModelError: The target has no rate for that operator and precision, or has not measured that layer.
    """
    shape, precision = work.shape, work.precision
    if shape.operator == "view":
        return Roofline(instructions=0.0)
    if isinstance(hardware, MeasuredDevice):
        row = hardware.row(work.name, shape, precision)
        return Roofline(measured=hardware.cycles(row), instructions=row.instructions)
    rate = hardware.rate(shape.operator, precision)
    if rate is None:
        raise HardwareModelError(
            f"Layer '{work.name}': target '{hardware.name}' has no rate for {shape.operator} at {precision or 'a8'}; "
            f"{_what_there_is(shape, hardware)}.",
            "add the rate, with its source, to the device's file, or choose another space.",
        )
    compute = (array_steps(shape, rate.array) if rate.array else shape.steps) / rate.per_cycle
    traffic = memory_traffic(work, hardware) | row_bytes(work, hardware, rate.array)
    early: Mapping[str, float] = {}
    if hardware.block_engine is not None:
        engine = engine_cost(work, hardware, hardware.block_engine)
        compute, traffic, early = engine.compute, engine.traffic, engine.early
    home = hardware.activation_memory(work.live_bytes)
    if home.result_bytes and shape.has_weights:
        traffic[home.name] += shape.output_values * home.result_bytes.value - work.output_bytes
    terms = [(term, COUNTED[term.per](shape)) for term in hardware.terms if term.applies(shape.operator, precision)]
    instructions = None
    if rate.per_instruction is not None:
        instructions = shape.steps / rate.per_instruction + sum(count * (term.instructions or 0.0) for term, count in terms)
    energy = {memory.name: memory.picojoules_per_byte.value if memory.picojoules_per_byte else 0.0 for memory in hardware.memories}
    picojoules = shape.steps * (rate.picojoules or 0.0) + sum(moved * energy[name] for name, moved in traffic.items())
    roofline = Roofline(
        compute=compute,
        memories=tuple(
            (memory.name, (traffic[memory.name] - early.get(memory.name, 0.0)) / memory.bytes_per_cycle.value) for memory in hardware.memories
        ),
        terms=sum(count * term.cycles for term, count in terms),
        instructions=instructions,
        joules_beside_power=picojoules * 1e-12,
    )
    if hardware.residual is None:
        return roofline
    cycle_factor, instruction_factor = residual_factors(shape, precision, hardware)
    return replace(
        roofline,
        instructions=None if instructions is None else instructions * instruction_factor,
        residual=roofline.total * (cycle_factor - 1),
    )


def _what_there_is(shape: LayerShape, hardware: HardwareModel) -> str:
    """Return what a device has of an operator; of one it has not at all, which operators it has."""
    if having := hardware.precisions(shape.operator):
        return f"it has {shape.operator} at {', '.join(map(str, having))}"
    entries = [rates for rates in hardware.compute if shape.operator in rates.operators]
    if entries:
        return f"it has {shape.operator} at {', '.join(f'a{rates.activation_bits}' for rates in entries)}"
    return f"it has {', '.join(dict.fromkeys(name for rates in hardware.compute for name in rates.operators))}"


def memory_traffic(work: LayerWork, hardware: HardwareModel) -> dict[str, float]:
    """Return memory name -> bytes that a layer moves in or out of it.

    Without a buffer every byte moves once between its home and the core. Through a buffer it moves from its home to the buffer, as often as
    `passes_through` says; what lives in the buffer itself stays there, and then everything moves once.
    """
    weight_home, activation_home, buffer = hardware.weight_memory, hardware.activation_memory(work.live_bytes), hardware.buffer
    weight_passes = input_passes = 1
    if buffer is not None and buffer not in (weight_home, activation_home):
        weight_passes, input_passes = passes_through(buffer.size_bytes.value, work.constant_bytes, work.input_bytes)
    weights = float(work.constant_bytes * weight_passes)
    activations = float(work.input_bytes * input_passes + work.output_bytes)
    traffic = dict.fromkeys((memory.name for memory in hardware.memories), 0.0)
    for home, moved in ((weight_home, weights), (activation_home, activations)):
        traffic[home.name] += moved
        if buffer is not None and buffer != home:
            traffic[buffer.name] += moved
    return traffic


def passes_through(buffer_bytes: float, constant_bytes: int, input_bytes: int) -> tuple[int, int]:
    """Return how often the constants, and how often the inputs, of a layer are read from their homes through a buffer.

    Half of the buffer keeps a part of the one; the other half streams the other past it in small pieces, and outputs away from it, each written once.
    The streamed one is read once for each part of the kept one: once in all if that fits into half of the buffer. Of the two orders, the one that
    reads fewer bytes (weights stationary or inputs stationary). Rows that parts of a convolution's input share are not counted twice.

    Args:
        buffer_bytes: Capacity, > 0.
        constant_bytes: Weights and all that goes with them.
        input_bytes: All inputs.
    """
    half = buffer_bytes / 2
    constant_parts, input_parts = max(1, math.ceil(constant_bytes / half)), max(1, math.ceil(input_bytes / half))
    if constant_bytes + input_bytes * constant_parts <= constant_bytes * input_parts + input_bytes:
        return 1, constant_parts
    return input_parts, 1


def peak_bytes_per_cycle(hardware: HardwareModel) -> float:
    """Return the bytes per cycle that no layer moves faster than: the slope of the roof.

    Weights and activations that live in two memories move at the same time, so the rates of their homes add up; what passes a buffer is no faster
    than the buffer. (Of a memory that feeds an array only the rows it takes count, see `row_bytes`: a layer that leaves out pixels may move fewer.)
    """
    weight_home, buffer = hardware.weight_memory, hardware.buffer
    rates = []
    for home in (memory for memory in hardware.memories if "activations" in memory.holds):
        homes = [weight_home] if home == weight_home else [weight_home, home]
        rate = sum(memory.bytes_per_cycle.value for memory in homes)
        if buffer is not None:
            rate = buffer.bytes_per_cycle.value if buffer in homes else min(rate, buffer.bytes_per_cycle.value)
        rates.append(rate)
    return max(rates)
