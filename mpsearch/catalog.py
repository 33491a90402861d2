# SPDX-License-Identifier: Apache-2.0
"""Finds and validates search spaces and hardware models, by name among the shipped files or by path.

A file is checked once, here, against the frozen dataclasses below; what comes out can be trusted.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from mpsearch.errors import CatalogError, HardwareModelError, nearest_names
from mpsearch.records import Precision

Record = TypeVar("Record", "SearchSpace", "HardwareModel")
Kind = Literal["search_spaces", "hw_models"]

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Bits = Annotated[int, Field(ge=2, le=16)]
BitChoice = Annotated[tuple[Bits, ...], Field(min_length=1)]

OPERATOR_CLASSES = ("conv2d", "depthwise", "dense", "elementwise")
"""Operator classes that a hardware model gives rates for; reshapes move nothing and need none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """Which precisions each layer may take.

    Attributes:
        name: As in the file's name.
        description: What it is for.
        weight_bits: Bits per weight that any layer may take.
        activation_bits: Bits per activation.
        first_layer: Weight bits that the first layer with weights may take.
        last_layer: Weight bits that the last layer with weights may take.
        depthwise: Weight bits that depthwise convolutions may take.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: Text
    description: Text
    weight_bits: BitChoice
    activation_bits: BitChoice
    first_layer: BitChoice
    last_layer: BitChoice
    depthwise: BitChoice

    def __post_init__(self) -> None:
        """Check that bits rise and that every rule picks from the space."""
        for key in ("weight_bits", "activation_bits", "first_layer", "last_layer", "depthwise"):
            bits = getattr(self, key)
            if list(bits) != sorted(set(bits)):
                raise ValueError(f"{key} is {list(bits)}, wanted distinct bits in rising order")
        for key in ("first_layer", "last_layer", "depthwise"):
            if strange := set(getattr(self, key)) - set(self.weight_bits):
                raise ValueError(f"{key} allows {sorted(strange)}, which weight_bits {list(self.weight_bits)} lacks")

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Every precision of the space, rising in bits."""
        return tuple(Precision(weight_bits=weight, activation_bits=activation) for weight in self.weight_bits for activation in self.activation_bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number of a device, with the place it comes from."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    source: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeRate:
    """How fast one class of operator runs when nothing else holds it up.

    Attributes:
        operator: Operator class, see `Layer.operator_class`.
        weight_bits: Bits per weight; None for elementwise operators.
        activation_bits: Bits per activation.
        macs_per_cycle: Multiply-accumulates per cycle; elements per cycle for elementwise operators.
        requantize_cycles: Cycles per output, where this operator's differ from the device's.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    operator: Literal["conv2d", "depthwise", "dense", "elementwise"]
    weight_bits: Bits | None = None
    activation_bits: Bits
    macs_per_cycle: Quantity
    requantize_cycles: Quantity | None = None

    def __post_init__(self) -> None:
        """Check that weight bits are given exactly where there are weights."""
        if (self.operator == "elementwise") != (self.weight_bits is None):
            wanted = "none" if self.operator == "elementwise" else "a number"
            raise ValueError(f"weight_bits is {self.weight_bits} for {self.operator}, wanted {wanted}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One memory of the device.

    Attributes:
        name: What the data sheet calls it.
        holds: What the deployed model keeps there.
        size_bytes: Capacity.
        bytes_per_cycle: Sequential read rate, bytes per core cycle.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: Text
    holds: Annotated[tuple[Literal["weights", "activations"], ...], Field(min_length=1)]
    size_bytes: Quantity
    bytes_per_cycle: Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareModel:
    """Roofline model of one device. Every number says where it comes from.

    Attributes:
        name: As in the file's name.
        description: The device, and what the rates describe.
        clock_hz: Core clock.
        flash_bytes: Flash of the device.
        ram_bytes: RAM that activations may use.
        compute: One rate per (operator class, weight bits, activation bits) that the device has.
        memories: Where weights and activations live.
        overhead_cycles: Cycles per layer call.
        requantize_cycles: Cycles per output of a layer with weights.
        gather_cycles: Cycles per value that a convolution with a window copies out of its input; None if its kernels copy nothing.
        layout_cycles: Cycles per value that a convolution or dense layer lays out for its products, once for all output channels; None if nothing is.
        pixel_cycles: Cycles per output pixel (row, for a dense layer) of a layer that lays out its values; None if there are none.
        active_power_w: Power while computing; None if unknown.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: Text
    description: Text
    clock_hz: Quantity
    flash_bytes: Quantity
    ram_bytes: Quantity
    compute: Annotated[tuple[ComputeRate, ...], Field(min_length=1)]
    memories: Annotated[tuple[Memory, ...], Field(min_length=1)]
    overhead_cycles: Quantity
    requantize_cycles: Quantity
    gather_cycles: Quantity | None = None
    layout_cycles: Quantity | None = None
    pixel_cycles: Quantity | None = None
    active_power_w: Quantity | None = None

    def __post_init__(self) -> None:
        """Check that rates are unique and that weights and activations have one home each."""
        seen: set[tuple[str, int | None, int]] = set()
        for rate in self.compute:
            key = (rate.operator, rate.weight_bits, rate.activation_bits)
            if key in seen:
                raise ValueError(
                    f"compute gives two rates for {rate.operator}, weight_bits {rate.weight_bits}, activation_bits {rate.activation_bits}"
                )
            seen.add(key)
        for content in ("weights", "activations"):
            homes = [memory.name for memory in self.memories if content in memory.holds]
            if len(homes) != 1:
                raise ValueError(f"memories: {len(homes)} of them hold {content}, wanted exactly one")

    def rate(self, operator: str, precision: Precision | None) -> ComputeRate | None:
        """Return how fast an operator runs at a precision, or None if the device does not have it.

        Args:
            operator: Operator class.
            precision: Precision of the layer; None for 8-bit activations without weights.
        """
        weight_bits = None if precision is None else precision.weight_bits
        activation_bits = 8 if precision is None else precision.activation_bits
        for rate in self.compute:
            if (rate.operator, rate.weight_bits, rate.activation_bits) == (operator, weight_bits, activation_bits):
                return rate
        return None

    def memory(self, content: Literal["weights", "activations"]) -> Memory:
        """Return the memory that holds the weights, or the activations."""
        return next(memory for memory in self.memories if content in memory.holds)


_ERRORS: dict[Kind, type[CatalogError]] = {"search_spaces": CatalogError, "hw_models": HardwareModelError}
_WORDS: dict[Kind, str] = {"search_spaces": "search space", "hw_models": "target"}


def shipped_folder(kind: Kind) -> Path:
    """Return the folder of the shipped files: inside the installed package, or at the root of a checkout.

    Raises:
        CatalogError: The installation lacks it.
    """
    package = Path(__file__).resolve().parent
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
    return _load("hw_models", name_or_path, HardwareModel)


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
