# SPDX-License-Identifier: Apache-2.0
"""The functions and structures of kernels/include/mps/mps_host.h, as ctypes sees them, and the choice of the instruction set."""

from __future__ import annotations

import ctypes
import functools
import os

from mpsearch.errors import QuantizationError
from mpsearch.quant.native import LIBRARY, native_library

_NO_MEMORY, _NO_SUCH_ISA = 2, 3


class WeightsStruct(ctypes.Structure):
    """mps_host_weights."""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("output_c", "input_c", "bits", "group")),
        *((name, ctypes.c_void_p) for name in ("weights", "sums", "scale")),
    )


class RequantizeStruct(ctypes.Structure):
    """mps_host_requantize."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("bias", "multiplier", "right_shift")),
        ("left_shift", ctypes.c_uint32),
        *((name, ctypes.c_int32) for name in ("input_zero_point", "output_zero_point", "lowest", "highest")),
    )


class Conv2dStruct(ctypes.Structure):
    """mps_host_conv2d."""

    _fields_ = tuple(
        (name, ctypes.c_uint32)
        for name in (
            *("batch", "input_h", "input_w", "input_c", "output_h", "output_w", "output_c", "kernel_h", "kernel_w"),
            *("stride_h", "stride_w", "dilation_h", "dilation_w", "pad_top", "pad_left", "groups"),
        )
    )


def host_isa() -> str:
    """Return the instruction set in use: "avx512vnni", "avx2", "neon" or "scalar".

    Raises:
        QuantizationError: There is no native library, or MPS_ISA asks for an instruction set that is not to be had.
    """
    name = host_library().mps_host_isa()
    if name is None:
        raise _no_such_isa(os.environ.get("MPS_ISA", ""))
    return str(name.decode())


def use_host_isa(name: str | None) -> None:
    """Take another instruction set for all layers from now on; not while one runs.

    Args:
        name: As `host_isa` names them; None goes back to what MPS_ISA says, or to the best.

    Raises:
        QuantizationError: It is not to be had on this processor.
    """
    if host_library().mps_host_use_isa(None if name is None else name.encode()) != 0:
        raise _no_such_isa(os.environ.get("MPS_ISA", "") if name is None else name)


@functools.cache
def _bind(library: ctypes.CDLL) -> ctypes.CDLL:
    """Declare the functions of mps_host.h."""
    pointer, size, unsigned = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint
    library.mps_host_isa.argtypes, library.mps_host_isa.restype = [], ctypes.c_char_p
    library.mps_host_use_isa.argtypes = [ctypes.c_char_p]
    library.mps_host_packed_bytes.argtypes, library.mps_host_packed_bytes.restype = [size, size, unsigned], size
    library.mps_host_pack.argtypes = [size, size, unsigned, pointer, pointer, pointer]
    library.mps_host_unpack.argtypes = [size, size, unsigned, pointer, pointer]
    library.mps_host_dense_float.argtypes = [pointer, size, pointer, pointer, pointer, unsigned]
    library.mps_host_dense_integers.argtypes = [pointer, size, pointer, pointer, pointer, unsigned]
    library.mps_host_conv2d_float.argtypes = [pointer, pointer, pointer, pointer, pointer, unsigned]
    library.mps_host_conv2d_integers.argtypes = [pointer, pointer, pointer, pointer, pointer, unsigned]
    library.mps_host_depthwise2d_float.argtypes = [pointer, unsigned, pointer, pointer, pointer, pointer, pointer, unsigned]
    library.mps_host_depthwise2d_integers.argtypes = [pointer, unsigned, pointer, pointer, pointer, pointer, unsigned]
    return library


def host_library() -> ctypes.CDLL:
    """Return the native library with its host kernels.

    Raises:
        QuantizationError: There is none.
    """
    library = native_library()
    if library is None or not hasattr(library, "mps_host_isa"):
        raise QuantizationError(f"There are no packed host kernels at {LIBRARY}.", "install mpsearch with a C compiler and POSIX threads at hand.")
    return _bind(library)


def _no_such_isa(name: str) -> QuantizationError:
    return QuantizationError(
        f"Instruction set of MPS_ISA or the call: got '{name}', but this processor or build has no such kernels.",
        "scalar runs everywhere, avx2 and avx512vnni on x86, neon on Arm; unset, the best is taken.",
    )


def check_status(status: int) -> None:
    """Raise what a status of mps_host.h stands for."""
    if status == _NO_SUCH_ISA:
        raise _no_such_isa(os.environ.get("MPS_ISA", ""))
    if status == _NO_MEMORY:
        raise MemoryError("packed host kernels: no memory for the activations")
    assert status == 0, status  # everything else was checked on the way in
