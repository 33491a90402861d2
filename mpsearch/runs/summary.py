# SPDX-License-Identifier: Apache-2.0
"""What a finished run has to say: result.json, front.csv and the report, all from one summary."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import spearmanr

from mpsearch.catalog import Accuracy
from mpsearch.cost import HARDWARE_METRICS, LayerCost
from mpsearch.records import SCHEMA, Budget, CostTable, Evaluation, ExportBundle, LayerGraph, SearchResult, SensitivityTable
from mpsearch.report.data import FrontPoint, LayerRow, LimitRow, ReportData, Variant
from mpsearch.report.measurement import Measurement
from mpsearch.report.quantities import show_stated
from mpsearch.runs.measured import measured_json
from mpsearch.runs.request import RunRequest
from mpsearch.runs.trials import Trial
from mpsearch.search.problem import CLOSED_GAP
from mpsearch.search.sweep import FrontPoint as PredictedPoint

_ERROR_UNITS = {"top1_error": "%", "bits_per_token": "bit"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """Everything a run has found.

    Attributes:
        chosen: The trial of least true error within the budget.
        layers: What each layer of the chosen config costs.
        front: The predicted front.
        seconds: Stage -> wall seconds.
        accuracy: What the target's file states about its predictions; None if it states nothing.
        reasons: Why this target gives this config.
        layer_reasons: Likewise for each group, the slowest first.
        measured: What the bundle took on targets.
    """

    request: RunRequest
    budget: Budget
    graph: LayerGraph
    scores: SensitivityTable
    costs: CostTable
    found: SearchResult
    trials: tuple[Trial, ...]
    chosen: Trial
    floating: Evaluation
    layers: tuple[LayerCost, ...]
    front: tuple[PredictedPoint, ...]
    bundle: ExportBundle
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    accuracy: Accuracy | None = None
    reasons: tuple[str, ...] = ()
    layer_reasons: tuple[str, ...] = ()
    measured: tuple[Measurement, ...] = ()

    @property
    def uniform(self) -> Trial | None:
        """The best uniform precision within the budget, if any fits."""
        return next((trial for trial in self.trials if trial.kind == "uniform"), None)

    @property
    def gap(self) -> float:
        """How far the written config's score may be from the least of any config within the budget, relative to the bound."""
        return max(0.0, self.chosen.score - self.found.bound) / max(abs(self.found.bound), np.finfo(np.float64).tiny)

    @property
    def status(self) -> str:
        """Whether the written config is proven to have the least score: "optimal", else "feasible", e.g. where another had less true error."""
        return "optimal" if self.found.status == "optimal" and self.gap <= CLOSED_GAP else "feasible"

    @property
    def first_answer(self) -> Trial | None:
        """The solver's first answer that fits: the config of least score, chosen without looking at the evaluation data."""
        return next((trial for trial in self.trials if trial.kind == "solver"), None)


def rank_correlation(trials: Sequence[Trial]) -> float | None:
    """Return Spearman's correlation of score and true error over distinct configs; None where it is not defined."""
    points = {trial.choice: (trial.score, trial.error) for trial in trials}
    if len(points) < 3 or any(len({point[axis] for point in points.values()}) == 1 for axis in (0, 1)):
        return None
    scores, errors = zip(*points.values(), strict=True)
    return float(spearmanr(scores, errors).statistic)


def result_json(summary: Summary) -> dict[str, object]:
    """Return the content of result.json."""
    found, chosen = summary.found, summary.chosen
    return {
        "schema": SCHEMA,
        "workload": summary.request.workload,
        "model_digest": summary.graph.model_digest,
        "seed": summary.request.seed,
        "target": summary.costs.target,
        "space": summary.request.space,
        "proxy": summary.request.proxy,
        "solver": summary.request.solver,
        "budget": {limit.metric: limit.value for limit in summary.budget.limits},
        "budget_text": list(summary.request.budget),
        "cost": dict(chosen.costs),
        "status": summary.status,
        "objective": chosen.score,
        "bound": found.bound,
        "gap": summary.gap,
        "search": {"status": found.status, "objective": found.solutions[0].objective if found.solutions else None},
        "metric": summary.floating.metric,
        "error": chosen.error,
        "error_float": summary.floating.error,
        "error_uniform": summary.uniform.error if summary.uniform else None,
        "error_first_answer": summary.first_answer.error if summary.first_answer else None,
        "chosen": {"kind": chosen.kind, "score": chosen.score, "precisions": {name: str(item) for name, item in chosen.config.precisions}},
        "proxy_rank_correlation": rank_correlation(summary.trials),
        "samples": summary.floating.samples,
        "trials": {"finished": len({trial.choice for trial in summary.trials})},
        "bundle": {"flash_bytes": summary.bundle.flash_bytes, "arena_bytes": summary.bundle.arena_bytes, "macs": summary.bundle.macs},
        "stated_error": asdict(summary.accuracy) if summary.accuracy else None,
        "measured": measured_json(
            summary.measured, summary.costs.target, {limit.metric: limit.value for limit in summary.budget.limits}.get("latency")
        ),
        "reasons": [*summary.reasons, *summary.layer_reasons],
        "notes": list(summary.notes),
        "wall_seconds": {name: round(value, 3) for name, value in summary.seconds.items()},
    }


def unfinished_json(request: RunRequest, status: str, reason: str) -> dict[str, object]:
    """Return the content of result.json for a run that did not finish."""
    return {
        "schema": SCHEMA,
        "workload": request.workload,
        "seed": request.seed,
        "budget_text": list(request.budget),
        "status": status,
        "reason": reason,
    }


