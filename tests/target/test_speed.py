# SPDX-License-Identifier: Apache-2.0
"""Instructions a multiply-accumulate: ceilings a little above what the kernels take, since one spilled register in an inner loop costs more."""

from __future__ import annotations

import pytest

from benchmarks.layer_counts import Bench, Shape
from mpsearch.errors import ExportError
from tests.target.emulated import on_cores, skips

CONV3X3, CONV1X1 = Shape("CONV", 32, 32, 16, 16, 3), Shape("CONV", 25, 5, 64, 64, 1)
FIRST, DEPTHWISE, DENSE = Shape("CONV", 32, 32, 3, 16, 3), Shape("DEPTHWISE", 25, 5, 64, 64, 3), Shape("DENSE", 1, 1, 640, 128)
WIDE, STRIDED, LARGE = Shape("DEPTHWISE", 24, 24, 32, 32, 3), Shape("DEPTHWISE", 24, 24, 32, 32, 3, 2), Shape("DEPTHWISE", 8, 8, 48, 48, 5)
NAMES = {
    WIDE: "depthwise_wide",
    STRIDED: "depthwise_strided",
    LARGE: "depthwise5x5",
    CONV3X3: "conv3x3",
    CONV1X1: "conv1x1",
    FIRST: "first",
    DEPTHWISE: "depthwise",
    DENSE: "dense",
}

