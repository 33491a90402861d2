# SPDX-License-Identifier: Apache-2.0
"""The shipped devices as one page of Markdown: what each has, and how far its numbers can be trusted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from mpsearch.catalog import HardwareModel, Memory
from mpsearch.catalog.check import sources
from mpsearch.report.quantities import MISSING

KINDS = ("counted here", "scaled", "document", "derived", "estimate")
"""How a number came about, from the most to the least that stands behind it, but for "scaled", which no measurement does."""

_SENTENCE_END = re.compile(r"(?<! al)\. ")
"""A full stop, but not that of "et al."."""

HEAD = """\
# Devices

What `mpsearch list targets` lists, made from the files in `hw_models/` by `make devices`. `mpsearch hw show NAME` draws a device,
`mpsearch hw check FILE` checks a file of your own. Every number in a file names its source; the last column counts how they came about:

- *counted here*: instructions of the shipped kernels counted in an emulator, or times measured, and what was fitted to them;
- *document*: a data sheet, a manual, a paper or published measurements;
- *derived*: worked out from a document, as its source says;
- *scaled*: taken over from another device's file, with a factor;
- *estimate*: assumed, estimated or chosen, as its source says.

Precisions are those of convolutions, weights w and activations a. The error is that of a layer's cycles, half of the layers and nine tenths of them
being nearer, against what the file's accuracy names; a dash where nothing was compared.

| Device | What it is | Clock | Memories | Precisions | Error | Numbers |
|---|---|---|---|---|---|---|
"""


def device_list(models: Iterable[HardwareModel]) -> str:
    """Return the page."""
    return HEAD + "".join(f"| {' | '.join(cell.replace('|', '/') for cell in _cells(hardware))} |\n" for hardware in models)


def kind_of(source: str) -> str:
    """Return how a number came about, one of KINDS, by the words that its source starts with."""
    first = source.lower()
    if first.startswith(("the file ", "as the rates, from ", "that of the file ")):
        return "scaled"
    if first.startswith(("estimate", "assumed", "assumption", "an assumption", "an estimate", "a choice")):
        return "estimate"
    if (
        "counted in qemu" in first
        or "counted here" in first
        or "measured here" in first
        or first.startswith(("non-negative least squares", "fitted with"))
    ):
        return "counted here"
    return "derived" if first.startswith("derived") else "document"


def _cells(hardware: HardwareModel) -> tuple[str, ...]:
    found = Counter(kind_of(text) for _, text in sources(hardware) if not text.startswith("as "))
    error = f"{hardware.accuracy.median:.1%}, {hardware.accuracy.worst_tenth:.1%}" if hardware.accuracy else MISSING
    return (
        f"`{hardware.name}`",
        _SENTENCE_END.split(hardware.description)[0].rstrip("."),
        f"{hardware.clock_hz.value / 1e6:,.0f} MHz",
        "; ".join(map(_memory, hardware.memories)),
        _precisions(hardware),
        error,
        ", ".join(f"{found[kind]} {kind}" for kind in KINDS if found[kind]),
    )


def _memory(memory: Memory) -> str:
    uses = [*memory.holds, *(["tiles"] if memory.buffers else [])]
    return f"{memory.name} {_binary(memory.size_bytes.value)} ({', '.join(uses)})"


def _binary(size_bytes: float) -> str:
    for scale, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.4g} {unit}"
    return f"{size_bytes:.0f} B"


def _precisions(hardware: HardwareModel) -> str:
    by_activation: dict[int, list[int]] = {}
    for rates in hardware.compute:
        if "conv2d" in rates.operators:
            by_activation.setdefault(rates.activation_bits, []).extend(rates.macs_per_cycle or ())
    return "; ".join(f"{_ranges(sorted(set(bits)))} a{activation}" for activation, bits in sorted(by_activation.items()))


def _ranges(bits: list[int]) -> str:
    """Return rising numbers, runs of three and more shortened: [2, 3, 4, 8] -> "w2-4, w8"."""
    runs: list[list[int]] = []
    for width in bits:
        if runs and width == runs[-1][-1] + 1:
            runs[-1].append(width)
        else:
            runs.append([width])
    return ", ".join(f"w{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(f"w{width}" for width in run) for run in runs)
