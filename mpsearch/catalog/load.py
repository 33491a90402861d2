# SPDX-License-Identifier: Apache-2.0
"""Finds search spaces and hardware models, by name among the shipped files or by path, and validates them.

A file is checked once, here, against the frozen dataclasses beside this module; what comes out can be trusted.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from mpsearch.catalog.hardware import HardwareModel
from mpsearch.catalog.search_space import SearchSpace
from mpsearch.errors import CatalogError, HardwareModelError, nearest_names

Record = TypeVar("Record", SearchSpace, HardwareModel)
Kind = Literal["search_spaces", "hw_models"]

_ERRORS: dict[Kind, type[CatalogError]] = {"search_spaces": CatalogError, "hw_models": HardwareModelError}
_WORDS: dict[Kind, str] = {"search_spaces": "search space", "hw_models": "target"}


def shipped_folder(kind: Kind) -> Path:
    """Return the folder of the shipped files: inside the installed package, or at the root of a checkout.

    Raises:
        CatalogError: The installation lacks it.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / kind, package.parent / kind):
        if folder.is_dir():
            return folder
    raise _ERRORS[kind](f"The installation has no folder '{kind}' in {package}.", "install mpsearch again.")


def list_names(kind: Kind) -> tuple[str, ...]:
    """Return the names of the shipped search spaces or hardware models, sorted."""
    return tuple(sorted(path.stem for path in shipped_folder(kind).glob("*.yaml")))


def load_search_space(name_or_path: str | Path) -> SearchSpace:
    """Load a search space by name, or by path.

    Raises:
        CatalogError: The name is unknown, or the file is missing or wrong.
    """
    return _load("search_spaces", name_or_path, SearchSpace)


def load_hardware_model(name_or_path: str | Path) -> HardwareModel:
    """Load a hardware model by name, or by path.

    Raises:
        HardwareModelError: The name is unknown, or the file is missing or wrong.
    """
    hardware = _load("hw_models", name_or_path, HardwareModel)
    if hardware.residual is None:
        return hardware
    beside = _locate("hw_models", name_or_path).resolve().parent / hardware.residual.file
    return replace(hardware, residual=replace(hardware.residual, file=str(beside)))


def _locate(kind: Kind, name_or_path: str | Path) -> Path:
    error, word = _ERRORS[kind], _WORDS[kind]
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith((".yaml", ".yml")) or "/" in text or "\\" in text:
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise error(f"There is no {word} file '{path}'.", f"give the path of a YAML file, or one of {', '.join(list_names(kind))}.")
        return path
    names = list_names(kind)
    if text not in names:
        raise error(f"Unknown {word} '{text}'.", nearest_names(text, names))
    return shipped_folder(kind) / f"{text}.yaml"


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # yaml ships no types
    """Safe YAML without aliases: a few lines of them expand without bound."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed: write the value out")
        return super().compose_node(parent, index)


def _load(kind: Kind, name_or_path: str | Path, record: type[Record]) -> Record:
    path, error, adapter = _locate(kind, name_or_path), _ERRORS[kind], TypeAdapter(record)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_PlainLoader)
    except (OSError, UnicodeDecodeError) as cause:
        raise error(f"{path} cannot be read: {cause}.") from cause
    except (yaml.YAMLError, ValueError, RecursionError) as cause:
        raise error(f"{path} is not YAML: {' '.join(str(cause).split())}.", "check the indentation and the colons.") from cause
    try:
        # JSON mode, because there strict types still take a list for a tuple.
        return adapter.validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as cause:
        raise error(*_explain(path, cause, adapter)) from cause


def _explain(path: Path, cause: ValidationError, adapter: TypeAdapter[Any]) -> tuple[str, str]:
    """Return message and hint for the first of the mistakes in a file; unknown keys first, for they explain the missing ones."""
    unknown = ("unexpected_keyword_argument", "extra_forbidden")
    mistakes = sorted(cause.errors(include_url=False), key=lambda mistake: mistake["type"] not in unknown)
    first = mistakes[0]
    where = ".".join(str(part) for part in first["loc"]) or "top level"
    more = f" (Mistakes in this file: {len(mistakes)}.)" if len(mistakes) > 1 else ""
    if first["type"] == "missing":
        return f"{path}: {where} is missing.{more}", "add it."
    if first["type"] in unknown:
        return f"{path}: {where} is not a known key.{more}", _nearest_key(str(first["loc"][-1]), _keys(adapter.json_schema()))
    wanted = first["msg"].removeprefix("Value error, ").replace("Input should be", "wanted").replace("String should have", "wanted a text of")
    got = "" if isinstance(first["input"], dict) else f"got {first['input']!r}, "
    return f"{path}: {where}: {got}{wanted}.{more}", "see the shipped files for the form."


def _keys(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = set(schema.get("properties", {}))
        return own.union(*(_keys(value) for value in schema.values()))
    return set().union(*(_keys(value) for value in schema)) if isinstance(schema, list) else set()


def _nearest_key(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, sorted(known), n=1)
    return f"did you mean '{close[0]}'?" if close else "remove it."
