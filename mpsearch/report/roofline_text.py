# SPDX-License-Identifier: Apache-2.0
"""The roofline on a terminal: a log-log plot in characters, and a table of the layers on it."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from mpsearch.report.quantities import MISSING, show_count, show_rate
from mpsearch.report.roofline import Roofline

ROWS = 20
MARGIN = 8
"""Columns left of the plot, for the numbers of the vertical axis."""

SEVERAL = "#"
"""Where several layers fall on one character."""


def roofline_plot(roofline: Roofline, columns: int) -> Text:
    """Return the plot.

    Args:
        roofline: What to draw.
        columns: Width of the terminal.
    """
    width = max(30, columns - MARGIN - 1)
    across, up = roofline.axes((0, width - 1), (ROWS - 1, 0))
    cells = [[" "] * width for _ in range(ROWS)]
    marks = {point.mark for point in roofline.drawn} | {SEVERAL}
    labels: dict[int, list[str]] = {}
    for roof in roofline.roofs:
        for column in range(width):
            intensity = across.lowest * (across.highest / across.lowest) ** (column / (width - 1))
            row = round(up.place(roofline.height(roof, intensity)))
            if 0 <= row < ROWS:
                cells[row][column] = "─" if intensity >= roof.ridge_ops_per_byte else "╱"
        labels.setdefault(round(up.place(roof.macs_per_cycle)), []).append(roof.label)
    for row, names in labels.items():
        label = f" {' '.join(names)} " if len(names) <= 3 else f" {names[0]} … {names[-1]} "
        cells[row][max(0, width - len(label)) :] = list(label[-width:])
    for point in roofline.drawn:
        row, column = round(up.place(point.cost.attained_macs_per_cycle or 0.0)), round(across.place(point.cost.ops_per_byte))
        here = cells[row][column]
        cells[row][column] = SEVERAL if here in marks and here != point.mark else point.mark
    text = Text(f"{roofline.title}: MACs per cycle over ops per byte\n")
    heights = {round(up.place(tick)): show_rate(tick) for tick in up.ticks()}
    for row in range(ROWS):
        text.append(f"{heights.get(row, ''):>{MARGIN - 2}} {'┤' if row in heights else '│'}", style="dim")
        for character in cells[row]:
            text.append(character, style="bold" if character in marks else "cyan")
        text.append("\n")
    ruler, numbers = ["─"] * width, [" "] * width
    for tick in across.ticks():
        column, shown = round(across.place(tick)), show_rate(tick)
        start = min(max(0, column - len(shown) // 2), width - len(shown))
        ruler[column] = "┴"
        if all(character == " " for character in numbers[max(0, start - 1) : start + len(shown) + 1]):
            numbers[start : start + len(shown)] = list(shown)
    text.append(" " * (MARGIN - 1) + "└" + "".join(ruler) + "\n" + " " * MARGIN + "".join(numbers).rstrip(), style="dim")
    return text


def roof_table(roofline: Roofline) -> Table:
    """Return one row for each roof, highest first."""
    table = Table(title="Roofs", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("precision")
    table.add_column("MACs/cycle", justify="right")
    table.add_column("ridge, ops/byte", justify="right")
    for roof in roofline.roofs:
        table.add_row(Text(" ".join(map(str, roof.precisions))), show_rate(roof.macs_per_cycle), show_rate(roof.ridge_ops_per_byte))
    return table


def point_table(roofline: Roofline) -> Table:
    """Return one row for each layer that takes time: its mark, what it attains and could, and the resource that binds it."""
    table = Table(title=Text(f"{roofline.title}: layers", style="table.title"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("layer", overflow="ellipsis")
    table.add_column("precision")
    for name in ("cycles", "ops/byte", "attained", "attainable"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("binding", no_wrap=True)
    for point in roofline.points:
        cost = point.cost
        if not cost.cycles:
            continue
        attained, attainable = cost.attained_macs_per_cycle, cost.attainable_macs_per_cycle
        cells = (
            point.mark,
            cost.layer,
            str(cost.precision or MISSING),
            show_count(cost.cycles),
            show_rate(cost.ops_per_byte) if cost.macs else MISSING,
            show_rate(attained),
            show_rate(attainable),
            cost.binding,
        )
        table.add_row(*map(Text, cells))
    table.caption = Text(
        f"attained and attainable: MACs per cycle, with and without overhead; layers on one spot share a letter, {SEVERAL}: several near", style="dim"
    )
    table.caption_justify = "left"
    return table
