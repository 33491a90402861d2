# SPDX-License-Identifier: Apache-2.0
"""Instructions a multiply-accumulate: ceilings a little above what the kernels take, since one spilled register in an inner loop costs more."""

from __future__ import annotations

import pytest

from benchmarks.layer_counts import Bench, Shape
from mpsearch.errors import ExportError
from tests.target.emulated import on_cores, skips

CONV3X3, CONV1X1 = Shape("CONV", 32, 32, 16, 16, 3), Shape("CONV", 25, 5, 64, 64, 1)
FIRST, DEPTHWISE, DENSE = Shape("CONV", 32, 32, 3, 16, 3), Shape("DEPTHWISE", 25, 5, 64, 64, 3), Shape("DENSE", 1, 1, 640, 128)
WIDE = Shape("DEPTHWISE", 24, 24, 32, 32, 3)
NAMES = {WIDE: "depthwise_wide", CONV3X3: "conv3x3", CONV1X1: "conv1x1", FIRST: "first", DEPTHWISE: "depthwise", DENSE: "dense"}

CEILINGS: dict[str, dict[Shape, dict[int, float]]] = {
    "cortex-m0": {CONV1X1: {8: 9.8, 4: 7.2, 2: 6.0}, DENSE: {8: 6.2, 4: 7.0, 2: 5.1}, DEPTHWISE: {8: 16.6, 4: 14.2, 2: 14.2}},
    "cortex-m3": {CONV1X1: {8: 3.5, 4: 3.1, 2: 2.45}, DENSE: {8: 3.9, 4: 3.9, 2: 2.75}, DEPTHWISE: {8: 8.6, 4: 6.2, 2: 6.2}},
    "cortex-m4": {
        CONV1X1: {8: 1.37, 4: 1.31, 2: 1.24, 3: 2.2, 5: 2.35, 6: 2.35, 7: 5.3},
        CONV3X3: {8: 1.52, 4: 1.49, 2: 1.42, 3: 2.25, 7: 4.9},
        FIRST: {8: 2.8, 4: 2.95, 2: 2.9},
        DEPTHWISE: {8: 2.95, 7: 3.03, 6: 3.02, 5: 3.02, 4: 3.0, 3: 3.02, 2: 3.0},
        WIDE: {8: 2.16, 4: 2.17, 2: 2.17},
        DENSE: {8: 1.55, 4: 1.40, 2: 1.30, 3: 3.05, 5: 3.35, 6: 3.35, 7: 7.6},
    },
    "cortex-m7": {CONV1X1: {8: 1.37, 4: 1.31, 2: 1.24}, DENSE: {8: 1.55, 4: 1.40, 2: 1.30}, DEPTHWISE: {8: 2.95, 4: 3.0, 2: 3.0}},
    "cortex-m55": {
        CONV1X1: {8: 1.37, 4: 1.31, 2: 1.24},
        DENSE: {8: 1.55, 4: 1.40, 2: 1.30},
        DEPTHWISE: {8: 1.58, 7: 1.41, 6: 1.39, 5: 1.14, 4: 1.13, 3: 1.14, 2: 1.13},
        WIDE: {8: 1.39, 4: 0.91, 2: 0.91},
    },
    "rv32": {
        CONV1X1: {8: 4.45, 4: 4.45, 2: 4.25},
        DENSE: {8: 4.5, 4: 4.85, 2: 3.9},
        DEPTHWISE: {8: 7.5, 7: 7.7, 6: 5.65, 5: 5.65, 4: 5.6, 3: 5.65, 2: 5.6},
        WIDE: {8: 5.25, 4: 4.0, 2: 4.0},
    },
}
ROWS = [
    pytest.param(core, shape, bits, ceiling, id=f"{core}-{NAMES[shape]}-w{bits}", marks=[pytest.mark.target, *skips(core)])
    for core, shapes in CEILINGS.items()
    for shape, widths in shapes.items()
    for bits, ceiling in widths.items()
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize(("core", "shape", "bits", "ceiling"), ROWS)
def test_a_kernel_takes_no_more_instructions_a_mac_than_it_did(bench: Bench, core: str, shape: Shape, bits: int, ceiling: float) -> None:
    assert bench.count(core, shape, bits).instructions / shape.macs <= ceiling


@pytest.mark.parametrize("shape", [CONV3X3, CONV1X1, DENSE, DEPTHWISE], ids=NAMES.get)
@pytest.mark.parametrize("core", on_cores(["cortex-m3", "cortex-m4", "cortex-m7", "cortex-m55"]))
def test_narrower_weights_are_not_slower(bench: Bench, core: str, shape: Shape) -> None:
    two, four, eight = (bench.count(core, shape, bits).instructions for bits in (2, 4, 8))
    assert two <= 1.05 * four <= 1.1 * eight


@pytest.mark.parametrize("core", on_cores(["cortex-m4"]))
def test_an_addition_takes_less_than_thirty_instructions_a_value(bench: Bench, core: str) -> None:
    shape = Shape("ADD", 32, 32, 16, 16)
    assert bench.count(core, shape, 8).instructions / shape.output_values < 30


@pytest.mark.parametrize("core", on_cores(["cortex-m7"]))
def test_a_count_repeats_to_the_instruction(bench: Bench, core: str) -> None:
    assert bench.count(core, DENSE, 4) == bench.count(core, DENSE, 4)


@pytest.mark.parametrize(("level", "bits"), [*(("-O2", bits) for bits in range(2, 9)), ("-O3", 3), ("-O3", 8)])
@pytest.mark.parametrize("core", on_cores(["cortex-m4", "cortex-m55"], "clang"))
def test_gcc_and_clang_compute_the_same(bench: Bench, core: str, level: str, bits: int) -> None:
    """A wrong output raises: `count` compares it with the reference."""
    for shape in (Shape("CONV", 7, 5, 20, 9, 3), Shape("CONV", 9, 9, 33, 12, 1), Shape("DEPTHWISE", 7, 9, 21, 21, 3), Shape("DENSE", 3, 1, 75, 31)):
        for compiler in ("gcc", "clang"):
            assert bench.count(core, shape, bits, level, compiler).instructions > shape.macs // 16


@pytest.mark.parametrize("core", on_cores(["cortex-m4"]))
def test_a_wrong_output_is_not_counted(core: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.layer_counts.pack", lambda plain, bits: plain.astype("uint8"))
    with pytest.raises(ExportError, match=r"dense 640 -> 128 at 4 bits on cortex-m4 .*: the output is not that of the reference"):
        Bench(tmp_path_factory.mktemp("wrong")).count(core, DENSE, 4)
