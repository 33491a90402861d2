# SPDX-License-Identifier: Apache-2.0
"""One run's data with every kind of row, and a name that would break a page that does not escape."""

from __future__ import annotations

from mpsearch.report.data import FrontPoint, LayerRow, LimitRow, ReportData, Variant
from mpsearch.report.measurement import LayerMeasurement, Measurement

HOSTILE = "<script>alert('x')</script> & \"[bold]\""


def sample_report(layers: int = 6, with_target: bool = True, name: str = "digits") -> ReportData:
    """Return a small run."""
    weighted = tuple(
        LayerRow(
            name=f"blocks.{index}.conv1",
            op="conv2d",
            precision=f"w{2 + index % 7}a8",
            weight_bits=2 + index % 7,
            score=0.5 / (index + 1),
            flash_bytes=1000 * (index + 1),
            macs=50_000 * (index + 1),
            cycles=120_000.0 * (index + 1) if with_target else None,
            binding="compute" if with_target else "",
        )
        for index in range(layers)
    )
    pool = LayerRow(
        name="mean", op="elementwise", precision="", weight_bits=0, score=None, flash_bytes=0, macs=0, cycles=900.0 if with_target else None
    )
    view = LayerRow(name="flatten", op="view", precision="", weight_bits=0, score=None, flash_bytes=0, macs=0)
    return ReportData(
        workload=name,
        target="cortex-m7" if with_target else "",
        metric="top1_error",
        error_unit="%",
        status="optimal",
        objective=0.0123,
        bound=0.0123,
        gap=0.0,
        layers=(*weighted, pool, view),
        points=(
            FrontPoint(flash_bytes=1_998_336, error=0.83, score=0.0123, label="chosen", kind="chosen"),
            FrontPoint(flash_bytes=1_999_000, error=1.0, score=0.013, label="candidate 2", kind="evaluated"),
            FrontPoint(flash_bytes=550_000, error=40.0, label="w2a8", kind="uniform"),
            FrontPoint(flash_bytes=1_640_000, error=0.9, label="w6a8", kind="uniform"),
            *(
                FrontPoint(flash_bytes=600_000 + 50_000 * step, score=2.0 ** (6 - step), label=f"budget {step}", kind="predicted")
                for step in range(20)
            ),
        ),
        limits=(
            LimitRow(metric="flash", unit="byte", budget=2_000_000.0, achieved=1_998_336.0),
            LimitRow(metric="ram", unit="byte", budget=None, achieved=40_960.0),
            LimitRow(metric="latency", unit="s", budget=0.15, achieved=0.0873),
        ),
        variants=(
            Variant(name="float", error=0.67, flash_bytes=8_573_000),
            Variant(name="w6a8", error=0.9, flash_bytes=1_640_000, note="best uniform precision within the budget"),
            Variant(name="chosen", error=0.83, flash_bytes=1_998_336),
        ),
        settings=(("space", "w2to8-a8"), ("proxy", "fisher"), ("seed", "0")),
        wall_seconds=(("capture", 1.25), ("search", 0.5)),
    )


def sample_measurement() -> Measurement:
    """Return what the sample's bundle took on a core: instructions are compared, and the last layer executes none."""
    layers = tuple(
        LayerMeasurement(
            layer=f"blocks.{index}.conv1",
            op="Conv2d",
            precision=f"w{2 + index % 7}a8",
            macs=50_000 * (index + 1),
            instructions=100_000 * (index + 1),
            predicted_instructions=110_000.0 * (index + 1),
            predicted_cycles=120_000.0 * (index + 1),
            error=0.1,
        )
        for index in range(6)
    )
    view = LayerMeasurement(layer="flatten", op="Reshape", precision="", macs=0, instructions=0, predicted_instructions=0.0, predicted_cycles=0.0)
    return Measurement(
        target="cortex-m7",
        bundle_digest="0",
        vectors=8,
        mismatches=0,
        layers=(*layers, view),
        instructions=2_150_000,
        device="mine",
        device_error=0.07,
        clock_hz=1e9,
        compared="instructions",
        predicted_instructions=2_310_000.0,
        predicted_cycles=2_520_000.0,
        error_total=2_310_000 / 2_150_000 - 1,
        error_median_layer=0.1,
        tools=("gcc 12.2", "QEMU 7.2"),
        notes=("<b>a note</b>",),
    )
