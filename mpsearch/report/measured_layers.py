# SPDX-License-Identifier: Apache-2.0
"""What layers took on a target, as a table for the terminal and as JSON."""

from __future__ import annotations

from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from mpsearch.records import MeasuredLayer, MeasuredTable


def measured_layers_table(table: MeasuredTable) -> Table:
    """Return one row for each layer; columns that no row has are left out."""
    has = {name: any(getattr(row, name) is not None for row in table.rows) for name in ("cycles", "instructions", "seconds")}
    shown = Table(title=f"Measured on {table.target}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    shown.add_column("layer")
    shown.add_column("precision")
    titles = {"cycles": "cycles", "instructions": "instructions", "seconds": "microseconds"}
    for name, there in has.items():
        if there:
            shown.add_column(titles[name], justify="right")
    for row in table.rows:
        cells = [str(row.shape), str(row.precision or ""), *(_cell(row, name) for name, there in has.items() if there)]
        shown.add_row(*map(Text, cells))
    return shown


def _cell(row: MeasuredLayer, name: str) -> str:
    value = getattr(row, name)
    if value is None:
        return ""
    return f"{value * 1e6:,.2f}" if name == "seconds" else f"{value:,.0f}"


def measured_layers_json(table: MeasuredTable) -> list[dict[str, object]]:
    """Return one entry for each layer: its shape's fields, its precision or null, and what was measured."""
    return [
        {
            **asdict(row.shape),
            "precision": str(row.precision) if row.precision else None,
            "cycles": row.cycles,
            "instructions": row.instructions,
            "seconds": row.seconds,
        }
        for row in table.rows
    ]
