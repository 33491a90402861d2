# SPDX-License-Identifier: Apache-2.0
"""Writes TensorFlow Lite models of 8-bit layers, tensor by tensor and operator by operator, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 12,
    "ADD": 2,
    "MUL": 2,
    "MEAN": 2,
    "AVERAGE_POOL_2D": 2,
    "MAX_POOL_2D": 2,
    "CONCATENATION": 2,
    "PADV2": 2,
    "STRIDED_SLICE": 2,
    "TRANSPOSE": 2,
    "RESHAPE": 1,
}
"""Operator -> the version that takes int8."""

_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "ADD": "AddOptions",
    "MUL": "MulOptions",
    "MEAN": "ReducerOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "PADV2": "PadV2Options",
    "STRIDED_SLICE": "StridedSliceOptions",
    "TRANSPOSE": "TransposeOptions",
    "RESHAPE": "ReshapeOptions",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """The quantisation of a tensor: one scale, or one for each index along an axis; the zero point is then 0."""

    scale: npt.NDArray[np.float32]
    zero_point: int = 0
    axis: int = 0


class TfliteFile:
    """Collects tensors and operators; every method returns the index of the tensor it made."""

    def __init__(self) -> None:
        self._model = schema.ModelT()
        self._model.version = 3
        self._model.buffers = [schema.BufferT()]  # the empty buffer of every tensor without constants
        self._model.operatorCodes = []
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []

    def activation(self, shape: Sequence[int], scales: Scales, name: str = "") -> int:
        return self._tensor(shape, schema.TensorType.INT8, scales, 0, name)

    def constant(self, values: npt.NDArray[np.int8] | npt.NDArray[np.int32], scales: Scales | None = None) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), dtype=np.uint8)
        self._model.buffers.append(buffer)
        kind = {"int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}[values.dtype.name]
        return self._tensor(values.shape, kind, scales, len(self._model.buffers) - 1)

    def operator(self, name: str, inputs: Sequence[int], output: int, **options: object) -> int:
        """Add an operator; its options go by the names of the schema."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(name)
        operator.inputs, operator.outputs = list(inputs), [output]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, _OPTIONS[name])
        operator.builtinOptions = getattr(schema, f"{_OPTIONS[name]}T")()
        for option, value in options.items():
            assert hasattr(operator.builtinOptions, option), option
            setattr(operator.builtinOptions, option, value)
        self._graph.operators.append(operator)
        return output

    def finish(self, inputs: Sequence[int], output: int) -> bytes:
        self._graph.inputs, self._graph.outputs = list(inputs), [output]
        self._model.subgraphs = [self._graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _code(self, name: str) -> int:
        builtin = getattr(schema.BuiltinOperator, name)
        for index, code in enumerate(self._model.operatorCodes):
            if code.builtinCode == builtin:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = VERSIONS[name]
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1

    def _tensor(self, shape: Sequence[int], kind: int, scales: Scales | None, buffer: int, name: str = "") -> int:
        tensor = schema.TensorT()
        tensor.name = name or f"t{len(self._graph.tensors)}"
        tensor.shape, tensor.type, tensor.buffer = list(shape), kind, buffer
        if scales is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.atleast_1d(scales.scale).astype(np.float32)
            tensor.quantization.zeroPoint = np.full(tensor.quantization.scale.size, scales.zero_point, dtype=np.int64)
            tensor.quantization.quantizedDimension = scales.axis
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1
