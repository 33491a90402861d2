# SPDX-License-Identifier: Apache-2.0
"""Measurements of a bundle beside their predictions: made from a run of its self-test, kept in the run's folder, shown in the run's report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mpsearch import __version__
from mpsearch.catalog import HardwareModel
from mpsearch.cost.latency import Roofline
from mpsearch.cost.measured_device import load_target
from mpsearch.errors import HardwareModelError, MpsearchError, RecordError
from mpsearch.export.cores import CYCLES_OF
from mpsearch.export.counting import TargetRun
from mpsearch.export.manifest import read_manifest
from mpsearch.report.data import ReportData
from mpsearch.report.measurement import Compared, LayerMeasurement, Measurement, check_latency, median_error, relative_error
from mpsearch.report.page import render_page
from mpsearch.runs.bundle_prediction import HOST, find_device, predict_layers
from mpsearch.runs.folder import REQUEST_FILE
from mpsearch.runs.request import RunRequest
from mpsearch.storage import load_record, save_record, write_atomically

MEASURED_FILE, REPORT_FILE = "measured.json", "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """measured.json: the last measurement of each target."""

    runs: tuple[Measurement, ...] = ()


# ---------------------------------------------------------------- making one


def measure_beside(bundle: Path, run: TargetRun, hardware: HardwareModel | None, notes: Sequence[str] = ()) -> Measurement:
    """Return what a bundle took on a target beside what a device's file predicts.

    Args:
        bundle: Its folder.
        run: Of its self-test.
        hardware: The device; None for no prediction.
        notes: What the reader should know besides.
    """
    notes = (*run.notes, *notes)
    rooflines: tuple[Roofline, ...] | None = None
    if hardware is not None:
        try:
            rooflines = predict_layers(read_manifest(bundle), hardware)
        except MpsearchError as error:
            notes = (*notes, f"no prediction: {error}")
    measured = Measurement(
        target=run.target,
        bundle_digest=bundle_digest(bundle),
        vectors=run.vectors,
        mismatches=run.mismatches,
        layers=_measured_layers(run),
        instructions=run.count.instructions if run.count else None,
        cycles=run.count.cycles if run.count else None,
        seconds=run.seconds,
        tools=(f"mpsearch {__version__}", *run.tools),
        notes=notes,
    )
    return measured if hardware is None or rooflines is None else _compared(measured, hardware, rooflines)


def _measured_layers(run: TargetRun) -> tuple[LayerMeasurement, ...]:
    return tuple(
        LayerMeasurement(
            layer=layer.layer,
            op=layer.op,
            precision=layer.precision,
            macs=layer.macs,
            instructions=layer.count.instructions if layer.count else None,
            cycles=layer.count.cycles if layer.count else None,
        )
        for layer in run.layers
    )


def _compared(measured: Measurement, hardware: HardwareModel, rooflines: Sequence[Roofline]) -> Measurement:
    """Put the predictions beside a measurement."""
    instructions = _total([roofline.instructions for roofline in rooflines])
    measured = replace(
        measured,
        device=hardware.name,
        device_error=hardware.accuracy.median if hardware.accuracy else None,
        clock_hz=hardware.clock_hz.value,
        predicted_instructions=instructions,
        predicted_cycles=sum(roofline.total for roofline in rooflines),
        layers=tuple(
            replace(layer, predicted_instructions=roofline.instructions, predicted_cycles=roofline.total)
            for layer, roofline in zip(measured.layers, rooflines, strict=True)
        ),
    )
    compared = _in_common(measured, hardware)
    notes = measured.notes
    if hardware.core is not None and hardware.core != measured.target:
        notes = (*notes, f"{hardware.name} describes core {hardware.core}, not {measured.target}")
    if measured.target == HOST and hardware.core is None and hardware.name.split("-")[0] != HOST:
        notes = (*notes, f"{hardware.name} is not known to describe this machine")
    if compared == "":
        notes = (*notes, f"nothing to compare: {hardware.name} predicts no instructions, and no cycles or seconds of {measured.target} are known")
    measured = replace(measured, compared=compared, notes=notes)
    layers = tuple(replace(layer, error=relative_error(*measured.of_layer(layer))) for layer in measured.layers)
    return replace(
        measured,
        layers=layers,
        error_total=relative_error(*measured.of_total),
        error_cycles=relative_error(measured.predicted_cycles, measured.cycles) if _has_cycles(measured, hardware) else None,
        error_median_layer=median_error(layer.error for layer in layers),
    )


def _in_common(measured: Measurement, hardware: HardwareModel) -> Compared:
    """Return what to compare: time where there is a clock, else instructions, else cycles if the emulator's are those of the device's core."""
    if measured.target == HOST and measured.seconds is not None:
        return "seconds"
    if measured.instructions is not None and measured.predicted_instructions is not None:
        return "instructions"
    return "cycles" if _has_cycles(measured, hardware) else ""


def _has_cycles(measured: Measurement, hardware: HardwareModel) -> bool:
    """Return whether the emulator's cycles are those of the device's core."""
    return measured.cycles is not None and measured.target == hardware.core == CYCLES_OF


def _total(values: Sequence[float | None]) -> float | None:
    """Return a sum, or None if a part of it is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def bundle_digest(bundle: Path) -> str:
    """Return the SHA-256 of a bundle's manifest, which holds those of its other files."""
    return hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()


