# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a file: every mistake at once, each with its place, what was got, what is wanted, and what to do."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from mpsearch.catalog.document import Document, Finding, Place, dotted
from mpsearch.errors import nearest_names

Record = TypeVar("Record")

UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
ROUNDS = 6
"""Mistakes can hide one another; so often what was found is put right to see what stands behind it."""

_STAND_INS: Mapping[str, Any] = {"name": "stand-in", "description": "stand-in", "source": "stand-in", "value": 1.0, "cycles": 1.0, "per": "call"}
"""Key -> a value that is right there, to look for further mistakes with; keys of a value with its source come on top."""

_NUMBER_TYPES = ("float_type", "float_parsing", "greater_than", "greater_than_equal", "finite_number")
_SCALES = {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9, "b": 1.0, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}
_SCALES |= {"kb": 1e3, "mb": 1e6, "gb": 1e9, "w": 1.0, "mw": 1e-3, "uw": 1e-6, "pj": 1.0, "nj": 1e3, "fj": 1e-3}
_WITH_UNIT = re.compile(r"^\s*([0-9][0-9_.]*(?:[eE][-+]?[0-9]+)?)\s*([a-zA-Z]+)\s*$")
_UNIT_KEYS = {"khz": "_hz", "mhz": "_hz", "ghz": "_hz", "kb": "_bytes", "mb": "_bytes", "kib": "_bytes", "mib": "_bytes", "mw": "_w"}
_IN_WORDS = (
    ("Value error, ", ""),
    (", unable to parse string as an integer", ""),
    ("Input should be", "wanted"),
    ("String should have", "wanted a text of"),
    ("Tuple should have at least 1 item after validation, not 0", "wanted at least 1 entry"),
    ("Dictionary should have at least 1 item after validation, not 0", "wanted at least 1 entry"),
    ("valid array", "list"),
    ("an object", "a mapping"),
    ("valid string", "text"),
    ("valid boolean", "value that is true or false"),
)
MOST_WORDS = 12
"""Where more words than that are allowed they are not all listed."""


def validated(document: Document, record: type[Record]) -> tuple[Record | None, tuple[Finding, ...]]:
    """Return the record of a file, or None with everything that is wrong with it, in the order of its lines.

    Args:
        document: The file.
        record: A dataclass.
    """
    if document.content is None and document.mistakes:
        return None, document.mistakes
    adapter: TypeAdapter[Record] = TypeAdapter(record)
    schema = adapter.json_schema()
    quantities = _quantities(schema)
    words = _Words(document=document, known=_keys(schema), quantities=quantities)
    found = list(document.mistakes)
    draft = _Draft(document.content, quantities)
    valid: Record | None = None
    for _ in range(ROUNDS):
        try:
            # JSON mode, because there strict types still take a list for a tuple.
            valid = adapter.validate_json(json.dumps(draft.content), strict=True)
            break
        except ValidationError as cause:
            # A list whose entries are all wrong is then also called too short.
            errors = [error for error in cause.errors(include_url=False) if error["type"] != "too_short" or not error["input"]]
        for error in errors:
            for place, told in _located(draft, error):
                if not draft.explains(place, error):
                    found.append(words.finding(place, told, error))
        if not draft.put_right(errors):
            break
    ordered = sorted(dict.fromkeys(found), key=lambda mistake: mistake.line or 0)
    return (None, tuple(ordered)) if ordered else (valid, ())


class _Draft:
    """A copy of a file's content whose mistakes are put right one round after another."""

    def __init__(self, content: Any, quantities: set[str]) -> None:
        self.content = copy.deepcopy(content)
        self.stand_ins = {**_STAND_INS, **{key: {"value": 1.0, "source": "stand-in"} for key in quantities}}
        self.kept: dict[Place, list[int]] = {}
        self.suspect: set[Place] = set()
        self.rounds = 0

    def original(self, place: Place) -> Place:
        """Return where a value of the draft stands in the file: entries that were dropped have moved those behind them."""
        if len(place) > 1 and place[:1] in self.kept and isinstance(place[1], int):
            return (place[0], self.kept[place[:1]][place[1]], *place[2:])
        return place

    def explains(self, place: Place, error: Mapping[str, Any]) -> bool:
        """Whether an earlier mistake is the likely reason of this one, e.g. a misspelt key of a memory that then holds nothing."""
        if self.rounds == 0:
            return False
        return error["type"] == "value_error" and any(suspect[: len(place)] == place for suspect in self.suspect)

    def put_right(self, errors: Iterable[Mapping[str, Any]]) -> bool:
        """Put right what was found; return whether anything changed."""
        self.rounds += 1
        drop: set[Place] = set()
        changed = False
        for error in errors:
            place = _place(error)
            if error["type"] in UNKNOWN or (error["type"] != "missing" and "holds" in place):
                self.suspect.add(self.original(place))
            if self._replaced(place, error):
                changed = True
            elif len(place) == 2 and place[0] == "memories" and error["type"] == "value_error":
                self._inside(place)["buffers"] = True
                self.suspect.add(self.original(place))
                changed = True
            elif len(place) > 1 and place[0] in ("compute", "terms"):
                drop.add(place[:2])
        return self._drop(drop) or changed

    def _drop(self, entries: set[Place]) -> bool:
        """Leave out entries that cannot be put right, unless nothing would be left; return whether anything changed."""
        changed = False
        for name in {entry[0] for entry in entries}:
            left = [index for index in range(len(self.content[name])) if (name, index) not in entries]
            if left:
                kept = self.kept.get((name,), list(range(len(self.content[name]))))
                self.kept[(name,)] = [kept[index] for index in left]
                self.content[name] = [self.content[name][index] for index in left]
                changed = True
        return changed

    def _replaced(self, place: Place, error: Mapping[str, Any]) -> bool:
        if not place:
            return False
        owner, key = self._inside(place[:-1]), place[-1]
        if error["type"] in UNKNOWN and isinstance(owner, dict):
            owner.pop(key, None)
            return True
        if key == "[key]":
            table, wrong = self._inside(place[:-2]), place[-2]
            return isinstance(table, dict) and table.pop(str(wrong), None) is not None
        if isinstance(owner, dict) and key in self.stand_ins and error["type"] != "value_error":
            owner[str(key)] = copy.deepcopy(self.stand_ins[str(key)])
            return True
        if isinstance(owner, dict) and error["type"] in _NUMBER_TYPES:
            owner[str(key)] = 1.0
            return True
        return False

    def _inside(self, place: Place) -> Any:
        value = self.content
        for part in place:
            try:
                value = value[part if isinstance(value, list) else str(part)]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def _place(error: Mapping[str, Any]) -> Place:
    return tuple(error["loc"])


