# SPDX-License-Identifier: Apache-2.0
"""The roofline as a PNG. The only file that imports matplotlib, which is optional."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mpsearch.errors import PlotError
from mpsearch.report.quantities import show_rate
from mpsearch.report.roofline import Roofline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (10.0, 6.5)
DOTS_PER_INCH = 150

LABEL_ROOM = 0.025
"""Roofs, and layers, nearer than this share of the picture have one label."""


def save_roofline(roofline: Roofline, path: Path) -> None:
    """Draw roofs, the slopes of the single memories, and every layer that computes, into a PNG.

    Args:
        roofline: What to draw.
        path: Where; an existing file is replaced.

    Raises:
        PlotError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError(
            f"'{path}' cannot be drawn: matplotlib is not installed.",
            "pip install 'mpsearch[plots]', or leave out --png: the terminal shows the plot too.",
        ) from error
    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log")
    across, up = roofline.axes((0, 1), (0, 1))
    axes.set(xlim=(across.lowest, across.highest), ylim=(up.lowest, up.highest))
    axes.set(xlabel="ops per byte (each byte once)", ylabel="multiply-accumulates per cycle", title=roofline.title)
    axes.grid(which="both", linewidth=0.4, alpha=0.4)
    _draw_roofs(axes, roofline, across.lowest, across.highest)
    _draw_points(axes, roofline)
    try:
        # The name of the program that drew it would be the only thing to differ between versions of the same picture.
        figure.savefig(path, format="png", metadata={"Software": None})
    except OSError as error:
        raise PlotError(f"'{path}' cannot be written: {error.strerror or error}.", "name a file in a folder that exists, with --png.") from error


def _draw_roofs(axes: Axes, roofline: Roofline, left: float, right: float) -> None:
    _, up = roofline.axes((0, 1), (0, 1))
    labels: list[tuple[float, list[str]]] = []
    for index, roof in enumerate(roofline.roofs):
        corners = [left, roof.ridge_ops_per_byte, right]
        axes.plot(corners, [roofline.height(roof, corner) for corner in corners], color=f"C{index % 10}", linewidth=1.8)
        axes.plot(roof.ridge_ops_per_byte, roof.macs_per_cycle, marker="o", markersize=4, color=f"C{index % 10}")
        if not labels or up.place(labels[-1][0]) - up.place(roof.macs_per_cycle) > LABEL_ROOM:
            labels.append((roof.macs_per_cycle, []))
        labels[-1][1].append(f"{roof.label}: {show_rate(roof.macs_per_cycle)}")
    for height, texts in labels:
        text = ", ".join(texts) if len(texts) <= 2 else f"{texts[0]} … {texts[-1]}"
        axes.annotate(text, (right, height), (-4, 3), textcoords="offset points", ha="right", fontsize=8)
    for memory in roofline.hardware.memories:
        rate = memory.bytes_per_cycle.value
        axes.plot([left, right], [left / 2 * rate, right / 2 * rate], linestyle=":", linewidth=0.9, color="grey")
        foot = up.lowest * 1.05
        axes.annotate(
            f"{memory.name}, {show_rate(rate)} B/cycle", (2 * foot / rate, foot), (5, 0), textcoords="offset points", fontsize=7, clip_on=True
        )


def _draw_points(axes: Axes, roofline: Roofline) -> None:
    for binding in dict.fromkeys(point.cost.binding for point in roofline.drawn):
        shown = [point for point in roofline.drawn if point.cost.binding == binding]
        intensities = [point.cost.ops_per_byte for point in shown]
        attained = [point.cost.attained_macs_per_cycle or 0.0 for point in shown]
        axes.scatter(intensities, attained, s=26, zorder=3, edgecolors="black", linewidths=0.5, label=f"bound by {binding}")
    across, up = roofline.axes((0, 1), (0, 1))
    named: list[tuple[float, float]] = []
    for point in roofline.drawn:
        spot = (point.cost.ops_per_byte, point.cost.attained_macs_per_cycle or 0.0)
        place = (across.place(spot[0]), up.place(spot[1]))
        # Layers of one shape lie on one spot: the first names it.
        if all(max(abs(place[0] - x), abs(place[1] - y)) > LABEL_ROOM for x, y in named):
            axes.annotate(point.cost.layer, spot, (5, -3), textcoords="offset points", fontsize=7, rotation=-25, va="top")
            named.append(place)
    if roofline.drawn:
        axes.legend(loc="upper left", fontsize=8)
