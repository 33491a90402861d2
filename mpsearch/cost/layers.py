# SPDX-License-Identifier: Apache-2.0
"""What each layer of one config costs, for the report."""

from __future__ import annotations

from dataclasses import dataclass

from mpsearch.catalog import HardwareModel
from mpsearch.cost.latency import gives_energy, layer_energy, layer_roofline
from mpsearch.cost.work import layer_work
from mpsearch.graph.liveness import live_bytes
from mpsearch.quant.activation_bits import activation_bits
from mpsearch.quant.packed_size import scratch_bytes
from mpsearch.records import BitWidthConfig, LayerGraph, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """What one layer of a config costs.

    Attributes:
        layer: Its name.
        op: Its kind, e.g. "Conv2d".
        operator: Its operator class, which the device's rates are listed by.
        precision: None for a layer without weights.
        macs: Multiply-accumulates.
        flash_bytes: Its constants.
        ram_bytes: Live activations and scratch while it runs.
        ops_per_byte: Arithmetic intensity: two ops a MAC, over its constants, inputs and output, each byte counted once.
        cycles: On the target; None without one.
        latency_s: On the target; None without one.
        energy_j: On the target; None without one, or if its file gives no energy.
        instructions: On the target; None without one, or if its file says nothing about them.
        binding: The resource that takes longest, see `Roofline.binding`; "" without a target.
        compute_cycles: Arithmetic alone; None without a target, or where the layer was measured as a whole.
        memory_cycles: (memory, cycles of its traffic alone), in the order of the device's file; empty without a target.
        overhead_cycles: What comes on top of the slowest of these; None where compute_cycles is.
    """

    layer: str
    op: str
    operator: str
    precision: Precision | None
    macs: int
    flash_bytes: int
    ram_bytes: int
    ops_per_byte: float
    cycles: float | None = None
    latency_s: float | None = None
    energy_j: float | None = None
    instructions: float | None = None
    binding: str = ""
    compute_cycles: float | None = None
    memory_cycles: tuple[tuple[str, float], ...] = ()
    overhead_cycles: float | None = None

    @property
    def attained_macs_per_cycle(self) -> float | None:
        """MACs per cycle of the whole layer; None without MACs or a target."""
        return self.macs / self.cycles if self.macs and self.cycles else None

    @property
    def attainable_macs_per_cycle(self) -> float | None:
        """MACs per cycle that arithmetic and traffic alone allow; None without MACs or a target."""
        slowest = max(self.compute_cycles or 0.0, *(cycles for _, cycles in self.memory_cycles), 0.0)
        return self.macs / slowest if self.macs and slowest else None


def layer_costs(graph: LayerGraph, config: BitWidthConfig, hardware: HardwareModel | None = None) -> tuple[LayerCost, ...]:
    """Return what each layer of a config costs, in execution order.

    Args:
        graph: The model.
        config: A precision for every layer with weights.
        hardware: The target; None for the costs that need none.

    Raises:
        RecordError: The config belongs to another model.
        HardwareModelError: The target has no rate for a layer.
    """
    config.check_model(graph)
    costs: list[LayerCost] = []
    bits = activation_bits(graph, config)
    for layer, live in zip(graph.layers, live_bytes(graph, bits), strict=True):
        precision = config[layer.name] if layer.weight is not None else None
        work = layer_work(graph, layer, precision, live, bits)
        roofline = layer_roofline(work, hardware) if hardware else None
        parts = roofline if roofline and roofline.measured is None else None
        costs.append(
            LayerCost(
                layer=layer.name,
                op=type(layer.op).__name__,
                operator=work.shape.operator,
                precision=precision,
                macs=layer.macs,
                flash_bytes=work.constant_bytes,
                ram_bytes=live + scratch_bytes(graph, layer, precision, bits[layer.output]),
                ops_per_byte=2 * layer.macs / work.moved_bytes if work.moved_bytes else 0.0,
                cycles=roofline.total if roofline else None,
                latency_s=roofline.total / hardware.clock_hz.value if roofline and hardware else None,
                energy_j=layer_energy(roofline, hardware) if roofline and hardware and gives_energy(hardware) else None,
                instructions=roofline.instructions if roofline else None,
                binding=roofline.binding if roofline else "",
                compute_cycles=parts.compute if parts else None,
                memory_cycles=parts.memories if parts else (),
                overhead_cycles=parts.terms + parts.residual if parts else None,
            )
        )
    return tuple(costs)
