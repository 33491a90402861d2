# SPDX-License-Identifier: Apache-2.0
"""Calls a kernel or its reference on guarded memory: any byte written outside an output or the scratch, or any input changed, fails an assertion."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt

from tests.kernels.cases import Channels, Int8Array, KernelCase

OK, BAD_ARGUMENT = 0, 1
_GUARD_BYTES = 64
_GUARD_VALUE = 93
_SCRATCH_VALUE = 0xA5


class _Channels(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in ("bias", "multiplier", "right_shift", "weights"))


class Buffer:
    """Bytes between guards.

    Args:
        content: What they hold first.
        skew: Bytes from a multiple of 4 to the first.
    """

    def __init__(self, content: npt.NDArray[np.generic] | bytes, skew: int = 0) -> None:
        first = np.frombuffer(content if isinstance(content, bytes) else content.tobytes(), dtype=np.uint8)
        self._memory = np.full(2 * _GUARD_BYTES + 3 + first.size, _GUARD_VALUE, dtype=np.uint8)
        start = _GUARD_BYTES + skew
        self.bytes = self._memory[start : start + first.size]
        self.bytes[:] = first
        self._untouched = self._memory.copy()
        self.address = self._memory.ctypes.data + start
        assert (self.address - skew) % 4 == 0

    def check(self, written: bool = False) -> None:
        """Fail where a byte changed that must not have; `written` excepts the bytes between the guards."""
        if written:
            offset = self.address - self._memory.ctypes.data
            self._untouched[offset : offset + self.bytes.size] = self.bytes
        changed = np.flatnonzero(self._memory != self._untouched) - (self.address - self._memory.ctypes.data)
        assert changed.size == 0, f"bytes {changed.tolist()} of a buffer of {self.bytes.size} were changed"


def run_kernel(library: ctypes.CDLL, case: KernelCase) -> Int8Array:
    """Return what the kernel writes; its scratch is exactly as long as it asks for."""
    status, output = _call(library, case, case.function, case.packed)
    assert status == OK
    return output


def run_c_reference(library: ctypes.CDLL, case: KernelCase) -> Int8Array:
    """Return what the reference in C writes."""
    return _call(library, case, f"{case.function}_ref", case.plain)[1]


def run_in_place(library: ctypes.CDLL, case: KernelCase, operand: int) -> Int8Array:
    """Return what an elementwise kernel writes over one of its own operands."""
    params, buffers = Buffer(case.params), [Buffer(item) for item in (*case.arrays, *case.inputs)]
    output = buffers[len(case.arrays) + operand]
    status = _function(library, case.function)(*_pointers(params.address, *(item.address for item in buffers), output.address))
    assert status == OK
    for item in (params, *buffers):
        item.check(written=item is output)
    return output.bytes.view(np.int8).reshape(case.expected.shape)


def kernel_status(library: ctypes.CDLL, case: KernelCase, scratch_bytes: int) -> int:
    """Return what a kernel answers that must refuse its arguments, and so write nothing."""
    status, output = _call(library, case, case.function, case.packed, scratch_bytes)
    np.testing.assert_array_equal(output, case.before)
    return status


def _call(library: ctypes.CDLL, case: KernelCase, name: str, channels: Channels | None, scratch_bytes: int | None = None) -> tuple[int, Int8Array]:
    params, skews = Buffer(case.params), (case.skew & 3, case.skew >> 2 & 3, case.skew >> 4 & 3)
    constants = [Buffer(item, skews[2] if item.itemsize == 1 else 0) for item in (case.arrays if channels is None else channels.arrays)]
    inputs, output = [Buffer(item, skews[0]) for item in case.inputs], Buffer(case.before, skews[1])
    places = [item.address for item in constants]
    members = _Channels(*places) if channels is not None else None
    pointers = [params.address, *(places if members is None else [ctypes.addressof(members)]), *(item.address for item in inputs), output.address]
    scratch = None
    if channels is not None and not name.endswith("_ref"):
        if scratch_bytes is None:
            ask = getattr(library, f"{name}_scratch_bytes")
            ask.restype = ctypes.c_size_t
            scratch_bytes = ask(*_pointers(params.address))
        scratch = Buffer(bytes([_SCRATCH_VALUE]) * scratch_bytes)
        pointers.append(scratch.address)
    status = _function(library, name)(*_pointers(*pointers))
    for item in (params, *constants, *inputs):
        item.check()
    for item in (output, scratch):
        if item is not None:
            item.check(written=True)
    return status, output.bytes.view(np.int8).reshape(case.before.shape)


def _function(library: ctypes.CDLL, name: str) -> ctypes._FuncPointer:
    function = getattr(library, name)
    function.restype = None if name.endswith("_ref") else ctypes.c_int
    return function


def _pointers(*addresses: int) -> tuple[ctypes.c_void_p, ...]:
    return tuple(ctypes.c_void_p(address) for address in addresses)
