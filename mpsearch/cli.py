# SPDX-License-Identifier: Apache-2.0
"""The command line: one short function a command. Heavy libraries are imported inside the commands that need them."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mpsearch import __version__
from mpsearch.errors import BudgetError, ExportError, MpsearchError, RecordError
from mpsearch.export.cores import COMPILERS, CORES
from mpsearch.runs.request import RunRequest
from mpsearch.workloads import DEFAULT_WORKLOAD, WORKLOADS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from mpsearch.catalog import HardwareModel
    from mpsearch.cost.fit import Fit
    from mpsearch.export.counting import Count, TargetRun
    from mpsearch.export.measure_on import MeasurePlace
    from mpsearch.export.measure_wire import LayerRequest
    from mpsearch.pipeline import Pipeline, Progress
    from mpsearch.records import BitWidthConfig, LayerGraph

EXIT_FAILED = 4
EXIT_INTERRUPTED = 130

PLAIN_WIDTH = 120
"""Columns of the tables when stdout is no terminal."""

REQUEST_OPTIONS = ("workload", "budget", "target", "space", "proxy", "solver", "trials", "front_points", "seed", "rounding")

STAGES = {
    "capture": ("graph", "graph", "trace the model into folded, fused layers"),
    "calibrate": ("stats", "stats", "gather activation ranges"),
    "score": ("scores", "scores", "score every layer at every precision"),
    "search": ("search", "found", "choose precisions within the budget, and write config.yaml"),
}
"""Command -> (record it writes, the pipeline's name for it, help)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 bad input, 3 infeasible budget, 4 failed, 130 interrupted (resumable)."""
    options = _parser().parse_args(_joined(sys.argv[1:] if arguments is None else arguments))
    # Threads that wait give their core away: on a busy machine spinning makes every small parallel step wait for a time slice.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return int(options.command(options))
    except MpsearchError as error:
        _show_error(error, options)
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"\ninterrupted; {_how_to_go_on(options)}\n")
        return EXIT_INTERRUPTED
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        _show_error(
            RecordError(
                f"A file{where} cannot be read or written: {error.strerror or error}.", "check the path, its permissions and the free space."
            ),
            options,
        )
        return RecordError.exit_code


def _how_to_go_on(options: argparse.Namespace) -> str:
    if options.name == "measure" and options.out is not None and options.out.exists():
        return f"rows measured so far are in {options.out}: continue with the same command and --resume"
    if options.name != "optimize":
        return "repeat the command: stages that were done are kept"
    if options.out is not None and (options.out / "request.json").exists():
        return f"continue with the same command and --out {options.out} --resume"
    return "nothing was written"


