# SPDX-License-Identifier: Apache-2.0
"""report.html: one page that needs no network, no other file, and no script to be read."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib import resources

from mpsearch.report.charts import agreement_chart, bits_chart, cost_chart, front_chart
from mpsearch.report.data import ReportData
from mpsearch.report.measured_tables import beside_line
from mpsearch.report.measurement import Measurement, relative_error
from mpsearch.report.quantities import MISSING, show_bytes, show_count, show_deviation, show_error, show_gap, show_quantity, show_score
from mpsearch.report.tables import show_used


def render_page(data: ReportData) -> str:
    """Return the report as HTML; the same data give the same bytes."""
    style, script = (resources.files("mpsearch.report").joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    sections = (_headline(data), _fronts(data), _layers(data), *map(_beside, data.measured), _reasons(data), _budget(data), _details(data))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{escape(data.workload)} – mpsearch</title>
<style>
{style}</style>
</head>
<body>
<main>
{"".join(sections)}</main>
<script>
{script}</script>
</body>
</html>
"""


def _headline(data: ReportData) -> str:
    by_name = {variant.name: variant for variant in data.variants}
    chosen, floating = by_name.get("chosen"), by_name.get("float")
    target = f" on {data.target}" if data.target else ""
    tiles = [
        ("error, integer model", show_error(chosen.error if chosen else None, data.error_unit), data.metric),
        ("error, float model", show_error(floating.error if floating else None, data.error_unit), data.metric),
        ("flash", show_quantity(chosen.flash_bytes if chosen else None, "byte"), f"budget {show_quantity(data.flash_budget, 'byte')}"),
        ("search", data.status, f"gap {show_gap(data.gap)}"),
    ]
    cells = "".join(
        f"<div class='tile'><h3>{escape(name)}</h3><p>{escape(value)}</p><small>{escape(note)}</small></div>" for name, value, note in tiles
    )
    header = f"<header><h1>{escape(data.workload)}{escape(target)}</h1><p>Mixed-precision quantization by mpsearch</p></header>"
    return f"{header}<div class='tiles'>{cells}</div>\n"


def _fronts(data: ReportData) -> str:
    floating = next((variant.error for variant in data.variants if variant.name == "float"), None)
    reference = ("float", floating) if floating is not None else None
    axis = data.metric + (f" ({data.error_unit})" if data.error_unit else "")
    measured = front_chart(data.points, lambda point: point.error, axis, data.flash_budget, reference)
    predicted = front_chart(data.points, lambda point: point.score, "predicted score", data.flash_budget, None)
    legend = "<p class='legend'>{}</p>".format(
        "".join(
            f"<span class='{kind}'>{name}</span>"
            for kind, name in (("chosen", "chosen"), ("evaluated", "evaluated"), ("uniform", "uniform precision"))
        )
    )
    return _section("Size against error, measured on the integer model", measured, legend) + _section(
        "Size against the predicted rise of the loss", predicted
    )


def _layers(data: ReportData) -> str:
    heads = ["layer", "op", "precision", "score", "bytes", "MACs", *(["cycles", "bound by"] if data.has_cycles else [])]
    rows = []
    for row in data.layers:
        cells: list[tuple[str, float | None]] = [
            (row.name, None),
            (row.op, None),
            (row.precision or MISSING, row.weight_bits),
            (show_score(row.score), -1.0 if row.score is None else row.score),
            (show_bytes(row.flash_bytes), row.flash_bytes),
            (show_count(row.macs), row.macs),
        ]
        rows.append(cells + ([(show_count(row.cycles), row.cycles or 0), (row.binding, None)] if data.has_cycles else []))
    return (
        _section("Bits of every layer", bits_chart(data.layers))
        + _section("Where bytes and time go", cost_chart(data.layers))
        + _section("Layers", _table(heads, rows, "sortable"))
    )


