# SPDX-License-Identifier: Apache-2.0
"""The roofline of a device with the layers of a network on it, as numbers: what the terminal, the picture and the JSON all show.

Across: ops per byte, two ops a multiply-accumulate, each byte of a layer counted once. Up: multiply-accumulates per cycle.
References: [Williams2009] Roofline: an insightful visual performance model, doi:10.1145/1498765.1498785.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass

from mpsearch.catalog import HardwareModel
from mpsearch.cost import LayerCost, peak_bytes_per_cycle
from mpsearch.errors import HardwareModelError
from mpsearch.records import WEIGHTED_CLASSES, Precision
from mpsearch.report.charts import Axis

MARKS = string.ascii_lowercase + string.ascii_uppercase + string.digits
MANY = "*"
"""Mark of the layers beyond the last of MARKS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """The most that any operator attains at some precisions.

    Attributes:
        precisions: Those that share it, rising in bits.
        macs_per_cycle: Height of the flat part.
        ridge_ops_per_byte: Where the flat part begins: with fewer ops per byte, memory is what binds.
    """

    precisions: tuple[Precision, ...]
    macs_per_cycle: float
    ridge_ops_per_byte: float

    @property
    def label(self) -> str:
        """Its precisions, shortened where there are many."""
        names = [str(precision) for precision in self.precisions]
        return " ".join(names) if len(names) <= 3 else f"{names[0]} … {names[-1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One layer.

    Attributes:
        mark: The letter that stands for it in the plot, one for all layers on one spot; "" for a layer without multiply-accumulates, which has no
            place there.
        cost: What it costs.
    """

    mark: str
    cost: LayerCost


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """A device's roofs and a network's layers.

    Attributes:
        hardware: The device.
        bytes_per_cycle: Slope of the slanted part, see `peak_bytes_per_cycle`.
        roofs: Highest first.
        title: Device, and network and config if there is one.
        points: In execution order; empty without a network.
    """

    hardware: HardwareModel
    bytes_per_cycle: float
    roofs: tuple[Roof, ...]
    title: str
    points: tuple[Point, ...] = ()

    @property
    def drawn(self) -> tuple[Point, ...]:
        """The layers that have a place in the plot."""
        return tuple(point for point in self.points if point.cost.attained_macs_per_cycle)

    def height(self, roof: Roof, ops_per_byte: float) -> float:
        """Return the multiply-accumulates per cycle that a roof allows."""
        return min(roof.macs_per_cycle, ops_per_byte / 2 * self.bytes_per_cycle)

    def axes(self, across: tuple[float, float], up: tuple[float, float]) -> tuple[Axis, Axis]:
        """Return logarithmic axes that show every ridge and every layer.

        Args:
            across: Where the horizontal axis starts and ends, in the unit of the plot.
            up: Likewise the vertical one.
        """
        ridges = [roof.ridge_ops_per_byte for roof in self.roofs]
        xs = [*ridges, *(point.cost.ops_per_byte for point in self.drawn)]
        left, right = min(xs) / 4, max(xs) * 4
        attained = [point.cost.attained_macs_per_cycle or 0.0 for point in self.drawn]
        lowest, highest = min(self.height(self.roofs[-1], left), *attained, math.inf), max(self.roofs[0].macs_per_cycle, *attained, 0.0)
        return (
            Axis(lowest=left, highest=right, start=across[0], end=across[1], logarithmic=True),
            Axis(lowest=lowest / 1.5, highest=highest * 1.4, start=up[0], end=up[1], logarithmic=True),
        )


def make_roofline(hardware: HardwareModel, layers: Sequence[LayerCost] = (), of: str = "") -> Roofline:
    """Return a device's roofs with a network's layers.

    Args:
        hardware: The device.
        layers: Their costs on that device, in execution order; empty for the roofs alone.
        of: Name of network and config, for the title.

    Raises:
        HardwareModelError: The device multiplies no weights of 2 to 16 bits.
    """
    best: dict[Precision, float] = {}
    for operator in WEIGHTED_CLASSES:
        for precision in hardware.precisions(operator):
            rate = hardware.rate(operator, precision)
            assert rate is not None
            best[precision] = max(best.get(precision, 0.0), rate.per_cycle)
    if not best:
        raise HardwareModelError(
            f"Target '{hardware.name}' has no rate for weights of 2 to 16 bits, so there is no roof to draw.",
            f"give macs_per_cycle for one of {', '.join(WEIGHTED_CLASSES)}, with its source.",
        )
    slope = peak_bytes_per_cycle(hardware)
    roofs = tuple(
        Roof(
            precisions=tuple(sorted(precision for precision, rate in best.items() if rate == height)),
            macs_per_cycle=height,
            ridge_ops_per_byte=2 * height / slope,
        )
        for height in sorted(set(best.values()), reverse=True)
    )
    marks, points = iter(MARKS), []
    taken: dict[tuple[float, float], str] = {}
    for layer in layers:
        attained = layer.attained_macs_per_cycle
        spot = (layer.ops_per_byte, attained or 0.0)
        if attained and spot not in taken:
            taken[spot] = next(marks, MANY)
        points.append(Point(mark=taken[spot] if attained else "", cost=layer))
    title = f"{of} on {hardware.name}" if of else hardware.name
    return Roofline(hardware=hardware, bytes_per_cycle=slope, roofs=roofs, title=title, points=tuple(points))


def roofline_json(roofline: Roofline) -> dict[str, object]:
    """Return what `mpsearch hw show --json` prints of the plot."""
    return {
        "bytes_per_cycle": roofline.bytes_per_cycle,
        "roofs": [
            {
                "precisions": [str(precision) for precision in roof.precisions],
                "macs_per_cycle": roof.macs_per_cycle,
                "ridge_ops_per_byte": roof.ridge_ops_per_byte,
            }
            for roof in roofline.roofs
        ],
        "layers": {
            point.cost.layer: {
                "precision": str(point.cost.precision) if point.cost.precision else None,
                "ops_per_byte": point.cost.ops_per_byte,
                "attained_macs_per_cycle": point.cost.attained_macs_per_cycle,
                "attainable_macs_per_cycle": point.cost.attainable_macs_per_cycle,
                "cycles": point.cost.cycles,
                "binding": point.cost.binding,
            }
            for point in roofline.points
        },
    }
