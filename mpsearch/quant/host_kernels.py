# SPDX-License-Identifier: Apache-2.0
"""Dense and convolution layers that run on packed weights, on this machine's processor: the Python side of kernels/include/mps/mps_host.h.

A layer is packed once, from plain int8 weights, into the form that all instruction sets share, and then multiplied as often as needed. There are two
ways in: float arrays, whose rows (samples, for a convolution) are quantised to symmetric int8 on the way, and int8 arrays with zero points, whose
results equal `quant.requantize.requantize` and the C kernels of a bundle bit for bit. The number of threads never changes a result.

The instruction set is chosen when the first layer runs: AVX-512 VNNI, AVX2, NEON with dot product, or plain C. The environment variable MPS_ISA
(`avx512vnni`, `avx2`, `neon`, `scalar`) takes another; one that the processor lacks is an error.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mpsearch.errors import QuantizationError
from mpsearch.quant.bitpack import PLANES, pack
from mpsearch.quant.host_library import Conv2dStruct, RequantizeStruct, WeightsStruct, check_status, host_isa, host_library, use_host_isa
from mpsearch.records import Requantize

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int8]

__all__ = ["GROUP_SIZES", "PackedConv2d", "PackedDense", "host_isa", "use_host_isa"]

GROUP_SIZES = (32, 64, 128)
"""Weights of a dense layer that may share one scale, apart from all of an output channel's."""

_CHANNELS, _MOST_VALUES = 16, 1 << 16


