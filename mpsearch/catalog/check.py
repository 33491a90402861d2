# SPDX-License-Identifier: Apache-2.0
"""Checks a device's file for its author: what is wrong, what is unlikely, and what a network would miss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from mpsearch.catalog.document import Document, Finding, Place, dotted, read_document
from mpsearch.catalog.hardware import ComputeRates, HardwareModel, Term
from mpsearch.catalog.load import list_names, shipped_folder
from mpsearch.catalog.mistakes import validated
from mpsearch.errors import HardwareModelError, nearest_names
from mpsearch.records import OPERATOR_CLASSES, WEIGHTED_CLASSES, Precision

LIKELY_CLOCK_HZ = (1e3, 1e10)
LIKELY_PER_CYCLE = (1e-5, 1e6)
LIKELY_PER_INSTRUCTION = 32.0
"""A vector instruction of 128 bits multiplies 16 pairs of 8-bit values; nothing with the word instruction in its data sheet does many more."""
LIKELY_ISSUE_PER_CYCLE = 4.0
LIKELY_BYTES_PER_CYCLE = (1e-4, 1e4)
LIKELY_MEMORY_BYTES = 1024.0
LIKELY_POWER_W = (1e-6, 1e3)
LIKELY_PICOJOULES = (1e-3, 1e4)
SHORTEST_SOURCE = 10
REACHABLE_BITS = range(2, 17)
"""Bits that a search space may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareCheck:
    """What a check found.

    Attributes:
        path: The file.
        hardware: What it describes; None if there is a mistake.
        mistakes: Why it does not load, in the order of its lines.
        warnings: What loads but is unlikely, or leaves something out, in the order of its lines; empty where there are mistakes.
    """

    path: Path
    hardware: HardwareModel | None
    mistakes: tuple[Finding, ...]
    warnings: tuple[Finding, ...]


def check_hardware_model(name_or_path: str | Path) -> HardwareCheck:
    """Return what is wrong with a device's file, and what is unlikely.

    Args:
        name_or_path: A file, or the name of a shipped one.

    Raises:
        HardwareModelError: There is neither a file nor a name like that.
    """
    path = Path(name_or_path).expanduser()
    if not path.exists():
        if str(name_or_path) not in list_names("hw_models"):
            raise HardwareModelError(
                f"There is no file '{path}', and no target of that name.", nearest_names(str(name_or_path), list_names("hw_models"))
            )
        path = shipped_folder("hw_models") / f"{name_or_path}.yaml"
    document = read_document(path)
    hardware, mistakes = validated(document, HardwareModel)
    warnings = [] if hardware is None else [_finding(document, *warning) for warning in _warnings(hardware, path)]
    return HardwareCheck(path=path, hardware=hardware, mistakes=mistakes, warnings=tuple(sorted(warnings, key=lambda warning: warning.line or 0)))


Warned = tuple[Place, str, str]
"""Place, what is the matter with it, what to do."""


def _finding(document: Document, place: Place, told: str, hint: str) -> Finding:
    where = dotted(place)
    return Finding(where=where, line=document.line(place), message=f"{where}: {told}" if where else told, hint=hint)


def _warnings(hardware: HardwareModel, path: Path) -> Iterator[Warned]:
    yield from _of_the_file(hardware, path)
    yield from _of_rates(hardware)
    yield from _of_memories(hardware)
    yield from _of_terms(hardware)
    yield from _of_energy(hardware)
    yield from _left_out(hardware)
    yield from (
        (place, f"the source '{text}' is short", "name the document, the paper or the measurement.") for place, text in _short_sources(hardware)
    )


def _of_the_file(hardware: HardwareModel, path: Path) -> Iterator[Warned]:
    if hardware.name != path.stem:
        yield ("name",), f"'{hardware.name}' stands in a file called {path.name}", "call both the same."
    yield from _unlikely(("clock_hz", "value"), hardware.clock_hz.value, LIKELY_CLOCK_HZ, "Hz", "give the clock of the core in Hz.")
    if hardware.accuracy is None:
        yield (), "accuracy is not given: nothing says how far the model is off", "compare it with measurements and add accuracy."
    elif hardware.accuracy.median > hardware.accuracy.worst_tenth:
        told = f"the median error {hardware.accuracy.median} is larger than that of the worst tenth, {hardware.accuracy.worst_tenth}"
        yield ("accuracy",), told, "exchange them, or measure again."


