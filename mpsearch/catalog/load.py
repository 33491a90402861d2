# SPDX-License-Identifier: Apache-2.0
"""Finds search spaces and hardware models, by name among the shipped files or by path, and validates them.

A file is checked once, here, against the frozen dataclasses beside this module; what comes out can be trusted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

from mpsearch.catalog.document import read_document
from mpsearch.catalog.hardware import HardwareModel
from mpsearch.catalog.layer_grid import GridLayers
from mpsearch.catalog.mistakes import validated
from mpsearch.catalog.search_space import SearchSpace
from mpsearch.errors import CatalogError, HardwareModelError, nearest_names
from mpsearch.records import LayerShape

Record = TypeVar("Record", SearchSpace, HardwareModel)
Validated = TypeVar("Validated")
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


def load_layer_grid(path: Path) -> tuple[LayerShape, ...]:
    """Load a YAML list of layers to measure.

    Raises:
        CatalogError: The file is missing or wrong.
    """
    return tuple(layer.shape for layer in _validated(path, GridLayers, CatalogError))


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


def _load(kind: Kind, name_or_path: str | Path, record: type[Record]) -> Record:
    return _validated(_locate(kind, name_or_path), record, _ERRORS[kind])


def _validated(path: Path, record: type[Validated], error: type[CatalogError]) -> Validated:
    valid, mistakes = validated(read_document(path), record)
    if valid is None:
        # A key that is not known explains the one that is missing.
        first = min(mistakes, key=lambda mistake: (not mistake.message.endswith("is not a known key"), mistake.message.endswith("is missing")))
        more = f" (Mistakes in this file: {len(mistakes)}.)" if len(mistakes) > 1 else ""
        line = f":{first.line}" if first.line else ""
        told = first.message if first.message.startswith(f"{path} ") else f"{path}{line}: {first.message}"
        raise error(f"{told}.{more}", first.hint)
    return valid
