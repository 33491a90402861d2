# SPDX-License-Identifier: Apache-2.0
"""A run on a terminal: one table per layer, one of the budget, one against float and uniform precisions."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from mpsearch.report.data import LayerRow, LimitRow, ReportData
from mpsearch.report.quantities import MISSING, show_bytes, show_count, show_error, show_quantity, show_score

SHOWN_LAYERS = 5
"""The terminal gives the reasons of so many groups of layers, the page those of all."""


def layer_table(data: ReportData) -> Table:
    """Return one row per layer that holds constants or computes: precision, score, bytes, MACs and, with a target, cycles."""
    table = Table(
        title=Text(f"{data.workload}: precision of every layer", style="table.title"),
        title_justify="left",
        show_footer=True,
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    rows = [row for row in data.layers if row.weight_bits or row.flash_bytes or row.macs]
    totals = {
        "precision": "",
        "score": show_score(sum(row.score for row in rows if row.score is not None)),
        "bytes": show_bytes(sum(row.flash_bytes for row in rows)),
        "MACs": show_count(sum(row.macs for row in rows)),
    }
    if data.has_cycles:
        totals["cycles"] = show_count(sum(row.cycles or 0 for row in rows))
    cells = [_layer_cells(row, data.has_cycles) for row in rows]
    # On a narrow terminal the names give way, never the numbers.
    table.add_column("layer", footer="total", overflow="ellipsis")
    table.add_column("op", no_wrap=True)
    for index, (name, total) in enumerate(totals.items(), start=2):
        width = max(len(text) for text in (name, total, *(row[index] for row in cells)))
        table.add_column(name, footer=total, justify="right", no_wrap=True, min_width=width)
    for texts in cells:
        table.add_row(*map(Text, texts))
    return table


def limit_table(data: ReportData) -> Table:
    """Return budget and achieved value of every metric."""
    table = Table(title="Budget", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric")
    for name in ("budget", "achieved", "used"):
        table.add_column(name, justify="right")
    stated = any(row.stated_error for row in data.limits)
    if stated:
        table.add_column("stated error of the prediction")
    for row in data.limits:
        cells = [row.metric, show_quantity(row.budget, row.unit), show_quantity(row.achieved, row.unit), show_used(row)]
        cells += [row.stated_error] if stated else []
        table.add_row(*map(Text, cells))
    return table


def summary_table(data: ReportData) -> Table:
    """Return the chosen configuration beside float and the uniform precisions."""
    table = Table(title=Text(f"{data.metric} of the integer model", style="table.title"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("model")
    table.add_column("error", justify="right")
    table.add_column("bytes", justify="right")
    table.add_column("")
    for variant in data.variants:
        style = "bold" if variant.name == "chosen" else ""
        cells = (variant.name, show_error(variant.error, data.error_unit), show_bytes(variant.flash_bytes), variant.note)
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table


def reason_lines(data: ReportData) -> list[str]:
    """Return why the target gives the config: the reasons in general, and those of the slowest layers."""
    layers = data.layer_reasons[:SHOWN_LAYERS]
    rest = len(data.layer_reasons) - len(layers)
    more = [f"(and {rest} more groups of layers in report.html)"] if rest else []
    return [f"why: {reason}" for reason in (*data.reasons, *layers)] + more


def show_used(row: LimitRow) -> str:
    """Return the used share of a budget, or a dash where there is no limit."""
    return f"{row.achieved / row.budget:.1%}" if row.budget else MISSING


def _layer_cells(row: LayerRow, with_cycles: bool) -> list[str]:
    cells = [row.name, row.op, row.precision or MISSING, show_score(row.score), show_bytes(row.flash_bytes), show_count(row.macs)]
    return [*cells, show_count(row.cycles)] if with_cycles else cells


def error_table(name: str, rows: Sequence[tuple[str, str, int, int, float, float]]) -> Table:
    """Return the cross-validated errors of a fit: operator, what, shapes, rows, median and worst tenth (0.1 is 10 %)."""
    table = Table(title=Text(f"{name}: layers whose shape took no part in the fit", style="table.title"), title_justify="left", box=SIMPLE_HEAD)
    for header in ("operator", "what"):
        table.add_column(header)
    for header in ("shapes", "rows", "median error", "worst tenth"):
        table.add_column(header, justify="right")
    for operator, what, shapes, layers, median, worst in rows:
        table.add_row(operator, what, str(shapes), str(layers), f"{median:.1%}", f"{worst:.1%}")
    return table
