# SPDX-License-Identifier: Apache-2.0
"""What HAWQ-V3 published of ResNet-18 and ResNet-50 on a T4, as a measured table, beside the same from a device file; see data/README.md."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mpsearch.catalog import HardwareModel
from mpsearch.cost.latency import layer_roofline
from mpsearch.cost.work import LayerWork
from mpsearch.records import LayerShape, MeasuredLayer, MeasuredTable, Precision

PUBLISHED: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "hawqv3_ilp_inputs.json").read_text(encoding="utf-8"))
BATCH = 8
PRECISIONS = (Precision(weight_bits=4, activation_bits=4), Precision(weight_bits=8))

Network = Literal["resnet18", "resnet50"]
Floats = npt.NDArray[np.float64]


def layer_shapes(network: Network) -> tuple[LayerShape, ...]:
    """Return the layers that HAWQ-V3 decides on: all but the first and the last, of the network for images of 224 x 224, batch 8."""
    return tuple(_shape(name, bottleneck=network == "resnet50") for name in PUBLISHED[network]["layers"])


def _shape(name: str, *, bottleneck: bool) -> LayerShape:
    """Return one layer by its name, e.g. "stage2.unit1.quant_convbn1" (He et al. 2016, table 1): the first convolution of a stage strides."""
    match = re.fullmatch(r"stage(\d)\.unit(\d)\.quant_(?:identity_convbn|convbn(\d))", name)
    assert match is not None
    stage, first, index = int(match[1]), match[2] == "1", int(match[3] or 0)
    width, size = 32 << stage, 112 >> stage
    wide = 4 * width if bottleneck else width
    source = wide if not first else 64 if stage == 1 else wide // 2
    stride = 2 if first and stage > 1 else 1
    middle = 3 if bottleneck else 2
    if index == 0:
        inputs, outputs, kernel = source, wide, 1
    elif index == 1:
        inputs, outputs, kernel = source, width, 1 if bottleneck else 3
    else:
        inputs, outputs, kernel = width, wide if index == middle else width, 1 if index == 3 else 3
    strides = stride if index < 2 else 1
    return LayerShape(
        operator="conv2d",
        input=(size * strides, size * strides, inputs),
        output=(size, size, outputs),
        kernel=(kernel, kernel),
        stride=(strides, strides),
        padding=(kernel // 2,) * 4,
        batch=BATCH,
    )


def measured_table(network: Network) -> MeasuredTable:
    """Return the published latencies: for each layer in turn a row at INT4 and one at INT8; layers of one shape keep their own rows."""
    published = PUBLISHED[network]
    pairs = zip(layer_shapes(network), published["latency_int4_ms"], published["latency_int8_ms"], strict=True)
    return MeasuredTable(
        target="t4-hawqv3",
        method="NVIDIA T4, TVM kernels on tensor cores, batch 8; Zhen-Dong/HAWQ, ILP.ipynb, commit 1616df69",
        clock_hz=None,
        rows=tuple(
            MeasuredLayer(shape=shape, precision=precision, seconds=milliseconds / 1e3)
            for shape, *pair in pairs
            for precision, milliseconds in zip(PRECISIONS, pair, strict=True)
        ),
    )


def measured_seconds(network: Network) -> Floats:
    """Return float64 (layers, 2), at 4 and at 8 bits."""
    return np.array([row.seconds for row in measured_table(network).rows], dtype=np.float64).reshape(-1, 2)


def predicted_seconds(network: Network, hardware: HardwareModel) -> Floats:
    """Return the same from a device file."""
    cycles = [layer_roofline(_work(shape, precision), hardware).total for shape in layer_shapes(network) for precision in PRECISIONS]
    return np.array(cycles).reshape(-1, 2) / hardware.clock_hz.value


def _work(shape: LayerShape, precision: Precision) -> LayerWork:
    stored = [math.ceil(values * precision.activation_bits / 8) for values in (shape.input_values, shape.output_values)]
    return LayerWork(
        name=shape.operator,
        shape=shape,
        precision=precision,
        constant_bytes=math.ceil(shape.weights * precision.weight_bits / 8),
        input_bytes=stored[0],
        output_bytes=stored[1],
        live_bytes=sum(stored),
    )
