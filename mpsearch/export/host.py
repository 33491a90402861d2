# SPDX-License-Identifier: Apache-2.0
"""Building and running a bundle on this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mpsearch.errors import ExportError
from mpsearch.export.emit_project import ROUNDING_FLAGS, RUNNER, WARNINGS, with_input_bytes
from mpsearch.export.manifest import Manifest, check_files, read_manifest

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")

Int8Array = npt.NDArray[np.int8]


def run_bundle(folder: Path, inputs: Int8Array | Sequence[Int8Array], sanitize: bool = False) -> Int8Array:
    """Build a bundle with the host's C compiler and run it.

    Args:
        folder: A bundle.
        inputs: (n, *input shape) int8 in memory order; one array for each input of the model.
        sanitize: Build with the address and undefined-behaviour sanitizers.

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
        check_files(folder, manifest)
        program = _compile(folder, manifest, build / "runner.c", build / "runner", sanitize)
        samples.tofile(build / "inputs.bin")
        _execute([str(program), str(build / "inputs.bin"), str(build / "outputs.bin")], folder)
        outputs = np.fromfile(build / "outputs.bin", dtype=np.int8)
    wanted = (len(samples), *output_shape)
    if outputs.size != np.prod(wanted, dtype=np.int64):
        raise ExportError(f"The bundle '{folder}' wrote {outputs.size} bytes, wanted {wanted}.")
    return outputs.reshape(wanted)


def run_selftest(folder: Path, sanitize: bool = False) -> str:
    """Build and run a bundle's self-test; returns what it printed.

    Raises:
        ExportError: Not a bundle, no compiler, or outputs that differ.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    with tempfile.TemporaryDirectory(prefix="mpsearch-run-") as name:
        program = _compile(folder, manifest, folder / "selftest.c", Path(name) / "selftest", sanitize)
        return _execute([str(program)], folder)


def find_compiler(folder: Path) -> list[str]:
    """Return the command of the host's C compiler: $CC, else the first of cc, gcc and clang.

    Raises:
        ExportError: There is none.
    """
    chosen = shlex.split(os.environ.get("CC", ""))
    for candidate in [chosen] if chosen else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(candidate[0]):
            return candidate
    looked = f"$CC ({chosen[0]})" if chosen else "cc, gcc and clang"
    raise ExportError(
        f"No C compiler: looked for {looked} in the PATH. The bundle '{folder}' is complete and was kept.",
        "install gcc or clang, or set CC, and run it again.",
    )


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


def _compile(folder: Path, manifest: Manifest, main: Path, program: Path, sanitize: bool) -> Path:
    flags = [*WARNINGS, *ROUNDING_FLAGS[manifest["rounding"]], "-O3", *(SANITIZERS if sanitize else ()), f"-I{folder}"]
    command = [*find_compiler(folder), *flags, "-o", str(program), str(main), *(str(folder / name) for name in manifest["sources"])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ExportError(f"The C compiler {command[0]} cannot be started: {error}. The bundle '{folder}' was kept.") from error
    if done.returncode != 0:
        raise ExportError(
            f"The bundle '{folder}' does not compile with {command[0]}:\n{done.stderr[-2000:]}",
            "the bundle was kept; try another compiler through CC.",
        )
    return program


def _execute(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ExportError(f"The program of bundle '{folder}' stopped with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout
