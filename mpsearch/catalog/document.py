# SPDX-License-Identifier: Apache-2.0
"""Reads one YAML file as plain data that remembers its lines; what YAML itself would let pass in silence is a mistake here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

LARGEST_BYTES = 1_000_000
"""A file beyond this size is no search space and no hardware model."""

Place = tuple[str | int, ...]
"""Keys and indices from the top of a file to a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that a reader of a file should know.

    Attributes:
        where: Keys and indices from the top, joined with dots; "" for the file as a whole.
        line: Counted from 1; None where there is none.
        message: What was got and what is wanted, with the place.
        hint: The next step.
    """

    where: str
    line: int | None
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file says.

    Attributes:
        content: Mappings with text as keys, lists, text, numbers, true and false, null; None if the file cannot be read.
        lines: Place -> line of its key, or of the item of a list.
        mistakes: What is wrong whatever the file is for. If it cannot be read there is exactly one.
    """

    content: Any = None
    lines: Mapping[Place, int] = field(default_factory=dict)
    mistakes: tuple[Finding, ...] = ()

    def line(self, place: Place) -> int | None:
        """Return the line of a value, or of the nearest thing around it that has one."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.lines:
                return self.lines[place[:length]]
        return None


def dotted(place: Place) -> str:
    """Return a place as people read it: "memories.0.size_bytes"."""
    return ".".join(map(str, place))


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # yaml ships no types
    """Safe YAML without aliases: a few lines of them expand without bound."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed: write the value out", mark)
        return super().compose_node(parent, index)


# YAML 1.1 reads 1e6 and 2.5e6 as text, because it wants a point and a sign; YAML 1.2 and everybody who writes it mean a number.
_EXPONENT = re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$")
_PlainLoader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def read_document(path: Path) -> Document:
    """Return what a file says; what is wrong with it as YAML is in `mistakes`."""
    try:
        if path.is_dir():
            return _unreadable(f"{path} cannot be read: it is a folder, wanted a file", "give the path of a YAML file.")
        if not path.is_file():
            return _unreadable(f"{path} cannot be read: there is no such file", "give the path of a YAML file.")
        if (size := path.stat().st_size) > LARGEST_BYTES:
            return _unreadable(f"{path} cannot be read: it has {size} bytes, wanted at most {LARGEST_BYTES}", "give the path of a YAML file.")
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        return _unreadable(f"{path} cannot be read: {cause}", "save it as UTF-8 text.")
    try:
        return _composed(text)
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark or cause.context_mark
        told = f"{cause.context}: {cause.problem}" if cause.context else str(cause.problem)
        return _unreadable(f"{path} is not YAML: {told}", "check the indentation and the colons.", mark.line + 1 if mark else None)
    except (yaml.YAMLError, ValueError, RecursionError) as cause:
        return _unreadable(f"{path} is not YAML: {' '.join(str(cause).split())}", "check the indentation and the colons.")


def _unreadable(message: str, hint: str, line: int | None = None) -> Document:
    return Document(mistakes=(Finding(where="", line=line, message=message, hint=hint),))


def _composed(text: str) -> Document:
    loader = _PlainLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return _unreadable("top level: the file is empty, wanted a mapping", "see the shipped files for the form.")
        lines: dict[Place, int] = {}
        mistakes: list[Finding] = []
        content = _plain(loader, node, (), lines, mistakes)
    finally:
        loader.dispose()
    return Document(content=content, lines=lines, mistakes=tuple(mistakes))


def _plain(loader: Any, node: Any, place: Place, lines: dict[Place, int], mistakes: list[Finding]) -> Any:
    """Return the value of a node, and note the lines and the repeated keys below it."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*place, index)] = item.start_mark.line + 1
        return [_plain(loader, item, (*place, index), lines, mistakes) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        value = loader.construct_object(node)
        return value if isinstance(value, bool | int | float | str) or value is None else str(node.value)
    content: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node, deep=True))
        inner, line = (*place, key), key_node.start_mark.line + 1
        if key in content:
            first = lines[inner]
            told = f"{dotted(inner)} is given a second time; the first is on line {first}"
            mistakes.append(Finding(where=dotted(inner), line=line, message=told, hint="keep one of them."))
            continue
        lines[inner] = line
        content[key] = _plain(loader, value_node, inner, lines, mistakes)
    return content