def _joined(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with each budget joined to its option, so that "-2MB" is read as a budget and answered as one."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--budget":
            joined[-1] = f"--budget={argument}"
        else:
            joined.append(argument)
    return joined


# ---------------------------------------------------------------- commands


def run_optimize(options: argparse.Namespace) -> int:
    """Search within the budget, verify, export and report."""
    from mpsearch.pipeline import optimize
    from mpsearch.report.measured_tables import beside_line
    from mpsearch.report.tables import layer_table, limit_table, reason_lines, summary_table
    from mpsearch.runs.summary import report_data
    from mpsearch.workloads.load import load_workload

    request = _request(options)
    _check_request(request)
    options.out = options.out or _default_folder(request.workload)
    with _ProgressBars(options) as progress:
        workload = load_workload(request.workload)
        summary, result = optimize(workload, request, options.out, resume=options.resume, measure=options.measure, progress=progress)
    if options.json:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")
        return 0
    console, data = _console(), report_data(summary)
    for table in (layer_table(data), limit_table(data), summary_table(data)):
        console.print(table)
    for line in (*map(beside_line, summary.measured), *reason_lines(data)):
        console.print(line, highlight=False, markup=False, emoji=False)
    for note in summary.notes:
        _print_plainly(console, f"note: {note}")
    _print_plainly(console, f"status {summary.status}, gap {summary.gap:.2g}; config, report and C bundle in {options.out}")
    _print_plainly(console, f"next: mpsearch run {options.out / 'bundle'}")
    return 0


def run_stage(options: argparse.Namespace) -> int:
    """Run one stage in a run's folder; the stages before it are read from there, or run if they are missing."""
    from mpsearch.storage import write_config_yaml

    with _ProgressBars(options) as progress:
        pipeline = _pipeline(options, progress)
        record, attribute, _ = STAGES[options.name]
        pipeline.folder.drop(record)
        if options.name == "search":
            pipeline.check_feasible()
        value = getattr(pipeline, attribute)
        content: dict[str, object] = {"record": str(options.out / f"{record}.json")}
        if options.name == "search":
            config = pipeline.config(pipeline.candidates()[0][1])
            write_config_yaml(config, options.out / "config.yaml")
            content |= {"status": value.status, "objective": value.solutions[0].objective, "bound": value.bound, "gap": value.gap}
    return _show(options, content)


def run_cost(options: argparse.Namespace) -> int:
    """Predict what one config costs on the target, layer by layer; with --out, also write the costs of every layer at every precision."""
    from mpsearch.cost.measured_device import load_target
    from mpsearch.runs.prediction import predict, prediction_json, uniform_config
    from mpsearch.storage import read_config_yaml

    given = None if options.config is None else read_config_yaml(options.config)
    content: dict[str, object] = {}
    with _ProgressBars(options) as progress:
        if options.out is not None:
            pipeline = _pipeline(options, progress)
            pipeline.folder.drop("costs")
            uniform = pipeline.uniform(options.bits)
            content = {"record": str(options.out / "costs.json"), f"uniform{options.bits}": pipeline.achieved(uniform)}
            graph, hardware, config = pipeline.graph, pipeline.hardware, given or pipeline.config(uniform)
        else:
            request = _request(options)
            _check_request(request)
            graph, hardware = _graph_of(request.workload), load_target(request.target)
            config = given or uniform_config(graph, options.bits)
        narrow = given is None and any(precision.weight_bits != options.bits for _, precision in config.precisions)
        name = str(options.config) if given else f"uniform {options.bits}" + (" where the space offers it" if narrow else "")
        prediction = predict(graph, config, name, hardware)
    content = prediction_json(prediction) | content
    if options.json:
        return _show(options, content)
    from mpsearch.report.cost_tables import layer_cost_table, totals_table

    console = _console()
    console.print(layer_cost_table(f"{name} on {hardware.name}", prediction.layers))
    console.print(totals_table(content))
    if hardware.accuracy:
        stated = hardware.accuracy
        _print_plainly(console, f"error of the model, a layer: median {stated.median:.1%}, worst tenth {stated.worst_tenth:.1%} ({stated.source})")
    else:
        _print_plainly(console, f"error of the model: not stated, {hardware.name} was compared with nothing layer by layer")
    for note in prediction.notes:
        _print_plainly(console, f"note: {note}")
    if options.out is not None:
        _print_plainly(console, f"costs of every layer at every precision: {content['record']}")
    return 0


def run_evaluate(options: argparse.Namespace) -> int:
    """Measure the true error of a config's integer model."""
    with _ProgressBars(options) as progress:
        pipeline = _pipeline(options, progress)
        evaluation = pipeline.evaluate(_config(options))
        floating = pipeline.float_evaluation
    return _show(options, {"metric": evaluation.metric, "error": evaluation.error, "error_float": floating.error, "samples": evaluation.samples})


def run_apply(options: argparse.Namespace) -> int:
    """Quantise the model as a config says, and save every integer."""
    from mpsearch.storage import save_record

    with _ProgressBars(options) as progress:
        pipeline = _pipeline(options, progress)
        config = _config(options)
        path = save_record(pipeline.quantized(config), options.out / "quantized.json")
        evaluation = pipeline.evaluate(config)
    return _show(options, {"record": str(path), "metric": evaluation.metric, "error": evaluation.error})


def run_export(options: argparse.Namespace) -> int:
    """Write a config's C bundle."""
    with _ProgressBars(options) as progress:
        bundle = _pipeline(options, progress).export(_config(options), options.out / "bundle")
    return _show(options, {"bundle": bundle.path, "flash_bytes": bundle.flash_bytes, "arena_bytes": bundle.arena_bytes, "macs": bundle.macs})


def run_bundle(options: argparse.Namespace) -> int:
    """Build a bundle and run its self-test, on the host or on an emulated core, with its instructions counted; or a file of inputs, on the host."""
    if options.target is not None and (options.inputs is not None or options.sanitize):
        raise ExportError("--target predicts what the self-test takes; it has no use with --inputs or --sanitize.", "leave it out.")
    if options.on != "host":
        return _run_on_target(options)
    if options.inputs is not None:
        return _run_inputs(options)
    if options.sanitize:
        from mpsearch.export.host import run_selftest

        report = run_selftest(options.bundle, sanitize=True, compiler=options.compiler).strip()
        return _show(options, {"bundle": str(options.bundle), "target": "host", "selftest": report})
    from mpsearch.export.host_count import run_on_host
    from mpsearch.runs.measured import device_beside

    device, notes = device_beside(options.bundle, options.on, options.target)
    return _show_run(options, run_on_host(options.bundle, options.compiler), device, notes)


def _run_inputs(options: argparse.Namespace) -> int:
    import numpy as np

    from mpsearch.export.host import run_bundle as execute

    try:
        with options.inputs.open("rb") as file:
            inputs = np.load(file, allow_pickle=False)
        if not isinstance(inputs, np.ndarray):
            raise ValueError("it is an archive of several arrays")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RecordError(f"Inputs '{options.inputs}' cannot be read: {error}.", "wanted an .npy file of int8, (samples, *input shape).") from error
    outputs = execute(options.bundle, inputs, sanitize=options.sanitize, compiler=options.compiler)
    if options.outputs is not None:
        np.save(options.outputs, outputs)
    return _show(
        options, {"bundle": str(options.bundle), "samples": len(outputs), "outputs": str(options.outputs or "not saved; name a file with --outputs")}
    )


def _run_on_target(options: argparse.Namespace) -> int:
    from mpsearch.export.cores import find_core
    from mpsearch.export.qemu import run_on_target
    from mpsearch.runs.measured import device_beside

    if options.inputs is not None or options.outputs is not None or options.sanitize:
        raise ExportError(f"--inputs, --outputs and --sanitize are for the host, not for {options.on}.", "leave them out, or leave out --on.")
    find_core(options.on)
    device, notes = device_beside(options.bundle, options.on, options.target)
    return _show_run(options, run_on_target(options.bundle, options.on, options.compiler or "gcc"), device, notes)


def _show_run(options: argparse.Namespace, run: TargetRun, device: HardwareModel | None, notes: Sequence[str]) -> int:
    """Show what a bundle took beside what is predicted, and keep it where the bundle belongs to a run."""
    from mpsearch.report.measured_tables import beside_line, beside_table
    from mpsearch.runs.measured import add_to_report, comparison_json, measure_beside, run_folder_of

    measurement = measure_beside(options.bundle, run, device, notes)
    folder = run_folder_of(options.bundle) if run.mismatches == 0 else None
    notes = list(measurement.notes)
    try:
        notes += add_to_report(folder, measurement) if folder else ()
    except RecordError as error:
        notes, folder = [*notes, f"nothing was kept: {error}"], None
    content: dict[str, object] = {
        "bundle": str(options.bundle),
        "target": run.target,
        "selftest": f"{run.vectors} vectors, {run.mismatches} mismatches",
        **_counted(run.count),
        "macs": run.macs,
    }
    if run.seconds is not None:
        content["seconds_per_inference"] = run.seconds
    if options.json:
        content |= {name: value for name, value in comparison_json(measurement).items() if name not in content | {"cycles": None, "seconds": None}}
        content["notes"] = notes
        content["layers"] = {
            counted.layer: {
                **_counted(counted.count),
                "macs": counted.macs,
                "predicted_instructions": layer.predicted_instructions,
                "predicted_cycles": layer.predicted_cycles,
                "error": layer.error,
            }
            for counted, layer in zip(run.layers, measurement.layers, strict=True)
        }
        _show(options, content)
    else:
        _show(options, {name: "not counted" if value is None else value for name, value in content.items()})
        if run.count is not None:
            _console().print(beside_table(measurement))
        if line := beside_line(measurement):
            sys.stdout.write(f"{line}\n")
        sys.stdout.writelines(f"note: {note}\n" for note in notes)
        if folder is not None:
            sys.stdout.write(f"added to measured.json, result.json and report.html in {folder}\n")
    return 0 if run.mismatches == 0 else EXIT_FAILED


def _counted(count: Count | None) -> dict[str, object]:
    """Return what is known; cycles only where the estimate means something."""
    if count is None:
        return {"instructions": None}
    known: dict[str, object] = {"instructions": count.instructions}
    return known if count.cycles is None else known | {"cycles_estimate": count.cycles}


def run_measure(options: argparse.Namespace) -> int:
    """Measure layers on a target, one by one: those of a grid, or of a network."""
    from mpsearch.export.measure import MeasuredFile, measure_layers
    from mpsearch.export.measure_on import open_meter
    from mpsearch.records import MeasuredTable
    from mpsearch.report.measured_layers import measured_layers_json, measured_layers_table

    place, like = _measure_place(options)
    requests = _measure_requests(options)
    with _ProgressBars(options) as progress, open_meter(place) as meter:
        empty = MeasuredTable(target=place.target, method=meter.method, clock_hz=meter.clock_hz, rows=(), like=like)
        measurement = measure_layers(meter, requests, empty, MeasuredFile(path=options.out, resume=options.resume), progress)
    table, left_out = measurement.table, [f"{request} was left out: {reason}" for request, reason in measurement.left_out]
    if not table.rows:
        raise ExportError(f"No layer was measured on {table.target}: {'; '.join(left_out) or 'none was asked for'}.", "check --grid and --bits.")
    content = {"target": table.target, "method": table.method, "clock_hz": table.clock_hz, "like": like, "table": options.out and str(options.out)}
    if options.json:
        return _show(options, {"schema": 1} | content | {"rows": len(table.rows), "left_out": left_out, "layers": measured_layers_json(table)})
    console = _console()
    if options.out is None:
        console.print(measured_layers_table(table))
    _print_plainly(console, f"{len(table.rows)} layers on {table.target}: {table.method}")
    for note in left_out:
        _print_plainly(console, f"note: {note}")
    if options.out is not None:
        _print_plainly(console, f"table: {options.out}; a target as it is: mpsearch cost WORKLOAD --target {options.out}")
    return 0


def _measure_place(options: argparse.Namespace) -> tuple[MeasurePlace, str | None]:
    """Return where to measure, and the name of the device that the table is like."""
    from mpsearch.catalog import list_names, load_hardware_model
    from mpsearch.export.cores import find_core
    from mpsearch.export.measure_on import HOST, MeasurePlace

    place = MeasurePlace(
        on=options.on, command=options.command_line, serial=options.serial, name=options.target, compiler=options.compiler, timeout_s=options.timeout
    )
    if place.on not in (None, HOST):
        find_core(str(place.on))
    if options.resume and options.out is None:
        raise ExportError("--resume needs the table that it goes on with.", "name it with --out.")
    like = options.like or (place.target if place.target in list_names("hw_models") else None)
    if like is not None:
        load_hardware_model(like)
    return place, like


def _measure_requests(options: argparse.Namespace) -> tuple[LayerRequest, ...]:
    """Return the layers to measure."""
    from mpsearch.catalog import load_layer_grid, load_search_space
    from mpsearch.export.measure_grid import default_grid, grid_requests, read_precisions

    if options.workload is None:
        grid = default_grid() if options.grid is None else load_layer_grid(options.grid)
        return grid_requests(grid, read_precisions(options.bits))
    if options.grid is not None:
        raise ExportError("A workload and --grid both name layers.", "give one of them.")
    from mpsearch.runs.layer_requests import workload_requests

    precisions = None if options.bits is None else read_precisions(options.bits)
    space = load_search_space(options.space or RunRequest(workload="", budget=()).space)
    return workload_requests(_graph_of(options.workload), space, precisions)


def run_hw_show(options: argparse.Namespace) -> int:
    """Draw a device's roofline, with a network's layers on it if one is named."""
    from mpsearch.cost.measured_device import load_target
    from mpsearch.report.device import device_json, device_tables
    from mpsearch.report.roofline import make_roofline, roofline_json

    hardware = load_target(options.target)
    roofline = make_roofline(hardware)
    if options.workload is not None:
        from mpsearch.runs.prediction import predict, uniform_config
        from mpsearch.storage import read_config_yaml

        given = None if options.config is None else read_config_yaml(options.config)
        graph = _graph_of(options.workload)
        prediction = predict(graph, given or uniform_config(graph, options.bits), str(options.config or f"uniform {options.bits}"), hardware)
        roofline = make_roofline(hardware, prediction.layers, f"{options.workload}, {prediction.config}")
    if options.png is not None:
        from mpsearch.report.roofline_picture import save_roofline

        save_roofline(roofline, options.png)
    if options.json:
        return _show(options, {"schema": 1} | device_json(hardware) | roofline_json(roofline))
    from mpsearch.report.roofline_text import point_table, roof_table, roofline_plot

    console = _console()
    console.print(roofline_plot(roofline, min(console.width, PLAIN_WIDTH)))
    if not roofline.points:
        _print_plainly(console, hardware.description)
    for table in [point_table(roofline)] if roofline.points else [roof_table(roofline), *device_tables(hardware)]:
        console.print(table)
    if options.png is not None:
        _print_plainly(console, f"drawn to {options.png}")
    return 0


def run_hw_check(options: argparse.Namespace) -> int:
    """Say what is wrong with a device's file, what is unlikely, and what was understood; 2 if it does not load."""
    from mpsearch.catalog import check_hardware_model
    from mpsearch.report.device import check_json, device_summary

    check = check_hardware_model(options.file)
    code = 2 if check.hardware is None else 0
    if options.json:
        _show(options, {"schema": 1} | check_json(check))
        return code
    console = _console()
    for kind, findings in (("wrong", check.mistakes), ("unlikely", check.warnings)):
        for finding in findings:
            line = f":{finding.line}" if finding.line else ""
            sys.stdout.write(f"{check.path}{line}: {kind}: {finding.message.removeprefix(f'{check.path} ')}. Hint: {finding.hint}\n")
    if check.hardware is not None:
        for table in device_summary(check.hardware):
            console.print(table)
    told = "does not load" if check.hardware is None else f"is a hardware model: '{check.hardware.name}'"
    sys.stdout.write(f"{check.path} {told}; mistakes: {len(check.mistakes)}, warnings: {len(check.warnings)}\n")
    return code


def run_fit(options: argparse.Namespace) -> int:
    """Turn a measured table into a device file."""
    from mpsearch.cost.device_file import write_device_file
    from mpsearch.cost.fit import Scale, find_like, fit_device
    from mpsearch.records import MeasuredTable
    from mpsearch.storage import load_record, save_record

    table = load_record(options.table, MeasuredTable)
    scale = None if options.cycles_per_count is None else Scale(cycles_per_count=options.cycles_per_count, source=options.because or "as given")
    out = options.out or Path(f"{table.target}.yaml")
    fit = fit_device(table, find_like(table, options.like), out.stem, scale, options.residual)
    if fit.residual is not None and fit.hardware.residual is not None:
        save_record(fit.residual, out.parent / fit.hardware.residual.file)
    write_device_file(fit.hardware, out)
    return _show_fit(options, fit, out)


def _show_fit(options: argparse.Namespace, fit: Fit, out: Path) -> int:
    from dataclasses import asdict

    if options.json:
        return _show(options, {"device": str(out), "name": fit.hardware.name, "errors": [asdict(error) for error in fit.errors]})
    from mpsearch.report.tables import error_table

    what = {False: "", True: " with residual"}
    rows = [
        (error.title, error.what + what[error.with_residual], error.shapes, error.layers, error.median, error.worst_tenth) for error in fit.errors
    ]
    if rows:
        _console().print(error_table(fit.hardware.name, rows))
    else:
        sys.stdout.write("note: too few shapes to hold some back, so that the error of this fit is not known; measure more layers\n")
    sys.stdout.write(f"device: {out}\nnext: mpsearch cost WORKLOAD --target {out}\n")
    return 0


def run_list(options: argparse.Namespace) -> int:
    """List what can be named."""
    from mpsearch.catalog import list_names

    if options.kind in ("targets", "spaces"):
        names = list(list_names("hw_models" if options.kind == "targets" else "search_spaces"))
    elif options.kind == "workloads":
        names = list(WORKLOADS)
    elif options.kind == "solvers":
        from mpsearch.search import SOLVERS

        names = sorted(SOLVERS)
    else:
        from mpsearch.sensitivity import PROXIES

        names = sorted(PROXIES)
    sys.stdout.write((json.dumps(names) if options.json else "\n".join(names)) + "\n")
    return 0


# ---------------------------------------------------------------- what commands share


def _request(options: argparse.Namespace, saved: RunRequest | None = None) -> RunRequest:
    """Return the request: options that were given, else what the folder was asked before, else the defaults."""
    given = {name: getattr(options, name) for name in REQUEST_OPTIONS if getattr(options, name) is not None}
    if "budget" in given:
        given["budget"] = tuple(given["budget"])
    request = replace(saved or RunRequest(workload=DEFAULT_WORKLOAD, budget=()), **given)
    if not request.budget and options.name in ("optimize", "search"):
        raise BudgetError(
            "No budget was given.", "say what the model may cost: --budget 2MB, and again for each further limit: --budget latency=5ms."
        )
    return request


def _check_request(request: RunRequest) -> None:
    """Refuse what can be refused before the workload is loaded."""
    from mpsearch.catalog import load_search_space
    from mpsearch.cost.measured_device import load_target
    from mpsearch.search.budget import parse_budget

    parse_budget(request.budget)
    load_target(request.target)
    load_search_space(request.space)


def _pipeline(options: argparse.Namespace, progress: Progress) -> Pipeline:
    """Return the pipeline of a run's folder, for the commands that run one stage."""
    from mpsearch.pipeline import Pipeline
    from mpsearch.runs.folder import RunFolder
    from mpsearch.runs.stamp import stamped
    from mpsearch.workloads.load import load_workload

    folder = RunFolder(options.out)
    request = _request(options, folder.saved_request())
    _check_request(request)
    workload = load_workload(request.workload)
    request = stamped(request, workload)
    pipeline = Pipeline(workload, request, folder, progress)
    folder.reopen(request)
    return pipeline


def _config(options: argparse.Namespace) -> BitWidthConfig:
    from mpsearch.storage import read_config_yaml

    return read_config_yaml(options.config or options.out / "config.yaml")


def _graph_of(workload: str) -> LayerGraph:
    """Return the captured network, for the commands that need no data."""
    from mpsearch.pipeline import captured_graph
    from mpsearch.workloads.load import load_workload

    return captured_graph(load_workload(workload))


def _default_folder(workload: str) -> Path:
    name = Path(workload.rpartition(":")[2] or workload).name
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def _print_plainly(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, emoji=False)


class _ProgressBars:
    """Progress with an estimate on stderr; where that is no terminal, only how each stage ended."""

    def __init__(self, options: argparse.Namespace) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=Console(stderr=True), disable=options.quiet)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Progress:
        self._bars.start()
        return self._update

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def _update(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)


