# SPDX-License-Identifier: Apache-2.0
"""The packed host kernels under the sanitizers, and on an emulated Arm processor, through a small C program: the same layers, the same integers."""

from __future__ import annotations

import platform
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mpsearch.export.counting import build_plugin, plugin_flags, read_counts
from mpsearch.export.kernel_library import KERNELS
from mpsearch.quant.bitpack import pack
from mpsearch.quant.requantize import requantize
from tests.kernels.host_reference import SOURCES, WARNINGS, Fill, convolve, quantized, requantization

DENSE, CONV, DEPTHWISE = 0, 2, 4
DRIVER = Path(__file__).parent / "host_driver.c"
NEEDED = tuple(source for source in SOURCES if "/host/" in source or source.endswith("/mps_unpack.c"))


@dataclass(frozen=True)
class Job:
    """What the driver reads for one layer, and what it should answer."""

    data: bytes
    expected: npt.NDArray[np.generic]
    tolerance: npt.NDArray[np.float64] | None


def tiled(scale: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (channels, groups) scales as the kernels read them, (tiles, groups, 16)."""
    padded = np.pad(scale, ((0, -scale.shape[0] % 16), (0, 0)))
    return np.ascontiguousarray(padded.reshape(-1, 16, scale.shape[1]).transpose(0, 2, 1))


def layer_job(kind: int, floats: bool, sizes: Sequence[int], group: int, bits: int, threads: int, fill: Fill) -> Job:
    """Return one layer.

    Args:
        kind: DENSE, CONV or DEPTHWISE.
        floats: Whether activations are float.
        sizes: (rows, outputs, inputs) of a dense layer, else batch, height, width, inputs and outputs of a group, groups, kernel, stride, dilation,
            padding.
        group: Inputs that share a scale; 0 for all.
        bits: Of the weights.
        threads: To run with.
        fill: What the integers are.
    """
    random = fill.random()
    if kind == DENSE:
        rows, outputs, inputs = sizes
        weight, channels, shape, places = fill.integers(fill.weights, bits, (outputs, inputs), random), outputs, (0,) * 16, (rows, inputs)
        values = inputs
    else:
        batch, height, width, inputs, outputs, groups, kernel, stride, dilation, padding = sizes
        rows, channels, values = 0, outputs * groups, inputs * kernel * kernel
        weight = fill.integers(fill.weights, bits, (channels, kernel, kernel, inputs), random)
        places = (batch, height, width, inputs * groups)
        steps = ((stride, stride), (padding,) * 4, (dilation, dilation), groups)
        out_h, out_w = ((size + 2 * padding - (kernel - 1) * dilation - 1) // stride + 1 for size in (height, width))
        shape = (*places, out_h, out_w, channels, kernel, kernel, stride, stride, dilation, dilation, padding, padding, groups)
    zero_point = 0 if floats else int(random.integers(-128, 128))
    if floats:
        x = random.standard_normal(places).astype(np.float32)
        integers, row_scale = quantized(x.reshape(places[0], -1))
        integers = integers.reshape(places)
    else:
        x = fill.integers(fill.values, 8, places, random)
        integers = x.astype(np.int64) - zero_point
    ranges = [slice(first, first + (group or values)) for first in range(0, values, group or values)]
    if kind == DENSE:
        sums = np.stack([integers[:, part] @ weight[:, part].astype(np.int64).T for part in ranges])
    else:
        sums = convolve(integers, weight.astype(np.int64), *steps)[None]
    if floats:
        scale = random.uniform(0.1, 1, (channels, len(ranges))).astype(np.float32)
        bias = random.standard_normal(channels).astype(np.float32)
        factor = row_scale.astype(np.float64).reshape(-1, *[1] * (sums.ndim - 2))
        terms = sums * scale.T.astype(np.float64).reshape(len(ranges), *[1] * (sums.ndim - 2), channels) * factor
        expected = terms.sum(axis=0) + bias
        tolerance = 2.0**-23 * ((len(ranges) + 2) * np.abs(terms).sum(axis=0) + np.abs(expected)) + 1e-44
        stored = scale[:, 0] if kind == DEPTHWISE else np.concatenate([tiled(part) for part in np.split(scale, 1 if kind == DENSE else sizes[5])])
        arrays = [stored, x, bias, np.zeros(0), np.zeros(0)]
        numbers, result, allowed = (0, 0, 0, 0, 0), expected.astype(np.float32), tolerance
    else:
        offset = random.integers(-5000, 5000, channels).astype(np.int32)
        total = sums[0] + offset
        scales = requantization(random, channels, int(np.abs(total).max()) + 1)
        arrays = [np.zeros(0), x, offset, scales.multiplier, scales.right_shift]
        numbers = (scales.left_shift, zero_point, -5, -100, 120)
        result, allowed = requantize(total, scales, -5, -100, 120).astype(np.int8), None
    stored_weight = pack(np.ascontiguousarray(weight.reshape(channels, -1).T), bits) if kind == DEPTHWISE else weight
    parts = [np.ascontiguousarray(array).tobytes() for array in (stored_weight, *arrays)]
    count = outputs
    head = struct.pack("<8I16II4i", kind + (not floats), bits, group, rows, count, values, threads, result.nbytes, *shape, *numbers)
    return Job(head + struct.pack("<6I", *(len(part) for part in parts)) + b"".join(parts), result, allowed)


def jobs(widths: Sequence[int]) -> list[Job]:
    """Return layers of every kind, ends of ranges among them, each with an odd shape somewhere."""
    made = []
    fills = [Fill(1, "random", "random"), Fill(2, "lowest", "lowest"), Fill(3, "highest", "lowest"), Fill(4, "ends", "ends")]
    for bits in widths:
        for index, fill in enumerate(fills):
            threads = 1 + index % 2
            for sizes in [(1, 1, 1), (1, 37, 100), (3, 16, 33), (4, 33, 64), (13, 50, 131), (29, 17, 257)]:
                made.append(layer_job(DENSE, False, sizes, 0, bits, threads, fill))
            for group in (0, 32, 64, 128):
                made += [layer_job(DENSE, True, (rows, 35, 200), group, bits, threads, fill) for rows in (1, 2, 17)]
            for sizes in [(2, 7, 5, 3, 17, 1, 3, 2, 1, 1), (1, 6, 6, 32, 33, 1, 1, 1, 1, 0), (1, 9, 9, 4, 5, 3, 3, 1, 2, 2)]:
                made += [layer_job(CONV, floats, sizes, 0, bits, threads, fill) for floats in (False, True)]
            for sizes in [(2, 6, 14, 1, 1, 35, 3, 1, 1, 1), (1, 7, 7, 1, 2, 9, 2, 2, 1, 0)]:
                made += [layer_job(DEPTHWISE, floats, sizes, 0, bits, threads, fill) for floats in (False, True)]
    return made


def check(command: Sequence[str], asked: Sequence[Job]) -> None:
    done = subprocess.run(command, input=b"".join(job.data for job in asked), capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert len(done.stdout) == sum(job.expected.nbytes for job in asked)
    at = 0
    for job in asked:
        answer = np.frombuffer(done.stdout, dtype=job.expected.dtype, count=job.expected.size, offset=at).reshape(job.expected.shape)
        at += job.expected.nbytes
        if job.tolerance is None:
            np.testing.assert_array_equal(answer, job.expected)
        else:
            assert (np.abs(answer.astype(np.float64) - job.expected) <= job.tolerance).all()


def build(compiler: str, target: Path, *flags: str) -> None:
    subprocess.run([compiler, *WARNINGS, *flags, f"-I{KERNELS / 'include'}", "-o", str(target), str(DRIVER), *NEEDED], check=True)


@pytest.fixture(scope="module", params=["address,undefined", "thread"])
def sanitized(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("NO GCC: the host kernels did not run under its sanitizers")
    target: Path = tmp_path_factory.mktemp("sanitized") / "driver"
    build("gcc", target, "-O1", "-g", f"-fsanitize={request.param}", "-fno-sanitize-recover=all")
    return target


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512vnni"])
def test_no_kernel_leaves_its_arrays_or_overflows_or_races(sanitized: Path, isa: str) -> None:
    if platform.machine() != "x86_64" and isa != "scalar":
        pytest.skip(f"NO {isa.upper()} ON THIS PROCESSOR: its kernels did not run under the sanitizers")
    if subprocess.run([sanitized, isa], input=b"", capture_output=True, check=False).returncode != 0:
        pytest.skip(f"NO {isa.upper()} ON THIS PROCESSOR: its kernels did not run under the sanitizers")
    check([str(sanitized), isa], jobs(range(2, 9)))


@pytest.fixture(scope="module")
def arm_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [tool for tool in ("aarch64-linux-gnu-gcc", "qemu-aarch64") if shutil.which(tool) is None]
    if missing:
        pytest.skip(
            f"NO {' AND '.join(missing).upper()}: the NEON kernels were not run (Debian: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user)"
        )
    target: Path = tmp_path_factory.mktemp("arm") / "driver"
    build("aarch64-linux-gnu-gcc", target, "-O2", "-static")
    return target


@pytest.mark.target
@pytest.mark.parametrize("isa", ["neon", "scalar"])
def test_an_arm_processor_computes_the_same(arm_driver: Path, isa: str) -> None:
    check(["qemu-aarch64", "-cpu", "max", str(arm_driver), isa], jobs(range(2, 9)))


@pytest.fixture(scope="module")
def x86_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("qemu-x86_64") is None or platform.machine() != "x86_64":
        pytest.skip("NO QEMU-X86_64: the instructions of the AVX2 kernels were not counted (Debian: qemu-user)")
    target: Path = tmp_path_factory.mktemp("x86") / "driver"
    build("gcc", target, "-O3", "-static")
    return target


COUNTED = {
    "64 rows": (DENSE, True, (64, 128, 512), 128),
    "1 row": (DENSE, True, (1, 128, 512), 128),
    "convolution": (CONV, False, (1, 16, 16, 32, 64, 1, 3, 1, 1, 1), 0),
}


@pytest.mark.target
@pytest.mark.parametrize("layer", COUNTED)
@pytest.mark.parametrize("isa", ["avx2", "neon", "scalar"])
def test_narrower_weights_take_no_more_instructions(request: pytest.FixtureRequest, tmp_path: Path, isa: str, layer: str) -> None:
    driver, emulator = ("arm_driver", "qemu-aarch64") if isa == "neon" else ("x86_driver", "qemu-x86_64")
    program = request.getfixturevalue(driver)
    plugin, counts = build_plugin(tmp_path), {}
    kind, floats, sizes, group = COUNTED[layer]
    for bits in (2, 4, 8):
        job = layer_job(kind, floats, sizes, group, bits, 1, Fill(1, "random", "random"))
        check([emulator, "-cpu", "max", *plugin_flags(tmp_path, plugin, False), str(program), isa], [job])
        counts[bits] = read_counts((tmp_path / "count.log").read_text())[0].instructions
    # One row on plain C is unpacking and little else: 8 bits, which need none, are out of reach.
    slack = 3.5 if (isa, layer) == ("scalar", "1 row") else 1.1
    assert counts[2] <= 1.05 * counts[4] <= slack * counts[8], counts


@pytest.mark.target
def test_an_arm_processor_without_dot_product_takes_plain_c(arm_driver: Path) -> None:
    old = subprocess.run(["qemu-aarch64", "-cpu", "cortex-a53", str(arm_driver), "neon"], input=b"", capture_output=True, check=False)
    assert old.returncode == 1
    assert b"no such instruction set" in old.stderr
    check(["qemu-aarch64", "-cpu", "cortex-a53", str(arm_driver), "scalar"], jobs([2, 8]))
