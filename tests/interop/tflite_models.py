# SPDX-License-Identifier: Apache-2.0
"""Random 8-bit graphs that TensorFlow Lite can express: float32 scales, fused activations, shared scales where its operators ask for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mpsearch.records import PASS_THROUGH, Add, AvgPool2d, Conv2d, Linear, Mean, Mul, Op, Quantization, QuantizedGraph, Requantize, Rounding
from tests.export.models import GraphMaker
from tests.interop.tflite_graph import ACTIVATIONS, in_float32, limits_of


class TfliteMaker(GraphMaker):
    """A GraphMaker whose scales and clamps are TensorFlow Lite's. Every method returns the name of the tensor that the layer writes."""

    def finish(self, output: str, rounding: Rounding = "tflite_double") -> QuantizedGraph:
        return in_float32(super().finish(output), rounding)

    def _layer(self, op: Op, inputs: tuple[str, ...], shape: tuple[int, ...], **constants: object) -> str:  # type: ignore[override]
        output = super()._layer(op, inputs, shape, **constants)  # type: ignore[arg-type]
        sources = [self._quantization(name) for name in inputs]
        own, made = self._quantization(output), self.constants[-1]
        draw = self.random.uniform
        match op:
            case AvgPool2d():
                own = sources[0]
            case _ if isinstance(op, PASS_THROUGH):
                own = sources[0]
            case Add():
                own = replace(own, scale=max(item.scale for item in sources) * draw(0.3, 3))
            case Mul():
                own = replace(own, scale=sources[0].scale * sources[1].scale / _real(made.requantize[0])[0])
            case Mean():
                own = replace(own, scale=sources[0].scale * draw(0.2, 3))
            case Conv2d() | Linear():
                made = replace(made, weight_scale=_real(made.requantize[0]) * own.scale / sources[0].scale)
        own = replace(own, scale=float(np.float32(own.scale)))
        self.quantizations[-1] = own
        fusing = (Conv2d, Linear, Add, Mul, AvgPool2d)
        name = str(self.random.choice(list(ACTIVATIONS))) if isinstance(op, fusing) else "NONE"
        lowest, highest = limits_of(ACTIVATIONS[name], own)
        self.constants[-1] = replace(made, lowest=lowest, highest=highest)
        return output

    def _tensor(self, shape: tuple[int, ...], bits: int = 8) -> str:
        name = super()._tensor(shape, bits)
        self.quantizations[-1] = replace(self.quantizations[-1], scale=float(np.float32(2.0 ** self.random.uniform(-7, 0))))
        return name

    def share_scales(self, *names: str) -> None:
        """Give tensors the scale and zero point of the first, as a concatenation asks for."""
        first = self._quantization(names[0])
        for index, tensor in enumerate(self.tensors):
            if tensor.name in names:
                self.quantizations[index] = first

    def _quantization(self, name: str) -> Quantization:
        return next(item for tensor, item in zip(self.tensors, self.quantizations, strict=True) if tensor.name == name)


def _real(params: Requantize) -> np.ndarray:
    return params.multiplier * 2.0 ** (params.left_shift - 32.0 - params.right_shift)