def device_beside(bundle: Path, target: str, named: str | None) -> tuple[HardwareModel | None, tuple[str, ...]]:
    """Return the device that predicts a bundle's run on a target, and why there is none.

    Args:
        bundle: Its folder.
        target: "host", or an emulated core.
        named: Name or path of a device's file; None for that of the run which wrote the bundle, if it has that core, else a shipped one.

    Raises:
        HardwareModelError: The named file is unknown or wrong.
    """
    if named is not None:
        return load_target(named), ()
    request = bundle.absolute().parent / REQUEST_FILE
    if request.exists():
        try:
            hardware = load_target(load_record(request, RunRequest).target)
        except MpsearchError:  # a file that has moved since; the shipped ones are still there
            pass
        else:
            if hardware.core == target:
                return hardware, ()
    try:
        return find_device(target), ()
    except HardwareModelError as error:
        return None, (str(error),)


# ---------------------------------------------------------------- keeping and showing them


def load_measurements(folder: Path, digest: str) -> tuple[Measurement, ...]:
    """Return what was measured of the bundle with that digest in a run's folder; nothing where the file is missing or cannot be read."""
    try:
        runs = load_record(folder / MEASURED_FILE, Measurements).runs
    except RecordError:
        return ()
    return tuple(run for run in runs if run.bundle_digest == digest)


def keep_measurement(folder: Path, measurement: Measurement) -> tuple[Measurement, ...]:
    """Write a measurement into a run's folder, in place of the last one of its target; return all that hold for the bundle.

    Raises:
        RecordError: The folder cannot be written.
    """
    others = [run for run in load_measurements(folder, measurement.bundle_digest) if run.target != measurement.target]
    runs = tuple(sorted((*others, measurement), key=lambda run: run.target))
    save_record(Measurements(runs=runs), folder / MEASURED_FILE)
    return runs


def run_folder_of(bundle: Path) -> Path | None:
    """Return the folder of the finished run whose chosen config a bundle holds and which it lies in, or None."""
    folder, manifest = bundle.absolute().parent, read_manifest(bundle)
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        chosen = result["model_digest"], result["chosen"]["precisions"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    held = {layer["name"]: layer["precision"] for layer in manifest["layers"] if layer["precision"]}
    return folder if chosen == (manifest["model_digest"], held) else None


def add_to_report(folder: Path, measurement: Measurement) -> tuple[str, ...]:
    """Write a measurement into a run's folder, its result and its report; return what the user should know.

    Raises:
        RecordError: The folder cannot be written.
    """
    runs = keep_measurement(folder, measurement)
    try:
        data = load_record(folder / REPORT_FILE, ReportData)
    except RecordError as error:
        return (f"measured.json was written, report.html was not made again: {error.message}",)
    data = replace(data, measured=runs)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    result["measured"] = measured_json(runs, data.target, data.budget_of("latency"))
    _write(folder / "result.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    _write(folder / "report.html", render_page(data))
    check = check_latency(data.budget_of("latency") if measurement.device == data.target else None, measurement)
    return (check,) if check else ()


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))


def measured_json(runs: Sequence[Measurement], target: str, latency_budget_s: float | None) -> dict[str, object]:
    """Return where it ran -> what was measured there, beside what was predicted, as result.json holds it; the budget is one of the run's target."""
    return {
        run.target: {**comparison_json(run), "budget_check": check_latency(latency_budget_s if run.device == target else None, run)} for run in runs
    }


def comparison_json(run: Measurement) -> Mapping[str, object]:
    """Return a measurement without its layers, for machines."""
    content = asdict(run)
    for name in ("target", "layers", "bundle_digest", "clock_hz"):
        del content[name]
    return content | {"predicted_latency_s": run.predicted_latency_s, "latency_s": run.latency_s, "tools": list(run.tools), "notes": list(run.notes)}