class PackedDense:
    """A dense layer's weights, packed.

    Args:
        weight: (out, in) int8, each within the signed range of `bits` bits; in at most 65,536.
        scale: (out,), or (out, ceil(in / group_size)) with a group size: real step of the weights. None if only integers are asked for.
        bits: 2 to 8.
        group_size: Inputs that share a scale: 32, 64 or 128; None stands for all of them.

    Raises:
        QuantizationError: Shapes, a width or a group size that do not fit, or there is no native library.
    """

    def __init__(self, weight: Integers, scale: npt.ArrayLike | None, bits: int, group_size: int | None = None) -> None:
        weight = _int8("Packed dense weights", weight, 2)
        if group_size is not None and group_size not in GROUP_SIZES:
            raise QuantizationError(f"Packed dense weights: got a group size of {group_size}, wanted 32, 64, 128, or None for a scale a channel.")
        self.shape, self.bits, self.group_size = weight.shape, bits, group_size
        self._packed, self._sums = _pack(weight, bits)
        self._scale = None if scale is None else _tiled_scale(scale, weight.shape, group_size)

    @functools.cached_property
    def _struct(self) -> WeightsStruct:
        """Where the arrays lie; made anew in a copy."""
        outputs, inputs = self.shape
        pointers = (self._packed.ctypes.data, self._sums.ctypes.data, _address(self._scale))
        return WeightsStruct(outputs, inputs, self.bits, self.group_size or 0, *pointers)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_struct"}

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights, scales aside."""
        return self._packed.nbytes

    def unpack(self) -> Integers:
        """Return the (out, in) weights."""
        weight = np.empty(self.shape, dtype=np.int8)
        check_status(host_library().mps_host_unpack(*self.shape, self.bits, self._packed.ctypes.data, weight.ctypes.data))
        return weight

    def multiply(self, x: Floats, bias: npt.ArrayLike | None = None, threads: int = 1, out: Floats | None = None) -> Floats:
        """Return x times the transposed weights, float in and float out.

        Every row of x is quantised first: scale = largest / 127, ties to even. A row that holds an infinity or a NaN comes out as NaN.

        Args:
            x: (..., in) float32; copied if it is not C-contiguous.
            bias: (out,) float, added at the end.
            threads: At most so many work on it.
            out: (..., out) C-contiguous float32 that takes the result; it may not overlap x.

        Returns:
            (..., out) float32.

        Raises:
            QuantizationError: Arrays of another kind or shape, or weights without a scale.
        """
        if self._scale is None:
            raise QuantizationError("Packed dense weights: they were packed without a scale.", "pass one, or use multiply_integers.")
        x = _rows("Packed dense layer", x, np.float32, self.shape[1])
        out = _output(out, (*x.shape[:-1], self.shape[0]), np.float32)
        offset = _channel_array("bias", bias, np.float32, self.shape[0])
        rows = x.size // self.shape[1]
        check_status(
            host_library().mps_host_dense_float(
                ctypes.byref(self._struct), rows, x.ctypes.data, _address(offset), out.ctypes.data, _thread_count(threads)
            )
        )
        return out

    def multiply_integers(
        self,
        x: Integers,
        input_zero_point: int,
        bias: npt.ArrayLike | None,
        requantize: Requantize,
        output_zero_point: int,
        lowest: int = -128,
        highest: int = 127,
        threads: int = 1,
        out: Integers | None = None,
    ) -> Integers:
        """Return requantize(sum of weight * (x - input_zero_point) + bias), bit for bit as the kernels of a bundle compute it.

        Args:
            x: (..., in) int8; copied if it is not C-contiguous.
            input_zero_point: The integer that stands for 0 in x.
            bias: (out,) int32, without the zero point folded in; None for none.
            requantize: One entry, or one per output channel. The accumulator must fit int32, shifted left too, as `requantize_params` proves.
            output_zero_point: Added after scaling.
            lowest: Lower clamp, at least -128.
            highest: Upper clamp, at most 127.
            threads: At most so many work on it.
            out: (..., out) C-contiguous int8 that takes the result; it may not overlap x.

        Returns:
            (..., out) int8.

        Raises:
            QuantizationError: Arrays of another kind or shape.
        """
        x = _rows("Packed dense layer", x, np.int8, self.shape[1])
        out = _output(out, (*x.shape[:-1], self.shape[0]), np.int8)
        job, _kept = _requantize_job(self.shape[0], input_zero_point, bias, requantize, output_zero_point, lowest, highest)
        rows = x.size // self.shape[1]
        check_status(
            host_library().mps_host_dense_integers(
                ctypes.byref(self._struct), rows, x.ctypes.data, ctypes.byref(job), out.ctypes.data, _thread_count(threads)
            )
        )
        return out


class PackedConv2d:
    """A 2-D convolution's weights, packed. Activations are channels-last.

    Args:
        weight: (out, kernel_h, kernel_w, in / groups) int8, each within the signed range of `bits` bits.
        scale: (out,), real step of the weights. None if only integers are asked for.
        bits: 2 to 8.
        stride: Down and across.
        padding: Zeros added at the (top, bottom, left, right).
        dilation: Down and across.
        groups: Channel groups; equal to the input channels for a depthwise convolution, which has a kernel of its own.

    Raises:
        QuantizationError: Shapes or a width that do not fit, or there is no native library.
    """

    def __init__(
        self,
        weight: Integers,
        scale: npt.ArrayLike | None,
        bits: int,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
    ) -> None:
        weight = _int8("Packed convolution weights", weight, 4)
        if groups < 1 or weight.shape[0] % groups:
            raise QuantizationError(f"Packed convolution weights: {weight.shape[0]} output channels do not divide into {groups} groups.")
        if min(*stride, *dilation) < 1 or min(padding) < 0:
            raise QuantizationError(f"Packed convolution: got stride {stride}, dilation {dilation}, padding {padding}; wanted at least 1, 1 and 0.")
        self.shape, self.bits, self.groups = weight.shape, bits, groups
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.is_depthwise = groups > 1 and weight.shape[3] == 1
        _check_reach(weight[0].size)
        rows = weight.reshape(weight.shape[0], -1)
        self._scale = None if scale is None else _channel_array("scale", scale, np.float32, weight.shape[0])
        self._packed: tuple[npt.NDArray[np.uint8], ...]
        self._parts: tuple[PackedDense, ...] = ()
        if self.is_depthwise:
            self._taps = pack(np.ascontiguousarray(rows.T), bits)
        else:
            scales: Sequence[Any] = [None] * groups if self._scale is None else np.split(self._scale, groups)
            self._parts = tuple(PackedDense(part, step, bits) for part, step in zip(np.split(rows, groups), scales, strict=True))

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights, scales aside."""
        return self._taps.nbytes if self.is_depthwise else sum(part.packed_bytes for part in self._parts)

    def convolve(self, x: Floats, bias: npt.ArrayLike | None = None, threads: int = 1, out: Floats | None = None) -> Floats:
        """Return the convolution, float in and float out.

        Every sample of x is quantised first: scale = largest / 127, ties to even. A sample that holds an infinity or a NaN comes out as NaN.

        Args:
            x: (batch, height, width, in) float32; copied if it is not C-contiguous.
            bias: (out,) float, added at the end.
            threads: At most so many work on it.
            out: (batch, output height, output width, out) C-contiguous float32 that takes the result; it may not overlap x.

        Returns:
            (batch, output height, output width, out) float32.

        Raises:
            QuantizationError: Arrays of another kind or shape, or weights without a scale.
        """
        if self._scale is None:
            raise QuantizationError("Packed convolution: its weights were packed without a scale.", "pass one, or use convolve_integers.")
        x, shape, out = self._arrays(x, np.float32, out)
        offset = _channel_array("bias", bias, np.float32, self.shape[0])
        tail = (x.ctypes.data, _address(offset), out.ctypes.data, _thread_count(threads))
        if self.is_depthwise:
            taps = (self.bits, self._taps.ctypes.data, self._scale.ctypes.data)
            check_status(host_library().mps_host_depthwise2d_float(ctypes.byref(shape), *taps, *tail))
        else:
            check_status(host_library().mps_host_conv2d_float(ctypes.byref(shape), self._structs, *tail))
        return out

    def convolve_integers(
        self,
        x: Integers,
        input_zero_point: int,
        bias: npt.ArrayLike | None,
        requantize: Requantize,
        output_zero_point: int,
        lowest: int = -128,
        highest: int = 127,
        threads: int = 1,
        out: Integers | None = None,
    ) -> Integers:
        """Return the requantised convolution of integers, bit for bit as the kernels of a bundle compute it; padding stands for real zeros.

        Args:
            x: (batch, height, width, in) int8; copied if it is not C-contiguous.
            input_zero_point: The integer that stands for 0 in x.
            bias: (out,) int32, without the zero point folded in; None for none.
            requantize: One entry, or one per output channel. The accumulator must fit int32, shifted left too, as `requantize_params` proves.
            output_zero_point: Added after scaling.
            lowest: Lower clamp, at least -128.
            highest: Upper clamp, at most 127.
            threads: At most so many work on it.
            out: (batch, output height, output width, out) C-contiguous int8 that takes the result; it may not overlap x.

        Returns:
            (batch, output height, output width, out) int8.

        Raises:
            QuantizationError: Arrays of another kind or shape.
        """
        x, shape, out = self._arrays(x, np.int8, out)
        job, _kept = _requantize_job(self.shape[0], input_zero_point, bias, requantize, output_zero_point, lowest, highest)
        tail = (x.ctypes.data, ctypes.byref(job), out.ctypes.data, _thread_count(threads))
        if self.is_depthwise:
            check_status(host_library().mps_host_depthwise2d_integers(ctypes.byref(shape), self.bits, self._taps.ctypes.data, *tail))
        else:
            check_status(host_library().mps_host_conv2d_integers(ctypes.byref(shape), self._structs, *tail))
        return out

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) of the output for an input of that size.

        Raises:
            QuantizationError: The kernel is larger than the padded input.
        """
        top, bottom, left, right = self.padding
        reach = tuple((kernel - 1) * step + 1 for kernel, step in zip(self.shape[1:3], self.dilation, strict=True))
        sizes = (height + top + bottom - reach[0], width + left + right - reach[1])
        if min(sizes) < 0:
            raise QuantizationError(
                f"Packed convolution: an input of {height}x{width} with padding {self.padding} is smaller than a kernel that spans "
                f"{reach[0]}x{reach[1]}."
            )
        return sizes[0] // self.stride[0] + 1, sizes[1] // self.stride[1] + 1

    def _arrays(self, x: npt.NDArray[Any], kind: type, out: npt.NDArray[Any] | None) -> tuple[npt.NDArray[Any], Conv2dStruct, npt.NDArray[Any]]:
        channels = self.shape[3] * self.groups
        if x.ndim != 4:
            raise QuantizationError(f"Packed convolution: got an input of shape {x.shape}, wanted (batch, height, width, {channels}).")
        x = _rows("Packed convolution", x, kind, channels)
        batch, height, width, _ = x.shape
        size = self.output_size(height, width)
        kernel, sides = (*self.shape[1:3], *self.stride, *self.dilation), (self.padding[0], self.padding[2])
        shape = Conv2dStruct(batch, height, width, channels, *size, self.shape[0], *kernel, *sides, self.groups)
        return x, shape, _output(out, (batch, *size, self.shape[0]), kind)

    @functools.cached_property
    def _structs(self) -> ctypes.Array[WeightsStruct]:
        """Where the arrays of every group lie; made anew in a copy."""
        return (WeightsStruct * self.groups)(*(part._struct for part in self._parts))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_structs"}


def _int8(what: str, weight: Integers, rank: int) -> Integers:
    if weight.dtype != np.int8 or weight.ndim != rank or 0 in weight.shape:
        raise QuantizationError(f"{what}: got {weight.dtype} of shape {weight.shape}, wanted int8 with {rank} axes, none of them empty.")
    return np.ascontiguousarray(weight)


def _check_reach(inputs: int) -> None:
    if inputs > _MOST_VALUES:
        raise QuantizationError(f"Packed weights: {inputs} weights an output may overflow its accumulator, at most {_MOST_VALUES} do not.")


def _pack(weight: Integers, bits: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    outputs, inputs = weight.shape
    if bits not in PLANES:
        raise QuantizationError(f"Packed weights: got {bits} bits, wanted 2 to 8.")
    _check_reach(inputs)
    library = host_library()
    packed = _aligned(library.mps_host_packed_bytes(outputs, inputs, bits), np.uint8)
    sums = np.zeros(outputs + -outputs % _CHANNELS, dtype=np.int32)
    if library.mps_host_pack(outputs, inputs, bits, weight.ctypes.data, packed.ctypes.data, sums.ctypes.data) != 0:
        half = 1 << (bits - 1)
        raise QuantizationError(f"Packed weights: they span [{weight.min()}, {weight.max()}], but {bits} bits hold [{-half}, {half - 1}].")
    return packed, sums


def _tiled_scale(scale: npt.ArrayLike, shape: tuple[int, ...], group_size: int | None) -> Floats:
    """Return the scales as the kernels read them: (tiles of 16 channels, groups, 16)."""
    given = np.asarray(scale, dtype=np.float32)
    groups = 1 if group_size is None else -(-shape[1] // group_size)
    wanted = (shape[0],) if group_size is None else (shape[0], groups)
    if given.shape != wanted:
        raise QuantizationError(f"Packed dense weights: got scales of shape {given.shape}, wanted {wanted}.")
    padded = np.zeros((shape[0] + -shape[0] % _CHANNELS, groups), dtype=np.float32)
    padded[: shape[0]] = given.reshape(shape[0], groups)
    tiles = _aligned(padded.size, np.float32).reshape(-1, groups, _CHANNELS)
    tiles[:] = padded.reshape(-1, _CHANNELS, groups).transpose(0, 2, 1)
    return tiles


def _aligned(count: int, kind: type) -> npt.NDArray[Any]:
    """Return an empty array that begins on a cache line."""
    size = count * np.dtype(kind).itemsize
    memory = np.empty(size + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(kind)


def _rows(what: str, x: npt.NDArray[Any], kind: type, channels: int) -> npt.NDArray[Any]:
    if x.dtype != kind or x.ndim < 1 or x.shape[-1] != channels:
        raise QuantizationError(f"{what}: got an input of {x.dtype} and shape {x.shape}, wanted {np.dtype(kind)} with {channels} channels last.")
    return np.ascontiguousarray(x)


def _output(out: npt.NDArray[Any] | None, shape: tuple[int, ...], kind: type) -> npt.NDArray[Any]:
    if out is None:
        return np.empty(shape, dtype=kind)
    if out.dtype != kind or out.shape != shape or not out.flags.c_contiguous or not out.flags.writeable:
        raise QuantizationError(
            f"Packed layer: `out` is {out.dtype} of shape {out.shape} (C-contiguous: {out.flags.c_contiguous}), "
            f"wanted writable, C-contiguous {np.dtype(kind)} of shape {shape}."
        )
    return out


def _channel_array(what: str, values: npt.ArrayLike | None, kind: type, channels: int) -> npt.NDArray[Any] | None:
    if values is None:
        return None
    given = np.asarray(values)
    if given.shape != (channels,):
        raise QuantizationError(f"Packed layer: got a {what} of shape {given.shape}, wanted ({channels},).")
    if np.issubdtype(kind, np.integer):
        bounds = np.iinfo(kind)
        if not np.issubdtype(given.dtype, np.integer):
            raise QuantizationError(f"Packed layer: got a {what} of {given.dtype}, wanted integers.")
        if given.size and (given.min() < bounds.min or given.max() > bounds.max):
            raise QuantizationError(f"Packed layer: the {what} spans [{given.min()}, {given.max()}], wanted what {np.dtype(kind)} holds.")
    return np.ascontiguousarray(given, dtype=kind)


def _address(array: npt.NDArray[Any] | None) -> int | None:
    return None if array is None else array.ctypes.data


def _thread_count(threads: int) -> int:
    if not isinstance(threads, int) or threads < 1:
        raise QuantizationError(f"Packed layer: got {threads!r} threads, wanted a whole number of at least 1.")
    return threads


def _requantize_job(
    channels: int, input_zero_point: int, bias: npt.ArrayLike | None, params: Requantize, output_zero_point: int, lowest: int, highest: int
) -> tuple[RequantizeStruct, tuple[npt.NDArray[Any] | None, ...]]:
    """Return the structure and the arrays that it points to."""
    if params.multiplier.size not in (1, channels):
        raise QuantizationError(f"Packed layer: got {params.multiplier.size} multipliers, wanted 1 or {channels}.")
    if not (-128 <= input_zero_point <= 127 and -128 <= output_zero_point <= 127 and -128 <= lowest <= highest <= 127):
        raise QuantizationError(
            f"Packed layer: got zero points {input_zero_point} and {output_zero_point} and a range of [{lowest}, {highest}], wanted them within int8."
        )
    offset = _channel_array("bias", bias, np.int32, channels)
    multiplier, shift = params.multiplier, params.right_shift
    if multiplier.size != channels:
        multiplier, shift = np.repeat(multiplier, channels), np.repeat(shift, channels)
    pointers = (_address(offset), multiplier.ctypes.data, shift.ctypes.data)
    job = RequantizeStruct(*pointers, params.left_shift, input_zero_point, output_zero_point, lowest, highest)
    return job, (offset, multiplier, shift)
