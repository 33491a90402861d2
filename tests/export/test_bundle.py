# SPDX-License-Identifier: Apache-2.0
"""Whole bundles: written, built with sanitizers, run, and compared with the NumPy interpreter."""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mpsearch.errors import ExportError, QuantizationError
from mpsearch.export.bundle import write_bundle
from mpsearch.export.constants import build_blocks
from mpsearch.export.emit_project import WARNINGS
from mpsearch.export.host import run_bundle, run_selftest
from mpsearch.export.manifest import read_manifest
from mpsearch.quant.packed_size import constant_bytes
from mpsearch.records import BitWidthConfig, Precision, Quantization, QuantizedGraph
from tests.export.models import GraphMaker
from tests.export.reference import run_reference

SAMPLES = 12


def make_network(seed: int = 0) -> tuple[GraphMaker, QuantizedGraph]:
    """Two inputs, every op, every weight bit-width, a shortcut, in-place layers and a reshape at the end."""
    maker = GraphMaker(seed)
    image, gate = maker.input(9, 7, 4), maker.input(1, 1, 6)
    first = maker.conv(image, 6, (3, 3), 3, padding=(1, 1, 1, 1))
    value = maker.add(first, maker.conv(first, 6, (1, 1), 4))
    value = maker.mul(value, gate)
    value = maker.conv(value, 12, (3, 3), 5, groups=6, stride=(2, 2), padding=(1, 1, 1, 1))
    value = maker.unary(maker.conv(value, 8, (3, 2), 6, groups=2, dilation=(2, 1), padding=(2, 0, 1, 1)))
    value = maker.mul(value, maker.mean(value, (0, 1), keep=True))
    pools = [
        maker.max_pool(value, (2, 2), (2, 2), (0, 1, 1, 0)),
        maker.avg_pool(value, (2, 2), (2, 2), (0, 1, 1, 0), whole=False),
        maker.avg_pool(value, (2, 2), (2, 2), (0, 1, 1, 0), whole=True),
    ]
    value = maker.transpose(maker.concat(pools, 2), (2, 0, 1))
    value = maker.pad(value, (0, 1, 0), (2, 0, 1))
    shape = maker.shape(value)
    value = maker.slice(value, (1, 0, 0), shape, (2, 1, 2))
    value = maker.linear(maker.reshape(value, 3, int(np.prod(maker.shape(value))) // 3), 10, 7)
    value = maker.linear(value, 10, 2, key="tied")
    value = maker.linear(value, 10, 2, key="tied")
    value = maker.linear(value, 5, 8)
    return maker, maker.finish(maker.reshape(value, 5, 3))


def expect(quantized: QuantizedGraph, inputs: list[npt.NDArray[np.int8]]) -> npt.NDArray[np.int8]:
    return np.stack([run_reference(quantized, list(sample)) for sample in zip(*inputs, strict=True)])


@pytest.fixture(scope="module")
def network() -> tuple[QuantizedGraph, list[npt.NDArray[np.int8]], npt.NDArray[np.int8]]:
    maker, quantized = make_network()
    inputs = maker.samples(SAMPLES)
    return quantized, inputs, expect(quantized, inputs)


@pytest.fixture(scope="module")
def bundle(network: tuple[QuantizedGraph, list[npt.NDArray[np.int8]], npt.NDArray[np.int8]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    quantized, inputs, expected = network
    folder = tmp_path_factory.mktemp("export") / "bundle"
    write_bundle(quantized, [(tuple(item[i] for item in inputs), expected[i]) for i in range(3)], folder)
    return folder


@pytest.mark.parametrize("sanitize", [False, True])
def test_the_program_equals_the_reference_on_every_sample(
    bundle: Path, network: tuple[QuantizedGraph, list[npt.NDArray[np.int8]], npt.NDArray[np.int8]], sanitize: bool
) -> None:
    _, inputs, expected = network
    np.testing.assert_array_equal(run_bundle(bundle, inputs, sanitize=sanitize), expected)


def test_the_selftest_passes_and_says_so(bundle: Path) -> None:
    assert run_selftest(bundle, sanitize=True) == "3 vectors, 0 mismatches\n"


def test_the_selftest_reports_an_output_that_differs(tmp_path: Path) -> None:
    maker, quantized = make_network(5)
    inputs = maker.samples(1)
    wrong = expect(quantized, inputs)[0]
    wrong[2, 1] ^= 1
    write_bundle(quantized, [(tuple(item[0] for item in inputs), wrong)], tmp_path / "bundle")
    with pytest.raises(ExportError, match=r"stopped with 1:\nvector 0, output 7: got (-?\d+), wanted (-?\d+)"):
        run_selftest(tmp_path / "bundle")


def test_the_bytes_are_counted_once(bundle: Path, network: tuple[QuantizedGraph, list[npt.NDArray[np.int8]], npt.NDArray[np.int8]]) -> None:
    quantized = network[0]
    graph = quantized.graph
    counted = sum(constant_bytes(graph, layer, None if layer.weight is None else quantized.config[layer.name]) for layer in graph.layers)
    manifest = read_manifest(bundle)
    assert counted == manifest["flash_bytes"] == (bundle / "model.bin").stat().st_size == sum(entry["flash_bytes"] for entry in manifest["layers"])


def test_model_bin_holds_the_very_bytes_of_the_compiled_constants(bundle: Path, tmp_path: Path) -> None:
    main = '#include "model.c"\n#include <stdio.h>\nint main(void) { return fwrite(&constants, sizeof constants, 1, stdout) == 1 ? 0 : 1; }\n'
    (tmp_path / "dump.c").write_text(main, encoding="utf-8")
    sources = [str(bundle / name) for name in read_manifest(bundle)["sources"] if name != "model.c"]
    subprocess.run(["cc", f"-I{bundle}", "-o", str(tmp_path / "dump"), str(tmp_path / "dump.c"), *sources], check=True)
    dumped = subprocess.run([str(tmp_path / "dump")], check=True, capture_output=True).stdout
    assert dumped == (bundle / "model.bin").read_bytes()


def test_only_the_kernels_in_use_are_copied(tmp_path: Path) -> None:
    maker = GraphMaker(0)
    write_bundle(maker.finish(maker.linear(maker.input(4), 2, 4)), [], tmp_path / "bundle")
    assert sorted(path.name for path in (tmp_path / "bundle" / "mps").glob("*.c")) == ["mps_linear.c", "mps_nibbles.c", "mps_tile.c", "mps_unpack.c"]


def test_the_program_has_no_malloc_float_or_stdio(bundle: Path) -> None:
    for path in [bundle / "model.c", bundle / "model.h", *sorted((bundle / "mps").iterdir())]:
        code = re.sub(r"(?s)/\*.*?\*/", "", path.read_text(encoding="utf-8"))
        assert re.findall(r"malloc|calloc|float|double|stdio|printf", code) == [], path.name


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_bundle(make_network(3)[1], [], tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*") if path.is_file())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)


def test_the_makefile_builds_and_runs_the_selftest(bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    done = subprocess.run(["make", "-s", "-C", str(copy), "test"], capture_output=True, text=True, check=True)
    assert done.stdout == "3 vectors, 0 mismatches\n"


def test_the_manifest_tells_digests_and_layers(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert set(manifest["digests"]) == {str(p.relative_to(bundle)) for p in bundle.rglob("*") if p.is_file()} - {"manifest.json"}
    first = manifest["layers"][0]
    assert (first["op"], first["kernel"], first["precision"]) == ("Conv2d", "mps_conv2d", "w3a8")
    assert manifest["arena_bytes"] >= manifest["arena_bound_bytes"] > 0


@pytest.mark.target
def test_the_bundle_compiles_for_cortex_m4(bundle: Path, tmp_path: Path) -> None:
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("NO ARM COMPILER: the bundle was not compiled for cortex-m4")
    sources = [str(bundle / name) for name in read_manifest(bundle)["sources"]]
    flags = ["-mcpu=cortex-m4", "-mthumb", "-O2", "-ffreestanding", *WARNINGS, f"-I{bundle}"]
    subprocess.run(["arm-none-eabi-gcc", *flags, "-c", *sources], check=True, cwd=tmp_path)
    assert len(list(tmp_path.glob("*.o"))) == len(sources)


# ---------------------------------------------------------------- bad input


def small(bits: int = 4) -> QuantizedGraph:
    maker = GraphMaker(0)
    return maker.finish(maker.linear(maker.input(4), 2, bits))


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="already exists"):
        write_bundle(small(), [], tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ExportError, match=r"cannot be written: .*Hint: check the folder's permissions"):
        write_bundle(small(), [], tmp_path / "file" / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.write_bytes

    def write(path: Path, data: bytes) -> int:
        if path.name == "model.bin":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(ExportError, match="cannot be written: No space left on device"):
        write_bundle(small(), [], tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_precision_without_a_kernel_is_refused(tmp_path: Path) -> None:
    quantized = small()
    config = BitWidthConfig(model_digest=quantized.graph.model_digest, precisions=(("layer0", Precision(weight_bits=4, activation_bits=5)),))
    with pytest.raises(ExportError, match="Layer 'layer0': there is no kernel for Linear at w4a5"):
        write_bundle(replace(quantized, config=config), [], tmp_path / "bundle")


def test_4_and_16_bits_at_an_input_of_the_model_are_refused(tmp_path: Path) -> None:
    quantized = small()
    config = BitWidthConfig(model_digest=quantized.graph.model_digest, precisions=(("layer0", Precision(weight_bits=4, activation_bits=16)),))
    with pytest.raises(QuantizationError, match="Layer 'layer0': Linear at w4a16 reads tensor 't0', which is an input of the model"):
        write_bundle(replace(quantized, config=config), [], tmp_path / "bundle")


@pytest.mark.parametrize(
    ("widths", "wide"), [((4, 4), set()), ((4, 16), {"mps_conv2d_wide.c", "mps_linear_wide.c"}), ((16, 8), {"mps_conv2d_wide.c"})]
)
def test_a_bundle_with_4_and_16_bit_activations_equals_the_reference(tmp_path: Path, widths: tuple[int, int], wide: set[str]) -> None:
    maker = GraphMaker(7)
    value = maker.conv(maker.input(6, 5, 3), 7, (3, 3), 4, padding=(1, 1, 1, 1), output_bits=widths[0])
    value = maker.linear(maker.conv(value, 5, (1, 1), 3, output_bits=widths[1]), 4, 8)
    quantized = maker.finish(maker.mean(value, (0, 1)))
    inputs = maker.samples(SAMPLES)
    expected = expect(quantized, inputs)
    write_bundle(quantized, [(tuple(item[i] for item in inputs), expected[i]) for i in range(3)], tmp_path / "bundle")
    np.testing.assert_array_equal(run_bundle(tmp_path / "bundle", inputs, sanitize=True), expected)
    assert {path.name for path in (tmp_path / "bundle" / "mps").glob("*_wide.c")} - {"mps_wide.c"} == wide
    entries = read_manifest(tmp_path / "bundle")
    assert [entry["precision"] for entry in entries["layers"]] == ["w4a8", f"w3a{widths[0]}", f"w8a{widths[1]}", ""]
    assert (entries["inputs"][0]["bits"], entries["output"]["bits"]) == (8, 8)


def test_4_bit_activations_take_half_of_the_arena_and_16_bit_ones_twice(tmp_path: Path) -> None:
    def arena(bits: int) -> int:
        maker = GraphMaker(0)
        value = maker.conv(maker.conv(maker.input(32, 32, 2), 16, (1, 1), 4, output_bits=bits), 2, (1, 1), 4)
        return write_bundle(maker.finish(value), [], tmp_path / str(bits)).arena_bytes

    four, eight, sixteen = (arena(bits) for bits in (4, 8, 16))
    assert eight - four == 32 * 32 * 16 // 2 - 16  # a window of 16 values more
    assert sixteen - eight == 32 * 32 * 16 + 2 * 2 * 16 + 16 - 6 * 64  # two windows and a row in place of a tile


def test_weights_of_other_bits_than_the_config_are_refused(tmp_path: Path) -> None:
    quantized = small()
    config = BitWidthConfig(model_digest=quantized.graph.model_digest, precisions=(("layer0", Precision(weight_bits=5)),))
    with pytest.raises(ExportError, match="Layer 'layer0': its weights have 4 bits, but the config says w5a8"):
        write_bundle(replace(quantized, config=config), [], tmp_path / "bundle")


def test_activations_of_other_bits_are_refused(tmp_path: Path) -> None:
    quantized = small()
    wide = (quantized.quantizations[0], Quantization(scale=1.0, zero_point=0, bits=16))
    with pytest.raises(ExportError, match="Tensor 't1': it has 16 bits, but by the config it has 8"):
        write_bundle(replace(quantized, quantizations=wide), [], tmp_path / "bundle")


def test_tied_weights_with_other_integers_are_refused() -> None:
    maker = GraphMaker(0)
    quantized = maker.finish(maker.linear(maker.linear(maker.input(4), 4, 4, key="tied"), 4, 4, key="tied"))
    first, second = quantized.constants
    other = replace(second, weight=-np.clip(np.asarray(second.weight), -7, 7))
    with pytest.raises(ExportError, match="Layer 'layer1' shares the weights of 'layer0', but was given other integers"):
        build_blocks(replace(quantized, constants=(first, other)))


def test_a_clamp_on_a_layer_that_only_moves_values_is_refused() -> None:
    maker = GraphMaker(0)
    quantized = maker.finish(maker.transpose(maker.input(2, 3), (1, 0)))
    with pytest.raises(ExportError, match="Layer 'layer0': Transpose has no kernel with a fused activation"):
        build_blocks(replace(quantized, constants=(replace(quantized.constants[0], lowest=0),)))


def test_too_many_separate_axes_are_refused() -> None:
    maker = GraphMaker(0)
    mixed = maker.finish(maker.add(maker.input(2, 2, 2, 2, 2), maker.input(2, 1, 2, 1, 2)))
    with pytest.raises(ExportError, match="Layer 'layer0': it needs 5 separate axes, but its kernel has 4"):
        build_blocks(mixed)


def test_dimensions_beyond_sixteen_bits_are_refused() -> None:
    maker = GraphMaker(0)
    wide = maker.finish(maker.max_pool(maker.input(1, 70000, 1), (1, 1), (1, 1), (0, 0, 0, 0)))
    with pytest.raises(ExportError, match="Layer 'layer0': pooling has a dimension of 70000, but its kernel counts to 65535"):
        build_blocks(wide)
    maker = GraphMaker(0)
    wide = maker.finish(maker.conv(maker.input(1, 70000, 1), 1, (1, 1)))
    with pytest.raises(ExportError, match="Layer 'layer0': Conv2d has a dimension of 70000"):
        build_blocks(wide)


def test_a_bias_that_leaves_int32_is_refused() -> None:
    maker = GraphMaker(1)
    quantized = maker.finish(maker.linear(maker.input(4), 2, 8))
    constants = replace(quantized.constants[0], bias=np.array([2**31 - 1, -(2**31)], dtype=np.int32), weight=np.full((2, 4), 127, dtype=np.int8))
    with pytest.raises(ExportError, match="Layer 'layer0': its bias with the zero point folded in leaves int32"):
        build_blocks(replace(quantized, constants=(constants,)))


def test_a_vector_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    vector = ((np.zeros(5, dtype=np.int8),), np.zeros(2, dtype=np.int8))
    with pytest.raises(ExportError, match=r"Test vector 0: got inputs \(\(5,\),\) and output \(2,\) of int8, wanted \(\(4,\),\) and \(2,\) of int8"):
        write_bundle(small(), [vector], tmp_path / "bundle")


def test_inputs_of_the_wrong_shape_are_refused(bundle: Path) -> None:
    with pytest.raises(ExportError, match=r"takes int8 inputs of shape \(n, 9, 7, 4\), \(n, 1, 1, 6\); got int8 \(1, 9, 7, 4\)"):
        run_bundle(bundle, np.zeros((1, 9, 7, 4), dtype=np.int8))


def test_a_missing_compiler_is_an_error_that_keeps_the_bundle(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ExportError, match=r"No C compiler: looked for \$CC \(no-such-compiler\).*was kept"):
        run_selftest(bundle)
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ExportError, match="No C compiler: looked for cc, gcc and clang"):
        run_selftest(bundle)
    assert (bundle / "manifest.json").is_file()


def test_a_bundle_that_does_not_compile_is_an_error(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -include no_such_header.h")
    with pytest.raises(ExportError, match=r"(?s)does not compile with .*no_such_header"):
        run_selftest(bundle)


def test_a_damaged_bundle_is_not_compiled(bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    (copy / "model.c").write_text("#error broken\n", encoding="utf-8")
    with pytest.raises(ExportError, match=r"model\.c' is not the one that was exported"):
        run_selftest(copy)
    (copy / "model.c").unlink()
    with pytest.raises(ExportError, match=r"lacks model\.c"):
        run_selftest(copy)


@pytest.mark.parametrize("sources", [3, ["../../secret.c"], ["/etc/passwd"], [None]])
def test_a_manifest_names_files_inside_its_bundle(sources: object, bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    (copy / "manifest.json").write_text(json.dumps({**manifest, "sources": sources}), encoding="utf-8")
    with pytest.raises(ExportError, match="wanted names of files inside the bundle"):
        run_selftest(copy)


def test_a_compiler_that_cannot_be_started_is_an_error(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cc").write_text("not a program", encoding="utf-8")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("CC", str(tmp_path / "cc"))
    with pytest.raises(ExportError, match="cannot be started"):
        run_selftest(bundle)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read"), ("[]", "lacks arena_bound_bytes"), ('{"schema": 1}', "lacks arena_bound_bytes"), (None, "is not a bundle")],
)
def test_a_damaged_manifest_is_an_error(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(ExportError, match=message):
        read_manifest(tmp_path)


def test_a_manifest_of_another_schema_is_an_error(bundle: Path, tmp_path: Path) -> None:
    content = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    (tmp_path / "manifest.json").write_text(json.dumps({**content, "schema": 99}), encoding="utf-8")
    with pytest.raises(ExportError, match="has schema 99, wanted 1"):
        read_manifest(tmp_path)
