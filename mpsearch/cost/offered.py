# SPDX-License-Identifier: Apache-2.0
"""Which precisions each group may take: what the space allows, the kernel library has and the device can run. Never wider."""

from __future__ import annotations

from collections.abc import Callable

from mpsearch.catalog import HardwareModel, SearchSpace
from mpsearch.cost.measured_device import MeasuredDevice
from mpsearch.errors import CatalogError, HardwareModelError
from mpsearch.graph.shapes import layer_shape
from mpsearch.records import Layer, LayerGraph, LayerShape, Precision


def offered_precisions(
    graph: LayerGraph, space: SearchSpace, supports: Callable[[Layer, Precision], bool], hardware: HardwareModel | None = None
) -> dict[str, tuple[Precision, ...]]:
    """Return the precisions of every group, rising in bits.

    Args:
        graph: The model; its first and last layers with weights are the first and last of the rules.
        space: Rules by kind of layer. A layer of several kinds must satisfy all their rules.
        supports: Whether the kernel library has a layer at a precision.
        hardware: The target; None if there is none.

    Returns:
        Group name -> what all its layers may take.

    Raises:
        CatalogError: The space and the kernel library leave a layer, or the layers of a group together, without a precision.
        HardwareModelError: The target has no rate, or no measurement, for any precision that the space and the kernel library leave.
    """
    weighted = graph.weighted_layers
    layers = {layer.name: layer for layer in weighted}
    offered: dict[str, tuple[Precision, ...]] = {}
    for group in graph.groups:
        common = space.precisions
        for name in group.layers:
            layer = layers[name]
            bits = _allowed(layer, space, first=layer is weighted[0], last=layer is weighted[-1])
            built = _built(layer, bits, space, supports)
            mine = built if hardware is None else _that_run(layer, layer_shape(graph, layer), built, hardware)
            common = tuple(precision for precision in common if precision in mine)
        if not common:
            raise CatalogError(
                f"Layers {', '.join(group.layers)} must share one precision, and space '{space.name}' leaves none that all of them may take.",
                "widen the space's rules for first, last and depthwise layers.",
            )
        offered[group.name] = common
    return offered


def _allowed(layer: Layer, space: SearchSpace, *, first: bool, last: bool) -> set[int]:
    bits = set(space.weight_bits)
    for applies, rule in ((first, space.first_layer), (last, space.last_layer), (layer.is_depthwise, space.depthwise)):
        if applies:
            bits &= set(rule)
    return bits


def _built(layer: Layer, bits: set[int], space: SearchSpace, supports: Callable[[Layer, Precision], bool]) -> tuple[Precision, ...]:
    """Return the precisions that the space allows and the kernel library has."""
    allowed = [precision for precision in space.precisions if precision.weight_bits in bits]
    if not allowed:
        raise CatalogError(
            f"Layer '{layer.name}': the rules of space '{space.name}' leave it no precision.",
            "let its rules for first, last and depthwise layers overlap.",
        )
    built = tuple(precision for precision in allowed if supports(layer, precision))
    if not built:
        raise CatalogError(
            f"Layer '{layer.name}': space '{space.name}' allows {_listed(allowed)}, the kernel library has {layer.operator_class} at none of them.",
            "choose a space with other bits.",
        )
    return built


def _that_run(layer: Layer, shape: LayerShape, built: tuple[Precision, ...], hardware: HardwareModel) -> tuple[Precision, ...]:
    """Return those that the device can run."""
    runs = tuple(precision for precision in built if hardware.has(shape, precision))
    if runs:
        return runs
    if isinstance(hardware, MeasuredDevice):
        raise hardware.unmeasured(layer.name, shape, built)
    raise HardwareModelError(
        f"Layer '{layer.name}': target '{hardware.name}' has {layer.operator_class} at none of {_listed(built)}.",
        "choose another space or target, or add the rate, with its source, to the device's file.",
    )


def _listed(precisions: list[Precision] | tuple[Precision, ...]) -> str:
    return ", ".join(str(precision) for precision in precisions)