CEILINGS: dict[str, dict[Shape, dict[int, float]]] = {
    "cortex-m0": {
        CONV1X1: {8: 7.85, 4: 4.75, 2: 5.2},
        CONV3X3: {8: 8.25, 4: 5.35, 2: 5.8},
        FIRST: {8: 11.25, 4: 9.25, 2: 9.6},
        DEPTHWISE: {8: 15.15, 4: 12.5, 2: 12.55},
        DENSE: {8: 6.05, 4: 6.45, 2: 6.5},
    },
    "cortex-m3": {
        CONV1X1: {8: 3.34, 4: 2.41, 2: 2.26},
        CONV3X3: {8: 3.26, 4: 2.56, 2: 2.41},
        FIRST: {8: 4.85, 4: 4.75, 2: 4.6},
        DEPTHWISE: {8: 8.75, 4: 6.3, 2: 6.3},
        DENSE: {8: 3.79, 4: 3.06, 2: 2.81},
    },
    "cortex-m4": {
        CONV1X1: {8: 1.25, 4: 1.16, 2: 1.105, 3: 1.6, 5: 1.71, 6: 1.71, 7: 2.33},
        CONV3X3: {8: 1.4, 4: 1.35, 2: 1.28, 3: 1.72, 5: 1.84, 6: 1.84, 7: 2.44},
        FIRST: {8: 2.58, 4: 2.69, 2: 2.63, 3: 3.49, 5: 3.49, 6: 3.49, 7: 4.2},
        DEPTHWISE: {8: 2.99, 4: 3.04, 2: 3.04, 3: 3.06, 5: 3.06, 6: 3.06, 7: 3.08},
        WIDE: {8: 2.16, 4: 2.17, 2: 2.17},
        STRIDED: {8: 4.15, 4: 4.2},
        LARGE: {8: 4.05, 4: 4.15},
        DENSE: {8: 1.54, 4: 1.38, 2: 1.3, 3: 3.05, 5: 3.44, 6: 3.44, 7: 5.9},
    },
    "cortex-m7": {
        CONV1X1: {8: 1.25, 4: 1.16, 2: 1.105},
        CONV3X3: {8: 1.4, 4: 1.35, 2: 1.28},
        FIRST: {8: 2.58, 4: 2.69, 2: 2.63},
        DEPTHWISE: {8: 2.99, 4: 3.04, 2: 3.04},
        DENSE: {8: 1.54, 4: 1.38, 2: 1.3},
    },
    "cortex-m55": {
        CONV1X1: {8: 0.255, 4: 0.255, 2: 0.255, 3: 0.38, 5: 0.395, 6: 0.39, 7: 0.44},
        CONV3X3: {8: 0.305, 4: 0.31, 2: 0.315, 3: 0.41, 5: 0.425, 6: 0.415, 7: 0.465},
        FIRST: {8: 0.99, 4: 1.07, 2: 1.09, 3: 1.29, 5: 1.28, 6: 1.28, 7: 1.35},
        DEPTHWISE: {8: 1.6, 4: 1.14, 2: 1.14, 3: 1.15, 5: 1.15, 6: 1.41, 7: 1.42},
        WIDE: {8: 1.39, 4: 0.91, 2: 0.91},
        STRIDED: {8: 1.65, 4: 1.16},
        LARGE: {8: 1.9, 4: 1.45},
        DENSE: {8: 0.185, 4: 0.2, 2: 0.21, 3: 0.465, 5: 0.53, 6: 0.5, 7: 0.69},
    },
    "rv32": {
        CONV1X1: {8: 3.89, 4: 2.69, 2: 2.8, 3: 4.65, 5: 4.65, 6: 4.85, 7: 7.05},
        CONV3X3: {8: 4.3, 4: 2.96, 2: 3.08, 3: 4.85, 5: 4.9, 6: 5.1, 7: 7.2},
        FIRST: {8: 5.55, 4: 5.1, 2: 5.15, 3: 7.5, 5: 7.2, 6: 7.45, 7: 10.0},
        DEPTHWISE: {8: 7.6, 4: 5.7, 2: 5.7, 3: 5.75, 5: 5.75, 6: 5.75, 7: 7.75},
        WIDE: {8: 5.25, 4: 4.0, 2: 4.0},
        STRIDED: {8: 7.2, 4: 7.3},
        LARGE: {8: 7.1, 4: 7.25},
        DENSE: {8: 4.35, 4: 3.73, 2: 3.34, 3: 8.05, 5: 7.8, 6: 7.8, 7: 11.0},
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


@pytest.mark.parametrize("shape", [CONV3X3, CONV1X1, DEPTHWISE, DENSE], ids=NAMES.get)
@pytest.mark.parametrize("core", on_cores(["cortex-m3", "cortex-m4", "cortex-m7", "cortex-m55", "rv32"]))
def test_narrower_weights_are_not_slower(bench: Bench, core: str, shape: Shape) -> None:
    """A dense layer's single pixel on vectors pays for every field: four rows take 22 instructions for 32 values of 4 bits, 20 for 8 bits."""
    two, four, eight = (bench.count(core, shape, bits).instructions for bits in (2, 4, 8))
    spare = 1.0 if (core, shape) == ("cortex-m55", DENSE) else 1.05
    assert two <= 1.05 * four
    assert spare * four <= 1.1 * eight


PER_VALUE = {
    Shape("ADD", 32, 32, 16, 16): {"cortex-m4": 22.0, "cortex-m7": 22.3, "rv32": 25.0},
    Shape("MEAN", 25, 5, 64, 64): {"cortex-m4": 1.95, "cortex-m55": 1.7, "rv32": 5.3},
    Shape("MAX_POOL", 16, 16, 32, 32, 2): {"cortex-m4": 5.1, "cortex-m55": 4.9, "rv32": 6.4},
    Shape("AVG_POOL", 16, 16, 32, 32, 2): {"cortex-m4": 10.1, "cortex-m55": 9.4, "rv32": 10.2},
}
VALUE_ROWS = [
    pytest.param(core, shape, ceiling, id=f"{core}-{shape.kind.lower()}", marks=[pytest.mark.target, *skips(core)])
    for shape, cores in PER_VALUE.items()
    for core, ceiling in cores.items()
]


@pytest.mark.parametrize(("core", "shape", "ceiling"), VALUE_ROWS)
def test_a_kernel_without_weights_takes_no_more_instructions_an_input_value_than_it_did(
    bench: Bench, core: str, shape: Shape, ceiling: float
) -> None:
    assert bench.count(core, shape, 8).instructions / shape.input_values <= ceiling


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
