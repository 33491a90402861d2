# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path

import pytest

from mpsearch.cli import main

FILE = Path(__file__).with_name("tiny_workload.py")
TINY = f"{FILE}:tiny"


def test_optimize_prints_the_result_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["optimize", TINY, "--budget", "1300B", "--out", str(tmp_path / "run"), "--json", "--quiet"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "run" / "result.json").read_text())


def test_optimize_shows_layers_budget_and_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["optimize", TINY, "--budget", "1300B", "--out", str(tmp_path / "run"), "--quiet"]) == 0
    printed = capsys.readouterr().out
    for text in ("stem", "wide", "head", "uniform w", "chosen", "float", "status optimal", "mpsearch run"):
        assert text in printed


def test_every_stage_reruns_alone_and_ends_in_a_bundle_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path), "--quiet", "--json"]
    for command in ("capture", "calibrate", "score", "cost"):
        assert main([command, TINY, *out]) == 0
    assert main(["search", f"{FILE}:constant_calibration", "--budget", "bits=4", *out]) == 2  # the folder belongs to another workload
    for command in (["search", "--budget", "bits=4"], ["evaluate"], ["apply"], ["export"]):
        assert main([*command, *out]) == 0  # and remembers which
    capsys.readouterr()
    assert main(["run", str(tmp_path / "bundle"), "--json"]) == 0
    assert "0 mismatches" in json.loads(capsys.readouterr().out)["selftest"]


def test_a_bundle_is_exported_in_the_rounding_that_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path), "--quiet", "--json"]
    assert main(["search", TINY, "--budget", "bits=4", *out]) == 0
    for command in ("evaluate", "apply", "export"):
        assert main([command, "--rounding", "tflite_double", *out]) == 0
    capsys.readouterr()
    assert json.loads((tmp_path / "bundle" / "manifest.json").read_text())["rounding"] == "tflite_double"
    assert json.loads((tmp_path / "quantized.json").read_text())["data"]["rounding"] == "tflite_double"
    assert main(["run", str(tmp_path / "bundle"), "--json"]) == 0
    assert "8 vectors, 0 mismatches" in json.loads(capsys.readouterr().out)["selftest"]


BAD = [
    (["optimize", TINY], 2, "No budget was given"),
    (["optimize", TINY, "--budget", "12XB"], 2, "unknown unit 'XB'"),
    (["optimize", TINY, "--budget", "much"], 2, "cannot be read"),
    (["optimize", TINY, "--budget=-2MB"], 2, "wanted a finite number above 0"),
    (["optimize", TINY, "--budget", "100B"], 3, "the least flash of any config is"),
    (["optimize", TINY, "--budget", "2MB", "--target", "cortex-m9"], 2, "did you mean cortex-m"),
    (["optimize", TINY, "--budget", "2MB", "--space", "w248"], 2, "did you mean w248-a8"),
    (["optimize", TINY, "--budget", "2MB", "--proxy", "fishers"], 2, "did you mean fisher"),
    (["optimize", TINY, "--budget", "2MB", "--solver", "ilps"], 2, "did you mean ilp"),
    (["optimize", TINY, "--budget", "2MB", "--rounding", "double"], 2, "did you mean tflite_double"),
    (["optimize", "digit", "--budget", "2MB"], 2, "did you mean digits"),
    (["optimize", f"{FILE}:tinny", "--budget", "2MB"], 2, "has no function 'tinny'"),
    (["optimize", f"{FILE}:nan_weights", "--budget", "2MB"], 2, "NaN"),
    (["optimize", f"{FILE}:constant_calibration", "--budget", "2MB"], 2, "is constant"),
    (["run", "nowhere"], 2, "nowhere"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), BAD, ids=[message for _, _, message in BAD])
def test_bad_input_is_one_clear_error(
    arguments: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    out = ["--out", "run"] if arguments[0] == "optimize" else []
    assert main([*arguments, *out]) == code
    error = capsys.readouterr().err
    assert error.count("error: ") == 1
    assert message in error
    assert "Traceback" not in error


def test_a_budget_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    assert main(["optimize", TINY, "--budget", "100B", "--out", str(tmp_path / "run"), "--quiet"]) == 3
    assert list(tmp_path.iterdir()) == []


def test_an_occupied_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["optimize", TINY, "--budget", "2MB", "--out", str(tmp_path), "--quiet"]) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_missing_compiler_is_named_and_the_bundle_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["optimize", TINY, "--budget", "2MB", "--out", str(out), "--quiet"]) == 0
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert main(["run", str(out / "bundle")]) == 2
    assert "compiler" in capsys.readouterr().err
    assert (out / "bundle" / "model.c").exists()


@pytest.mark.parametrize(
    ("kind", "name"),
    [("targets", "cortex-m7"), ("spaces", "w2to8-a8"), ("proxies", "fisher"), ("solvers", "ilp"), ("workloads", "digits")],
)
def test_list_names_what_there_is(kind: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind, "--json"]) == 0
    assert name in json.loads(capsys.readouterr().out)


