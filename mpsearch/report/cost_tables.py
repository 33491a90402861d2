# SPDX-License-Identifier: Apache-2.0
"""What a config costs on a device, on a terminal: one row per layer, and the totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from mpsearch.cost import LayerCost
from mpsearch.report.quantities import MISSING, show_bytes, show_count, show_quantity, show_rate

TOTALS = {
    "cycles": ("cycles", ""),
    "instructions": ("instructions", ""),
    "latency_s": ("latency", "s"),
    "energy_j": ("energy", "J"),
    "peak_ram_bytes": ("peak RAM", "byte"),
    "flash_bytes": ("flash", "byte"),
    "macs": ("MACs", ""),
}
"""Total -> its name and unit, in the order of the table."""


def layer_cost_table(title: str, layers: Sequence[LayerCost]) -> Table:
    """Return one row per layer that computes, moves or holds something.

    Args:
        title: Network, config and target.
        layers: Their costs on a target, in execution order.
    """
    table = Table(title=Text(title, style="table.title"), title_justify="left", show_footer=True, box=SIMPLE_HEAD, pad_edge=False)
    rows = [layer for layer in layers if layer.cycles or layer.flash_bytes or layer.macs]
    cycles = sum(layer.cycles or 0.0 for layer in rows)
    table.add_column("layer", footer="total", overflow="ellipsis")
    table.add_column("precision")
    for name, total in (
        ("MACs", show_count(sum(layer.macs for layer in rows))),
        ("cycles", show_count(cycles)),
        ("share", ""),
    ):
        table.add_column(name, footer=total, justify="right", no_wrap=True)
    table.add_column("binding", no_wrap=True)
    table.add_column("bytes", footer=show_bytes(sum(layer.flash_bytes for layer in rows)), justify="right", no_wrap=True)
    table.add_column("ops/byte", justify="right", no_wrap=True)
    for layer in rows:
        cells = (
            layer.layer,
            str(layer.precision or MISSING),
            show_count(layer.macs) if layer.macs else MISSING,
            show_count(layer.cycles),
            f"{(layer.cycles or 0.0) / cycles:.1%}" if cycles else MISSING,
            layer.binding,
            show_bytes(layer.flash_bytes),
            show_rate(layer.ops_per_byte) if layer.macs else MISSING,
        )
        table.add_row(*map(Text, cells))
    return table


def totals_table(totals: Mapping[str, object]) -> Table:
    """Return the totals of a prediction with their units.

    Args:
        totals: What `mpsearch cost --json` prints; what is unknown there is a dash here.
    """
    table = Table(title=Text(f"{totals['config']} on {totals['target']}", style="table.title"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("total")
    table.add_column("predicted", justify="right")
    for key, (name, unit) in TOTALS.items():
        value = totals[key]
        known = float(value) if isinstance(value, int | float) else None
        table.add_row(name, Text(show_quantity(known, unit) if unit else show_count(known)))
    return table
