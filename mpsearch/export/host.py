# SPDX-License-Identifier: Apache-2.0
"""Building and running a bundle on this machine."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mpsearch.errors import ExportError
from mpsearch.export.compilers import find_compiler, run_compiler
from mpsearch.export.emit_project import ROUNDING_FLAGS, RUNNER, WARNINGS, with_input_bytes
from mpsearch.export.manifest import Manifest, check_files, read_manifest

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")

Int8Array = npt.NDArray[np.int8]


def run_bundle(folder: Path, inputs: Int8Array | Sequence[Int8Array], sanitize: bool = False, compiler: str | None = None) -> Int8Array:
    """Build a bundle with the host's C compiler and run it.

    Args:
        folder: A bundle.
        inputs: (n, *input shape) int8 in memory order; one array for each input of the model.
        sanitize: Build with the address and undefined-behaviour sanitizers.
        compiler: As `find_compiler` takes it.

    Returns:
        (n, *output shape) int8.

    Raises:
        ExportError: Not a bundle, inputs of another shape, no compiler, or a program that stops.
    """
    manifest = read_manifest(folder)
    arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
    samples = _interleave(manifest, arrays)
    output_shape = tuple(manifest["output"]["shape"])
    with tempfile.TemporaryDirectory(prefix="mpsearch-run-") as name:
        build = Path(name)
        (build / "runner.c").write_text(with_input_bytes(RUNNER, len(manifest["inputs"])), encoding="utf-8")
        program = build / "runner"
        _build(folder, build / "runner.c", program, sanitize, compiler)
        samples.tofile(build / "inputs.bin")
        execute_on_host([str(program), str(build / "inputs.bin"), str(build / "outputs.bin")], folder)
        outputs = np.fromfile(build / "outputs.bin", dtype=np.int8)
    wanted = (len(samples), *output_shape)
    if outputs.size != np.prod(wanted, dtype=np.int64):
        raise ExportError(f"The bundle '{folder}' wrote {outputs.size} bytes, wanted {wanted}.")
    return outputs.reshape(wanted)


def run_selftest(folder: Path, sanitize: bool = False, compiler: str | None = None) -> str:
    """Build and run a bundle's self-test; returns what it printed.

    Raises:
        ExportError: Not a bundle, no compiler, or outputs that differ.
    """
    with tempfile.TemporaryDirectory(prefix="mpsearch-run-") as name:
        program = Path(name) / "selftest"
        _build(folder, folder / "selftest.c", program, sanitize, compiler)
        return execute_on_host([str(program)], folder)


def _interleave(manifest: Manifest, arrays: list[Int8Array]) -> Int8Array:
    """Return (n, bytes of all inputs): one row a sample, as the runner reads it."""
    shapes = [tuple(entry["shape"]) for entry in manifest["inputs"]]
    found = [tuple(item.shape[1:]) for item in arrays]
    counts = {len(item) for item in arrays}
    if found != shapes or len(counts) != 1 or any(item.dtype != np.int8 for item in arrays):
        raise ExportError(
            f"The bundle takes int8 inputs of shape {', '.join(f'(n, {str(shape)[1:-1]})' for shape in shapes)}; "
            f"got {', '.join(f'{item.dtype.name} {item.shape}' for item in arrays)}.",
            "quantize the inputs with the manifest's scales and put them in memory order.",
        )
    return np.ascontiguousarray(np.concatenate([item.reshape(len(item), -1) for item in arrays], axis=1))


def compile_for_host(folder: Path, manifest: Manifest, compiler: str | None = None) -> list[str]:
    """Return the start of a command that compiles a bundle's files for this machine.

    Args:
        folder: A bundle.
        manifest: What it says about itself.
        compiler: As `find_compiler` takes it.

    Raises:
        ExportError: There is no compiler.
    """
    check_files(folder, manifest)
    return [*find_compiler(folder, compiler), *WARNINGS, *ROUNDING_FLAGS[manifest["rounding"]], "-O3", f"-I{folder}"]


def run_host_compiler(command: Sequence[str], folder: Path) -> None:
    """Run a command that starts with `compile_for_host`.

    Raises:
        ExportError: It fails.
    """
    run_compiler(command, f"The bundle '{folder}'", "the bundle was kept; try another compiler through CC.")


def _build(folder: Path, main: Path, program: Path, sanitize: bool, compiler: str | None) -> None:
    manifest = read_manifest(folder)
    command = [*compile_for_host(folder, manifest, compiler), *(SANITIZERS if sanitize else ()), "-o", str(program), str(main)]
    run_host_compiler([*command, *(str(folder / name) for name in manifest["sources"])], folder)


def execute_on_host(command: list[str], folder: Path) -> str:
    """Run a program of a bundle; returns what it printed.

    Raises:
        ExportError: It stops with anything but 0.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ExportError(f"The program of bundle '{folder}' stopped with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout
