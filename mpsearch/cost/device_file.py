# SPDX-License-Identifier: Apache-2.0
"""The text of a device's YAML file: prose folded, tables of rates and terms one a line. `mpsearch.catalog` reads it back."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from mpsearch.catalog import Accuracy, ComputeRates, HardwareModel, Memory, Quantity, Term
from mpsearch.storage import write_atomically

WIDTH = 140
HEAD = "# SPDX-License-Identifier: Apache-2.0\n"


def write_device_file(hardware: HardwareModel, path: Path) -> Path:
    """Write a device's file; it is either complete or not there.

    Returns:
        Its path.
    """
    text = device_text(hardware)
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def device_text(hardware: HardwareModel) -> str:
    """Return the YAML of a device; equal devices give equal bytes."""
    lines = [f"name: {_scalar(hardware.name)}", *_prose("description", hardware.description, 0)]
    for key in ("clock_hz", "flash_bytes", "ram_bytes"):
        lines += _quantity(key, getattr(hardware, key), 0)
    if hardware.core is not None:
        lines.append(f"core: {_scalar(hardware.core)}")
    lines += ["compute:", *(line for rates in hardware.compute for line in _rates(rates))]
    lines += ["memories:", *(line for memory in hardware.memories for line in _memory(memory))]
    if hardware.terms:
        lines += ["terms:", *map(_term, hardware.terms)]
    if hardware.accuracy is not None:
        lines += _accuracy(hardware.accuracy)
    if hardware.active_power_w is not None:
        lines += _quantity("active_power_w", hardware.active_power_w, 0)
    return HEAD + "\n".join(lines) + "\n"


def _scalar(value: object) -> str:
    """Return a number, a word, a list or a table on one line; texts that YAML could take for something else are quoted."""
    if isinstance(value, str):
        return value if value.replace("-", "").replace("_", "").isalnum() and not value[0].isdigit() else json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_scalar, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_scalar(entry)}" for key, entry in sorted(value.items())) + "}"
    if isinstance(value, float):
        return _number(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: float) -> str:
    """Return a float that YAML reads as one: it wants a point before an exponent."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    text = repr(value)
    mantissa, letter, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if letter and "." not in mantissa else text


def _prose(key: str, text: str, indent: int) -> list[str]:
    """Return a folded text; every run of white space becomes one blank."""
    pad = " " * (indent + 2)
    wrapped = textwrap.wrap(" ".join(text.split()), WIDTH - len(pad), break_long_words=False, break_on_hyphens=False)
    return [f"{' ' * indent}{key}: >-", *(pad + line for line in wrapped)]


def _quantity(key: str, quantity: Quantity, indent: int) -> list[str]:
    pad = " " * indent
    return [f"{pad}{key}:", f"{pad}  value: {_number(quantity.value)}", *_prose("source", quantity.source, indent + 2)]


def _rates(rates: ComputeRates) -> list[str]:
    given = [(field.name, getattr(rates, field.name)) for field in fields(rates) if field.name != "source"]
    lines = [f"    {name}: {_scalar(value)}" for name, value in given if value is not None]
    lines[0] = "  - " + lines[0].lstrip()
    return [*lines, *_prose("source", rates.source, 4)]


def _memory(memory: Memory) -> list[str]:
    lines = [f"  - name: {_scalar(memory.name)}"]
    if memory.holds:
        lines.append(f"    holds: {_scalar(memory.holds)}")
    if memory.buffers:
        lines.append("    buffers: true")
    for key in ("size_bytes", "bytes_per_cycle", "picojoules_per_byte"):
        quantity = getattr(memory, key)
        if quantity is not None:
            lines += _quantity(key, quantity, 4)
    return lines


def _term(term: Term) -> str:
    given = [(field.name, getattr(term, field.name)) for field in fields(term)]
    order = ("operators", "activation_bits", "weight_bits", "per", "cycles", "instructions", "source")
    values = dict(given)
    return "  - {" + ", ".join(f"{name}: {_scalar(values[name])}" for name in order if values[name] is not None) + "}"


def _accuracy(accuracy: Accuracy) -> list[str]:
    return [
        "accuracy:",
        f"  median: {_number(accuracy.median)}",
        f"  worst_tenth: {_number(accuracy.worst_tenth)}",
        *_prose("source", accuracy.source, 2),
    ]
