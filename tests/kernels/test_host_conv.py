# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mpsearch.errors import QuantizationError
from mpsearch.quant.host_kernels import PackedConv2d
from mpsearch.quant.requantize import requantize
from tests.kernels.host_reference import (
    ISAS,
    Fill,
    assert_guards_stand,
    convolve,
    guarded,
    in_place_of_the_package,
    quantized,
    requantization,
    taken_isa,
)


@pytest.fixture(scope="module")
def library(built_library: Path) -> Iterator[Path]:
    yield from in_place_of_the_package(built_library)


@pytest.fixture(scope="module", params=ISAS)
def isa(request: pytest.FixtureRequest, library: Path) -> Iterator[str]:
    yield from taken_isa(request.param)


@dataclass(frozen=True)
class Shape:
    """Of a convolution; `depthwise` takes one input channel a group, `outputs` of each group."""

    batch: int
    size: tuple[int, int]
    inputs: int
    outputs: int
    groups: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]

    @property
    def weight(self) -> tuple[int, int, int, int]:
        return self.outputs * self.groups, *self.kernel, self.inputs

    @property
    def input(self) -> tuple[int, int, int, int]:
        return self.batch, *self.size, self.inputs * self.groups

    def fits(self) -> bool:
        top, bottom, left, right = self.padding
        room = (self.size[0] + top + bottom, self.size[1] + left + right)
        return all((kernel - 1) * step < have for kernel, step, have in zip(self.kernel, self.dilation, room, strict=True))

    def steps(self) -> tuple[tuple[int, int], tuple[int, int, int, int], tuple[int, int], int]:
        return self.stride, self.padding, self.dilation, self.groups


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


def shapes(inputs: st.SearchStrategy[int], outputs: st.SearchStrategy[int], groups: st.SearchStrategy[int]) -> st.SearchStrategy[Shape]:
    sides = st.tuples(*[st.integers(0, 2)] * 4)
    return st.builds(
        Shape,
        batch=st.integers(1, 3),
        size=pairs(1, 9),
        inputs=inputs,
        outputs=outputs,
        groups=groups,
        kernel=pairs(1, 4),
        stride=pairs(1, 3),
        padding=sides,
        dilation=pairs(1, 2),
    )


plain = shapes(st.sampled_from([1, 3, 4, 8, 16, 20, 32, 33]), st.integers(1, 40), st.just(1))
grouped = shapes(st.integers(1, 8), st.integers(1, 20), st.integers(2, 4))
depthwise = shapes(st.just(1), st.integers(1, 3), st.sampled_from([2, 3, 8, 31, 32, 33, 64, 70]))
fills = st.builds(
    Fill,
    seed=st.integers(0, 2**32 - 1),
    weights=st.sampled_from(["random", "lowest", "highest", "ends"]),
    values=st.sampled_from(["random", "lowest", "highest", "ends"]),
)
FIRST_LAYER = Shape(2, (16, 16), 3, 16, 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
POINTWISE = Shape(1, (5, 5), 64, 64, 1, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1))


@given(fill=fills, shape=st.one_of(plain, grouped, depthwise), bits=st.integers(2, 8), zero_point=st.integers(-128, 127), threads=st.integers(1, 3))
@example(fill=Fill(0, "lowest", "lowest"), shape=FIRST_LAYER, bits=8, zero_point=127, threads=2)
@example(fill=Fill(0, "lowest", "lowest"), shape=POINTWISE, bits=8, zero_point=127, threads=1)
def test_integers_equal_the_reference_bit_for_bit(isa: str, fill: Fill, shape: Shape, bits: int, zero_point: int, threads: int) -> None:
    assume(shape.fits())
    random = fill.random()
    weight, x = fill.integers(fill.weights, bits, shape.weight, random), fill.integers(fill.values, 8, shape.input, random)
    bias = random.integers(-5000, 5000, weight.shape[0])
    sums = convolve(x.astype(np.int64) - zero_point, weight.astype(np.int64), *shape.steps()) + bias
    scales = requantization(random, weight.shape[0], np.abs(sums).max() + 1)
    output_zero_point, (lowest, highest) = int(random.integers(-128, 128)), sorted(random.integers(-128, 128, 2).tolist())
    memory, out = guarded(sums.shape, np.int8)
    layer = PackedConv2d(weight, None, bits, *shape.steps())
    layer.convolve_integers(x, zero_point, bias, scales, output_zero_point, lowest, highest, threads, out)
    np.testing.assert_array_equal(out, requantize(sums, scales, output_zero_point, lowest, highest))
    assert_guards_stand(memory)


