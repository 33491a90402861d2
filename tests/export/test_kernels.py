# SPDX-License-Identifier: Apache-2.0
"""Every kernel against the NumPy interpreter, over shapes, strides, padding, dilation, groups, bit-widths, zero points and extreme values."""

from __future__ import annotations

import ctypes
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.records import QuantizedGraph
from tests.export.harness import build_kernels, run_kernels
from tests.export.models import GraphMaker
from tests.export.reference import run_reference

SEEDS = st.integers(0, 2**32 - 1)
BITS = st.integers(2, 8)


@pytest.fixture(scope="session", params=["gcc", "clang", "gcc-simd"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Every kernel, compiled without a warning; undefined behaviour stops the gcc builds. The third takes the paths of Armv7E-M."""
    compiler, _, simd = request.param.partition("-")
    if shutil.which(compiler) is None:
        pytest.skip(f"NO {compiler.upper()}: the kernels were not built with it")
    folder = tmp_path_factory.mktemp("kernels")
    return build_kernels(folder, compiler, sanitize=compiler == "gcc", simd=bool(simd))  # a clang library lacks its runtime


def assert_same(kernels: ctypes.CDLL, maker: GraphMaker, quantized: QuantizedGraph, samples: int = 2) -> None:
    inputs = maker.samples(samples)
    for i in range(samples):
        given_inputs = [item[i] for item in inputs]
        np.testing.assert_array_equal(run_kernels(kernels, quantized, given_inputs), run_reference(quantized, given_inputs))


@given(data=st.data(), seed=SEEDS, extreme=st.booleans(), bits=BITS)
def test_convolution_equals_the_reference(kernels: ctypes.CDLL, data: st.DataObject, seed: int, extreme: bool, bits: int) -> None:
    maker = GraphMaker(seed, extreme)
    kernel = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = data.draw(st.tuples(*[st.integers(0, 2)] * 4))
    stride = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    groups, per_group, out_per_group = data.draw(st.sampled_from([(1, 3, 5), (1, 8, 4), (1, 1, 1), (2, 2, 3), (3, 4, 2), (1, 67, 3)]))
    size = [data.draw(st.integers(max(1, dilation[i] * (kernel[i] - 1) + 1 - sum(padding[2 * i : 2 * i + 2])), 9)) for i in (0, 1)]
    source = maker.input(*size, groups * per_group)
    output = maker.conv(source, groups * out_per_group, kernel, bits, stride=stride, padding=padding, dilation=dilation, groups=groups)
    assert_same(kernels, maker, maker.finish(output))


@given(data=st.data(), seed=SEEDS, extreme=st.booleans(), bits=BITS)
def test_depthwise_convolution_equals_the_reference(kernels: ctypes.CDLL, data: st.DataObject, seed: int, extreme: bool, bits: int) -> None:
    maker = GraphMaker(seed, extreme)
    channels, multiplier = data.draw(st.sampled_from([(2, 1), (5, 1), (16, 1), (67, 1), (131, 1), (3, 2), (2, 5), (40, 3)]))
    kernel = data.draw(st.sampled_from([(3, 3), (1, 3), (5, 5), (4, 2)]))
    padding = data.draw(st.tuples(*[st.integers(0, 3)] * 4))
    stride = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    size = [data.draw(st.integers(kernel[i], 8)) for i in (0, 1)]
    source = maker.input(*size, channels)
    output = maker.conv(source, channels * multiplier, kernel, bits, stride=stride, padding=padding, groups=channels)
    assert_same(kernels, maker, maker.finish(output), samples=1)


@given(seed=SEEDS, extreme=st.booleans(), bits=BITS, rows=st.integers(1, 9), inputs=st.integers(1, 70), outputs=st.integers(1, 9))
def test_dense_layer_equals_the_reference(kernels: ctypes.CDLL, seed: int, extreme: bool, bits: int, rows: int, inputs: int, outputs: int) -> None:
    maker = GraphMaker(seed, extreme)
    assert_same(kernels, maker, maker.finish(maker.linear(maker.input(rows, inputs), outputs, bits)))


def test_large_windows_gather_fewer_pixels_at_once(kernels: ctypes.CDLL) -> None:
    maker = GraphMaker(3)
    assert_same(kernels, maker, maker.finish(maker.conv(maker.input(6, 5, 64), 3, (3, 3), 5, padding=(1, 1, 1, 1))), samples=1)


@given(
    seed=SEEDS,
    extreme=st.booleans(),
    product=st.booleans(),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    ones=st.tuples(*[st.integers(0, 15)] * 2),
)
def test_elementwise_ops_equal_the_reference(
    kernels: ctypes.CDLL, seed: int, extreme: bool, product: bool, shape: list[int], ones: tuple[int, int]
) -> None:
    maker = GraphMaker(seed, extreme)
    operands = [maker.input(*(1 if mask >> axis & 1 else size for axis, size in enumerate(shape))) for mask in ones]
    assert_same(kernels, maker, maker.finish((maker.mul if product else maker.add)(*operands)), samples=4)


@given(seed=SEEDS, extreme=st.booleans(), shape=st.lists(st.integers(1, 6), min_size=1, max_size=4), mask=st.integers(1, 15), keep=st.booleans())
def test_mean_equals_the_reference(kernels: ctypes.CDLL, seed: int, extreme: bool, shape: list[int], mask: int, keep: bool) -> None:
    axes = tuple(axis for axis in range(len(shape)) if mask >> axis & 1) or (0,)
    maker = GraphMaker(seed, extreme)
    assert_same(kernels, maker, maker.finish(maker.mean(maker.input(*shape), axes, keep)))


@given(data=st.data(), seed=SEEDS, extreme=st.booleans(), average=st.booleans(), whole=st.booleans())
def test_pooling_equals_the_reference(kernels: ctypes.CDLL, data: st.DataObject, seed: int, extreme: bool, average: bool, whole: bool) -> None:
    maker = GraphMaker(seed, extreme)
    kernel = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(data.draw(st.integers(0, (kernel[i // 2]) // 2)) for i in range(4))
    stride = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    source = maker.input(*(data.draw(st.integers(kernel[i], 8)) for i in (0, 1)), data.draw(st.integers(1, 5)))
    pool = maker.avg_pool(source, kernel, stride, padding, whole) if average else maker.max_pool(source, kernel, stride, padding)
    assert_same(kernels, maker, maker.finish(pool))


@given(data=st.data(), seed=SEEDS, shape=st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_copies_equal_the_reference(kernels: ctypes.CDLL, data: st.DataObject, seed: int, shape: list[int]) -> None:
    maker = GraphMaker(seed)
    rank = len(shape)
    value = maker.input(*shape)
    value = maker.transpose(value, data.draw(st.permutations(range(rank))))
    value = maker.pad(value, *(data.draw(st.lists(st.integers(0, 2), min_size=rank, max_size=rank)) for _ in range(2)))
    bounds = [sorted(data.draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True))) for size in maker.shape(value)]
    steps = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    part = maker.slice(value, [low for low, _ in bounds], [high for _, high in bounds], steps)
    axis = data.draw(st.integers(0, rank - 1))
    joined = maker.concat([part, maker.unary(part), part], axis)
    assert_same(kernels, maker, maker.finish(maker.reshape(joined, int(np.prod(maker.shape(joined))))))


@given(seed=SEEDS)
def test_every_table_entry_is_reached(kernels: ctypes.CDLL, seed: int) -> None:
    maker = GraphMaker(seed)
    quantized = maker.finish(maker.unary(maker.input(256)))
    everything = np.arange(-128, 128).astype(np.int8)
    np.testing.assert_array_equal(run_kernels(kernels, quantized, [everything]), quantized.constants[0].table)


@given(seed=SEEDS, bits=BITS)
def test_layers_that_share_weights_store_them_once(kernels: ctypes.CDLL, seed: int, bits: int) -> None:
    maker = GraphMaker(seed)
    value = maker.linear(maker.input(3, 12), 12, bits, key="tied")
    quantized = maker.finish(maker.linear(value, 12, bits, key="tied"))
    assert_same(kernels, maker, quantized)


@given(seed=SEEDS, bits=BITS, per_group=st.integers(1, 5), groups=st.integers(1, 3), pad=st.integers(0, 2))
def test_convolution_in_numpy_and_in_plain_c_agree(kernels: ctypes.CDLL, seed: int, bits: int, per_group: int, groups: int, pad: int) -> None:
    from mpsearch.export.constants import build_blocks

    maker = GraphMaker(seed)
    source = maker.input(5, 4, groups * per_group)
    quantized = maker.finish(maker.conv(source, groups * 2, (3, 2), bits, padding=(pad, pad, pad, 0), groups=groups))
    (sample,) = (item[0] for item in maker.samples(1))
    params = b"".join(field.data() for field in build_blocks(quantized)[0].params)
    constants = quantized.constants[0]
    rescale = constants.requantize[0]
    output = np.zeros(quantized.graph.tensor(quantized.graph.output).shape, dtype=np.int8)
    arrays = [constants.bias, rescale.multiplier, rescale.right_shift, constants.weight, sample, output]
    kernels.mps_conv2d_ref(params, *(ctypes.c_void_p(array.ctypes.data) for array in arrays))
    np.testing.assert_array_equal(output, run_reference(quantized, [sample]))
