# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mpsearch.errors import QuantizationError
from mpsearch.quant import native
from mpsearch.quant.host_kernels import PackedDense, host_isa, use_host_isa
from mpsearch.quant.requantize import requantize
from mpsearch.records import Requantize
from tests.kernels.host_reference import (
    ISAS,
    Fill,
    Longs,
    assert_guards_stand,
    guarded,
    in_place_of_the_package,
    quantized,
    requantization,
    taken_isa,
)

WIDTHS = range(2, 9)
ONE = Requantize(multiplier=np.array([1 << 30]), right_shift=np.array([1]))  # scale 2^-3


@pytest.fixture(scope="module")
def library(built_library: Path) -> Iterator[Path]:
    yield from in_place_of_the_package(built_library)


@pytest.fixture(scope="module", params=ISAS)
def isa(request: pytest.FixtureRequest, library: Path) -> Iterator[str]:
    yield from taken_isa(request.param)


fills = st.builds(
    Fill,
    seed=st.integers(0, 2**32 - 1),
    weights=st.sampled_from(["random", "lowest", "highest", "ends"]),
    values=st.sampled_from(["random", "lowest", "highest", "ends"]),
)
sizes = {"rows": st.integers(1, 30), "outputs": st.integers(1, 70), "inputs": st.integers(1, 300)}


@given(fill=fills, **sizes, bits=st.sampled_from(WIDTHS), zero_point=st.integers(-128, 127), threads=st.integers(1, 3))
@example(fill=Fill(0, "lowest", "lowest"), rows=1, outputs=1, inputs=1, bits=8, zero_point=127, threads=1)
@example(fill=Fill(0, "lowest", "lowest"), rows=13, outputs=33, inputs=4099, bits=8, zero_point=127, threads=2)
@example(fill=Fill(0, "highest", "lowest"), rows=4, outputs=16, inputs=4096, bits=7, zero_point=-128, threads=2)
@example(fill=Fill(0, "highest", "lowest"), rows=1, outputs=16, inputs=4096, bits=4, zero_point=0, threads=2)
def test_integers_equal_the_reference_bit_for_bit(
    isa: str, fill: Fill, rows: int, outputs: int, inputs: int, bits: int, zero_point: int, threads: int
) -> None:
    random = fill.random()
    weight = fill.integers(fill.weights, bits, (outputs, inputs), random)
    x = fill.integers(fill.values, 8, (rows, inputs), random)
    bias = random.integers(-5000, 5000, outputs)
    sums = (x.astype(np.int64) - zero_point) @ weight.astype(np.int64).T + bias
    scales = requantization(random, outputs, np.abs(sums).max() + 1)
    output_zero_point, (lowest, highest) = int(random.integers(-128, 128)), sorted(random.integers(-128, 128, 2).tolist())
    memory, out = guarded((rows, outputs), np.int8)
    layer = PackedDense(weight, None, bits)
    layer.multiply_integers(x, zero_point, bias, scales, output_zero_point, lowest, highest, threads, out)
    np.testing.assert_array_equal(out, requantize(sums, scales, output_zero_point, lowest, highest))
    assert_guards_stand(memory)