def front_csv(summary: Summary) -> str:
    """Return every point of the predicted front and every trial as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "flash_bytes", "score", "error", "precisions"])
    for point in summary.front:
        writer.writerow(["predicted", int(point.cost), f"{point.objective:.9g}", "", _bits(summary.scores, point.choice)])
    for trial in summary.trials:
        kind = "chosen" if trial is summary.chosen else trial.kind
        writer.writerow([kind, int(trial.cost("flash")), f"{trial.score:.9g}", f"{trial.error:.6g}", _bits(summary.scores, trial.choice)])
    return text.getvalue()


def report_data(summary: Summary) -> ReportData:
    """Return what the tables and the page show."""
    return ReportData(
        workload=summary.request.workload,
        target=summary.costs.target,
        metric=summary.floating.metric,
        error_unit=_ERROR_UNITS.get(summary.floating.metric, ""),
        status=summary.status,
        objective=summary.chosen.score,
        bound=summary.found.bound,
        gap=summary.gap,
        layers=_layer_rows(summary),
        points=_points(summary),
        limits=_limit_rows(summary),
        variants=_variants(summary),
        settings=_settings(summary),
        wall_seconds=tuple((name, value) for name, value in summary.seconds.items()),
        reasons=summary.reasons,
        layer_reasons=summary.layer_reasons,
        measured=summary.measured,
    )


def _layer_rows(summary: Summary) -> tuple[LayerRow, ...]:
    chosen = {group.name: index for group, index in zip(summary.graph.groups, summary.chosen.choice, strict=True)}
    rows = []
    for layer, cost in zip(summary.graph.layers, summary.layers, strict=True):
        group = next((position for position, group in enumerate(summary.graph.groups) if group.name == layer.name), None)
        rows.append(
            LayerRow(
                name=layer.name,
                op=cost.op,
                precision=str(cost.precision) if cost.precision else "",
                weight_bits=cost.precision.weight_bits if cost.precision else 0,
                score=None if group is None else float(summary.scores.score[group, chosen[layer.name]]),
                flash_bytes=cost.flash_bytes,
                macs=cost.macs,
                cycles=cost.cycles,
                binding=cost.binding,
            )
        )
    return tuple(rows)


def _points(summary: Summary) -> tuple[FrontPoint, ...]:
    predicted = [
        FrontPoint(flash_bytes=point.cost, label=f"predicted: {_bits(summary.scores, point.choice)}", kind="predicted", score=point.objective)
        for point in summary.front
    ]
    evaluated = [
        FrontPoint(
            flash_bytes=trial.cost("flash"),
            label=f"{trial.kind}: {_bits(summary.scores, trial.choice)}",
            kind="chosen" if trial is summary.chosen else ("uniform" if trial.kind == "uniform" else "evaluated"),
            error=trial.error,
            score=trial.score,
        )
        for trial in summary.trials
    ]
    return (*predicted, *evaluated)


def _limit_rows(summary: Summary) -> tuple[LimitRow, ...]:
    limits = {limit.metric: limit.value for limit in summary.budget.limits}
    units = {metric.metric: metric.unit for metric in summary.costs.metrics}
    stated = {name: show_stated(summary.accuracy) for name in HARDWARE_METRICS}
    stated["energy"] += ", and what the power is off"
    return tuple(
        LimitRow(metric=name, unit=units[name], budget=limits.get(name), achieved=value, stated_error=stated.get(name, ""))
        for name, value in summary.chosen.costs
    )


def _variants(summary: Summary) -> tuple[Variant, ...]:
    float_bytes = 4.0 * sum(layer.weight_count + (0 if layer.bias is None else layer.bias.size) for layer in summary.graph.weighted_layers)
    variants = [Variant(name="float", error=summary.floating.error, flash_bytes=float_bytes, note="32-bit weights, not on the device")]
    if summary.uniform is not None:
        bits = max(set(_widths(summary, summary.uniform)), key=_widths(summary, summary.uniform).count)
        variants.append(
            Variant(name=f"uniform w{bits}", error=summary.uniform.error, flash_bytes=summary.uniform.cost("flash"), note="best that fits")
        )
    note = "the best uniform precision won" if summary.chosen.kind == "uniform" else ""
    variants.append(Variant(name="chosen", error=summary.chosen.error, flash_bytes=summary.chosen.cost("flash"), note=note))
    return tuple(variants)


def _widths(summary: Summary, trial: Trial) -> list[int]:
    return [summary.scores.precisions[index].weight_bits for index in trial.choice]


def _settings(summary: Summary) -> tuple[tuple[str, str], ...]:
    request = summary.request
    correlation = rank_correlation(summary.trials)
    return (
        ("budget", ", ".join(request.budget)),
        ("target", summary.costs.target),
        ("search space", request.space),
        ("proxy", request.proxy),
        ("proxy's rank correlation with the true error", "–" if correlation is None else f"{correlation:.2f}"),
        ("solver", request.solver),
        ("seed", str(request.seed)),
        ("rounding", request.rounding),
        ("evaluation samples", str(summary.floating.samples)),
        ("configs compared on them", str(len({trial.choice for trial in summary.trials}))),
        ("error of the solver's first answer", "–" if summary.first_answer is None else f"{summary.first_answer.error:.4g}"),
        *([("stated error of the target's file", summary.accuracy.source)] if summary.accuracy else []),
        ("model digest", summary.graph.model_digest[:16]),
        *((f"note {position}", note) for position, note in enumerate(summary.notes, 1)),
    )


def _bits(scores: SensitivityTable, choice: Sequence[int]) -> str:
    return " ".join(str(scores.precisions[index].weight_bits) for index in np.asarray(choice))