def _show(options: argparse.Namespace, content: dict[str, object]) -> int:
    if options.json:
        sys.stdout.write(json.dumps(content, indent=1) + "\n")
    else:
        sys.stdout.writelines(f"{name}: {value}\n" for name, value in content.items())
    return 0


def _show_error(error: MpsearchError, options: argparse.Namespace) -> None:
    sys.stderr.write(f"error: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
    if getattr(options, "json", False):
        status = "infeasible" if error.exit_code == 3 else "failed"
        sys.stdout.write(json.dumps({"schema": 1, "status": status, "error": error.message, "hint": error.hint}, indent=1) + "\n")


# ---------------------------------------------------------------- arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mpsearch", description="Give each layer its own bit-widths so that a network fits a device's budget.")
    parser.add_argument("--version", action="version", version=f"mpsearch {__version__}")
    commands = parser.add_subparsers(dest="name", metavar="COMMAND", required=True)
    optimize = commands.add_parser("optimize", help="the main job: search, verify, export, report")
    _add_run_options(optimize, out_required=False)
    optimize.add_argument("--resume", action="store_true", help="continue the interrupted run in --out")
    optimize.add_argument("--measure", action="store_true", help="then run the bundle on the target's core, and report prediction beside count")
    optimize.set_defaults(command=run_optimize)
    for name, (_, _, text) in STAGES.items():
        stage = commands.add_parser(name, help=f"one stage: {text}")
        _add_run_options(stage, out_required=True)
        stage.set_defaults(command=run_stage)
    cost = commands.add_parser("cost", help="predict what a config costs on the target, layer by layer; with --out, the stage: every precision")
    _add_run_options(cost, out_required=False)
    cost.add_argument("--config", type=Path, help="config.yaml (default: --bits everywhere)")
    cost.add_argument("--bits", type=int, choices=range(2, 9), default=8, help="weight bits of every layer, with 8-bit activations (default: 8)")
    cost.set_defaults(command=run_cost)
    for name, command, text in (
        ("evaluate", run_evaluate, "measure the true error of a config's integer model"),
        ("apply", run_apply, "quantise the model as a config says"),
        ("export", run_export, "write a config's C bundle"),
    ):
        stage = commands.add_parser(name, help=text)
        _add_run_options(stage, out_required=True)
        stage.add_argument("--config", type=Path, help="config.yaml; default: the one in --out")
        stage.set_defaults(command=command)
    _add_bundle_command(commands)
    _add_fit_command(commands)
    _add_measure_command(commands)
    _add_hw_commands(commands)
    listing = commands.add_parser("list", help="list targets, spaces, proxies, solvers or workloads")
    listing.add_argument("kind", choices=["targets", "spaces", "proxies", "solvers", "workloads"])
    listing.add_argument("--json", action="store_true", help="machine-readable output")
    listing.set_defaults(command=run_list)
    return parser


def _add_run_options(parser: argparse.ArgumentParser, *, out_required: bool) -> None:
    defaults = RunRequest(workload=DEFAULT_WORKLOAD, budget=())
    parser.add_argument("workload", nargs="?", help=f"built-in name or file.py:function (default: {DEFAULT_WORKLOAD})")
    parser.add_argument("--budget", action="append", help="upper bound, repeatable: 2MB, ram=256KiB, latency=5ms, energy=2mJ, bops=10G, bits=3.5")
    parser.add_argument("--target", help=f"hardware model, name or path (default: {defaults.target})")
    parser.add_argument("--space", help=f"search space, name or path (default: {defaults.space})")
    parser.add_argument("--proxy", help=f"sensitivity proxy (default: {defaults.proxy})")
    parser.add_argument("--solver", help=f"solver (default: {defaults.solver})")
    parser.add_argument("--trials", type=_positive, help=f"solver answers to evaluate for real (default: {defaults.trials})")
    parser.add_argument("--front-points", type=_natural, help=f"points of the front to evaluate (default: {defaults.front_points})")
    parser.add_argument("--seed", type=_natural, help=f"seed of everything that draws (default: {defaults.seed})")
    parser.add_argument(
        "--rounding", help=f"how the integer model rounds: single, or tflite_double as TensorFlow Lite (default: {defaults.rounding})"
    )
    parser.add_argument("--out", type=Path, required=out_required, help="the run's folder (default: runs/<workload>-<time>)")
    parser.add_argument("--json", action="store_true", help="machine-readable output on stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def _add_bundle_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="build a bundle and run its self-test, on the host or an emulated core")
    run.add_argument("bundle", type=Path, help="the bundle's folder")
    run.add_argument("--on", default="host", help=f"host, or a core that QEMU emulates: {', '.join(CORES)} (default: host)")
    run.add_argument("--target", help="hardware model, name or path, to compare with (default: that of the run, or the one with that core)")
    run.add_argument("--compiler", choices=COMPILERS, help="default: gcc for an emulated core, $CC or cc for the host")
    run.add_argument("--inputs", type=Path, help=".npy file of int8 inputs, (samples, *input shape)")
    run.add_argument("--outputs", type=Path, help="where to save the int8 outputs (.npy)")
    run.add_argument("--sanitize", action="store_true", help="build with address and undefined-behaviour sanitizers")
    run.add_argument("--json", action="store_true", help="machine-readable output")
    run.set_defaults(command=run_bundle)


def _add_measure_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    measure = commands.add_parser("measure", help="measure layers on a target, one by one, into a table that is a target itself")
    measure.add_argument("workload", nargs="?", help="built-in name or file.py:function, for the layers of that network (default: a grid of layers)")
    measure.add_argument("--on", help=f"host, or a core that QEMU emulates: {', '.join(CORES)}")
    measure.add_argument(
        "--command", dest="command_line", metavar="COMMAND", help="program that speaks docs/measure-protocol.md over stdin and stdout"
    )
    measure.add_argument("--serial", metavar="PORT[:BAUD]", help="board that speaks it on a serial port; needs pip install 'mpsearch[serial]'")
    measure.add_argument("--out", type=Path, help="the table, as JSON; written as rows come (default: printed only)")
    measure.add_argument("--resume", action="store_true", help="keep the rows that --out has and measure the others")
    measure.add_argument("--grid", type=Path, help="YAML list of layers (default: one of every operator in many sizes)")
    measure.add_argument("--bits", help="weight bits or precisions, e.g. 2,4,8 or w4a8 (default: 2 to 8; of a workload, what --space offers)")
    measure.add_argument("--space", help="search space whose precisions the layers of a workload are measured at, name or path")
    measure.add_argument("--like", help="hardware model whose clock, memories and capacities the target has (default: the one of its name)")
    measure.add_argument("--target", metavar="NAME", help="what the table calls the target (default: as --on, else board)")
    measure.add_argument("--compiler", choices=COMPILERS, help="default: gcc for an emulated core, $CC or cc for the host")
    measure.add_argument("--timeout", type=_seconds, default=60.0, help="seconds that a program may take for one layer (default: 60)")
    measure.add_argument("--json", action="store_true", help="machine-readable output")
    measure.add_argument("--quiet", action="store_true", help="no progress bars")
    measure.set_defaults(command=run_measure)


def _add_hw_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    hardware = commands.add_parser("hw", help="look at hardware models: show, check").add_subparsers(
        dest="hw_command", metavar="COMMAND", required=True
    )
    show = hardware.add_parser("show", help="draw a device's roofline, with a network's layers on it")
    show.add_argument("target", help="hardware model, name or path")
    show.add_argument("workload", nargs="?", help="built-in name or file.py:function; without it only the device is shown")
    show.add_argument("--config", type=Path, help="config.yaml (default: --bits everywhere)")
    show.add_argument("--bits", type=int, choices=range(2, 9), default=8, help="weight bits of every layer, with 8-bit activations (default: 8)")
    show.add_argument("--png", type=Path, help="also draw it into this file; needs pip install 'mpsearch[plots]'")
    show.add_argument("--json", action="store_true", help="machine-readable output")
    show.set_defaults(command=run_hw_show)
    check = hardware.add_parser("check", help="say what is wrong with a device's file, and what is unlikely")
    check.add_argument("file", help="YAML file of a device, or the name of a shipped one")
    check.add_argument("--json", action="store_true", help="machine-readable output")
    check.set_defaults(command=run_hw_check)


def _add_fit_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    fit = commands.add_parser("fit", help="turn a measured table into a device file, with cross-validated errors")
    fit.add_argument("table", type=Path, help="JSON file of mpsearch measure")
    fit.add_argument("--out", type=Path, help="the device file to write (default: <target of the table>.yaml)")
    fit.add_argument("--like", help="hardware model, name or path, whose clock, memories and power are taken over (default: that of the same core)")
    fit.add_argument(
        "--cycles-per-count",
        type=_above_zero,
        help="cycles for each of the table's cycles, or instructions where it has no cycles (default: its cycles as they are)",
    )
    fit.add_argument("--residual", action="store_true", help="learn what rates and terms leave over, too (needs mpsearch[residual])")
    fit.add_argument("--because", help="where --cycles-per-count comes from; it becomes the source of the numbers")
    fit.add_argument("--json", action="store_true", help="machine-readable output")
    fit.set_defaults(command=run_fit)


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted a number above 0")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted seconds above 0")
    return value


def _positive(text: str) -> int:
    value = _natural(text)
    if value == 0:
        raise argparse.ArgumentTypeError("wanted at least 1")
    return value


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted a whole number of at least 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
