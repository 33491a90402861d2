# SPDX-License-Identifier: Apache-2.0
"""Bundles for the tests of targets."""

from __future__ import annotations

from pathlib import Path

from mpsearch.export.bundle import write_bundle
from tests.export.models import GraphMaker
from tests.export.reference import run_reference


def write_every_kernel(folder: Path, seed: int, extreme: bool, samples: int = 2) -> None:
    """Write a network with every op, and every weight width in every op with weights; its vectors come from the integer reference."""
    maker = GraphMaker(seed, extreme)
    source = maker.input(7, 5, 3)
    value = source
    for bits, channels in zip(range(2, 9), (11, 16, 6, 9, 16, 5, 8), strict=True):
        value = maker.conv(value, channels, (3, 2), bits, padding=(1, 1, 1, 0))
        wide = maker.conv(value, channels, (3, 3), bits, padding=(1, 1, 1, 1), groups=channels)
        value = maker.add(value, maker.conv(wide, channels, (1, 1), bits))
    value = maker.mul(value, maker.unary(value))
    value = maker.concat([maker.max_pool(value, (2, 2), (2, 2), (0, 0, 0, 0)), maker.avg_pool(value, (2, 2), (2, 2), (0, 0, 0, 0), False)], 2)
    value = maker.pad(maker.transpose(value, (1, 0, 2)), [0, 1, 0], [1, 0, 0])
    rows = maker.linear(maker.slice(value, [0, 0, 0], list(maker.shape(value)), [1, 2, 1]), 37, 3)
    value = maker.mean(rows, (0, 1), False)
    for bits in range(2, 9):
        value = maker.linear(value, 30 + bits, bits)
    _write(maker, value, samples, folder)


def write_large(folder: Path, inputs: int, outputs: int) -> None:
    """Write a dense layer of inputs x outputs 8-bit weights."""
    maker = GraphMaker(0)
    _write(maker, maker.linear(maker.input(inputs), outputs, 8), 1, folder)


def _write(maker: GraphMaker, output: str, samples: int, folder: Path) -> None:
    quantized = maker.finish(output)
    inputs = maker.samples(samples)
    given = [tuple(item[i] for item in inputs) for i in range(samples)]
    write_bundle(quantized, [(sample, run_reference(quantized, list(sample))) for sample in given], folder)
