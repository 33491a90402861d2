# SPDX-License-Identifier: Apache-2.0
"""Activation intervals by what they cost the network's output, measured on calibration data one scale at a time.

The squared error of a tensor does not say how much the network minds: features clip far below their largest value without harm, and an input
whose first coefficient spans ten times the others' range is better off clipped. Only the scales that matter most are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch

from mpsearch.quant.ranges import Interval, activation_quantization, mse_interval
from mpsearch.records import PASS_THROUGH, CalibrationStats, LayerGraph, Quantization, Tensor

Activations = Mapping[str, torch.Tensor]
"""Tensor name -> (batch, *memory shape) float32."""

OutputDistance = Callable[[Activations, Activations], float]
"""(activations of a batch, tensors to put in their place) -> how far the network's output moves, summed over samples; at least 0."""

SAMPLES = 128
"""Calibration samples that intervals are measured on; whole batches, so that it may be a few more."""

_SHARE = 0.5
_SHRINKS = (0.85, 0.7, 0.55, 0.4, 0.3)
_HOPELESS = 2.0


def measure_intervals(
    graph: LayerGraph, stats: CalibrationStats, runs: Callable[[], Iterable[Activations]], distance: OutputDistance
) -> CalibrationStats:
    """Return the statistics with an interval for the tensors whose 8-bit rounding moves the output most.

    Every scale is measured once with the interval of least squared error. Those that move the output by at least half of the mean are tried with
    the whole range seen and with either end drawn in.

    Args:
        graph: The captured graph.
        stats: Of the same graph.
        runs: Yields the float activations of each calibration batch.
        distance: How far the output moves when some activations are replaced.
    """
    batches = _first_samples(runs(), graph.inputs[0])
    sources = {index: tensors for index, tensors in _sources(graph).items() if graph.tensor(graph.output) not in tensors}

    def measure(index: int, interval: Interval) -> float:
        quantization = activation_quantization([interval], 8)
        names = [tensor.name for tensor in sources[index]]
        return sum(distance(values, {name: _round(values[name], quantization) for name in names}) for values in batches)

    first = {index: _union([mse_interval(stats.tensor(tensor.name), 8) for tensor in tensors]) for index, tensors in sources.items()}
    cost = {index: measure(index, interval) for index, interval in first.items()}
    threshold = _SHARE * sum(cost.values()) / max(1, len(cost))
    chosen: dict[int, Interval] = {}
    for index, interval in first.items():
        if cost[index] >= threshold > 0:
            seen = _union([(stats.tensor(tensor.name).minimum, stats.tensor(tensor.name).maximum) for tensor in sources[index]])
            chosen[index] = _search(partial(measure, index), [(cost[index], interval), (measure(index, seen), seen)])
    quantizers = {tensor.name: tensor.quantizer for tensor in graph.tensors}
    return replace(stats, tensors=tuple(replace(seen, interval=chosen.get(quantizers[seen.name])) for seen in stats.tensors))


def _search(measure: Callable[[Interval], float], starts: Sequence[tuple[float, Interval]]) -> Interval:
    """Draw in the upper end, then the lower, as long as there is hope."""
    least, best = min(starts)
    for side in (1, 0):
        low, high = best
        if best[side] == 0:
            continue
        for shrink in _SHRINKS:
            ends = (low, high * shrink) if side == 1 else (low * shrink, high)
            cost = measure(ends)
            if cost < least:
                least, best = cost, ends
            elif cost > _HOPELESS * least:
                break
    return best


def _sources(graph: LayerGraph) -> dict[int, list[Tensor]]:
    """Return for each scale the tensors where it is first applied: those that no op passes through from another tensor of the scale."""
    producers = {layer.output: layer for layer in graph.layers}
    quantizers = {tensor.name: tensor.quantizer for tensor in graph.tensors}
    result: dict[int, list[Tensor]] = {}
    for tensor in graph.tensors:
        producer = producers.get(tensor.name)
        passed = (
            producer is not None and isinstance(producer.op, PASS_THROUGH) and all(quantizers[name] == tensor.quantizer for name in producer.inputs)
        )
        if not passed:
            result.setdefault(tensor.quantizer, []).append(tensor)
    return result


def _first_samples(runs: Iterable[Activations], name: str) -> list[Activations]:
    batches, samples = [], 0
    for values in runs:
        batches.append(values)
        samples += len(values[name])
        if samples >= SAMPLES:
            break
    return batches


def _union(intervals: Sequence[Interval]) -> Interval:
    return float(min(0.0, *(low for low, _ in intervals))), float(max(0.0, *(high for _, high in intervals)))


def _round(values: torch.Tensor, quantization: Quantization) -> torch.Tensor:
    integers = (values / quantization.scale).round().add_(quantization.zero_point).clamp_(quantization.lowest, quantization.highest)
    return integers.sub_(quantization.zero_point).mul_(quantization.scale)