def _of_rates(hardware: HardwareModel) -> Iterator[Warned]:
    for index, rates in enumerate(hardware.compute):
        place: Place = ("compute", index)
        for key in ("macs_per_cycle", "macs_per_instruction", "picojoules_per_mac"):
            for bits, number in (getattr(rates, key) or {}).items():
                if key == "macs_per_cycle":
                    yield from _unlikely(
                        (*place, key, str(bits)), number, LIKELY_PER_CYCLE, "MACs per cycle", "give what the device does in one cycle."
                    )
                elif key == "macs_per_instruction" and number > LIKELY_PER_INSTRUCTION and not _paid_by_terms(hardware, rates, bits):
                    told = f"{number:g} MACs in one instruction, more than {LIKELY_PER_INSTRUCTION:g}"
                    yield (*place, key, str(bits)), told, "give what one executed instruction does on average."
        if rates.values_per_cycle is not None:
            hint = "give what the device does in one cycle."
            yield from _unlikely((*place, "values_per_cycle"), rates.values_per_cycle, LIKELY_PER_CYCLE, "values per cycle", hint)
        for bits in sorted(rates.macs_per_instruction or {}):
            issued = (rates.macs_per_cycle or {})[bits] / (rates.macs_per_instruction or {})[bits]
            if issued > LIKELY_ISSUE_PER_CYCLE:
                told = f"at {bits} bits the two rates mean {issued:.3g} instructions per cycle"
                yield (*place, "macs_per_instruction"), told, "check which of the two is off."
        strange = sorted({rates.activation_bits, *(rates.macs_per_cycle or ())} - set(REACHABLE_BITS))
        if strange:
            yield place, f"no search space reaches {', '.join(map(str, strange))} bits", "leave it if the device has it; it is never chosen."


def _paid_by_terms(hardware: HardwareModel, rates: ComputeRates, bits: int) -> bool:
    """Whether terms are paid for each step or a share of them, so that the rate alone says little, as in a fit that finds the cost there."""
    precision = Precision(weight_bits=bits, activation_bits=rates.activation_bits) if bits in REACHABLE_BITS else None
    return any("step" in term.per and term.applies(operator, precision) for term in hardware.terms for operator in rates.operators)


def _of_memories(hardware: HardwareModel) -> Iterator[Warned]:
    for index, memory in enumerate(hardware.memories):
        place: Place = ("memories", index)
        hint = "give bytes per cycle of the core's clock."
        yield from _unlikely((*place, "bytes_per_cycle", "value"), memory.bytes_per_cycle.value, LIKELY_BYTES_PER_CYCLE, "bytes per cycle", hint)
        if memory.size_bytes.value < LIKELY_MEMORY_BYTES:
            told = f"{memory.size_bytes.value:g} bytes are less than a KiB"
            yield (*place, "size_bytes", "value"), told, "give the size in bytes."
        smallest_home = min(home.size_bytes.value for home in hardware.memories if home.holds)
        if memory.buffers and not memory.holds and memory.size_bytes.value > smallest_home:
            yield (*place, "buffers"), "the buffer is larger than a memory that it buffers", "check its size."
    largest = max(memory.size_bytes.value for memory in hardware.memories if "activations" in memory.holds)
    for key, size, has in (
        ("flash_bytes", hardware.weight_memory.size_bytes.value, "the memory that holds the weights"),
        ("ram_bytes", largest, "the largest memory that holds activations"),
    ):
        if getattr(hardware, key).value > size:
            yield (
                (key, "value"),
                f"{getattr(hardware, key).value:.12g} bytes are more than {has} has, {size:.12g}",
                "give what a model may take of it.",
            )


