# SPDX-License-Identifier: Apache-2.0
"""Graphs in the mode "tflite_double": the kernels compiled with -DMPS_DOUBLE_ROUNDING, the NumPy interpreter and the integer execution agree.

What each kernel computes in that mode is tests/kernels' claim.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpsearch.errors import ExportError, QuantizationError
from mpsearch.evaluate.integer import IntegerNetwork
from mpsearch.export.bundle import write_bundle
from mpsearch.export.cores import CORES, check_tools
from mpsearch.export.host import run_bundle, run_selftest
from mpsearch.export.manifest import read_manifest
from mpsearch.export.qemu import run_on_target
from mpsearch.quant.requantize import requantize_params
from mpsearch.records import LayerConstants, QuantizedGraph, Requantize
from tests.export.harness import run_kernels
from tests.export.models import GraphMaker
from tests.export.random_graphs import STEPS, append, random_graphs
from tests.export.reference import run_reference
from tests.export.test_bundle import make_network
from tests.kernels.builds import BUILDS, build_library

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module", params=["gcc-O1", "gcc-simd"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Every kernel in the double-rounding mode."""
    compiler = BUILDS[request.param].compiler
    if shutil.which(compiler) is None:
        pytest.skip(f"NO {compiler.upper()}: the kernels were not built with it")
    folder = tmp_path_factory.mktemp("kernels")
    return build_library(folder, request.param, rounding="tflite_double")


def often_tied(quantized: QuantizedGraph) -> QuantizedGraph:
    """Make half of the scales powers of two, so that accumulators often lie halfway between two outputs."""

    def tie(params: Requantize) -> Requantize:
        multiplier = params.multiplier.copy()
        multiplier[::2] = 1 << 30
        return Requantize(multiplier=multiplier, right_shift=params.right_shift, left_shift=params.left_shift)

    def tie_all(constants: LayerConstants) -> LayerConstants:
        return replace(constants, requantize=tuple(map(tie, constants.requantize)))

    return replace(quantized, constants=tuple(map(tie_all, quantized.constants)))


def assert_same(kernels: ctypes.CDLL, maker: GraphMaker, quantized: QuantizedGraph, samples: int = 2) -> None:
    twice = replace(often_tied(quantized), rounding="tflite_double")
    inputs = maker.samples(samples)
    expected = np.stack([run_reference(twice, list(sample)) for sample in zip(*inputs, strict=True)])
    np.testing.assert_array_equal(np.stack([run_kernels(kernels, twice, list(sample)) for sample in zip(*inputs, strict=True)]), expected)
    integers = {name: torch.from_numpy(item.astype(np.float32)) for name, item in zip(twice.graph.inputs, inputs, strict=True)}
    np.testing.assert_array_equal(IntegerNetwork(twice).integer_output(integers).numpy(), expected)


@settings(max_examples=100)
@given(made=random_graphs())
def test_any_graph_agrees(kernels: ctypes.CDLL, made: tuple[GraphMaker, QuantizedGraph]) -> None:
    assert_same(kernels, *made)


@pytest.mark.parametrize("step", STEPS)
def test_every_kind_of_layer_agrees(kernels: ctypes.CDLL, step: str) -> None:
    maker = GraphMaker(1)
    assert_same(kernels, maker, maker.finish(append(maker, maker.input(5, 4, 12), step, 4, 7)))


@given(seed=SEEDS, scale=st.floats(0.3, 40.0), inputs=st.integers(1, 4))
def test_scales_that_shift_left_agree(kernels: ctypes.CDLL, seed: int, scale: float, inputs: int) -> None:
    maker = GraphMaker(seed)
    quantized = maker.finish(maker.linear(maker.input(3, inputs), 4, 2))
    params = requantize_params([scale, scale / 3, scale / 300, scale / 1e6], 255 * 2 * inputs + 1000)
    assert_same(kernels, maker, replace(quantized, constants=(replace(quantized.constants[0], requantize=(params,)),)), samples=4)


# ---------------------------------------------------------------- bundles


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray], np.ndarray]:
    """A bundle with every op that rounds twice, inputs, and the outputs that it must give."""
    maker, once = make_network(7)
    quantized = replace(often_tied(once), rounding="tflite_double")
    inputs = maker.samples(6)
    expected = np.stack([run_reference(quantized, list(sample)) for sample in zip(*inputs, strict=True)])
    folder = tmp_path_factory.mktemp("double") / "bundle"
    write_bundle(quantized, [(tuple(item[i] for item in inputs), expected[i]) for i in range(6)], folder)
    return folder, inputs, expected


def test_a_bundle_says_how_it_rounds_and_rounds_so(bundle: tuple[Path, list[np.ndarray], np.ndarray]) -> None:
    folder, inputs, expected = bundle
    assert read_manifest(folder)["rounding"] == "tflite_double"
    assert run_selftest(folder, sanitize=True) == "6 vectors, 0 mismatches\n"
    np.testing.assert_array_equal(run_bundle(folder, inputs), expected)


def test_its_makefile_and_cmake_list_carry_the_flag(bundle: tuple[Path, list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    folder = shutil.copytree(bundle[0], tmp_path / "bundle")
    done = subprocess.run(["make", "-s", "-C", str(folder), "test"], capture_output=True, text=True, check=True)
    assert done.stdout == "6 vectors, 0 mismatches\n"
    assert "target_compile_options(mps_model PUBLIC -DMPS_DOUBLE_ROUNDING)" in (folder / "CMakeLists.txt").read_text(encoding="utf-8")


def test_without_the_flag_it_does_not_compile(bundle: tuple[Path, list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    command = ["cc", f"-I{bundle[0]}", "-c", "-o", str(tmp_path / "model.o"), str(bundle[0] / "model.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "compile all of its files with -DMPS_DOUBLE_ROUNDING" in done.stderr


def test_a_bundle_that_rounds_once_names_no_flag(tmp_path: Path) -> None:
    write_bundle(make_network(7)[1], [], tmp_path / "bundle")
    assert read_manifest(tmp_path / "bundle")["rounding"] == "single"
    for name in ("Makefile", "CMakeLists.txt", "model.c"):
        assert "MPS_DOUBLE_ROUNDING" not in (tmp_path / "bundle" / name).read_text(encoding="utf-8")


def test_another_rounding_is_refused(bundle: tuple[Path, list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match=r"the rounding is 'double'.*did you mean tflite_double"):
        replace(make_network(7)[1], rounding="double")  # type: ignore[arg-type]
    folder = shutil.copytree(bundle[0], tmp_path / "bundle")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**manifest, "rounding": "up"}), encoding="utf-8")
    with pytest.raises(ExportError, match=r"has rounding 'up', wanted one of \('single', 'tflite_double'\)"):
        run_selftest(folder)


@pytest.mark.target
@pytest.mark.parametrize("target", CORES)
def test_a_bundle_rounds_twice_on_every_emulated_core(bundle: tuple[Path, list[np.ndarray], np.ndarray], target: str) -> None:
    try:
        check_tools(CORES[target])
    except ExportError as error:
        pytest.skip(f"NO TOOLS FOR {target.upper()}: {error}")
    assert run_on_target(bundle[0], target).mismatches == 0
