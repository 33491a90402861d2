# SPDX-License-Identifier: Apache-2.0
"""Random cases as a C program: vector_driver.c and the kernels with the cases' bytes, for any compiler and any machine that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mpsearch.export.kernel_library import KERNELS, kernel_files
from tests.kernels.cases import UNWEIGHTED, WEIGHTED, WIDTHS, KernelCase
from tests.kernels.choices import SeededChoices

DRIVER = Path(__file__).resolve().parent / "vector_driver.c"
KERNEL_SOURCES = tuple(path for path in kernel_files(f"mps_{op}" for op in (*WEIGHTED, *UNWEIGHTED)) if path.suffix == ".c")
"""What a bundle with every op would hold."""
FLAGS = ("-std=c11", f"-I{KERNELS / 'include'}")
_NAME_BYTES = 32


def random_cases(seed: int, each: int) -> list[KernelCase]:
    """Return `each` cases of every op, at every width where it has weights."""
    cases = []
    for index in range(each):
        makers = [*(lambda choices, make=make, bits=bits: make(choices, bits) for make in WEIGHTED.values() for bits in WIDTHS), *UNWEIGHTED.values()]
        cases += [make(SeededChoices(1_000_000 * seed + 1000 * index + number)) for number, make in enumerate(makers)]
    return cases


def write_vectors(folder: Path, cases: Sequence[KernelCase]) -> Path:
    """Write the cases into a folder; returns the C file that holds them. Program: this, DRIVER and KERNEL_SOURCES, compiled with FLAGS."""
    data, source = folder / "vectors.bin", folder / "vectors.c"
    data.write_bytes(len(cases).to_bytes(4, "little") + b"".join(map(_bytes_of, cases)))
    lines = [".section .rodata.mps_vectors", ".balign 4", ".global mps_vectors", "mps_vectors:", f'.incbin \\"{data}\\"', ".text"]
    text = "".join(f'        "{line}\\n"\n' for line in lines)
    source.write_text(f"/* SPDX-License-Identifier: Apache-2.0 */\n__asm__(\n{text});\n", encoding="utf-8")
    return source


def _bytes_of(case: KernelCase) -> bytes:
    inputs, output, constants = case.skew & 3, case.skew >> 2 & 3, case.skew >> 4 & 3
    arrays = case.arrays if case.packed is None else case.packed.arrays
    buffers: list[tuple[bytes, int]] = [(case.params, 0)]
    buffers += [(item.tobytes(), constants if item.itemsize == 1 else 0) for item in arrays]
    buffers += [(item.tobytes(), inputs) for item in case.inputs]
    buffers += [(case.before.tobytes(), output), (case.expected.tobytes(), 0)]
    head = case.function.encode().ljust(_NAME_BYTES, b"\0") + np.uint32(len(buffers)).tobytes()
    return head + b"".join(np.array([len(data), skew], dtype="<u4").tobytes() + _padded(bytes(skew) + data) for data, skew in buffers)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
