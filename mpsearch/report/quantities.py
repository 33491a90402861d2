# SPDX-License-Identifier: Apache-2.0
"""Numbers as people read them."""

from __future__ import annotations

import math

from mpsearch.catalog import Accuracy

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
_SYMBOLS = {"byte": "B", "op": "op", "s": "s", "J": "J", "bit": "bit"}
MISSING = "–"


def show_quantity(value: float | None, unit: str) -> str:
    """Return a quantity with three or more digits and a decimal prefix: 1_998_336 byte -> "1.998 MB", 0.0123 s -> "12.3 ms".

    Args:
        value: In the base unit; None gives a dash.
        unit: "byte", "s", "J", "op", "bit", or "" for a bare number.
    """
    if value is None or math.isnan(value):
        return MISSING
    symbol = _SYMBOLS.get(unit, unit)
    if unit in ("bit", ""):
        return f"{value:.4g} {symbol}".rstrip()
    if value == 0 or math.isinf(value):
        return f"{value:.0f} {symbol}"
    if unit == "byte" and abs(value) < 1000:
        return f"{value:.0f} B"
    scale, prefix = next(((scale, prefix) for scale, prefix in _PREFIXES if abs(value) >= scale * 0.9995), _PREFIXES[-1])
    return f"{value / scale:.4g} {prefix}{symbol}"


def show_bytes(value: float | None) -> str:
    """Return a size in bytes, every digit shown: 1998336 -> "1,998,336"."""
    return MISSING if value is None else f"{value:,.0f}"


def show_count(value: float | None) -> str:
    """Return a count with a prefix: 2_359_296 -> "2.359 M"."""
    return MISSING if value is None else show_quantity(value, "op").removesuffix("op").strip()


def show_rate(value: float | None) -> str:
    """Return a rate or a ratio with three digits, and no exponent while it is short: 0.738, 16,384."""
    if value is None:
        return MISSING
    return f"{value:,.0f}" if 1000 <= value < 1e5 else f"{value:.3g}"


def show_score(value: float | None) -> str:
    """Return a score with three digits."""
    return MISSING if value is None or math.isnan(value) else f"{value:.3g}"


def show_error(value: float | None, unit: str) -> str:
    """Return an error with its unit: 0.8333 "%" -> "0.83 %"."""
    if value is None or math.isnan(value):
        return MISSING
    return f"{value:.2f} %" if unit == "%" else f"{value:.4g} {unit}".rstrip()


def show_deviation(error: float | None) -> str:
    """Return a relative error with its sign in percent: 0.0234 -> "+2.3 %"."""
    return MISSING if error is None or not math.isfinite(error) else f"{100 * error:+.1f} %"


def show_stated(accuracy: Accuracy | None) -> str:
    """Return the error that a device's file states for its predictions, or that it states none."""
    return "not stated" if accuracy is None else f"±{100 * accuracy.median:.1f} % a layer (median; worst tenth ±{100 * accuracy.worst_tenth:.1f} %)"


def show_gap(gap: float) -> str:
    """Return an optimality gap in percent."""
    return f"{gap:.3%}" if math.isfinite(gap) else MISSING
