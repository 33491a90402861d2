# SPDX-License-Identifier: Apache-2.0
"""Which C files a model needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mpsearch.errors import ExportError
from mpsearch.quant.packed_size import is_wide
from mpsearch.records import Add, AvgPool2d, Concat, Conv2d, Layer, Linear, MaxPool2d, Mean, Mul, Pad, Reshape, Slice, Transpose, Unary

KERNELS = Path(__file__).resolve().parents[1] / "kernels"
"""Folder of the C library, in a checkout as in an installed package."""

_FUNCTIONS: dict[type, str] = {
    Conv2d: "mps_conv2d",
    Linear: "mps_linear",
    Add: "mps_add",
    Mul: "mps_mul",
    Mean: "mps_mean",
    AvgPool2d: "mps_avg_pool2d",
    MaxPool2d: "mps_max_pool2d",
    Unary: "mps_unary",
    Pad: "mps_pad",
    Concat: "mps_copy",
    Slice: "mps_copy",
    Transpose: "mps_copy",
}


def kernel_function(layer: Layer, bits: tuple[int, int] = (8, 8)) -> str:
    """Return the C function that runs a layer; "" for a layer that moves nothing.

    Args:
        layer: The layer.
        bits: Of its input and output.

    Raises:
        ExportError: There is none.
    """
    if isinstance(layer.op, Reshape):
        return ""
    if type(layer.op) not in _FUNCTIONS:
        raise ExportError(f"Layer '{layer.name}': there is no kernel for {type(layer.op).__name__}.", "replace the op in the model.")
    name = "mps_depthwise2d" if layer.is_depthwise else _FUNCTIONS[type(layer.op)]
    return f"{name}_wide" if is_wide(*bits) else name


def kernel_files(functions: Iterable[str]) -> tuple[Path, ...]:
    """Return the sources of those functions and everything they include or call, sorted by name.

    A header `mps/x.h` brings the source `x.c` where there is one.
    """
    waiting = [KERNELS / "src" / f"{name}.c" for name in functions if name]
    waiting.append(KERNELS / "include" / "mps" / "mps.h")
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        if not path.is_file():
            raise ExportError(f"The kernel library lacks {path.name} (looked in {path.parent}).", "reinstall mpsearch.")
        found.add(path)
        waiting += _included(path.read_text(encoding="utf-8"))
    return tuple(sorted(found, key=lambda path: path.name))


def _included(text: str) -> list[Path]:
    paths = [KERNELS / "src" / name for name in re.findall(r'#include "([\w.]+)"', text)]
    calls = set(re.findall(r"\b(mps_\w+)\(", text)) if "mps_status mps_" in text else set()
    for name in re.findall(r'#include "mps/(\w+)\.h"', text):
        paths.append(KERNELS / "include" / "mps" / f"{name}.h")
        source = KERNELS / "src" / f"{name}.c"
        if source.is_file():
            paths.append(source)
    if 'mps.h"' in text:
        paths += [path for name in calls if (path := KERNELS / "src" / f"{name}.c").is_file()]
    return paths
