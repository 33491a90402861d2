# SPDX-License-Identifier: Apache-2.0
"""Latency and energy by a roofline: a layer takes as long as the slowest of its arithmetic, its weights and its activations."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mpsearch.catalog import HardwareModel, Quantity
from mpsearch.cost.request import CostRequest, summed
from mpsearch.errors import HardwareModelError
from mpsearch.quant.packed_size import constant_bytes, gathered_values, laid_pixels, laid_values
from mpsearch.records import AvgPool2d, Layer, LayerGraph, MaxPool2d, MetricCost, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """Where one layer's time goes, in cycles.

    Attributes:
        compute: Arithmetic at the device's rate.
        weights: Reading the layer's constants once.
        activations: Reading the inputs and writing the output once.
        requantize: Turning accumulators into outputs; not overlapped.
        layout: Copying windows out of the input and laying out their values for the products; not overlapped.
        overhead: Calling the kernel; not overlapped.
    """

    compute: float = 0.0
    weights: float = 0.0
    activations: float = 0.0
    requantize: float = 0.0
    layout: float = 0.0
    overhead: float = 0.0

    @property
    def total(self) -> float:
        """Cycles of the layer."""
        return max(self.compute, self.weights, self.activations) + self.requantize + self.layout + self.overhead

    @property
    def binding(self) -> str:
        """The resource that takes longest: "compute", "weights", "activations", or "none" for a layer that moves nothing."""
        if self.total == 0:
            return "none"
        return max(("compute", "weights", "activations"), key=lambda name: float(getattr(self, name)))


def measure_latency(request: CostRequest) -> MetricCost:
    """Return the seconds of one inference.

    Raises:
        HardwareModelError: There is no target, or it has no rate for a layer.
    """
    hardware = request.hardware_for("latency")
    return summed(
        request, "latency", "s", lambda layer, precision: layer_roofline(request.graph, layer, precision, hardware).total / hardware.clock_hz.value
    )


def measure_energy(request: CostRequest) -> MetricCost:
    """Return the joules of one inference: active power times latency.

    Raises:
        HardwareModelError: There is no target, it has no rate for a layer, or its file gives no power.
    """
    hardware = request.hardware_for("energy")
    if hardware.active_power_w is None:
        raise HardwareModelError(
            f"Target '{hardware.name}' gives no active_power_w, which the metric energy needs.", "add it to the device's file, with its source."
        )
    joules = hardware.active_power_w.value / hardware.clock_hz.value
    return summed(request, "energy", "J", lambda layer, precision: layer_roofline(request.graph, layer, precision, hardware).total * joules)


def layer_roofline(graph: LayerGraph, layer: Layer, precision: Precision | None, hardware: HardwareModel) -> Roofline:
    """Return where a layer's time goes.

    Args:
        graph: Gives the shapes.
        layer: One of its layers.
        precision: None for a layer without weights.
        hardware: The target.

    Raises:
        HardwareModelError: The target has no rate for that operator and precision.
    """
    if layer.operator_class == "view":
        return Roofline()
    rate = hardware.rate(layer.operator_class, precision)
    if rate is None:
        raise HardwareModelError(
            f"Layer '{layer.name}': target '{hardware.name}' has no rate for {layer.operator_class} at {precision or 'a8'}.",
            "add the rate, with its source, to the device's file, or choose another space.",
        )
    weighted = layer.weight is not None
    output = graph.tensor(layer.output).size
    return Roofline(
        compute=(layer.macs if weighted else _elements(graph, layer)) / rate.macs_per_cycle.value,
        weights=constant_bytes(graph, layer, precision) / hardware.memory("weights").bytes_per_cycle.value,
        activations=activation_bytes(graph, layer, precision) / hardware.memory("activations").bytes_per_cycle.value,
        requantize=output * (rate.requantize_cycles or hardware.requantize_cycles).value if weighted else 0.0,
        layout=_cycles(gathered_values(graph, layer), hardware.gather_cycles)
        + _cycles(laid_values(graph, layer), hardware.layout_cycles)
        + _cycles(laid_pixels(graph, layer), hardware.pixel_cycles),
        overhead=hardware.overhead_cycles.value,
    )


def _cycles(count: int, each: Quantity | None) -> float:
    return count * each.value if each else 0.0


def activation_bytes(graph: LayerGraph, layer: Layer, precision: Precision | None) -> int:
    """Return the bytes of a layer's inputs and output, each counted once."""
    bits = precision.activation_bits if precision else 8
    values = sum(graph.tensor(name).size for name in layer.inputs) + graph.tensor(layer.output).size
    return -(-values * bits // 8)


def _elements(graph: LayerGraph, layer: Layer) -> int:
    """Return how many values an elementwise layer handles; a pooling layer handles every value of every window."""
    output = graph.tensor(layer.output).size
    if isinstance(layer.op, MaxPool2d | AvgPool2d):
        return output * math.prod(layer.op.kernel)
    return max(output, *(graph.tensor(name).size for name in layer.inputs))
