# SPDX-License-Identifier: Apache-2.0
"""The text of a device's YAML file: prose folded, every table of rates and every term on one line. `mpsearch.catalog` reads it back."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

from mpsearch.catalog import HardwareModel, Term
from mpsearch.storage import write_atomically

WIDTH = 140
HEAD = "# SPDX-License-Identifier: Apache-2.0\n"
PROSE = ("description", "source")
NO_TEXT = ("true", "false", "yes", "no", "on", "off", "y", "n", "null")
"""Words that YAML takes for something else."""
TERM_ORDER = ("operators", "activation_bits", "weight_bits", "per", "cycles", "instructions")


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
    return HEAD + "\n".join(_block(hardware, 0)) + "\n"


def _given(record: object) -> dict[str, object]:
    """Return the fields that are not what a file without them would mean."""
    values = {field.name: (getattr(record, field.name), field.default) for field in fields(record)}  # type: ignore[arg-type]
    return {name: value for name, (value, default) in values.items() if default is MISSING or value != default}


def _block(record: object, indent: int) -> list[str]:
    """Return a record, one field a line or more."""
    pad, lines = " " * indent, []
    for name, value in _given(record).items():
        if name in PROSE:
            lines += _prose(name, str(value), indent)
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            lines += [f"{pad}{name}:", *(line for item in value for line in _item(item, indent + 2))]
        elif is_dataclass(value) and "source" in _given(value):
            lines += [f"{pad}{name}:", *_block(value, indent + 2)]
        else:
            lines.append(f"{pad}{name}: {_inline(value)}")
    return lines


def _item(record: object, indent: int) -> list[str]:
    """Return an entry of a list; a term takes one line."""
    pad = " " * indent
    if isinstance(record, Term):
        given = _given(record)
        ordered = {name: given.pop(name) for name in TERM_ORDER if name in given} | given
        return [f"{pad}- {_inline(ordered)}"]
    lines = _block(record, indent + 2)
    return [f"{pad}- {lines[0].lstrip()}", *lines[1:]]


def _prose(name: str, text: str, indent: int) -> list[str]:
    """Return a folded text; every run of white space becomes one blank."""
    pad = " " * (indent + 2)
    wrapped = textwrap.wrap(" ".join(text.split()), WIDTH - len(pad), break_long_words=False, break_on_hyphens=False)
    return [f"{' ' * indent}{name}: >-", *(pad + line for line in wrapped)]


def _inline(value: object) -> str:
    """Return a number, a text, a list or a table on one line; texts that YAML could take for something else are quoted."""
    if isinstance(value, str):
        plain = value.replace("-", "").replace("_", "").isalnum() and value[0].isalpha() and value.lower() not in NO_TEXT
        return value if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_inline(entry)}" for key, entry in value.items()) + "}"
    if is_dataclass(value):
        return _inline(_given(value))
    if isinstance(value, float):
        return _number(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: float) -> str:
    """Return a float as YAML reads it: with a point before an exponent."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    mantissa, letter, exponent = repr(value).partition("e")
    return f"{mantissa}.0e{exponent}" if letter and "." not in mantissa else repr(value)
