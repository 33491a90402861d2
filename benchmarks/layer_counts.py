# SPDX-License-Identifier: Apache-2.0
"""Counts what the kernels execute for one layer on an emulated core; used by the scripts beside it. A wrong output gives an error, not a count."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mpsearch.errors import ExportError
from mpsearch.export.cores import CORES, check_tools
from mpsearch.export.counting import Count, build_plugin, read_counts
from mpsearch.export.kernel_library import KERNELS
from mpsearch.export.qemu import build_program, compile_source, execute
from mpsearch.quant.bitpack import pack

HERE = Path(__file__).resolve().parent
DIFFERS = 90
"""Exit status of qemu/measure_layer.c when a kernel and its reference disagree."""


@dataclass(frozen=True)
class Shape:
    """One layer: `kind` is CONV, DEPTHWISE, DENSE (height rows), ADD, MEAN (of all pixels), MAX_POOL or AVG_POOL (windows side by side).

    Padding keeps the size of a convolution, whose kernel is odd, but for its stride.
    """

    kind: str
    height: int
    width: int
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1

    @property
    def output_values(self) -> int:
        """How many values come out."""
        pixels = {"MEAN": 1, "MAX_POOL": (self.height // self.kernel) * (self.width // self.kernel)}
        pixels["AVG_POOL"] = pixels["MAX_POOL"]
        return pixels.get(self.kind, -(-self.height // self.stride) * -(-self.width // self.stride)) * self.outputs

    @property
    def input_values(self) -> int:
        """How many values an operand has."""
        return self.height * self.width * self.inputs

    @property
    def macs(self) -> int:
        """Multiply-accumulates, padding included; 0 without weights."""
        per_output = {"CONV": self.inputs * self.kernel**2, "DEPTHWISE": self.kernel**2, "DENSE": self.inputs}
        return self.output_values * per_output.get(self.kind, 0)

    @property
    def weight_shape(self) -> tuple[int, int]:
        """(rows, values) of the weights as they are packed; (0, 0) where there are none."""
        taps = self.kernel**2
        shapes = {"CONV": (self.outputs, taps * self.inputs), "DEPTHWISE": (taps, self.outputs), "DENSE": (self.outputs, self.inputs)}
        return shapes.get(self.kind, (0, 0))

    @property
    def gathered_values(self) -> int:
        """How many values the kernel copies out of its input."""
        return self.macs // self.outputs if self.kind == "CONV" and self.kernel > 1 else 0

    def __str__(self) -> str:
        """Return e.g. "conv 3x3, 16 -> 16, 32x32"."""
        size, step = f"{self.height}x{self.width}", f" stride {self.stride}" if self.stride > 1 else ""
        return {
            "CONV": f"conv {self.kernel}x{self.kernel}{step}, {self.inputs} -> {self.outputs}, {size}",
            "DEPTHWISE": f"depthwise {self.kernel}x{self.kernel}{step}, {self.inputs}, {size}",
            "DENSE": f"dense {self.inputs} -> {self.outputs}" + (f", {self.height} rows" if self.height > 1 else ""),
            "ADD": f"add, {self.output_values} values",
            "MEAN": f"mean of {size}, {self.inputs}",
            "MAX_POOL": f"max pool {self.kernel}x{self.kernel}, {self.inputs}, {size}",
            "AVG_POOL": f"average pool {self.kernel}x{self.kernel}, {self.inputs}, {size}",
        }[self.kind]


@dataclass
class Bench:
    """Builds the kernels once for each core, level of optimisation and compiler."""

    folder: Path
    _kernels: dict[tuple[str, str, str], list[Path]] = field(default_factory=dict)
    _plugin: Path | None = None

    def count(self, core: str, shape: Shape, bits: int, level: str = "-O2", compiler: str = "gcc") -> Count:
        """Return what one run of a layer executes.

        Raises:
            ExportError: A tool is missing, or the kernel's output is not the reference's.
        """
        objects = self._objects(core, level, compiler)
        self._plugin = self._plugin or build_plugin(self.folder)
        flags = [level, *_include_flags(), *self._describe(shape, bits)]
        program = build_program(self.folder, CORES[core], [HERE / "qemu" / "measure_layer.c", *objects], flags, compiler)
        status, text, log = execute(self.folder, CORES[core], program, self._plugin)
        if status == DIFFERS:
            raise ExportError(f"{shape} at {bits} bits on {core} ({compiler} {level}): the output is not that of the reference.")
        if status != 0:
            raise ExportError(f"{shape} at {bits} bits stopped with {status} on {core}: {text}")
        return read_counts(log)[0]

    def _describe(self, shape: Shape, bits: int) -> list[str]:
        """Write random weights into the folder; returns the macros of measure_layer.c."""
        half = 1 << (bits - 1)
        plain = np.random.default_rng(bits).integers(-half, half, shape.weight_shape, dtype=np.int8)
        (self.folder / "plain.bin").write_bytes(plain.tobytes())
        (self.folder / "packed.bin").write_bytes(pack(plain, bits).tobytes())
        # Outputs spread over the int8 range: neither all zero nor all clamped. Inputs have a deviation of 74, weights of half / sqrt(3).
        deviation = 74 * half / math.sqrt(3) * math.sqrt(max(1, shape.macs // shape.output_values))
        macros = {
            "HEIGHT": shape.height,
            "WIDTH": shape.width,
            "IN": shape.inputs,
            "OUT": shape.outputs,
            "KERNEL": shape.kernel,
            "STRIDE": shape.stride,
            "GROUPS": shape.inputs if shape.kind == "DEPTHWISE" else 1,
            "BITS": bits,
            "SHIFT": max(1, round(math.log2(deviation / 4 / 40))),
        }
        return [f"-Wa,-I,{self.folder}", f"-DLAYER_{shape.kind}", *(f"-D{name}={value}" for name, value in macros.items())]

    def _objects(self, core: str, level: str, compiler: str) -> list[Path]:
        """Return the compiled kernels, and the references with them."""
        if (core, level, compiler) not in self._kernels:
            check_tools(CORES[core], compiler)
            build = self.folder / f"{core}{level}-{compiler}"
            build.mkdir()
            sources = [*sorted((KERNELS / "src").glob("*.c")), *sorted((KERNELS / "ref").glob("*.c"))]
            sources = [source for source in sources if "requantize_array" not in source.stem]  # for the host: it takes float
            self._kernels[core, level, compiler] = [
                compile_source(build, CORES[core], source, [level, *_include_flags()], compiler) for source in sources
            ]
        return self._kernels[core, level, compiler]


def _include_flags() -> list[str]:
    return [f"-I{KERNELS / 'include'}", f"-I{KERNELS / 'ref'}"]


def relative_error(predicted: float, counted: float) -> float:
    """Return by how much a prediction is off: 0.1 is 10 % too high."""
    return predicted / counted - 1 if counted else math.inf
