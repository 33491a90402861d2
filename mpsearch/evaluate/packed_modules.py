# SPDX-License-Identifier: Apache-2.0
"""Dense and convolution layers as torch modules that run the packed host kernels: float in, float out, inference only.

They hold integers, scales and a float32 bias in the kernels' own layout, neither as parameters nor as buffers: `.to()`, `.half()` and `.double()`
leave them as they are. `state_dict` gives, and `load_state_dict` takes, `packed_weight` (uint8, rows of `quant.bitpack`), `weight_bits` (uint8),
`scale` and `bias` (float32). Deep copies and pickles work.

Activations are quantised on the way in, to symmetric 8 bits: a scale for each row of a dense layer's input, one for each sample of a convolution's.
A row or sample that holds a NaN or an infinity comes out as NaN. The number of threads never changes a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from mpsearch.errors import QuantizationError
from mpsearch.evaluate.packed_weights import ConvWeights, DenseWeights
from mpsearch.records import Precision

ON_ZEROS = "zeros"
"""The padding that the kernels do themselves; others are torch's."""


class PackedLayer(nn.Module):
    """What dense and convolution layers have in common.

    Attributes:
        weights: The packed weights; never changed in place.
        bias: float32 (out,), or None.
        precision: Bit-widths, and the group size if there is one.
        threads: At most so many work on a call; may be changed at any time.
    """

    def __init__(self, weights: DenseWeights | ConvWeights, bias: npt.NDArray[np.float32] | None, precision: Precision, threads: int) -> None:
        super().__init__()
        self.weights = weights
        self.bias = bias
        self.precision = precision
        self.threads = threads

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights in memory, the kernels' padding included, scales aside."""
        return self.weights.packed_bytes

    def _state(self) -> dict[str, torch.Tensor]:
        state = {"packed_weight": self.weights.rows, "weight_bits": np.array(self.weights.bits, dtype=np.uint8), "scale": self.weights.scale}
        return {name: torch.tensor(value) for name, value in (state | ({} if self.bias is None else {"bias": self.bias})).items()}

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update({prefix + name: value for name, value in self._state().items()})

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        state = self._state()
        missing_keys += [prefix + name for name in state if strict and prefix + name not in state_dict]
        given = {name: state_dict.pop(prefix + name) for name in state if prefix + name in state_dict}
        wrong = [message for name, value in given.items() if (message := _misfit(prefix + name, value, state[name]))]
        error_msgs += wrong
        if given and not wrong:
            self._take({**state, **given})
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)

    def _take(self, state: dict[str, torch.Tensor]) -> None:
        scale = state["scale"].to("cpu", torch.float32).numpy()
        self.weights = self.weights.with_rows(state["packed_weight"].cpu().numpy(), scale)
        if self.bias is not None:
            self.bias = state["bias"].to("cpu", torch.float32).numpy().copy()

    def _checked(self, x: torch.Tensor) -> torch.Tensor:
        """Return an input as float32, without its history.

        Raises:
            QuantizationError: It is on another device, holds no floats, wants a gradient, or is traced.
        """
        name = type(self).__name__
        is_traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if is_traced or (torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()):
            raise QuantizationError(f"{name}: a packed layer is no torch operation, and cannot be traced or exported.", "trace the float model.")
        if x.device.type != "cpu":
            raise QuantizationError(f"{name}: got an input on {x.device}, wanted one on the CPU.", "move it there with .cpu().")
        if not x.is_floating_point():
            raise QuantizationError(f"{name}: got an input of {x.dtype}, wanted floats.", "convert it with .float().")
        if x.requires_grad and torch.is_grad_enabled():
            raise QuantizationError(
                f"{name}: got an input that requires a gradient, but packed layers are for inference only.", "call the model under torch.no_grad()."
            )
        return x.detach().to(torch.float32)


def _misfit(key: str, value: torch.Tensor, wanted: torch.Tensor) -> str:
    """Return how an entry of a state dict does not fit, or ""."""
    same_kind = value.dtype == torch.uint8 if wanted.dtype == torch.uint8 else value.is_floating_point()
    if value.shape != wanted.shape or not same_kind:
        return f"{key}: got {value.dtype} of shape {tuple(value.shape)}, wanted {wanted.dtype} of shape {tuple(wanted.shape)}."
    if wanted.ndim == 0 and int(value) != int(wanted):
        return f"{key}: got weights of {int(value)} bits, wanted {int(wanted)}: the model was applied with another config."
    return ""