def _located(draft: _Draft, error: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Yield the places and messages of an error; a check of the whole file may name several places, one on each line."""
    if _place(error) or error["type"] != "value_error":
        yield draft.original(_place(error)), str(error["msg"])
        return
    for line in str(error["msg"]).removeprefix("Value error, ").split("\n"):
        moved = re.sub(r"\b(compute|terms)\.(\d+)", lambda entry: dotted(draft.original((entry[1], int(entry[2])))), line)
        named = re.match(r"([a-z_]+)(?:\.(\d+))?: ", moved)
        if named:
            yield (named[1],) if named[2] is None else (named[1], int(named[2])), moved[named.end() :]
        else:
            yield (), moved


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """Puts mistakes in words.

    Attributes:
        document: The file.
        known: Every key that may stand somewhere in it.
        quantities: Those whose value is a number with its source.
    """

    document: Document
    known: set[str]
    quantities: set[str]

    def finding(self, place: Place, told: str, error: Mapping[str, Any]) -> Finding:
        """Return a mistake in words."""
        at_key = bool(place) and place[-1] == "[key]"
        place = place[:-1] if at_key else place
        where, key = dotted(place) or "top level", str(place[-1]) if place else ""
        line, kind, got = self.document.line(place), error["type"], error["input"]
        if kind == "missing":
            return Finding(where=where, line=line, message=f"{where} is missing", hint=_missing_hint(key))
        if kind in UNKNOWN:
            return Finding(where=where, line=line, message=f"{where} is not a known key", hint=_nearest_key(key, self.known))
        for old, new in _IN_WORDS:
            told = told.replace(old, new)
        hint = "see the shipped files for the form."
        if at_key:
            hint = "the keys of this table are bits per weight, e.g. 8."
        elif kind == "literal_error":
            allowed = re.findall(r"'([^']+)'", error["ctx"]["expected"])
            hint = nearest_names(str(got), allowed)
            told = told if len(allowed) <= MOST_WORDS else f"wanted one of {len(allowed)} words, such as {', '.join(allowed[:3])}"
        elif kind == "dataclass_type" and isinstance(got, int | float | str) and key in self.quantities:
            told, hint = "wanted value and source", f"write {key}: {{value: {got}, source: where it comes from}}."
        elif kind == "dataclass_type":
            told = "wanted a mapping"
        elif kind == "tuple_type" and isinstance(got, int | float | str) and not isinstance(got, bool):
            hint = f"write {key}: [{got}]."
        elif isinstance(got, str) and (number := _WITH_UNIT.match(got)) and number[2].lower() in _SCALES:
            hint = _unit_hint(number[1], number[2])
        shown = "" if kind == "value_error" else f"got {_short(got)}{' as a key' if at_key else ''}, "
        return Finding(where=where, line=line, message=f"{where}: {shown}{told}", hint=hint)


def _missing_hint(key: str) -> str:
    if key == "source":
        return "say where the number comes from: a document and its page, a paper, or a measurement and how it was made."
    return "add it."


def _unit_hint(number: str, unit: str) -> str:
    scaled = float(number.replace("_", "")) * _SCALES[unit.lower()]
    return f"write the number alone, in the unit of the key: {scaled:.12g}."


def _short(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "a mapping"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _quantities(schema: Any) -> set[str]:
    """Return the keys whose value is a number with its source."""
    if isinstance(schema, list):
        return set().union(*map(_quantities, schema))
    if not isinstance(schema, dict):
        return set()
    own = {key for key, form in schema.get("properties", {}).items() if "/Quantity'" in repr(form)}
    return own.union(*map(_quantities, schema.values()))


def _keys(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = set(schema.get("properties", {}))
        return own.union(*(_keys(value) for value in schema.values()))
    return set().union(*(_keys(value) for value in schema)) if isinstance(schema, list) else set()


def _nearest_key(key: str, known: set[str]) -> str:
    stem, _, unit = key.rpartition("_")
    if unit in _UNIT_KEYS and (wanted := stem + _UNIT_KEYS[unit]) in known:
        return f"write {wanted}, with the number in that unit."
    close = difflib.get_close_matches(key, sorted(known), n=1)
    return f"did you mean '{close[0]}'?" if close else "remove it."
