# SPDX-License-Identifier: Apache-2.0
"""Why a target gives a config: what the device does not have, what each width costs on it, and which budget keeps layers from more bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mpsearch.catalog import HardwareModel, SearchSpace
from mpsearch.cost import LayerCost
from mpsearch.records import Budget, CostTable, LayerGraph, MetricCost, Precision, QuantizerGroup
from mpsearch.search.problem import RELATIVE_TOLERANCE

SAME = 0.005
"""Relative difference of cycles below which two widths take the same."""


def target_reasons(graph: LayerGraph, space: SearchSpace, hardware: HardwareModel) -> tuple[str, ...]:
    """Return, for each operator with weights, which precisions of the space the device does not have."""
    reasons = []
    for operator, count in _operators(graph).items():
        allowed = [precision for precision in space.precisions if operator != "depthwise" or precision.weight_bits in space.depthwise]
        missing = [precision for precision in allowed if hardware.rate(operator, precision) is None]
        if missing:
            reasons.append(
                f"{hardware.name} does not have {operator} at {_listed(missing)}, which space {space.name} allows: closed to {_layers(count)}"
            )
    return tuple(reasons) or (f"{hardware.name} has every precision that space {space.name} allows for {', '.join(_operators(graph))}",)


def width_reasons(graph: LayerGraph, costs: CostTable) -> tuple[str, ...]:
    """Return, for each operator with weights, the cycles of every precision relative to those of its most bits: the median of its groups."""
    latency = _latency(costs)
    if latency is None:
        return ()
    reasons = []
    for operator in _operators(graph):
        rows = [index for index, group in enumerate(graph.groups) if _operator_of(graph, group) == operator]
        ratios = _relative(latency.cost[0, rows])
        shown = [(costs.precisions[column], ratio) for column, ratio in ratios.items()]
        if len(shown) < 2:
            continue
        widest = shown[-1][0]
        slower = [precision for precision, ratio in shown if ratio > 1 + SAME]
        listed = ", ".join(f"{precision} {ratio:.2f}" for precision, ratio in shown[:-1])
        verdict = f"; {_listed(slower)} {'saves' if len(slower) == 1 else 'save'} bytes and no time" if slower else ""
        reasons.append(f"{operator} on {costs.target}, cycles relative to {widest} (median of {_layers(len(rows))}): {listed}{verdict}")
    return tuple(reasons)


def budget_reasons(costs: CostTable, budget: Budget, choice: Sequence[int]) -> tuple[str, ...]:
    """Return, for each limited metric, how much of it is used and how many groups it keeps from their next wider precision."""
    index = np.array(choice, dtype=np.int64)
    reasons = []
    for limit in budget.limits:
        metric = costs.metric(limit.metric)
        steps = [(group, wider) for group in range(len(choice)) if (wider := _neighbours(metric, group, choice[group])[1]) is not None]
        held = sum(_exceeds(metric, limit.value, index, group, wider) for group, wider in steps)
        used = metric.total(index) / limit.value
        reasons.append(
            f"{limit.metric} budget {limit.text.rpartition('=')[2]}: {used:.1%} used; "
            + (
                f"it keeps {held} of {len(steps)} groups from their next wider precision"
                if held
                else "it keeps no group from its next wider precision"
            )
        )
    return tuple(reasons)


def speed_reasons(target: str, latency_s: float, first_latency_s: float, is_quicker: bool) -> tuple[str, ...]:
    """Return that the config was taken for the target's speed, if it was.

    Args:
        target: Name of the device.
        latency_s: Of the chosen config.
        first_latency_s: Of the config with the least score.
        is_quicker: Whether the config was searched for its speed among those of nearly the least score.
    """
    if not is_quicker or first_latency_s <= 0:
        return ()
    return (f"{target} runs it in {latency_s / first_latency_s:.2f} of the time of the config with the least score, and its error is no worse",)


def layer_reasons(graph: LayerGraph, costs: CostTable, budget: Budget, choice: Sequence[int], layers: Sequence[LayerCost]) -> tuple[str, ...]:
    """Return, for each group, what binds its layers, what its neighbouring widths would cost, and the budget that they would exceed.

    Args:
        graph: The model.
        costs: At every precision.
        budget: What is limited.
        choice: Index of each group's precision.
        layers: What each layer of the chosen config costs.

    Returns:
        The slowest group first.
    """
    by_name = {layer.layer: layer for layer in layers}
    order = sorted(range(len(choice)), key=lambda group: -sum(by_name[name].cycles or 0.0 for name in graph.groups[group].layers))
    return tuple(_group_reason(graph, costs, budget, choice, group, by_name) for group in order)


def _group_reason(graph: LayerGraph, costs: CostTable, budget: Budget, choice: Sequence[int], group: int, layers: Mapping[str, LayerCost]) -> str:
    record, column = graph.groups[group], choice[group]
    slowest = max((layers[name] for name in record.layers), key=lambda layer: layer.cycles or 0.0)
    others = f" and {len(record.layers) - 1} more" if len(record.layers) > 1 else ""
    bound = f", bound by {slowest.binding}" if slowest.binding else ""
    text = f"{record.name}{others} ({_operator_of(graph, record)}) at {costs.precisions[column]}{bound}"
    flash = costs.metric("flash")
    parts = [_alternative(costs, budget, choice, group, other) for other in _neighbours(flash, group, column) if other is not None]
    return f"{text}: {'; '.join(parts)}" if parts else f"{text}: its only precision"


def _alternative(costs: CostTable, budget: Budget, choice: Sequence[int], group: int, other: int) -> str:
    """Return what a group would cost at another precision, relative to the chosen one."""
    metrics = [("cycles", _latency(costs)), ("bytes", costs.metric("flash"))]
    ratios = ", ".join(
        f"{name} ×{metric.cost[0, group, other] / metric.cost[0, group, choice[group]]:.2f}"
        for name, metric in metrics
        if metric is not None and metric.cost[0, group, choice[group]] > 0
    )
    index = np.array(choice, dtype=np.int64)
    exceeded = [limit.metric for limit in budget.limits if _exceeds(costs.metric(limit.metric), limit.value, index, group, other)]
    return f"{costs.precisions[other]} {ratios}" + (f" (exceeds the budget of {' and '.join(exceeded)})" if exceeded else "")


def _neighbours(metric: MetricCost, group: int, column: int) -> tuple[int | None, int | None]:
    """Return the columns of the next narrower and the next wider precision that a group is offered."""
    offered = [int(other) for other in np.flatnonzero(~np.isnan(metric.cost[0, group]))]
    place = offered.index(column)
    return offered[place - 1] if place > 0 else None, offered[place + 1] if place + 1 < len(offered) else None


def _exceeds(metric: MetricCost, limit: float, index: npt.NDArray[np.int64], group: int, column: int) -> bool:
    moved = index.copy()
    moved[group] = column
    return metric.total(moved) > limit * (1 + RELATIVE_TOLERANCE)


def _relative(cost: npt.NDArray[np.float64]) -> dict[int, float]:
    """Return column -> median of the cost relative to the last column that any row offers, over the rows that offer both."""
    columns = np.flatnonzero(~np.isnan(cost).all(axis=0))
    ratios: dict[int, float] = {}
    for column in columns:
        both = ~np.isnan(cost[:, column]) & (cost[:, columns[-1]] > 0)
        if both.any():
            ratios[int(column)] = float(np.median(cost[both, column] / cost[both, columns[-1]]))
    return ratios


def _latency(costs: CostTable) -> MetricCost | None:
    return next((metric for metric in costs.metrics if metric.metric == "latency"), None)


def _operators(graph: LayerGraph) -> dict[str, int]:
    """Return operator class -> number of its layers with weights."""
    counts: dict[str, int] = {}
    for layer in graph.weighted_layers:
        counts[layer.operator_class] = counts.get(layer.operator_class, 0) + 1
    return counts


def _operator_of(graph: LayerGraph, group: QuantizerGroup) -> str:
    """Return the operator class of a group's first layer."""
    return next(layer.operator_class for layer in graph.weighted_layers if layer.name == group.layers[0])


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _listed(precisions: Sequence[Precision]) -> str:
    return ", ".join(map(str, precisions))