def _beside(run: Measurement) -> str:
    """Return what was predicted beside what was measured on one target, in total and layer by layer."""
    errors = {"instructions": relative_error(run.predicted_instructions, run.instructions), "cycles": run.error_cycles}
    cycles = None if run.error_cycles is None else run.cycles
    totals = [
        _texts(("instructions", show_count(run.predicted_instructions), show_count(run.instructions), show_deviation(errors["instructions"]))),
        _texts(("cycles", show_count(run.predicted_cycles), show_count(cycles), show_deviation(errors["cycles"]))),
        _texts(("latency", show_quantity(run.predicted_latency_s, "s"), show_quantity(run.latency_s, "s"), show_deviation(run.error_latency))),
    ]
    rows: list[list[tuple[str, float | None]]] = []
    for layer in run.layers:
        predicted, measured = run.of_layer(layer)
        rows.append(
            [
                (layer.layer, None),
                (layer.op, None),
                (layer.precision or MISSING, None),
                (show_count(layer.macs), layer.macs),
                (show_count(predicted), predicted or 0.0),
                (show_count(measured), measured or 0.0),
                (show_deviation(layer.error), 0.0 if layer.error is None else layer.error),
            ]
        )
    lines = [line for line in (beside_line(run), *run.notes, f"Measured with {'; '.join(run.tools)}." if run.tools else "") if line]
    heads = ("layer", "op", "precision", "MACs", f"predicted {run.compared}", f"measured {run.compared}", "error")
    by_layer = run.compared in ("instructions", "cycles")
    return _section(
        f"Predicted beside measured: {run.target}",
        _table(("of one inference", "predicted", "measured", "error"), totals),
        "".join(f"<p>{escape(line)}</p>" for line in lines),
        agreement_chart(run),
        _table(heads, rows, "sortable") if by_layer else "",
    )


def _reasons(data: ReportData) -> str:
    items = [f"<li>{escape(reason)}</li>" for reason in data.reasons]
    layers = [f"<li>{escape(reason)}</li>" for reason in data.layer_reasons]
    parts = [f"<ul>{''.join(items)}</ul>" if items else "", f"<h3>Layer by layer, the slowest first</h3><ul>{''.join(layers)}</ul>" if layers else ""]
    return _section("Why this target gives this config", "".join(parts))


def _budget(data: ReportData) -> str:
    rows = [
        _texts((row.metric, show_quantity(row.budget, row.unit), show_quantity(row.achieved, row.unit), show_used(row), row.stated_error or "exact"))
        for row in data.limits
    ]
    variants = [
        _texts((variant.name, show_error(variant.error, data.error_unit), show_bytes(variant.flash_bytes), variant.note)) for variant in data.variants
    ]
    return _section("Budget", _table(("metric", "budget", "achieved", "used", "stated error"), rows)) + _section(
        "Against float and uniform precisions", _table(("model", f"{data.metric}", "bytes", "note"), variants)
    )


def _details(data: ReportData) -> str:
    proof = (
        ("status", data.status),
        ("objective (predicted rise of the loss)", show_score(data.objective)),
        ("lower bound", show_score(data.bound)),
        ("gap", show_gap(data.gap)),
    )
    times = [_texts((stage, f"{seconds:.2f} s")) for stage, seconds in data.wall_seconds]
    settings = [_texts(pair) for pair in (*proof, *data.settings)]
    return _section("Search and settings", _table(("setting", "value"), settings)) + _section(
        "Time", _table(("stage", "time"), times) if times else ""
    )


def _section(title: str, *parts: str) -> str:
    """Return a section, or nothing where its first part is empty."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>\n" if parts[0] else ""


def _texts(values: Iterable[str]) -> list[tuple[str, float | None]]:
    return [(value, None) for value in values]


def _table(heads: Iterable[str], rows: Iterable[list[tuple[str, float | None]]], kind: str = "") -> str:
    """Return a table; a cell's number, where it has one, is what the column is sorted by."""
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(_cell(text, number) for text, number in row) + "</tr>" for row in rows)
    return f"<div class='scroll'><table class='{kind}'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(text: str, number: float | None) -> str:
    return f"<td>{escape(text)}</td>" if number is None else f"<td data-value='{number!r}'>{escape(text)}</td>"
