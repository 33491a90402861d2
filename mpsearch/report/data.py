# SPDX-License-Identifier: Apache-2.0
"""Everything a report shows, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mpsearch.report.measurement import Measurement

PointKind = Literal["predicted", "evaluated", "uniform", "chosen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """One layer.

    Attributes:
        name: As in the graph.
        op: "conv2d", "depthwise", "dense", "elementwise", "view".
        precision: Printed precision, or "" for a layer without weights.
        weight_bits: Bits per weight; 0 for a layer without weights.
        score: Expected rise of the loss at this precision; None without weights.
        flash_bytes: All constants of the layer.
        macs: Multiply-accumulates for one sample.
        cycles: Predicted; None without a target.
        binding: What bounds the layer's time ("compute", "flash", "sram"), or "".
    """

    name: str
    op: str
    precision: str
    weight_bits: int
    score: float | None
    flash_bytes: int
    macs: int
    cycles: float | None = None
    binding: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """One configuration.

    Attributes:
        flash_bytes: Its size.
        label: Says what it is when pointed at.
        kind: Where it comes from.
        error: Of the integer model; None if it was only predicted.
        score: Predicted rise of the loss; None if unknown.
    """

    flash_bytes: float
    label: str
    kind: PointKind
    error: float | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """One metric: what was allowed (None: not limited) and what was reached, both in its base unit.

    `stated_error` is what the device's file says about its predictions, e.g. "±7.0 % a layer"; "" for what is counted exactly.
    """

    metric: str
    unit: str
    budget: float | None
    achieved: float
    stated_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A way to run the model, for the comparison: "float", "w8a8", "chosen"."""

    name: str
    error: float | None
    flash_bytes: float | None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """One run.

    Attributes:
        workload: Name.
        target: Name of the hardware model, or "".
        metric: Name of the error's metric.
        error_unit: "%", "bit", or "".
        status: Of the search.
        objective: Total predicted score of the chosen configuration.
        bound: Lower bound on it.
        gap: Relative gap between both; 0 when proven.
        layers: In execution order.
        points: Everything predicted or evaluated.
        limits: Every metric.
        variants: Float first, then the uniform precisions within the budget, then the chosen one.
        settings: Name and value, in the order to show.
        wall_seconds: Stage and seconds, in order.
        reasons: Why this target gives this config, in sentences.
        layer_reasons: Likewise for each group of layers, the slowest first.
        measured: What the bundle took on targets, beside what was predicted.
    """

    workload: str
    target: str
    metric: str
    error_unit: str
    status: str
    objective: float
    bound: float
    gap: float
    layers: tuple[LayerRow, ...]
    points: tuple[FrontPoint, ...]
    limits: tuple[LimitRow, ...]
    variants: tuple[Variant, ...]
    settings: tuple[tuple[str, str], ...] = ()
    wall_seconds: tuple[tuple[str, float], ...] = ()
    reasons: tuple[str, ...] = ()
    layer_reasons: tuple[str, ...] = ()
    measured: tuple[Measurement, ...] = ()

    @property
    def flash_budget(self) -> float | None:
        """The flash limit in bytes, if there is one."""
        return self.budget_of("flash")

    def budget_of(self, metric: str) -> float | None:
        """Return the limit of a metric in its base unit, if there is one."""
        return next((row.budget for row in self.limits if row.metric == metric), None)

    @property
    def has_cycles(self) -> bool:
        """Whether a target predicted the layers' cycles."""
        return any(row.cycles is not None for row in self.layers)
