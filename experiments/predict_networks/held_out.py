# SPDX-License-Identifier: Apache-2.0
"""What a fit predicts of networks whose layers it has not seen: every row of the grid that is a layer of one of them is left out first.

    mpsearch measure --on CORE --out TABLES/CORE.json    # for each core
    python experiments/predict_networks/held_out.py TABLES

Needs the data folder (MPSEARCH_DATA). Compares with the rows that were left out, instructions only. Prints a Markdown table.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

from mpsearch.catalog import HardwareModel, load_hardware_model
from mpsearch.cost.fit import Scale, fit_device
from mpsearch.cost.latency import layer_roofline
from mpsearch.cost.work import LayerWork
from mpsearch.graph.shapes import layer_shape
from mpsearch.pipeline import captured_graph
from mpsearch.records import LayerShape, MeasuredTable, Precision
from mpsearch.storage import load_record
from mpsearch.workloads.load import load_workload

NETWORKS = ("cifar10_resnet20", "kws_dscnn_s", "imagenet_mobilenetv1_025_128")
CORES = ("cortex-m4", "cortex-m7", "cortex-m55", "rv32")
CONFIGS = {"8": (8,), "2, 4, 8": (2, 4, 8), "3, 5, 6": (3, 5, 6)}
COUNTS = Scale(cycles_per_count=1.0, source="instructions are compared, cycles are not")


def compare(hardware: HardwareModel, table: MeasuredTable, shapes: list[LayerShape], widths: tuple[int, ...]) -> str:
    """Return the cells of a row: layers that the table has, error of their total, median error of a layer."""
    counted = {(row.shape, row.precision): row.instructions for row in table.rows}
    pairs, weighted = [], 0
    for shape in shapes:
        precision = Precision(weight_bits=widths[weighted % len(widths)]) if shape.has_weights else None
        weighted += shape.has_weights
        if instructions := counted.get((shape, precision)):
            work = LayerWork(name="", shape=shape, precision=precision, constant_bytes=0, input_bytes=0, output_bytes=0, live_bytes=0)
            pairs.append((layer_roofline(work, hardware).instructions or 0.0, instructions))
    predicted, wanted = (sum(column) for column in zip(*pairs, strict=True))
    return f"{len(pairs)} of {len(shapes)} | {predicted / wanted - 1:+.1%} | {median(abs(one / other - 1) for one, other in pairs):.1%}"


def main() -> int:
    folder = Path(sys.argv[1])
    networks: dict[str, list[LayerShape]] = {}
    for name in NETWORKS:
        graph = captured_graph(load_workload(name))
        networks[name] = [layer_shape(graph, layer) for layer in graph.layers]
    seen = {shape for shapes in networks.values() for shape in shapes}
    print("| core | rows fitted | network | weight bits | layers left out | total | median layer |\n|---|---|---|---|---|---|---|")
    for core in CORES:
        table = load_record(folder / f"{core}.json", MeasuredTable)
        kept = replace(table, rows=tuple(row for row in table.rows if row.shape not in seen))
        hardware = fit_device(kept, load_hardware_model(core), core, COUNTS).hardware
        for name, shapes in networks.items():
            for title, widths in CONFIGS.items():
                cells = compare(hardware, table, shapes, widths)
                print(f"| {core} | {len(kept.rows)} of {len(table.rows)} | {name} | {title} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
