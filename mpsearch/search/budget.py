# SPDX-License-Identifier: Apache-2.0
"""Budgets as people write them: "2MB", "ram=256KiB", "latency=5ms", "energy=2mJ", "bops=10G", "bits=3.5"."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal

from mpsearch.errors import BudgetError, nearest_names
from mpsearch.records import Budget, Limit

_BYTES = {"B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_OPS = {"": 1, "k": 1000, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}

UNITS: dict[str, dict[str, Decimal]] = {
    "flash": {unit: Decimal(factor) for unit, factor in _BYTES.items()},
    "ram": {unit: Decimal(factor) for unit, factor in _BYTES.items()},
    "latency": {"s": Decimal(1), "ms": Decimal("1e-3"), "us": Decimal("1e-6"), "µs": Decimal("1e-6")},
    "energy": {"J": Decimal(1), "mJ": Decimal("1e-3"), "uJ": Decimal("1e-6"), "µJ": Decimal("1e-6")},
    "bops": {unit: Decimal(factor) for unit, factor in _OPS.items()},
    "macs": {unit: Decimal(factor) for unit, factor in _OPS.items()},
    "bits": {"": Decimal(1)},
}
"""Metric -> unit -> size in the metric's base unit (bytes, seconds, joules, operations, bits)."""

_FORMS = "forms: 2MB (flash), ram=256KiB, latency=5ms, energy=2mJ, bops=10G, bits=3.5, macs=40M."
_LIMIT = re.compile(r"(?:(?P<metric>[^=]*)=)?\s*(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<unit>[^\W\d_]*)")
_NOT_A_NUMBER = re.compile(r"[+-]?(?:nan|inf|infinity)[^\W\d_]*", re.IGNORECASE)


def parse_budget(texts: Sequence[str]) -> Budget:
    """Read what the user allows.

    Args:
        texts: One limit each, `[metric=]number[unit]`; without a metric it limits flash. Units are case-sensitive: MB is 10^6 bytes,
            MiB is 2^20 bytes, mJ is not MJ.

    Returns:
        The limits in their base units, in the order given.

    Raises:
        BudgetError: A limit cannot be read, is not above 0, has an unknown metric or unit, or stands twice.
    """
    limits: list[Limit] = []
    for text in texts:
        limit = _parse_limit(text)
        for earlier in limits:
            if earlier.metric == limit.metric:
                raise BudgetError(f"Budget: {limit.metric} is limited twice, by '{earlier.text}' and by '{text}'.", "keep one of them.")
        limits.append(limit)
    return Budget(limits=tuple(limits))


def unit_of(limit: Limit) -> str:
    """Return the unit in which the user typed a limit."""
    match = _LIMIT.fullmatch(limit.text.strip())
    unit = match["unit"] if match else ""
    return unit if unit in UNITS[limit.metric] else next(iter(UNITS[limit.metric]))


def format_like(limit: Limit, value: float) -> str:
    """Return a value as a budget that can be typed: in the limit's unit, rounded up so that the value is within it.

    Args:
        limit: Gives metric and unit.
        value: In the metric's base unit, at least 0.
    """
    unit = unit_of(limit)
    # Twelve digits hide the rounding of sums (0.1 + 0.2) and stay far inside what a limit allows for it.
    exact = Decimal(f"{value:.12g}") / UNITS[limit.metric][unit]
    # Four digits read well; the last byte of a whole number is kept, because there the next smaller number is infeasible.
    digits = max(exact.adjusted() - 3, -12) if exact else 0
    rounded = exact.quantize(Decimal(1).scaleb(min(digits, 0)), rounding=ROUND_CEILING)
    prefix = "" if limit.metric == "flash" else f"{limit.metric}="
    return f"{prefix}{_plain(rounded)}{unit}"


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _parse_limit(text: str) -> Limit:
    stripped = text.strip()
    match = _LIMIT.fullmatch(stripped)
    if match is None:
        if _NOT_A_NUMBER.fullmatch(stripped.partition("=")[2] or stripped):
            raise BudgetError(f"Budget '{text}': got something that is not a finite number, wanted a number above 0.", _FORMS)
        raise BudgetError(f"Budget '{text}' cannot be read, wanted [metric=]number[unit].", _FORMS)
    metric = "flash" if match["metric"] is None else match["metric"].strip()
    if metric not in UNITS:
        raise BudgetError(f"Budget '{text}': unknown metric '{metric}'.", nearest_names(metric, UNITS))
    factor = _factor(text, metric, match["unit"])
    value = float(Decimal(match["number"]) * factor)
    if not (math.isfinite(value) and value > 0):
        raise BudgetError(f"Budget '{text}': got {match['number']}, wanted a finite number above 0.", _FORMS)
    return Limit(metric=metric, value=value, text=text)


def _factor(text: str, metric: str, unit: str) -> Decimal:
    units = UNITS[metric]
    if unit in units:
        return units[unit]
    known = ", ".join(name or "no unit" for name in units)
    if not unit:
        raise BudgetError(f"Budget '{text}': {metric} needs a unit.", f"units of {metric}: {known}.")
    owners = [name for name, others in UNITS.items() if unit in others]
    if owners:
        raise BudgetError(f"Budget '{text}': '{unit}' is a unit of {' and '.join(owners)}, not of {metric}.", f"units of {metric}: {known}.")
    close = [name for name in units if name.casefold() == unit.casefold()]
    hint = f"units are case-sensitive: did you mean {' or '.join(close)}?" if close else f"units of {metric}: {known}."
    raise BudgetError(f"Budget '{text}': unknown unit '{unit}'.", hint)
