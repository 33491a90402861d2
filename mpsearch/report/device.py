# SPDX-License-Identifier: Apache-2.0
"""A device's file in short: memories, rates, what comes on top, and where the numbers come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from mpsearch.catalog import ComputeRates, HardwareCheck, HardwareModel, Memory, Term
from mpsearch.records import WEIGHTED_CLASSES
from mpsearch.report.quantities import show_quantity
from mpsearch.report.roofline import make_roofline, roofline_json
from mpsearch.report.roofline_text import roof_table


def device_tables(hardware: HardwareModel) -> tuple[Table, ...]:
    """Return what there is to know about a device beside its roofs."""
    return memory_table(hardware), rate_table(hardware), term_table(hardware), source_table(hardware)


def device_summary(hardware: HardwareModel) -> tuple[Table, ...]:
    """Return what was understood of a device's file, in short: roofs, memories, rates, what comes on top."""
    roofs = [roof_table(make_roofline(hardware))] if any(hardware.precisions(operator) for operator in WEIGHTED_CLASSES) else []
    return (*roofs, memory_table(hardware), rate_table(hardware), *([term_table(hardware)] if hardware.terms else []))


def memory_table(hardware: HardwareModel) -> Table:
    """Return one row for each memory."""
    table = Table(title="Memories", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("memory")
    table.add_column("holds")
    table.add_column("size", justify="right")
    table.add_column("bytes/cycle", justify="right")
    for memory in hardware.memories:
        uses = [*memory.holds, *(["buffers"] if memory.buffers else [])]
        cells = (memory.name, ", ".join(uses), show_quantity(memory.size_bytes.value, "byte"), f"{memory.bytes_per_cycle.value:.4g}")
        table.add_row(*map(Text, cells))
    return table


def rate_table(hardware: HardwareModel) -> Table:
    """Return one row for each entry of rates: MACs per cycle by weight bits, values per cycle without weights."""
    table = Table(title="Rates per cycle", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("operators")
    table.add_column("activation bits", justify="right")
    table.add_column("MACs by weight bits, or values")
    for rates in hardware.compute:
        by_bits = ", ".join(f"w{bits} {rate:.4g}" for bits, rate in sorted((rates.macs_per_cycle or {}).items()))
        table.add_row(*map(Text, (", ".join(rates.operators), str(rates.activation_bits), by_bits or f"{rates.values_per_cycle:.4g}")))
    return table


def term_table(hardware: HardwareModel) -> Table:
    """Return one row for each thing that is paid on top."""
    table = Table(title="On top, cycles", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("cycles", justify="right")
    table.add_column("for each")
    table.add_column("of")
    for term in hardware.terms:
        table.add_row(*map(Text, (f"{term.cycles:.4g}", term.per.replace("_", " "), _payers(term))))
    return table


def source_table(hardware: HardwareModel) -> Table:
    """Return where the numbers come from, and how far the model was found off."""
    table = Table(title="Sources", title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_lines=True)
    table.add_column("numbers", ratio=2)
    table.add_column("source", ratio=5)
    for source, places in sources_of(hardware).items():
        table.add_row(*map(Text, (", ".join(places), source)))
    return table


def sources_of(hardware: HardwareModel) -> dict[str, tuple[str, ...]]:
    """Return source -> what it is given for, in the order of the file."""
    found: dict[str, list[str]] = {}
    for where, source in _sources(hardware, ""):
        found.setdefault(source, []).append(where)
    return {source: tuple(dict.fromkeys(places)) for source, places in found.items()}


def device_json(hardware: HardwareModel) -> dict[str, object]:
    """Return what `mpsearch hw show --json` prints of the device."""
    return {
        "target": hardware.name,
        "description": hardware.description,
        "clock_hz": hardware.clock_hz.value,
        "flash_bytes": hardware.flash_bytes.value,
        "ram_bytes": hardware.ram_bytes.value,
        "memories": [
            {
                "name": memory.name,
                "holds": list(memory.holds),
                "buffers": memory.buffers,
                "size_bytes": memory.size_bytes.value,
                "bytes_per_cycle": memory.bytes_per_cycle.value,
            }
            for memory in hardware.memories
        ],
        "precisions": {
            operator: [name for rates in hardware.compute if operator in rates.operators for name in _precisions(rates)]
            for operator in dict.fromkeys(name for rates in hardware.compute for name in rates.operators)
        },
        "accuracy": {"median": hardware.accuracy.median, "worst_tenth": hardware.accuracy.worst_tenth, "source": hardware.accuracy.source}
        if hardware.accuracy
        else None,
        "sources": {source: list(places) for source, places in sources_of(hardware).items()},
    }


def check_json(check: HardwareCheck) -> dict[str, object]:
    """Return what `mpsearch hw check --json` prints."""
    content: dict[str, object] = {
        "file": str(check.path),
        "valid": check.hardware is not None,
        "mistakes": [asdict(finding) for finding in check.mistakes],
        "warnings": [asdict(finding) for finding in check.warnings],
    }
    if check.hardware is not None:
        content["device"] = device_json(check.hardware)
        if any(check.hardware.precisions(operator) for operator in WEIGHTED_CLASSES):
            content["device"] = device_json(check.hardware) | roofline_json(make_roofline(check.hardware))
    return content


def _precisions(rates: ComputeRates) -> list[str]:
    """Return what an entry has rates for: "w4a8", or "a8" without weights."""
    activation = f"a{rates.activation_bits}"
    return [activation] if rates.macs_per_cycle is None else [f"w{bits}{activation}" for bits in sorted(rates.macs_per_cycle)]


def _payers(term: Term) -> str:
    """Return which layers pay a term."""
    parts = [", ".join(term.operators) if term.operators else "every layer"]
    for letter, bits in (("w", term.weight_bits), ("a", term.activation_bits)):
        if bits is not None:
            parts.append(f"at {', '.join(f'{letter}{width}' for width in bits)}")
    return " ".join(parts)


def _sources(value: object, where: str) -> Iterator[tuple[str, str]]:
    """Yield (place, source) of everything in a device's file that names one."""
    if isinstance(value, tuple):
        for item in value:
            yield from _sources(item, f"{where} {_called(item)}".rstrip())
    elif is_dataclass(value):
        if hasattr(value, "source"):
            yield where, value.source
        for field in fields(value):
            yield from _sources(getattr(value, field.name), f"{where} {field.name}".strip())


def _called(item: object) -> str:
    """Return what tells an entry of a list from the others."""
    match item:
        case ComputeRates():
            return f"{', '.join(item.operators)} a{item.activation_bits}"
        case Term():
            return f"per {item.per}, {_payers(item)}"
        case Memory():
            return item.name
        case _:
            return ""
