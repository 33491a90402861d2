# SPDX-License-Identifier: Apache-2.0
"""Runs a QuantizedGraph through the C kernels in this process: the exporter's constants and plan, without compiling a bundle for each graph."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mpsearch.export.constants import ConstantBlock, build_blocks
from mpsearch.export.kernel_library import kernel_function
from mpsearch.export.memory_plan import plan_memory
from mpsearch.quant.packed_size import PARAMS_BYTES, constant_bytes, scratch_bytes, weight_owner
from mpsearch.records import Concat, QuantizedGraph

_GUARD = 64
_GUARD_VALUE = 93


class _Channels(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in ("bias", "multiplier", "right_shift", "weights"))


def run_kernels(library: ctypes.CDLL, quantized: QuantizedGraph, inputs: Sequence[npt.NDArray[np.int8]]) -> npt.NDArray[np.int8]:
    """Return the output of one sample; a kernel that writes outside the arena fails an assertion."""
    graph, plan, blocks = quantized.graph, plan_memory(quantized.graph, quantized.config), build_blocks(quantized)
    memory = np.full(plan.arena_bytes + 2 * _GUARD, _GUARD_VALUE, dtype=np.int8)
    arena = memory[_GUARD : _GUARD + plan.arena_bytes]
    offsets = dict(plan.tensor_offsets)
    for name, value in zip(graph.inputs, inputs, strict=True):
        arena[offsets[name] : offsets[name] + value.size] = value.ravel()
    stored = {layer.name: np.frombuffer(block.data(), dtype=np.uint8).copy() for layer, block in zip(graph.layers, blocks, strict=True)}
    by_name = {layer.name: block for layer, block in zip(graph.layers, blocks, strict=True)}
    for step, layer in enumerate(graph.layers):
        precision = None if layer.weight is None else quantized.config[layer.name]
        assert constant_bytes(graph, layer, precision) == stored[layer.name].size
        if not (name := kernel_function(layer, quantized.activation_bits(layer))):
            continue
        function = getattr(library, name)
        start, pointers = stored[layer.name].ctypes.data, [arena.ctypes.data + offsets[tensor] for tensor in (*layer.inputs, layer.output)]
        if layer.weight is not None:
            owner = weight_owner(graph, layer)
            places = {**_places(by_name[owner.name], stored[owner.name]), **_places(by_name[layer.name], stored[layer.name])}
            _check_scratch(library, name, start, scratch_bytes(graph, layer, precision, quantized.quantization(layer.output).bits))
            channels = _Channels(*(places[field] for field in ("bias", "multiplier", "right_shift", "weights")))
            status = _call(function, [start, ctypes.addressof(channels), *pointers, arena.ctypes.data + plan.scratch_offsets[step]])
        elif isinstance(layer.op, Concat):
            status = max(_call(function, [start + i * PARAMS_BYTES[Concat], source, pointers[-1]]) for i, source in enumerate(pointers[:-1]))
        else:
            arrays = [place for field, place in _places(by_name[layer.name], stored[layer.name]).items() if field != "params"]
            status = _call(function, [start, *arrays, *pointers])
        assert status == 0, layer.name
    assert (memory[:_GUARD] == _GUARD_VALUE).all()
    assert (memory[-_GUARD:] == _GUARD_VALUE).all()
    size = graph.tensor(graph.output).size
    return arena[offsets[graph.output] : offsets[graph.output] + size].reshape(graph.tensor(graph.output).shape).copy()


def _call(function: ctypes._FuncPointer, pointers: Sequence[int]) -> int:
    return int(function(*(ctypes.c_void_p(pointer) for pointer in pointers)))


def _places(block: ConstantBlock, data: npt.NDArray[np.uint8]) -> dict[str, int]:
    """Return the address of each array of a block."""
    at = sum(len(field.data()) for field in block.params)
    places = {}
    for field in block.arrays:
        at += -at % int(field.kind[1])
        places[field.designator] = data.ctypes.data + at
        at += len(field.data())
    return places


def _check_scratch(library: ctypes.CDLL, name: str, params: int, counted: int) -> None:
    function = getattr(library, f"{name}_scratch_bytes")
    function.restype = ctypes.c_size_t
    asked = function(ctypes.c_void_p(params))
    assert counted == -(-asked // 4) * 4, f"{name} asks for {asked} bytes of scratch, {counted} were counted"