@given(fill=fills, **sizes, bits=st.sampled_from(WIDTHS), group_size=st.sampled_from([None, 32, 64, 128]), has_bias=st.booleans())
@example(fill=Fill(0, "lowest", "ends"), rows=14, outputs=48, inputs=2049, bits=8, group_size=128, has_bias=True)
def test_floats_equal_the_reference_to_rounding_and_for_every_number_of_threads(
    isa: str, fill: Fill, rows: int, outputs: int, inputs: int, bits: int, group_size: int | None, has_bias: bool
) -> None:
    random = fill.random()
    weight = fill.integers(fill.weights, bits, (outputs, inputs), random)
    x = (random.standard_normal((rows, inputs)) * 10.0 ** random.integers(-20, 20, (rows, 1))).astype(np.float32)
    groups = 1 if group_size is None else -(-inputs // group_size)
    scale = random.uniform(0.01, 1, (outputs, groups)).astype(np.float32)
    bias = random.standard_normal(outputs).astype(np.float32) if has_bias else None
    layer = PackedDense(weight, scale[:, 0] if group_size is None else scale, bits, group_size)
    memory, out = guarded((rows, outputs), np.float32)
    layer.multiply(x, bias, out=out)
    assert_guards_stand(memory)
    sums, row_scale = group_sums(x, weight, group_size)
    terms = sums * scale.T.astype(np.float64)[:, None, :] * row_scale
    expected = terms.sum(axis=0) + (0 if bias is None else bias)
    # float32 rounds once a group to sum, once to scale, once with the bias
    bound = 2.0**-23 * ((groups + 2) * np.abs(terms).sum(axis=0) + np.abs(expected)) + 1e-44
    assert (np.abs(out.astype(np.float64) - expected) <= bound).all()
    for threads in (2, 3):
        np.testing.assert_array_equal(layer.multiply(x, bias, threads), out)


def group_sums(x: npt.NDArray[np.float32], weight: npt.NDArray[np.int8], group_size: int | None) -> tuple[Longs, npt.NDArray[np.float64]]:
    """Return the exact integer sums, (groups, rows, outputs), and the scale of every row."""
    values, row_scale = quantized(x)
    step = group_size or x.shape[1]
    starts = range(0, x.shape[1], step)
    sums = np.stack([values[:, first : first + step] @ weight[:, first : first + step].astype(np.int64).T for first in starts])
    return sums, row_scale.astype(np.float64)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_activations_are_rounded_half_to_even(isa: str, bits: int, rows: int) -> None:
    # The largest is 127, so the scale is 1 and the outputs are the rounded inputs themselves.
    x = np.tile(np.array([127, -0.5, 0.5, 1.5, -1.5, 2.5, 3.4999, -126.5, 126.5], dtype=np.float32), (rows, 1))
    weight = np.eye(9, dtype=np.int8)
    assert PackedDense(weight, np.ones(9), bits).multiply(x)[rows - 1].tolist() == [127, 0, 0, 2, -2, 2, 3, -126, 126]


@pytest.mark.parametrize("rows", [1, 7])
def test_rows_that_hold_no_number_come_out_as_nan_and_others_do_not(isa: str, rows: int) -> None:
    x = np.ones((rows + 4, 40), dtype=np.float32)
    x[rows, 3], x[rows + 1, 39], x[rows + 2] = np.nan, -np.inf, 0
    x[rows + 3] = 1e-38  # below 2^-100: zero
    y = PackedDense(np.ones((3, 40), dtype=np.int8), np.ones(3), 4).multiply(x, bias=[1, 2, 3])
    assert np.isnan(y[rows : rows + 2]).all()
    np.testing.assert_array_equal(y[:rows], np.tile([41, 42, 43], (rows, 1)))
    np.testing.assert_array_equal(y[rows + 2 :], [[1, 2, 3]] * 2)


def test_a_row_does_not_depend_on_the_rows_beside_it(isa: str) -> None:
    random = np.random.default_rng(3)
    layer = PackedDense(random.integers(-8, 8, (50, 200)).astype(np.int8), random.random((50, 4)), 4, 64)
    x = random.standard_normal((29, 200)).astype(np.float32)
    alone = np.concatenate([layer.multiply(x[i : i + 1]) for i in range(29)])
    np.testing.assert_array_equal(layer.multiply(x), alone)


def test_weights_may_lie_anywhere_and_copies_compute_the_same(isa: str) -> None:
    random = np.random.default_rng(5)
    x = random.standard_normal((20, 96)).astype(np.float32)
    for bits in WIDTHS:
        layer = PackedDense(random.integers(-2, 2, (40, 96)).astype(np.int8), random.random(40), bits)
        expected = layer.multiply(x)
        copied: PackedDense = pickle.loads(pickle.dumps(layer))
        memory = np.zeros(layer.packed_bytes + 1, dtype=np.uint8)
        memory[1:] = copied._packed
        copied._packed = memory[1:]
        for rows in (1, 20):
            np.testing.assert_array_equal(copied.multiply(x[:rows]), expected[:rows])


def test_layers_run_from_several_threads_at_once(isa: str) -> None:
    random = np.random.default_rng(4)
    layer = PackedDense(random.integers(-8, 8, (300, 256)).astype(np.int8), random.random(300), 4)
    inputs = [random.standard_normal((rows, 256)).astype(np.float32) for rows in (1, 3, 40, 100)] * 8
    expected = [layer.multiply(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(lambda x: layer.multiply(x, threads=3), inputs), expected, strict=True):
            np.testing.assert_array_equal(one, other)


@given(fill=fills, outputs=st.integers(1, 40), inputs=st.integers(1, 100), bits=st.sampled_from(WIDTHS))
def test_unpacking_undoes_packing(fill: Fill, outputs: int, inputs: int, bits: int) -> None:
    weight = fill.integers(fill.weights, bits, (outputs, inputs), fill.random())
    layer = PackedDense(weight, None, bits)
    np.testing.assert_array_equal(layer.unpack(), weight)
    assert layer.packed_bytes == -(-outputs // 16) * -(-inputs // 32) * 64 * bits


def test_the_bytes_of_a_block_are_those_of_the_format() -> None:
    # Weight -3 of 3 bits is stored as 1 = 0b001, the weight 0 around it as 4 = 0b100. It stands in channel 2 at value 5: quad 1, byte 2 * 4 + 1.
    weight = np.zeros((3, 6), dtype=np.int8)
    weight[2, 5] = -3
    packed = PackedDense(weight, None, 3)._packed
    low, high = np.zeros(128, dtype=np.uint8), np.full(64, 0xFF, dtype=np.uint8)
    low[9] = 1 << 2  # plane of 2 bits: four quads a row, quad 1 in bits 2-3
    high[9] = 0xFD  # plane of 1 bit: eight quads a row, quad 1 in bit 1
    np.testing.assert_array_equal(packed, np.concatenate([low, high]))


@pytest.mark.parametrize(
    ("bits", "row", "value"),
    [
        (2, [0xAA, 0xAA], {0: 0xAA ^ 0b11 << 6}),  # -1 -> 1, 0 -> 2
        (4, [0x88] * 4, {1: 0x78}),  # -1 -> 7, 0 -> 8
        (5, [0x00] * 4 + [0xFF], {1: 0xF0, 4: 0xF7}),  # -1 -> 15 = 0|1111, 0 -> 16 = 1|0000
        (6, [0x00] * 4 + [0xAA] * 2, {1: 0xF0, 4: 0x6A}),  # -1 -> 31 = 01|1111, 0 -> 32 = 10|0000
        (7, [0x00] * 4 + [0x00] * 2 + [0xFF], {1: 0xF0, 4: 0xC0, 6: 0xF7}),  # -1 -> 63 = 0|11|1111, 0 -> 64 = 1|00|0000
        (8, [0x80] * 8, {3: 0x7F}),
    ],
)
def test_every_width_has_its_planes_in_order(bits: int, row: list[int], value: dict[int, int]) -> None:
    # One weight of -1 in channel 15 at value 12: quad 3, byte 60 of a row; everything else is 0.
    weight = np.zeros((16, 32), dtype=np.int8)
    weight[15, 12] = -1
    expected = np.repeat(np.array(row, dtype=np.uint8)[:, None], 64, axis=1)
    for index, byte in value.items():
        expected[index, 60] = byte
    np.testing.assert_array_equal(PackedDense(weight, None, bits)._packed.reshape(-1, 64), expected)


def test_arrays_that_do_not_fit_are_refused() -> None:
    weight = np.zeros((3, 40), dtype=np.int8)
    layer, x = PackedDense(weight, np.ones(3), 4), np.zeros((2, 40), dtype=np.float32)
    with pytest.raises(QuantizationError, match=r"got an input of float64 and shape \(2, 40\), wanted float32 with 40 channels last"):
        layer.multiply(x.astype(np.float64))
    with pytest.raises(QuantizationError, match=r"got an input of float32 and shape \(2, 39\)"):
        layer.multiply(x[:, :39])
    with pytest.raises(QuantizationError, match=r"got a bias of shape \(4,\), wanted \(3,\)"):
        layer.multiply(x, np.zeros(4))
    with pytest.raises(QuantizationError, match="got 0 threads"):
        layer.multiply(x, threads=0)
    with pytest.raises(QuantizationError, match=r"`out` is float32 of shape \(3, 2\)"):
        layer.multiply(x, out=np.zeros((3, 2), dtype=np.float32))
    with pytest.raises(QuantizationError, match="packed without a scale"):
        PackedDense(weight, None, 4).multiply(x)
    two = Requantize(multiplier=np.array([1 << 30] * 2), right_shift=np.array([1, 1]))
    with pytest.raises(QuantizationError, match="got 2 multipliers, wanted 1 or 3"):
        layer.multiply_integers(x.astype(np.int8), 0, None, two, 0)
    with pytest.raises(QuantizationError, match="got zero points 0 and 200"):
        layer.multiply_integers(x.astype(np.int8), 0, None, ONE, 200)


def test_weights_that_do_not_fit_are_refused() -> None:
    weight = np.full((3, 40), 8, dtype=np.int8)
    with pytest.raises(QuantizationError, match=r"they span \[8, 8\], but 4 bits hold \[-8, 7\]"):
        PackedDense(weight, None, 4)
    with pytest.raises(QuantizationError, match="got 9 bits, wanted 2 to 8"):
        PackedDense(weight, None, 9)
    with pytest.raises(QuantizationError, match="got a group size of 48, wanted 32, 64, 128"):
        PackedDense(weight, None, 5, 48)
    with pytest.raises(QuantizationError, match=r"got scales of shape \(3,\), wanted \(3, 2\)"):
        PackedDense(weight, np.ones(3), 5, 32)
    with pytest.raises(QuantizationError, match="got int64 of shape"):
        PackedDense(weight.astype(np.int64), None, 5)
    with pytest.raises(QuantizationError, match="65537 weights an output may overflow"):
        PackedDense(np.zeros((1, 65537), dtype=np.int8), None, 8)


def test_no_rows_give_no_rows() -> None:
    layer = PackedDense(np.ones((3, 5), dtype=np.int8), np.ones(3), 2)
    assert layer.multiply(np.zeros((0, 5), dtype=np.float32)).shape == (0, 3)
    assert layer.multiply(np.zeros((2, 0, 5), dtype=np.float32)).shape == (2, 0, 3)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_the_environment_chooses_the_instruction_set() -> None:
    done = run_python("from mpsearch.quant.host_kernels import host_isa; print(host_isa())", MPS_ISA="scalar")
    assert (done.returncode, done.stdout.strip()) == (0, "scalar"), done.stderr


def test_an_instruction_set_that_is_not_to_be_had_is_an_error() -> None:
    code = "import numpy as np; from mpsearch.quant.host_kernels import PackedDense\n"
    code += "PackedDense(np.ones((1, 1), np.int8), [1], 2).multiply(np.ones((1, 1), np.float32))"
    done = run_python(code, MPS_ISA="altivec")
    assert done.returncode == 1
    assert "MPS_ISA or the call: got 'altivec', but this processor or build has no such kernels. Hint: scalar runs everywhere" in done.stderr
    with pytest.raises(QuantizationError, match="MPS_ISA or the call: got 'altivec'"):
        use_host_isa("altivec")
    assert host_isa() in ISAS


def test_a_forked_child_computes_with_threads_of_its_own() -> None:
    code = """
import os, numpy as np
from mpsearch.quant.host_kernels import PackedDense
layer, x = PackedDense(np.ones((512, 64), np.int8), np.ones(512), 2), np.ones((64, 64), np.float32)
expected = layer.multiply(x, threads=2)
child = os.fork()
if child == 0:
    os._exit(0 if (layer.multiply(x, threads=2) == expected).all() else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_package_without_the_library_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "missing.so")
    native.native_library.cache_clear()
    with pytest.raises(QuantizationError, match="There are no packed host kernels at"):
        PackedDense(np.ones((1, 1), dtype=np.int8), None, 2)
    native.native_library.cache_clear()
