# SPDX-License-Identifier: Apache-2.0
"""Integer requantisation, defined once: int32 accumulator -> output integers, in one of two rounding modes with the same stored constants.

"single", ours: half up, once, high-word form. ``y = clamp(((mulh(acc << p, m) + (1 << (t - 1))) >> t) + zero_point)`` with mulh the high 32 bits of
the 64-bit product. Nested floors make this exactly ``floor((acc * 2^p * m + 2^(31+t)) / 2^(32+t))``, which is what TensorFlow Lite computes when it
is built with single rounding.

"tflite_double", what TensorFlow Lite's reference kernels, TFLM and CMSIS-NN compute by default: the scale is m * 2^-31 * 2^e with e = p - 1 - t.
``high = floor((acc * 2^max(e, 0) * m + 2^30) / 2^31)``, half up, is then divided by ``2^max(-e, 0)``, half away from zero.

Bit-exact with ``mps_requantize`` in kernels/include/mps/mps_requantize.h; the second is compiled with -DMPS_DOUBLE_ROUNDING.
References: [Jacob2018] arXiv:1712.05877, sec. 2.2.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpsearch.errors import QuantizationError
from mpsearch.records import Requantize, Rounding

ACCUMULATOR_LIMIT = 1 << 31
_LARGEST_LEFT_SHIFT = 30


def requantize_params(scale: npt.ArrayLike, largest_accumulator: npt.ArrayLike) -> Requantize:
    """Turn effective real scales into the fixed-point form that the kernels use.

    Args:
        scale: Shape (n,) or scalar; input scale x weight scale / output scale, > 0.
        largest_accumulator: Shape (n,) or scalar; the largest absolute accumulator that each channel can reach (proven, not measured).

    Returns:
        Multipliers in [2^30, 2^31), shifts in [1, 31] and the smallest left shift that all channels can share.

    Raises:
        QuantizationError: a scale is not positive, or so large that the shifted accumulator would leave int32.
    """
    scales = np.atleast_1d(np.asarray(scale, dtype=np.float64))
    if not np.isfinite(scales).all() or (scales <= 0).any():
        raise QuantizationError(f"Requantization: an effective scale is {scales.min()}, wanted finite numbers above 0.")
    mantissa, exponent = np.frexp(scales)  # scale = mantissa * 2^exponent, mantissa in [0.5, 1)
    multiplier = np.floor(mantissa * (1 << 31) + 0.5).astype(np.int64)  # half up, as TensorFlow Lite: half to even would differ at ties
    exponent = exponent + (multiplier == 1 << 31)
    multiplier = np.where(multiplier == 1 << 31, 1 << 30, multiplier)
    left_shift = int(max(0, (exponent + 2).max()))
    right_shift = left_shift - 1 - exponent  # scale = multiplier * 2^-(32 + right_shift - left_shift)
    multiplier = np.where(right_shift > 31, 1 << 30, multiplier)  # below 2^-30 of an output step: any such multiplier rounds to 0
    right_shift = np.minimum(right_shift, 31)
    reach = np.max(np.asarray(largest_accumulator, dtype=np.float64))
    if left_shift > _LARGEST_LEFT_SHIFT or reach * 2.0**left_shift >= ACCUMULATOR_LIMIT:
        raise QuantizationError(
            f"Requantization: an effective scale of {scales.max():.4g} needs a left shift of {left_shift}, "
            f"but an accumulator of {reach:.4g} then leaves int32.",
            "the output range of this layer is far smaller than its weights and inputs suggest; check the calibration data.",
        )
    return Requantize(multiplier=multiplier.astype(np.int32), right_shift=right_shift.astype(np.int8), left_shift=left_shift)


def requantize(
    accumulator: npt.NDArray[np.int64], params: Requantize, zero_point: int, lowest: int, highest: int, rounding: Rounding = "single"
) -> npt.NDArray[np.int64]:
    """Return the output integers of an accumulator: the int64 reference for every kernel.

    Args:
        accumulator: Any shape, channels last when `params` is per channel; within int32.
        params: One entry, or one per channel.
        zero_point: Added after scaling.
        lowest: Lower clamp, fused activation included.
        highest: Upper clamp.
        rounding: The mode, see above.
    """
    values, multiplier, right_shift = np.asarray(accumulator, dtype=np.int64), params.multiplier.astype(np.int64), params.right_shift.astype(np.int64)
    if rounding == "single":
        shift = 32 + right_shift
        rounded = ((values << params.left_shift) * multiplier + (np.int64(1) << (shift - 1))) >> shift
    else:
        exponent = params.left_shift - 1 - right_shift
        high = ((values << np.maximum(exponent, 0)) * multiplier + (np.int64(1) << 30)) >> 31
        divisor = np.int64(1) << np.maximum(-exponent, 0)
        rounded = np.sign(high) * ((np.abs(high) + divisor // 2) // divisor)
    clamped: npt.NDArray[np.int64] = np.clip(rounded + zero_point, lowest, highest)
    return clamped
