# SPDX-License-Identifier: Apache-2.0
"""Charts as inline SVG. Colours come from the page's style sheet by class, so that they follow light and dark; every mark has a title."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape

from mpsearch.report.data import FrontPoint, LayerRow
from mpsearch.report.measurement import Measurement
from mpsearch.report.quantities import show_count, show_deviation, show_quantity

WIDTH, HEIGHT = 720, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 46
NAME_ROOM = 24
"""More height under the bars of layers, for their slanted names."""
_DRAWN_FIRST = ("predicted", "evaluated", "uniform", "chosen")
_RADIUS = {"predicted": 2.5, "evaluated": 4.5, "uniform": 4.5, "chosen": 7.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Maps values to pixels, linearly or by logarithm."""

    lowest: float
    highest: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, at = (math.log(v) if self.logarithmic else v for v in (self.lowest, self.highest, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return about five round values within the axis."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.lowest)), math.ceil(math.log10(self.highest)) + 1)
            marks = [factor * 10.0**decade for decade in decades for factor in ((1, 2, 5) if len(decades) <= 4 else (1,))]
        else:
            step = round_step((self.highest - self.lowest) / 5)
            marks = [index * step for index in range(math.ceil(self.lowest / step - 1e-9), math.floor(self.highest / step + 1e-9) + 1)]
        return [mark for mark in marks if self.lowest * (1 - 1e-9) <= mark <= self.highest * (1 + 1e-9)]


def round_step(step: float) -> float:
    """Return the smallest 1, 2 or 5 times a power of ten that is at least `step` (> 0)."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def axis_over(values: Sequence[float], start: float, end: float, allow_log: bool = False) -> Axis:
    """Return an axis that shows every value with a little room; logarithmic where they span more than a decade and it is allowed."""
    low, high = min(values), max(values)
    if allow_log and low > 0 and high / low > 10:
        return Axis(lowest=low / 1.2, highest=high * 1.2, start=start, end=end, logarithmic=True)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return Axis(lowest=max(0.0, low - room) if low >= 0 else low - room, highest=high + room, start=start, end=end)


def front_chart(
    points: Sequence[FrontPoint],
    value_of: Callable[[FrontPoint], float | None],
    value_name: str,
    budget: float | None,
    reference: tuple[str, float] | None,
) -> str:
    """Return size against error (or score) of every point that has one, with the budget as a line.

    Args:
        points: All points; those for which `value_of` is None are left out.
        value_of: Height of a point.
        value_name: Name of the vertical axis.
        budget: Flash budget in bytes; None draws no line.
        reference: Name and height of a horizontal line (the float model); None draws none.
    """
    shown = [(point, value) for point in points if (value := value_of(point)) is not None and math.isfinite(value)]
    if not shown:
        return ""
    across = axis_over([point.flash_bytes for point, _ in shown] + ([budget] if budget else []), LEFT, WIDTH - RIGHT)
    heights = [value for _, value in shown] + ([reference[1]] if reference else [])
    up = axis_over(heights, HEIGHT - BOTTOM, TOP, allow_log=True)
    marks = [_mark(point, value, value_name, across, up) for point, value in sorted(shown, key=lambda pair: _DRAWN_FIRST.index(pair[0].kind))]
    lines = [_budget_line(budget, across)] if budget else []
    if reference:
        y = up.place(reference[1])
        lines.append(f'<line class="reference" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text class="reference" x="{WIDTH - RIGHT}" y="{y - 4:.1f}" text-anchor="end">{escape(reference[0])}</text>')
    frame = _frame(across, up, lambda size: show_quantity(size, "byte"), "flash", value_name + (" (log)" if up.logarithmic else ""))
    return _svg(HEIGHT, f"{value_name} against flash", frame + "".join(lines) + _front_line(shown, across, up) + "".join(marks))


def bits_chart(layers: Sequence[LayerRow]) -> str:
    """Return the bits of every layer with weights, in execution order."""
    rows = [row for row in layers if row.weight_bits]
    if not rows:
        return ""
    up = Axis(lowest=0, highest=max(8, *(row.weight_bits for row in rows)), start=HEIGHT - BOTTOM, end=TOP)
    bars = []
    for index, row in enumerate(rows):
        x, width = _slot(index, len(rows))
        y = up.place(row.weight_bits)
        bars.append(
            f'<rect class="bits b{min(row.weight_bits, 8)}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{up.start - y:.1f}">'
            f"<title>{escape(f'{row.name}: {row.precision}')}</title></rect>"
        )
        if width > 12:
            bars.append(f'<text class="value" x="{x + width / 2:.1f}" y="{y - 3:.1f}" text-anchor="middle">{row.weight_bits}</text>')
    return _svg(HEIGHT + NAME_ROOM, "bits of every layer", _grid(up, lambda bits: f"{bits:.0f}", "weight bits") + "".join(bars) + _layer_names(rows))


def cost_chart(layers: Sequence[LayerRow]) -> str:
    """Return each layer's share of the bytes beside its share of the cycles (of the MACs where no target predicts cycles)."""
    rows = [row for row in layers if row.flash_bytes or row.macs]
    if not rows:
        return ""
    work = "cycles" if any(row.cycles is not None for row in rows) else "MACs"
    amounts = {
        "flash": [float(row.flash_bytes) for row in rows],
        work: [float((row.cycles or 0) if work == "cycles" else row.macs) for row in rows],
    }
    shares = {name: [value / (sum(values) or 1) for value in values] for name, values in amounts.items()}
    up = axis_over([0.0, *(share for values in shares.values() for share in values)], HEIGHT - BOTTOM, TOP)
    bars = []
    for index, row in enumerate(rows):
        x, width = _slot(index, len(rows))
        for part, (name, values) in enumerate(shares.items()):
            y = up.place(values[index])
            title = f"{row.name}: {values[index]:.1%} of the {name}"
            bars.append(
                f'<rect class="{"flash" if part == 0 else "work"}" x="{x + part * width / 2:.1f}" y="{y:.1f}" width="{width / 2:.1f}" '
                f'height="{max(0.0, up.start - y):.1f}"><title>{escape(title)}</title></rect>'
            )
    legend = f'<text class="flash" x="{WIDTH - RIGHT - 60}" y="{TOP + 8}" text-anchor="end">■ flash</text>'
    legend += f'<text class="work" x="{WIDTH - RIGHT}" y="{TOP + 8}" text-anchor="end">■ {work}</text>'
    return _svg(
        HEIGHT, "cost of every layer", _grid(up, lambda share: f"{share:.0%}", "share of total") + "".join(bars) + legend + _layer_names(rows)
    )


def agreement_chart(run: Measurement) -> str:
    """Return predicted against measured of every layer that was measured, with the line on which both are equal."""
    pairs = [(layer, *run.of_layer(layer)) for layer in run.layers]
    shown = [(layer, predicted, measured) for layer, predicted, measured in pairs if predicted and measured]
    if not shown:
        return ""
    values = [value for _, predicted, measured in shown for value in (predicted, measured)]
    across = axis_over(values, LEFT, WIDTH - RIGHT, allow_log=True)
    up = replace(across, start=HEIGHT - BOTTOM, end=TOP)
    scale = " (log)" if up.logarithmic else ""
    line = f'<line class="reference" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{TOP}"/>'
    marks = ""
    for layer, predicted, measured in shown:
        title = f"{layer.layer}: predicted {show_count(predicted)}, measured {show_count(measured)}, {show_deviation(layer.error)}"
        place = f'cx="{across.place(measured):.1f}" cy="{up.place(predicted):.1f}"'
        marks += f'<circle class="evaluated" {place} r="4"><title>{escape(title)}</title></circle>'
    frame = _frame(across, up, show_count, f"measured {run.compared}{scale}", f"predicted {run.compared}{scale}", show_count)
    return _svg(HEIGHT, f"predicted against measured {run.compared}", frame + line + marks)


# ---------------------------------------------------------------- parts


def _svg(height: int, label: str, body: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{body}</svg>'


def _grid(up: Axis, show: Callable[[float], str], name: str) -> str:
    parts = []
    for tick in up.ticks():
        y = up.place(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(show(tick))}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="axis" transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">{escape(name)}</text>')
    return "".join(parts)


def _frame(
    across: Axis,
    up: Axis,
    show_across: Callable[[float], str],
    across_name: str,
    up_name: str,
    show_up: Callable[[float], str] = lambda value: f"{value:.4g}",
) -> str:
    parts = [_grid(up, show_up, up_name)]
    for tick in across.ticks():
        x = across.place(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{escape(show_across(tick))}</text>')
    parts.append(f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(across_name)}</text>')
    return "".join(parts)


def _mark(point: FrontPoint, value: float, value_name: str, across: Axis, up: Axis) -> str:
    title = f"{point.label}: {show_quantity(point.flash_bytes, 'byte')}, {value_name} {value:.4g}"
    x, y, radius = across.place(point.flash_bytes), up.place(value), _RADIUS[point.kind]
    shape = f'<circle class="{point.kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">'
    if point.kind == "uniform":
        shape = f'<rect class="uniform" x="{x - radius:.1f}" y="{y - radius:.1f}" width="{2 * radius}" height="{2 * radius}">'
    return f"{shape}<title>{escape(title)}</title></{'rect' if point.kind == 'uniform' else 'circle'}>"


def _budget_line(budget: float, across: Axis) -> str:
    x = across.place(budget)
    return (
        f'<line class="budget" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="budget" x="{x - 5:.1f}" y="{TOP + 10}" text-anchor="end">budget {escape(show_quantity(budget, "byte"))}</text>'
    )


def _front_line(shown: Sequence[tuple[FrontPoint, float]], across: Axis, up: Axis) -> str:
    """Return the staircase through the points that no other point beats in both size and height."""
    best, corners = math.inf, []
    for point, value in sorted(shown, key=lambda pair: (pair[0].flash_bytes, pair[1])):
        if value < best:
            x = across.place(point.flash_bytes)
            corners += [f"{x:.1f},{up.place(best):.1f}"] * (best < math.inf) + [f"{x:.1f},{up.place(value):.1f}"]
            best = value
    return f'<polyline class="front" points="{" ".join(corners)}"/>'


def _slot(index: int, count: int) -> tuple[float, float]:
    """Return left edge and width of the index-th bar of `count`."""
    slot = (WIDTH - LEFT - RIGHT) / count
    width = min(slot * 0.82, 60.0)
    return LEFT + index * slot + (slot - width) / 2, width


def _layer_names(rows: Sequence[LayerRow]) -> str:
    """Return slanted names under the bars, thinned out where they would overlap; the bars' titles hold every name."""
    every = math.ceil(len(rows) / 40)
    parts = []
    for index in range(0, len(rows), every):
        x, width = _slot(index, len(rows))
        place = f"translate({x + width / 2:.1f} {HEIGHT - BOTTOM + 11}) rotate(-35)"
        name = rows[index].name if len(rows[index].name) <= 12 else "…" + rows[index].name[-11:]
        parts.append(f'<text class="name" transform="{place}" text-anchor="end">{escape(name)}</text>')
    return "".join(parts)
