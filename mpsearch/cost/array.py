# SPDX-License-Identifier: Apache-2.0
"""How a layer fills a spatial array of multipliers: what it computes with the lanes that stay idle, and the rows that it takes in."""

from __future__ import annotations

import math

from mpsearch.catalog import HardwareModel, MultiplierArray
from mpsearch.cost.work import LayerWork
from mpsearch.records import LayerShape


def array_steps(shape: LayerShape, array: MultiplierArray) -> int:
    """Return the MACs that an array has time for while it computes a layer: every block that the layer touches counts whole."""
    products, pixels, inputs, outputs = matrix_products(shape, array)
    blocks = products * math.ceil(pixels / array.pixels) * math.ceil(inputs / array.inputs) * math.ceil(outputs / array.outputs)
    return blocks * array.pixels * array.inputs * array.outputs


def row_bytes(work: LayerWork, hardware: HardwareModel, array: MultiplierArray | None) -> dict[str, float]:
    """Return memory name -> bytes of the rows that an array takes from it, for the memories that feed it; nothing without an array.

    A window, and likewise the weights of an output channel, lies in whole rows of `inputs` values. Windows are read once for all output channels;
    weights are read again for every sample, except those of a dense layer, whose samples are rows of one product.
    """
    if array is None or work.precision is None:
        return {}
    products, pixels, inputs, outputs = matrix_products(work.shape, array)
    row_values = math.ceil(inputs / array.inputs) * array.inputs
    homes = (
        (hardware.weight_memory, outputs * work.precision.weight_bits),
        (hardware.activation_memory(work.live_bytes), pixels * work.precision.activation_bits),
    )
    taken: dict[str, float] = {}
    for home, bits in homes:
        if home.feeds_array:
            taken[home.name] = taken.get(home.name, 0.0) + products * row_values * bits / 8
    return taken


def matrix_products(shape: LayerShape, array: MultiplierArray) -> tuple[int, int, int, int]:
    """Return a layer with weights as equal matrix products, one after another: how many, and the rows, summed values and columns of each.

    A convolution is one product a sample and group, of windows by output channels. A dense layer is one product of all its rows. A depthwise layer
    is one product for each sample and as many channels as the array has outputs: all their windows are summed over, with weights of 0 between
    different channels.
    """
    pixels = math.prod(shape.output[:2])
    if shape.operator == "dense":
        return 1, shape.batch * pixels, shape.window_values, shape.output[2]
    if shape.operator == "depthwise":
        channels = min(array.outputs, shape.output[2])
        sources = math.ceil(channels * shape.input[2] / shape.output[2])
        return shape.batch * math.ceil(shape.output[2] / channels), pixels, shape.window_values * sources, channels
    return shape.batch * shape.groups, pixels, shape.window_values, shape.output[2] // shape.groups