@given(fill=fills, shape=st.one_of(plain, grouped, depthwise), bits=st.integers(2, 8), has_bias=st.booleans())
@example(fill=Fill(0, "random", "random"), shape=FIRST_LAYER, bits=8, has_bias=True)
@example(fill=Fill(0, "random", "random"), shape=POINTWISE, bits=4, has_bias=True)
def test_floats_equal_the_reference_to_rounding_and_for_every_number_of_threads(
    isa: str, fill: Fill, shape: Shape, bits: int, has_bias: bool
) -> None:
    assume(shape.fits())
    random = fill.random()
    weight = fill.integers(fill.weights, bits, shape.weight, random)
    x = (random.standard_normal(shape.input) * 10.0 ** random.integers(-9, 9, (shape.batch, 1, 1, 1))).astype(np.float32)
    scale = random.uniform(0.01, 1, weight.shape[0]).astype(np.float32)
    bias = random.standard_normal(weight.shape[0]).astype(np.float32) if has_bias else None
    values, step = quantized(x.reshape(shape.batch, -1))
    sums = convolve(values.reshape(x.shape), weight.astype(np.int64), *shape.steps())
    products = sums * scale.astype(np.float64) * step.astype(np.float64).reshape(-1, 1, 1, 1)
    expected = products + (0 if bias is None else bias)
    layer = PackedConv2d(weight, scale, bits, *shape.steps())
    memory, out = guarded(sums.shape, np.float32)
    layer.convolve(x, bias, out=out)
    assert_guards_stand(memory)
    assert (np.abs(out - expected) <= 2.0**-23 * (3 * np.abs(products) + np.abs(expected)) + 1e-44).all()
    for threads in (2, 3):
        np.testing.assert_array_equal(layer.convolve(x, bias, threads), out)


def test_samples_have_scales_of_their_own(isa: str) -> None:
    x = np.zeros((3, 1, 1, 4), dtype=np.float32)
    x[0, ..., 0], x[1, ..., 1], x[2, ..., 2] = 127, 1e6, np.nan
    y = PackedConv2d(np.ones((1, 1, 1, 4), dtype=np.int8), np.ones(1), 2).convolve(x).ravel()
    assert y[:2].tolist() == [127, 1e6]
    assert np.isnan(y[2])


def test_sizes_that_do_not_fit_are_refused() -> None:
    weight = np.zeros((4, 3, 3, 2), dtype=np.int8)
    with pytest.raises(QuantizationError, match="4 output channels do not divide into 3 groups"):
        PackedConv2d(weight, None, 4, groups=3)
    with pytest.raises(QuantizationError, match=r"got stride \(0, 1\)"):
        PackedConv2d(weight, None, 4, stride=(0, 1))
    layer = PackedConv2d(weight, np.ones(4), 4)
    with pytest.raises(QuantizationError, match=r"an input of 2x9 with padding .* is smaller than a kernel that spans 3x3"):
        layer.convolve(np.zeros((1, 2, 9, 2), dtype=np.float32))
    with pytest.raises(QuantizationError, match=r"wanted \(batch, height, width, 2\)"):
        layer.convolve(np.zeros((2, 9, 2), dtype=np.float32))
    with pytest.raises(QuantizationError, match="packed without a scale"):
        PackedConv2d(weight, None, 4).convolve(np.zeros((1, 3, 3, 2), dtype=np.float32))


def test_an_empty_batch_gives_an_empty_batch() -> None:
    layer = PackedConv2d(np.ones((4, 3, 3, 2), dtype=np.int8), np.ones(4), 2, padding=(1, 1, 1, 1))
    assert layer.convolve(np.zeros((0, 5, 6, 2), dtype=np.float32)).shape == (0, 5, 6, 4)
