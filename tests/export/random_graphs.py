# SPDX-License-Identifier: Apache-2.0
"""Graphs of random layers, drawn by Hypothesis: every op, every width, tensors that share an arena."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from mpsearch.records import QuantizedGraph
from tests.export.models import GraphMaker

STEPS = (
    "conv",
    "strided",
    "grouped",
    "depthwise",
    "pointwise",
    "residual",
    "gate",
    "max_pool",
    "avg_pool",
    "pad",
    "turn",
    "cut",
    "join",
    "dense",
    "chain",
)
"""Kinds of layers, or of a few that belong together."""

_LARGEST = 3000


@st.composite
def random_graphs(draw: st.DrawFn) -> tuple[GraphMaker, QuantizedGraph]:
    """Return a maker, for its samples, and its graph."""
    maker = GraphMaker(draw(st.integers(0, 2**32 - 1)), draw(st.booleans()))
    value = maker.input(*draw(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 20))))
    for step, bits, channels in draw(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(2, 8), st.integers(1, 20)), min_size=1, max_size=6)):
        if np.prod(maker.shape(value)) < _LARGEST:
            value = append(maker, value, step, bits, channels)
    value = maker.linear(maker.reshape(value, int(np.prod(maker.shape(value)))), 3, 5)
    return maker, maker.finish(value)


def append(maker: GraphMaker, value: str, step: str, bits: int, channels: int) -> str:
    """Return the output of one more layer, or of a few that belong together."""
    height, width, inputs = maker.shape(value)
    match step:
        case "conv":
            return maker.conv(value, channels, (3, 2), bits, padding=(1, 1, 1, 0))
        case "strided":
            return maker.conv(value, channels, (2, 3), bits, padding=(1, 0, 1, 1), stride=(2, 1), dilation=(1, 1))
        case "grouped":
            return maker.conv(value, 2 * inputs, (1, 3), bits, padding=(0, 0, 2, 2), dilation=(1, 2), groups=inputs if inputs % 2 else 2)
        case "depthwise":
            return maker.conv(value, inputs, (3, 3), bits, padding=(1, 1, 1, 1), groups=inputs)
        case "pointwise":
            return maker.conv(value, channels, (1, 1), bits)
        case "residual":
            return maker.add(value, maker.conv(value, inputs, (3, 3), bits, padding=(1, 1, 1, 1)))
        case "gate":
            return maker.mul(value, maker.unary(maker.mean(value, (0, 1), keep=True)))
        case "max_pool":
            return maker.max_pool(value, (2, 3), (1, 2), (1, 0, 1, 1))
        case "avg_pool":
            return maker.avg_pool(value, (3, 2), (2, 1), (1, 1, 1, 0), whole=channels % 2 == 0)
        case "pad":
            return maker.pad(value, [0, 1, 2], [1, 0, 0])
        case "turn":
            return maker.transpose(value, (2, 0, 1) if channels % 2 else (1, 0, 2))
        case "cut":
            return maker.slice(value, [0, 0, inputs // 3], [height, width, inputs], [1, 2, 1])
        case "join":
            return maker.concat([value, maker.unary(value)], channels % 3)
        case "chain":  # 4 and 16 bits pass between convolutions and dense layers
            widths = [(4, 16, 8)[(bits + place) % 3] for place in range(3)]
            value = maker.conv(value, channels, (3, 3), bits, padding=(1, 1, 1, 1), output_bits=widths[0])
            value = maker.conv(value, 6, (2, 1), bits, padding=(1, 0, 0, 0), output_bits=widths[1])
            value = maker.conv(value, 2 * channels, (1, 1), bits, groups=2, output_bits=widths[2])
            return maker.linear(maker.linear(value, channels + 2, bits, output_bits=widths[1]), inputs, bits)
        case _:
            return maker.linear(value, channels, bits)
