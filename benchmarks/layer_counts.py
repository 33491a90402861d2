# SPDX-License-Identifier: Apache-2.0
"""Counts what the kernels execute for one layer on an emulated Cortex-M; used by the scripts beside it."""

from __future__ import annotations

import math
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from mpsearch.errors import ExportError
from mpsearch.export.kernel_library import KERNELS
from mpsearch.export.qemu import CORES, Count, build_plugin, build_program, check_tools, execute, read_counts

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Shape:
    """One layer: `kind` is CONV, DEPTHWISE, DENSE (height rows) or ADD; the size is kept by padding."""

    kind: str
    height: int
    width: int
    inputs: int
    outputs: int
    kernel: int = 1

    @property
    def output_values(self) -> int:
        """How many values come out."""
        return self.height * self.width * (self.inputs if self.kind == "ADD" else self.outputs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates, padding included; 0 for an addition."""
        per_output = {"CONV": self.inputs * self.kernel**2, "DEPTHWISE": self.kernel**2, "DENSE": self.inputs, "ADD": 0}[self.kind]
        return self.output_values * per_output

    @property
    def gathered_values(self) -> int:
        """How many values the kernel copies out of its input."""
        return self.macs // self.outputs if self.kind == "CONV" and self.kernel > 1 else 0

    def __str__(self) -> str:
        """Return e.g. "conv 3x3, 16 -> 16, 32x32"."""
        size = f"{self.height}x{self.width}"
        return {
            "CONV": f"conv {self.kernel}x{self.kernel}, {self.inputs} -> {self.outputs}, {size}",
            "DEPTHWISE": f"depthwise {self.kernel}x{self.kernel}, {self.inputs}, {size}",
            "DENSE": f"dense {self.inputs} -> {self.outputs}" + (f", {self.height} rows" if self.height > 1 else ""),
            "ADD": f"add, {self.output_values} values",
        }[self.kind]


@dataclass
class Bench:
    """Builds the kernels once for each core and level of optimisation."""

    folder: Path
    _kernels: dict[tuple[str, str], list[Path]] = field(default_factory=dict)
    _plugin: Path | None = None

    def count(self, core: str, shape: Shape, bits: int, level: str = "-O2") -> Count:
        """Return what one run of a layer executes."""
        if self._plugin is None:
            check_tools()
            self._plugin = build_plugin(self.folder)
        groups = shape.inputs if shape.kind == "DEPTHWISE" else 1
        sizes = {"HEIGHT": shape.height, "WIDTH": shape.width, "IN": shape.inputs, "OUT": shape.outputs, "KERNEL": shape.kernel, "GROUPS": groups}
        flags = [level, f"-I{KERNELS / 'include'}", f"-DLAYER_{shape.kind}", f"-DBITS={bits}", *(f"-D{name}={size}" for name, size in sizes.items())]
        sources = [HERE / "qemu" / "measure_layer.c", *self._objects(core, level)]
        program = build_program(self.folder, CORES[core], sources, flags)
        status, text, log = execute(self.folder, CORES[core], program, self._plugin)
        if status != 0:
            raise ExportError(f"{shape} at {bits} bits stopped with {status} on {core}: {text}")
        return read_counts(log)[0]

    def _objects(self, core: str, level: str) -> list[Path]:
        if (core, level) not in self._kernels:
            objects = []
            for source in sorted((KERNELS / "src").glob("*.c")):
                if source.stem == "mps_requantize_array":
                    continue
                target = self.folder / f"{source.stem}{core}{level}.o"
                flags = ["-std=c11", level, *CORES[core].flags, "-ffunction-sections", f"-I{KERNELS / 'include'}"]
                subprocess.run(["arm-none-eabi-gcc", *flags, "-c", "-o", str(target), str(source)], check=True)
                objects.append(target)
            self._kernels[core, level] = objects
        return self._kernels[core, level]


def relative_error(predicted: float, counted: float) -> float:
    """Return by how much a prediction is off: 0.1 is 10 % too high."""
    return predicted / counted - 1 if counted else math.inf