def _of_terms(hardware: HardwareModel) -> Iterator[Warned]:
    has = {operator for rates in hardware.compute for operator in rates.operators}
    widths = {bits for rates in hardware.compute for bits in rates.macs_per_cycle or ()}
    seen: dict[tuple[object, ...], int] = {}
    for index, term in enumerate(hardware.terms):
        place: Place = ("terms", index)
        if term.operators is not None and not has & set(term.operators):
            yield (
                (*place, "operators"),
                f"no rate is given for {', '.join(term.operators)}, so it is never paid",
                "add the rates, or remove the term.",
            )
        if term.weight_bits is not None and not widths & set(term.weight_bits):
            yield (*place, "weight_bits"), "no rate is given for weights of these bits, so it is never paid", "add the rates, or remove the term."
        if not term.cycles and not term.instructions:
            yield (*place, "cycles"), "it costs nothing", "remove the term."
        key = _payers(term)
        if key in seen:
            yield place, f"it is paid for the same as terms.{seen[key]}, so layers pay twice", "add the two up, or tell them apart."
        seen.setdefault(key, index)


def _payers(term: Term) -> tuple[object, ...]:
    return (term.per, *(None if limits is None else tuple(sorted(limits)) for limits in (term.operators, term.weight_bits, term.activation_bits)))


def _of_energy(hardware: HardwareModel) -> Iterator[Warned]:
    if hardware.active_power_w is not None:
        yield from _unlikely(("active_power_w", "value"), hardware.active_power_w.value, LIKELY_POWER_W, "W", "give the power while computing in W.")
    for index, rates in enumerate(hardware.compute):
        per_mac = sorted((rates.picojoules_per_mac or {}).items())
        for bits, energy in per_mac:
            hint = "give the energy of one multiply-accumulate in pJ."
            yield from _unlikely(("compute", index, "picojoules_per_mac", str(bits)), energy, LIKELY_PICOJOULES, "pJ", hint)
        if [energy for _, energy in per_mac] != sorted(energy for _, energy in per_mac):
            yield ("compute", index, "picojoules_per_mac"), "narrower weights take more energy than wider ones", "check the order of the numbers."
    per_mac_given = any(rates.picojoules_per_mac or rates.picojoules_per_value for rates in hardware.compute)
    given = [memory.picojoules_per_byte is not None for memory in hardware.memories]
    if not (per_mac_given or any(given) or hardware.active_power_w):
        told = "neither active_power_w nor picojoules are given, so there is no energy"
        yield (), told, "add active_power_w, or picojoules_per_mac and picojoules_per_byte."
    elif hardware.active_power_w is None and not (per_mac_given and all(given)):
        told = "energy leaves out " + ("some of the memories" if per_mac_given else "the arithmetic")
        yield (), told, "give picojoules_per_mac and picojoules_per_byte throughout, or active_power_w."


def _left_out(hardware: HardwareModel) -> Iterator[Warned]:
    has = {operator for rates in hardware.compute for operator in rates.operators}
    if missing := [operator for operator in OPERATOR_CLASSES if operator not in has]:
        told = f"no rate is given for {', '.join(missing)}: a network that has one of them gets no latency"
        yield ("compute",), told, "add them if the device, or the core beside it, computes them."
    found = {operator: set(hardware.precisions(operator)) for operator in WEIGHTED_CLASSES if operator in has}
    everything: set[Precision] = set().union(*found.values())
    for operator, precisions in found.items():
        if lacking := sorted(everything - precisions):
            told = f"{operator} has no rate at {', '.join(map(str, lacking))}, which other operators have"
            yield ("compute",), told, "leave it so if the device lacks it: the search then offers it nowhere in such a layer."
    if everything and Precision(weight_bits=8) not in everything:
        yield ("compute",), "there is no rate at w8a8, which a first config usually takes", "leave it so if the device lacks it."


def _short_sources(hardware: HardwareModel) -> Iterator[tuple[Place, str]]:
    return ((place, text) for place, text in sources(hardware) if len(text) < SHORTEST_SOURCE)


def sources(value: object, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield the place and the text of every source of a record, in the order of its file."""
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from sources(item, (*place, index))
    elif is_dataclass(value):
        for entry in fields(value):
            if entry.name == "source":
                yield (*place, "source"), getattr(value, "source")  # noqa: B009
            else:
                yield from sources(getattr(value, entry.name), (*place, entry.name))


def _unlikely(place: Place, number: float, likely: tuple[float, float], unit: str, hint: str) -> Iterator[Warned]:
    lowest, highest = likely
    if not lowest <= number <= highest:
        yield place, f"{number:.6g} {unit} is unlikely: wanted {lowest:g} to {highest:g}", hint
