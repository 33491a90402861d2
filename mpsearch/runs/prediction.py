# SPDX-License-Identifier: Apache-2.0
"""What one config of a network is predicted to cost on one device, in total and layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from mpsearch.catalog import HardwareModel
from mpsearch.cost import LayerCost, layer_costs
from mpsearch.export.memory_plan import MemoryPlan, plan_memory
from mpsearch.quant.packed_size import header_bytes
from mpsearch.records import BitWidthConfig, LayerGraph, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Costs of a config, without any data.

    Attributes:
        hardware: The device.
        config: What the config is called: "uniform 8", or its file.
        layers: Costs of each layer, in execution order.
        flash_bytes: Constants of the bundle.
        plan: Where the bundle keeps its activations and scratch.
    """

    hardware: HardwareModel
    config: str
    layers: tuple[LayerCost, ...]
    flash_bytes: int
    plan: MemoryPlan

    @property
    def cycles(self) -> float:
        """Of one inference."""
        return sum(layer.cycles or 0.0 for layer in self.layers)

    @property
    def latency_s(self) -> float:
        """Of one inference."""
        return self.cycles / self.hardware.clock_hz.value

    @property
    def instructions(self) -> float | None:
        """Of one inference; None if the device's file says nothing about them for some layer."""
        return _sum_of_known(layer.instructions for layer in self.layers)

    @property
    def energy_j(self) -> float | None:
        """Of one inference; None if the device's file gives no energy."""
        return _sum_of_known(layer.energy_j for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which memories of the device are too small."""
        needs = (("flash", self.flash_bytes, self.hardware.flash_bytes), ("ram", self.plan.arena_bytes, self.hardware.ram_bytes))
        return tuple(
            f"{self.hardware.name} has {capacity.value:,.0f} bytes of {memory}, this config needs {needed:,}"
            for memory, needed, capacity in needs
            if needed > capacity.value
        )


def predict(graph: LayerGraph, config: BitWidthConfig, name: str, hardware: HardwareModel) -> Prediction:
    """Predict what a config costs on a device.

    Args:
        graph: The network.
        config: A precision for every layer with weights.
        name: What the config is called.
        hardware: The device.

    Raises:
        RecordError: The config belongs to another network.
        HardwareModelError: The device has no rate for a layer at its precision.
        QuantizationError: The kernel library has no kernel for it.
    """
    layers = layer_costs(graph, config, hardware)
    return Prediction(
        hardware=hardware,
        config=name,
        layers=layers,
        flash_bytes=header_bytes(graph) + sum(layer.flash_bytes for layer in layers),
        plan=plan_memory(graph, config),
    )


def uniform_config(graph: LayerGraph, bits: int) -> BitWidthConfig:
    """Return one weight bit-width in every layer, and 8-bit activations."""
    precision = Precision(weight_bits=bits)
    return BitWidthConfig(model_digest=graph.model_digest, precisions=tuple((layer.name, precision) for layer in graph.weighted_layers))


def prediction_json(prediction: Prediction) -> dict[str, object]:
    """Return what `mpsearch cost --json` prints: base units, null where the device's file says nothing."""
    hardware = prediction.hardware
    return {
        "schema": 1,
        "target": hardware.name,
        "config": prediction.config,
        "clock_hz": hardware.clock_hz.value,
        "cycles": prediction.cycles,
        "instructions": prediction.instructions,
        "latency_s": prediction.latency_s,
        "energy_j": prediction.energy_j,
        "peak_ram_bytes": prediction.plan.arena_bytes,
        "peak_ram_proven": prediction.plan.proven,
        "flash_bytes": prediction.flash_bytes,
        "macs": prediction.macs,
        "accuracy": asdict(hardware.accuracy) if hardware.accuracy else None,
        "notes": list(prediction.notes),
        "layers": {layer.layer: _layer_json(layer) for layer in prediction.layers},
    }


def _layer_json(layer: LayerCost) -> dict[str, object]:
    return {
        "op": layer.op,
        "operator": layer.operator,
        "precision": str(layer.precision) if layer.precision else None,
        "macs": layer.macs,
        "cycles": layer.cycles,
        "instructions": layer.instructions,
        "latency_s": layer.latency_s,
        "energy_j": layer.energy_j,
        "flash_bytes": layer.flash_bytes,
        "ram_bytes": layer.ram_bytes,
        "ops_per_byte": layer.ops_per_byte,
        "binding": layer.binding,
        "compute_cycles": layer.compute_cycles,
        "memory_cycles": dict(layer.memory_cycles),
        "overhead_cycles": layer.overhead_cycles,
    }


def _sum_of_known(values: Iterable[float | None]) -> float | None:
    """Return the sum, or None if one of them is unknown."""
    known = list(values)
    return None if None in known else sum(value or 0.0 for value in known)
