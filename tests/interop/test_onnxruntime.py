# SPDX-License-Identifier: Apache-2.0
"""Packed layers of every width have the accumulators that ONNX Runtime computes from the same integers (ConvInteger, MatMulInteger).

int32 sums are the same in any rounding; ours do not leave the kernel, so theirs are requantised by the NumPy definition, in both modes.
Everything is handed over as uint8: with signed weights, ONNX Runtime's kernels for older processors saturate pairs of products.
"""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.quant.requantize import requantize
from mpsearch.records import Conv2d, QuantizedGraph, Rounding
from tests.export.harness import run_kernels
from tests.export.models import GraphMaker
from tests.kernels.builds import build_library

onnx = pytest.importorskip("onnx", reason="NO ONNX: nothing was compared with ONNX Runtime", exc_type=ImportError)
onnxruntime = pytest.importorskip("onnxruntime", reason="NO ONNX RUNTIME: nothing was compared with it", exc_type=ImportError)

SEEDS = st.integers(0, 2**32 - 1)
BITS = st.integers(2, 8)


@pytest.fixture(scope="module", params=["single", "tflite_double"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ctypes.CDLL, Rounding]:
    """Every kernel in each rounding."""
    if shutil.which("gcc") is None:
        pytest.skip("NO GCC: the kernels were not built")
    return build_library(tmp_path_factory.mktemp("kernels"), "gcc-simd", rounding=request.param), request.param


def as_uint8(values: npt.NDArray[np.signedinteger]) -> npt.NDArray[np.uint8]:
    return (values.astype(np.int16) + 128).astype(np.uint8)


def accumulators(
    operator: str, x: npt.NDArray[np.uint8], weight: npt.NDArray[np.uint8], zero_point: int, **attributes: object
) -> npt.NDArray[np.int32]:
    """Run one integer operator: sums of (x - zero point) * (weight - 128)."""
    kinds = onnx.TensorProto
    constants = [("weight", weight), ("x_zero", np.uint8(zero_point + 128)), ("weight_zero", np.uint8(128))]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["x", "weight", "x_zero", "weight_zero"], ["y"], **attributes)],
        operator,
        [onnx.helper.make_tensor_value_info("x", kinds.UINT8, x.shape)],
        [onnx.helper.make_tensor_value_info("y", kinds.INT32, None)],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def assert_same(kernels: tuple[ctypes.CDLL, Rounding], quantized: QuantizedGraph, sample: npt.NDArray[np.int8]) -> None:
    library, rounding = kernels
    (layer,), (constants,), (source, output) = quantized.graph.layers, quantized.constants, quantized.quantizations
    weight, op = as_uint8(np.asarray(constants.weight)), layer.op
    if isinstance(op, Conv2d):
        top, bottom, left, right = op.padding
        image = as_uint8(sample).transpose(2, 0, 1)[np.newaxis]
        options = {"strides": op.stride, "dilations": op.dilation, "group": op.groups, "pads": (top, left, bottom, right)}
        sums = accumulators("ConvInteger", image, weight.transpose(0, 3, 1, 2), source.zero_point, **options)[0].transpose(1, 2, 0)
    else:
        sums = accumulators("MatMulInteger", as_uint8(sample), weight.T, source.zero_point)
    sums = sums.astype(np.int64) + constants.bias
    expected = requantize(sums, constants.requantize[0], output.zero_point, constants.lowest, constants.highest, rounding)
    np.testing.assert_array_equal(run_kernels(library, replace(quantized, rounding=rounding), [sample]), expected)


@given(data=st.data(), seed=SEEDS, extreme=st.booleans(), bits=BITS)
def test_convolution(kernels: tuple[ctypes.CDLL, Rounding], data: st.DataObject, seed: int, extreme: bool, bits: int) -> None:
    maker = GraphMaker(seed, extreme)
    kernel = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = data.draw(st.tuples(*[st.integers(0, 2)] * 4))
    stride = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    groups, per_group, out_per_group = data.draw(st.sampled_from([(1, 3, 5), (1, 8, 4), (1, 1, 1), (2, 2, 3), (3, 4, 2), (1, 67, 3), (16, 1, 1)]))
    size = [data.draw(st.integers(max(1, dilation[i] * (kernel[i] - 1) + 1 - sum(padding[2 * i : 2 * i + 2])), 9)) for i in (0, 1)]
    source = maker.input(*size, groups * per_group)
    output = maker.conv(source, groups * out_per_group, kernel, bits, stride=stride, padding=padding, dilation=dilation, groups=groups)
    assert_same(kernels, maker.finish(output), maker.samples(1)[0][0])


@given(seed=SEEDS, extreme=st.booleans(), bits=BITS, rows=st.integers(1, 9), inputs=st.integers(1, 300), outputs=st.integers(1, 20))
def test_dense_layer(kernels: tuple[ctypes.CDLL, Rounding], seed: int, extreme: bool, bits: int, rows: int, inputs: int, outputs: int) -> None:
    maker = GraphMaker(seed, extreme)
    assert_same(kernels, maker.finish(maker.linear(maker.input(rows, inputs), outputs, bits)), maker.samples(1)[0][0])
