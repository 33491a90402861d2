# SPDX-License-Identifier: Apache-2.0
"""The kernels as a chip would run them: cross-compiled, emulated, and equal to the integer reference."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mpsearch.errors import ExportError
from mpsearch.export.bundle import write_bundle
from mpsearch.export.cores import CORES, check_tools, find_core
from mpsearch.export.manifest import read_manifest
from mpsearch.export.qemu import TargetRun, read_counts, run_on_target
from tests.export.models import GraphMaker
from tests.export.reference import run_reference

TOOLS = ("arm-none-eabi-gcc", "qemu-system-arm")
missing = [tool for tool in TOOLS if shutil.which(tool) is None]
needs_tools = pytest.mark.skipif(bool(missing), reason=f"NO {' AND '.join(missing).upper()}: nothing was run on a Cortex-M")


def write_every_kernel(folder: Path, seed: int, extreme: bool, samples: int = 2) -> None:
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
    quantized = maker.finish(value)
    inputs = maker.samples(samples)
    given = [tuple(item[i] for item in inputs) for i in range(samples)]
    write_bundle(quantized, [(sample, run_reference(quantized, list(sample))) for sample in given], folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TargetRun]:
    folder = tmp_path_factory.mktemp("target") / "bundle"
    write_every_kernel(folder, 5, False)
    return {target: run_on_target(folder, target) for target in CORES}


@needs_tools
@pytest.mark.target
@pytest.mark.parametrize("target", CORES)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_kernel_at_every_width_equals_the_reference(target: str, seed: int, tmp_path: Path) -> None:
    write_every_kernel(tmp_path / "bundle", seed, extreme=seed == 2)
    run = run_on_target(tmp_path / "bundle", target)
    assert (run.vectors, run.mismatches) == (2, 0), run.report


@needs_tools
@pytest.mark.target
def test_instructions_are_counted_layer_by_layer(runs: dict[str, TargetRun]) -> None:
    for run in runs.values():
        inside = sum(layer.count.instructions for layer in run.layers)
        assert 0.99 * run.count.instructions < inside < run.count.instructions
        for layer in run.layers:  # a MAC takes more than one instruction, and no layer here moves only a handful of values
            assert layer.op == "Reshape" or layer.count.instructions > max(layer.macs, 100), layer


@needs_tools
@pytest.mark.target
def test_both_cores_execute_nearly_the_same(runs: dict[str, TargetRun]) -> None:
    assert runs["cortex-m7"].count.instructions == pytest.approx(runs["cortex-m4"].count.instructions, rel=0.03)


@needs_tools
@pytest.mark.target
def test_a_wrong_vector_is_reported_and_not_raised(tmp_path: Path) -> None:
    write_every_kernel(tmp_path / "bundle", 3, False, samples=1)
    vectors = tmp_path / "bundle" / "vectors.h"
    text = vectors.read_text(encoding="utf-8")
    head, tail = text.split("vector_outputs", 1)
    first = tail.index("{\n    ") + 6
    number = tail[first : tail.index(",", first)]
    vectors.write_text(f"{head}vector_outputs{tail[:first]}{int(number) ^ 1}{tail[first + len(number) :]}", encoding="utf-8")
    run = run_on_target(tmp_path / "bundle", "cortex-m4")
    assert run.mismatches == 1
    assert f"output 0: got {number}, wanted {int(number) ^ 1}" in run.report


@needs_tools
@pytest.mark.target
def test_a_bundle_without_vectors_is_refused(tmp_path: Path) -> None:
    maker = GraphMaker(0)
    write_bundle(maker.finish(maker.linear(maker.input(4), 2, 4)), [], tmp_path / "bundle")
    with pytest.raises(ExportError, match="has no test vectors: nothing was run on cortex-m4"):
        run_on_target(tmp_path / "bundle", "cortex-m4")


@needs_tools
@pytest.mark.target
def test_a_program_that_stops_is_an_error(tmp_path: Path) -> None:
    write_every_kernel(tmp_path / "bundle", 3, False, samples=1)
    model = tmp_path / "bundle" / "model.c"
    model.write_text(model.read_text(encoding="utf-8").replace("mps_status status = MPS_OK;", "mps_status status = MPS_OK; return 1;"))
    with pytest.raises(ExportError, match=r"(?s)stopped with 2 on cortex-m7:.*the model stopped with status 1"):
        run_on_target(tmp_path / "bundle", "cortex-m7")


@needs_tools
@pytest.mark.target
def test_a_bundle_that_does_not_compile_is_an_error(tmp_path: Path) -> None:
    write_every_kernel(tmp_path / "bundle", 3, False, samples=1)
    (tmp_path / "bundle" / read_manifest(tmp_path / "bundle")["sources"][-1]).write_text("nonsense", encoding="utf-8")
    with pytest.raises(ExportError, match="does not compile with arm-none-eabi-gcc"):
        run_on_target(tmp_path / "bundle", "cortex-m7")


def test_an_unknown_target_is_answered_with_the_nearest() -> None:
    with pytest.raises(ExportError, match=r"no emulator for target 'cortex-m5'.*did you mean cortex-m"):
        find_core("cortex-m5")


def test_missing_tools_are_named_with_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ExportError, match=r"arm-none-eabi-gcc and qemu-system-arm\. Kept\. Hint: on Debian: apt-get install gcc-arm-none-eabi"):
        check_tools("Kept.")


def test_a_log_without_a_report_is_an_error() -> None:
    with pytest.raises(ExportError, match="reported nothing"):
        read_counts("layer 3 10 20\n")


def test_the_first_report_counts() -> None:
    total, layers = read_counts("layer 0 10 20\nlayer 2 1 2\ncounted 12 24\nlayer 0 7 7\ncounted 9 9\n")
    assert (total.instructions, total.cycles) == (12, 24)
    assert {number: count.cycles for number, count in layers.items()} == {0: 20, 2: 2}
