# SPDX-License-Identifier: Apache-2.0
"""Whole models as a chip would run them: cross-compiled, emulated, and equal to the integer reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpsearch.errors import ExportError
from mpsearch.export.bundle import write_bundle
from mpsearch.export.cores import CORES
from mpsearch.export.counting import TargetRun, read_counts
from mpsearch.export.manifest import read_manifest
from mpsearch.export.qemu import run_on_target
from tests.export.models import GraphMaker
from tests.target.bundles import write_every_kernel, write_large
from tests.target.emulated import on_cores, skips


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("target") / "bundle"
    write_every_kernel(folder, 5, False)
    return folder


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("target", on_cores())
def test_every_kernel_at_every_width_equals_the_reference(target: str, seed: int, compiler: str, tmp_path: Path) -> None:
    for mark in skips(target, compiler):
        if mark.args[0]:
            pytest.skip(mark.kwargs["reason"])
    write_every_kernel(tmp_path / "bundle", seed, extreme=seed == 2)
    run = run_on_target(tmp_path / "bundle", target, compiler)
    assert (run.vectors, run.mismatches) == (2, 0), run.report


@pytest.mark.parametrize("target", on_cores())
def test_instructions_are_counted_layer_by_layer(target: str, bundle: Path) -> None:
    run = run_on_target(bundle, target)
    counts = [layer.count for layer in run.layers]
    assert run.count is not None
    inside = sum(count.instructions for count in counts if count is not None)
    assert 0.99 * run.count.instructions < inside < run.count.instructions
    for layer, count in zip(run.layers, counts, strict=True):  # no layer here moves only a handful of values
        assert count is not None
        assert layer.op == "Reshape" or count.instructions > 100, layer
        assert (count.cycles is not None) == CORES[target].estimates_cycles


@pytest.mark.parametrize("target", on_cores(["cortex-m4", "rv32"]))
def test_a_count_repeats_to_the_instruction(target: str, bundle: Path) -> None:
    assert run_on_target(bundle, target) == run_on_target(bundle, target)


@pytest.mark.parametrize("target", on_cores(["cortex-m7"]))
def test_cortex_m4_and_m7_execute_nearly_the_same(target: str, bundle: Path) -> None:
    runs: list[TargetRun] = [run_on_target(bundle, name) for name in ("cortex-m4", target)]
    first, second = (run.count.instructions for run in runs if run.count is not None)
    assert second == pytest.approx(first, rel=0.03)


@pytest.mark.parametrize("target", on_cores(["cortex-m4", "rv32"]))
def test_a_wrong_vector_is_reported_and_not_raised(target: str, tmp_path: Path) -> None:
    write_every_kernel(tmp_path / "bundle", 3, False, samples=1)
    vectors = tmp_path / "bundle" / "vectors.h"
    text = vectors.read_text(encoding="utf-8")
    head, tail = text.split("vector_outputs", 1)
    first = tail.index("{\n    ") + 6
    number = tail[first : tail.index(",", first)]
    vectors.write_text(f"{head}vector_outputs{tail[:first]}{int(number) ^ 1}{tail[first + len(number) :]}", encoding="utf-8")
    run = run_on_target(tmp_path / "bundle", target)
    assert run.mismatches == 1
    assert f"output 0: got {number}, wanted {int(number) ^ 1}" in run.report


@pytest.mark.parametrize("target", on_cores(["cortex-m4", "cortex-m55", "rv32"]))
def test_a_model_of_two_megabytes_runs(target: str, tmp_path: Path) -> None:
    write_large(tmp_path / "bundle", 4096, 500)
    run = run_on_target(tmp_path / "bundle", target)
    assert (run.vectors, run.mismatches) == (1, 0), run.report


@pytest.mark.parametrize("target", on_cores(["cortex-m4"]))
def test_a_model_that_does_not_fit_is_refused_with_the_sizes(target: str, tmp_path: Path) -> None:
    write_large(tmp_path / "bundle", 4096, 1100)
    with pytest.raises(ExportError, match=r"does not fit the board mps2-an386: it needs 45\d{5} bytes of code and constants, .* has 4193280"):
        run_on_target(tmp_path / "bundle", target)


@pytest.mark.parametrize("target", on_cores(["cortex-m4"]))
def test_a_bundle_without_vectors_is_refused(target: str, tmp_path: Path) -> None:
    maker = GraphMaker(0)
    write_bundle(maker.finish(maker.linear(maker.input(4), 2, 4)), [], tmp_path / "bundle")
    with pytest.raises(ExportError, match="has no test vectors: nothing was run on cortex-m4"):
        run_on_target(tmp_path / "bundle", target)


@pytest.mark.parametrize("target", on_cores(["cortex-m7", "rv32"]))
def test_a_program_that_stops_is_an_error(target: str, tmp_path: Path) -> None:
    write_every_kernel(tmp_path / "bundle", 3, False, samples=1)
    model = tmp_path / "bundle" / "model.c"
    model.write_text(model.read_text(encoding="utf-8").replace("mps_status status = MPS_OK;", "mps_status status = MPS_OK; return 1;"))
    with pytest.raises(ExportError, match=rf"(?s)stopped with 2 on {target}:.*the model stopped with status 1"):
        run_on_target(tmp_path / "bundle", target)


@pytest.mark.parametrize("target", on_cores(["cortex-m7"]))
def test_a_bundle_that_does_not_compile_is_an_error(target: str, tmp_path: Path) -> None:
    write_every_kernel(tmp_path / "bundle", 3, False, samples=1)
    (tmp_path / "bundle" / read_manifest(tmp_path / "bundle")["sources"][-1]).write_text("nonsense", encoding="utf-8")
    with pytest.raises(ExportError, match="does not compile with arm-none-eabi-gcc"):
        run_on_target(tmp_path / "bundle", target)


def test_a_log_without_a_report_is_an_error() -> None:
    with pytest.raises(ExportError, match="reported nothing"):
        read_counts("layer 3 10 20\n")


def test_the_first_report_counts() -> None:
    total, layers = read_counts("layer 0 10 20\nlayer 2 1 2\ncounted 12 24\nlayer 0 7 7\ncounted 9 9\n")
    assert (total.instructions, total.cycles) == (12, 24)
    assert {number: count.cycles for number, count in layers.items()} == {0: 20, 2: 2}


def test_a_report_without_cycles_has_none() -> None:
    total, layers = read_counts("layer 0 10\ncounted 12\n")
    assert (total.instructions, total.cycles, layers[0].cycles) == (12, None, None)
