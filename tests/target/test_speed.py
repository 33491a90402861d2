# SPDX-License-Identifier: Apache-2.0
"""Instructions a multiply-accumulate: ceilings a little above what the kernels take, since one spilled register in an inner loop costs more."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.layer_counts import Bench, Shape

TOOLS = ("arm-none-eabi-gcc", "qemu-system-arm")
missing = [tool for tool in TOOLS if shutil.which(tool) is None]
pytestmark = [pytest.mark.target, pytest.mark.skipif(bool(missing), reason=f"NO {' AND '.join(missing).upper()}: no instructions were counted")]

CONV3X3, CONV1X1 = Shape("CONV", 32, 32, 16, 16, 3), Shape("CONV", 25, 5, 64, 64, 1)
DEPTHWISE, DENSE = Shape("DEPTHWISE", 25, 5, 64, 64, 3), Shape("DENSE", 1, 1, 640, 128)
CEILINGS = [
    (CONV3X3, 8, 1.80),
    (CONV3X3, 4, 1.86),
    (CONV3X3, 2, 1.71),
    (CONV1X1, 8, 1.82),
    (CONV1X1, 4, 1.85),
    (CONV1X1, 2, 1.85),
    (DEPTHWISE, 8, 8.1),
    (DEPTHWISE, 4, 8.1),
    (DENSE, 8, 2.03),
    (DENSE, 4, 1.83),
    (DENSE, 2, 1.63),
    (DENSE, 3, 6.2),
    (DENSE, 7, 8.1),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize(("shape", "bits", "ceiling"), CEILINGS, ids=str)
def test_a_kernel_takes_no_more_instructions_a_mac_than_it_did(bench: Bench, shape: Shape, bits: int, ceiling: float) -> None:
    assert bench.count("cortex-m4", shape, bits).instructions / shape.macs <= ceiling


def test_an_addition_takes_less_than_thirty_instructions_a_value(bench: Bench) -> None:
    shape = Shape("ADD", 32, 32, 16, 16)
    assert bench.count("cortex-m4", shape, 8).instructions / shape.output_values < 30


@pytest.mark.parametrize("shape", [CONV3X3, CONV1X1, DEPTHWISE, DENSE], ids=str)
@pytest.mark.parametrize("bits", [2, 4])
def test_packed_widths_take_at_most_five_percent_more_instructions_than_eight_bits(bench: Bench, shape: Shape, bits: int) -> None:
    packed, eight = (bench.count("cortex-m4", shape, width).instructions for width in (bits, 8))
    assert packed <= 1.05 * eight


def test_a_count_repeats_to_the_instruction(bench: Bench) -> None:
    assert bench.count("cortex-m7", DENSE, 4) == bench.count("cortex-m7", DENSE, 4)