class PackedLinear(PackedLayer):
    """A dense layer on packed weights: (..., in) floats to (..., out) of the same dtype.

    Args:
        weight: (out, in) int8, within the signed range of the precision.
        scale: (out,), or (out, ceil(in / group_size)) with a group size.
        bias: (out,), or None.
        precision: 2- to 8-bit weights, 8-bit activations; group size 32, 64, 128 or None.
        threads: At most so many work on a call.

    Raises:
        QuantizationError: Shapes or a precision that the kernels do not have; in `forward`, an input that they cannot take.
    """

    weights: DenseWeights

    def __init__(
        self, weight: npt.NDArray[np.int8], scale: npt.ArrayLike, bias: npt.NDArray[np.float32] | None, precision: Precision, threads: int = 1
    ) -> None:
        super().__init__(DenseWeights(weight, scale, precision.weight_bits, precision.group_size), bias, precision, threads)
        self.out_features, self.in_features = weight.shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x times the transposed weights, plus the bias."""
        values = self._checked(x).contiguous()
        if x.ndim < 1 or x.shape[-1] != self.in_features:
            raise QuantizationError(f"PackedLinear: got an input of shape {tuple(x.shape)}, wanted (..., {self.in_features}).")
        result = torch.empty((*x.shape[:-1], self.out_features))
        if result.numel():
            self.weights.multiply(values.numpy(), self.bias, self.threads, result.numpy())
        return result.to(x.dtype)

    def extra_repr(self) -> str:
        """Return shape, precision and threads."""
        return f"in_features={self.in_features}, out_features={self.out_features}, precision={self.precision}, threads={self.threads}"


class PackedConv2d(PackedLayer):
    """A 2-D convolution on packed weights: (N, C, H, W) or (C, H, W) floats to floats of the same dtype.

    The output has the memory format of the input. Channels-last is what the kernels read, so that an input in torch.channels_last saves a copy at
    both ends of every layer.

    Args:
        weight: (out, kernel_h, kernel_w, in / groups) int8, within the signed range of the precision.
        scale: (out,).
        bias: (out,), or None.
        precision: 2- to 8-bit weights, 8-bit activations, no group size.
        window: stride, padding (top, bottom, left, right), dilation and groups, as `quant.host_kernels.PackedConv2d` takes them.
        threads: At most so many work on a call.
        padding_mode: What is padded: "zeros", "reflect", "replicate" or "circular".

    Raises:
        QuantizationError: Shapes or a precision that the kernels do not have; in `forward`, an input that they cannot take.
    """

    weights: ConvWeights
    dimensions = 2

    def __init__(
        self,
        weight: npt.NDArray[np.int8],
        scale: npt.ArrayLike,
        bias: npt.NDArray[np.float32] | None,
        precision: Precision,
        window: dict[str, Any],
        threads: int = 1,
        padding_mode: str = ON_ZEROS,
    ) -> None:
        inner = window if padding_mode == ON_ZEROS else {**window, "padding": (0, 0, 0, 0)}
        super().__init__(ConvWeights(weight, scale, precision.weight_bits, **inner), bias, precision, threads)
        self.padding: tuple[int, int, int, int] = window["padding"]
        self.padding_mode = padding_mode
        self.out_channels, self.in_channels = weight.shape[0], weight.shape[3] * self.weights.groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolution, plus the bias."""
        values = self._checked(x)
        if x.ndim not in (3, 4) or x.shape[-3] != self.in_channels:
            raise QuantizationError(f"PackedConv2d: got an input of shape {tuple(x.shape)}, wanted (N, {self.in_channels}, H, W), or no N.")
        result = self._convolve(values if x.ndim == 4 else values[None])
        return (result if x.ndim == 4 else result[0]).to(x.dtype)

    def _convolve(self, x: torch.Tensor) -> torch.Tensor:
        is_channels_last = x.stride(1) == 1 and x.stride(3) == x.shape[1]
        if self.padding_mode != ON_ZEROS:
            top, bottom, left, right = self.padding
            sides = (left, right, top, bottom)[: 2 * self.dimensions]
            x = F.pad(x.squeeze(2), sides, mode=self.padding_mode).unsqueeze(2) if self.dimensions == 1 else F.pad(x, sides, mode=self.padding_mode)
        memory = x.permute(0, 2, 3, 1).contiguous()
        result = torch.empty((len(memory), *self.weights.output_size(*memory.shape[1:3]), self.out_channels))
        if result.numel():
            self.weights.convolve(memory.numpy(), self.bias, self.threads, result.numpy())
        torch_order = result.permute(0, 3, 1, 2)
        return torch_order if is_channels_last else torch_order.contiguous()

    def extra_repr(self) -> str:
        """Return shape, window, precision and threads."""
        kept = slice(2 - self.dimensions, 2)
        window: Sequence[tuple[str, Any]] = (
            ("kernel_size", self.weights.shape[1:3][kept]),
            ("stride", self.weights.stride[kept]),
            ("padding", self.padding[2 * kept.start :]),
            ("dilation", self.weights.dilation[kept]),
            ("groups", self.weights.groups),
        )
        shown = ", ".join(f"{name}={value}" for name, value in window)
        mode = "" if self.padding_mode == ON_ZEROS else f", padding_mode={self.padding_mode}"
        return f"{self.in_channels}, {self.out_channels}, {shown}{mode}, precision={self.precision}, threads={self.threads}"


class PackedConv1d(PackedConv2d):
    """A 1-D convolution on packed weights: (N, C, L) or (C, L) floats to floats of the same dtype; a 2-D one of height 1."""

    dimensions = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolution, plus the bias."""
        values = self._checked(x)
        if x.ndim not in (2, 3) or x.shape[-2] != self.in_channels:
            raise QuantizationError(f"PackedConv1d: got an input of shape {tuple(x.shape)}, wanted (N, {self.in_channels}, L), or no N.")
        result = self._convolve((values if x.ndim == 3 else values[None])[:, :, None]).squeeze(2)
        return (result if x.ndim == 3 else result[0]).to(x.dtype)
