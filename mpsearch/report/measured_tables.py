# SPDX-License-Identifier: Apache-2.0
"""Predicted beside measured on a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from mpsearch.report.measurement import Measurement
from mpsearch.report.quantities import MISSING, show_count, show_deviation, show_quantity


def beside_table(run: Measurement) -> Table:
    """Return what every layer executed and, where the device's file predicts it, the prediction and its error; totals in the footer."""
    compared = run.compared if run.compared in ("instructions", "cycles") else ""
    table = Table(title=Text(beside_title(run), style="table.title"), title_justify="left", show_footer=True, box=SIMPLE_HEAD, pad_edge=False)
    total = run.of_total if compared else (None, None)
    table.add_column("layer", footer="total", overflow="fold")
    table.add_column("op")
    table.add_column("precision", justify="right")
    columns = {
        "MACs": show_count(sum(layer.macs for layer in run.layers)),
        "instructions": show_count(run.instructions),
        "per MAC": "",
        **({"cycles": show_count(run.cycles)} if compared == "cycles" else {}),
        **({"predicted": show_count(total[0]), "error": show_deviation(run.error_total)} if compared else {}),
    }
    for name, footer in columns.items():
        table.add_column(name, footer=footer, justify="right", no_wrap=True)
    for layer in run.layers:
        per_mac = f"{layer.instructions / layer.macs:.2f}" if layer.macs and layer.instructions is not None else MISSING
        predicted, _ = run.of_layer(layer)
        cells = [layer.layer, layer.op, layer.precision or MISSING, show_count(layer.macs), show_count(layer.instructions), per_mac]
        cells += [show_count(layer.cycles)] if compared == "cycles" else []
        cells += [show_count(predicted), show_deviation(layer.error)] if compared else []
        table.add_row(*map(Text, cells))
    return table


def beside_title(run: Measurement) -> str:
    """Return what is compared with what."""
    if not run.compared:
        return f"Counted on {run.target}, nothing to compare with"
    return f"{run.compared} on {run.target}: measured, and predicted by {run.device}"


def beside_line(run: Measurement) -> str:
    """Return totals and errors in a line, with the error that the device's file states; "" without a prediction."""
    if not run.compared:
        return ""
    predicted, measured = (show_quantity(value, "s") if run.compared == "seconds" else show_count(value) for value in run.of_total)
    unit = "" if run.compared == "seconds" else f" {run.compared}"
    layers = f", median of the layers' errors {run.error_median_layer:.1%}" if run.error_median_layer is not None else ""
    if run.compared == "instructions" and run.error_cycles is not None:
        layers += f"; cycles {show_count(run.predicted_cycles)}, estimated {show_count(run.cycles)}: error {show_deviation(run.error_cycles)}"
    stated = f"±{run.device_error:.1%} a layer (median)" if run.device_error is not None else "no error"
    return f"predicted {predicted}{unit}, measured {measured}: error {show_deviation(run.error_total)}{layers}; {run.device} states {stated}"