def test_an_interrupt_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from mpsearch.pipeline import Pipeline

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "evaluate", interrupt)
    assert main(["optimize", TINY, "--budget", "2MB", "--out", str(tmp_path / "run"), "--quiet"]) == 130
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"no array"], ids=["empty", "archive", "text"])
def test_inputs_that_are_no_array_are_one_clear_error(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inputs.npy").write_bytes(content)
    assert main(["run", str(tmp_path), "--inputs", str(tmp_path / "inputs.npy")]) == 2
    assert "wanted an .npy file of int8" in capsys.readouterr().err


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import errno

    from mpsearch.runs.folder import RunFolder

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "log.txt")

    monkeypatch.setattr(RunFolder, "log", full)
    assert main(["optimize", TINY, "--budget", "2MB", "--out", str(tmp_path / "run"), "--quiet"]) == 2
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.target
@pytest.mark.skipif(shutil.which("qemu-system-arm") is None or shutil.which("arm-none-eabi-gcc") is None, reason="NO ARM TOOLCHAIN: nothing was run")
def test_a_bundle_runs_on_an_emulated_core_and_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["optimize", TINY, "--budget", "2MB", "--out", str(out), "--quiet", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert main(["run", str(out / "bundle"), "--on", "cortex-m4", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert counted["selftest"] == "8 vectors, 0 mismatches"
    assert counted["macs"] == result["bundle"]["macs"] == sum(layer["macs"] for layer in counted["layers"].values())
    assert counted["instructions"] > counted["macs"]
    assert counted["cycles_estimate"] > counted["instructions"]
    assert {"stem", "inner", "wide", "head"} <= counted["layers"].keys()
    beside = {"predicted_instructions", "predicted_cycles", "error"}
    assert all(layer.keys() == {"instructions", "cycles_estimate", "macs"} | beside for layer in counted["layers"].values())
    assert main(["run", str(out / "bundle"), "--on", "cortex-m0", "--json"]) == 0
    smaller = json.loads(capsys.readouterr().out)
    assert smaller["instructions"] > counted["instructions"]
    assert "cycles_estimate" not in smaller
    assert main(["run", str(out / "bundle"), "--on", "cortex-m44"]) == 2
    assert "did you mean cortex-m4" in capsys.readouterr().err
    assert main(["run", str(out / "bundle"), "--on", "cortex-m4", "--sanitize"]) == 2
    assert "are for the host" in capsys.readouterr().err


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    assert main(["optimize", TINY, "--budget", "2MB", "--out", str(out), "--quiet", "--json"]) == 0
    return out / "bundle"


HOST_EMULATOR = f"qemu-{platform.machine()}"


@pytest.mark.target
@pytest.mark.skipif(shutil.which(HOST_EMULATOR) is None, reason=f"NO {HOST_EMULATOR.upper()}: nothing was counted on the host")
@pytest.mark.parametrize("compiler", [[], ["--compiler", "gcc"], ["--compiler", "clang"]], ids=["default", "gcc", "clang"])
def test_a_bundle_is_counted_and_timed_on_the_host(tiny_bundle: Path, compiler: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if compiler and shutil.which(compiler[1]) is None:
        pytest.skip(f"NO {compiler[1].upper()}")
    capsys.readouterr()
    assert main(["run", str(tiny_bundle), "--json", *compiler]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert counted["selftest"] == "8 vectors, 0 mismatches"
    assert counted["macs"] == sum(layer["macs"] for layer in counted["layers"].values())
    inside = sum(layer["instructions"] for layer in counted["layers"].values())
    assert 0.95 * counted["instructions"] < inside < counted["instructions"]
    assert 0 < counted["seconds_per_inference"] < 1
    assert not [note for note in counted["notes"] if "not counted" in note]


def test_without_the_emulator_the_host_says_which_package_counts(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    real = shutil.which
    monkeypatch.setattr("shutil.which", lambda name: None if name.startswith("qemu") else real(name))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("sys.platform", "linux")
    assert main(["run", str(tiny_bundle), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["instructions"] is None
    assert printed["layers"]["stem"]["instructions"] is None
    assert printed["layers"]["stem"]["macs"] > 0
    assert printed["seconds_per_inference"] > 0
    assert [note for note in printed["notes"] if "not counted" in note] == [
        "instructions were not counted: qemu-x86_64 is not in the PATH; on Debian: apt-get install qemu-user"
    ]
    assert main(["run", str(tiny_bundle)]) == 0
    assert "instructions: not counted" in capsys.readouterr().out


def test_a_missing_cross_compiler_exits_with_its_packages(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    monkeypatch.setattr("shutil.which", lambda name: None if name.startswith(("riscv", "qemu")) else f"/usr/bin/{name}")
    assert main(["run", str(tiny_bundle), "--on", "rv32"]) == 2
    assert "apt-get install gcc-riscv64-unknown-elf qemu-system-misc picolibc-riscv64-unknown-elf" in capsys.readouterr().err
