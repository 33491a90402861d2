# SPDX-License-Identifier: Apache-2.0
"""The C kernel library as a shared object, where the package was built with one. It computes exactly what the NumPy and torch forms compute."""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mpsearch.errors import QuantizationError
from mpsearch.records import Requantize, Rounding

_SUFFIX = {"win32": ".dll"}.get(sys.platform, ".so")
LIBRARY = Path(__file__).resolve().parents[1] / f"_mps_native{_SUFFIX}"


class _RequantizeJob(ctypes.Structure):
    """mps_requantize_job of kernels/include/mps/mps_requantize_array.h."""

    _fields_ = (
        ("rows", ctypes.c_size_t),
        ("columns", ctypes.c_size_t),
        ("per_channel", ctypes.c_int32),
        ("left_shift", ctypes.c_int32),
        ("zero_point", ctypes.c_int32),
        ("lowest", ctypes.c_int32),
        ("highest", ctypes.c_int32),
        ("rounded_twice", ctypes.c_int32),
    )


@functools.cache
def native_library() -> ctypes.CDLL | None:
    """Return the library, or None where the package has none (it was installed without a C compiler)."""
    if not LIBRARY.is_file():
        return None
    library = ctypes.CDLL(str(LIBRARY))
    for function in (library.mps_requantize_array, library.mps_requantize_float_array):
        function.argtypes = [ctypes.POINTER(_RequantizeJob), *([ctypes.c_void_p] * 4)]
        function.restype = ctypes.c_int
    return library


def native_requantize(
    accumulator: npt.NDArray[np.float32] | npt.NDArray[np.int32],
    params: Requantize,
    zero_point: int,
    lowest: int,
    highest: int,
    rounding: Rounding = "single",
) -> npt.NDArray[np.int8]:
    """Requantise whole arrays; equal to `quant.requantize.requantize` bit for bit.

    Args:
        accumulator: (..., channels) C-contiguous; float32 must hold integers exactly (below 2^24 in size).
        params: One entry, or one per channel.
        zero_point: Added after scaling.
        lowest: Lower clamp, at least -128.
        highest: Upper clamp, at most 127.
        rounding: The mode; quant/requantize.py defines both.

    Returns:
        int8, the shape of the accumulator.

    Raises:
        QuantizationError: There is no native library, or the arrays are not of that kind.
    """
    library = native_library()
    if library is None:
        raise QuantizationError(f"There is no native library at {LIBRARY}.", "install mpsearch with a C compiler at hand, or use the NumPy form.")
    channels = accumulator.shape[-1]
    per_channel = params.multiplier.size > 1
    if accumulator.dtype not in (np.float32, np.int32) or not accumulator.flags.c_contiguous or (per_channel and params.multiplier.size != channels):
        raise QuantizationError(
            f"Native requantization: got {accumulator.dtype} of shape {accumulator.shape} (C-contiguous: {accumulator.flags.c_contiguous}) for "
            f"{params.multiplier.size} channels, wanted contiguous float32 or int32 with the channels last."
        )
    output = np.empty(accumulator.shape, dtype=np.int8)
    rows, columns = (accumulator.size // channels, channels) if per_channel else (1, accumulator.size)
    job = _RequantizeJob(rows, columns, per_channel, params.left_shift, zero_point, lowest, highest, rounding == "tflite_double")
    function = library.mps_requantize_array if accumulator.dtype == np.int32 else library.mps_requantize_float_array
    right_shift = params.right_shift.view(np.uint8)
    function(ctypes.byref(job), params.multiplier.ctypes.data, right_shift.ctypes.data, accumulator.ctypes.data, output.ctypes.data)
    return output
