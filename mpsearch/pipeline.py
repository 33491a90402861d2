# SPDX-License-Identifier: Apache-2.0
"""The path, top to bottom: capture, calibrate, score, cost, search, evaluate, export."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch

from mpsearch.catalog import HardwareModel, load_search_space
from mpsearch.cost import HARDWARE_METRICS, METRICS, build_cost_table, gives_energy, layer_costs, offered_precisions
from mpsearch.cost.measured_device import load_target
from mpsearch.errors import CatalogError, ExportError, GraphError, InfeasibleBudgetError, MpsearchError, RecordError, SolverError, nearest_names
from mpsearch.evaluate.integer import IntegerNetwork
from mpsearch.evaluate.measure_error import measure_error
from mpsearch.evaluate.real import RealNetwork
from mpsearch.evaluate.walk import from_memory
from mpsearch.export.bundle import write_bundle
from mpsearch.export.host_count import run_on_host
from mpsearch.export.memory_plan import plan_memory
from mpsearch.export.qemu import run_on_target
from mpsearch.graph.capture import capture
from mpsearch.quant.activation_bits import DEFAULT_BITS
from mpsearch.quant.calibrate import calibrate
from mpsearch.quant.measured_range import measure_intervals
from mpsearch.quant.packed_size import kernel_supports
from mpsearch.quant.quantize import Quantizer
from mpsearch.records import (
    BitWidthConfig,
    Budget,
    CalibrationStats,
    CostTable,
    Evaluation,
    ExportBundle,
    Layer,
    LayerGraph,
    Limit,
    Precision,
    QuantizedGraph,
    Rounding,
    SearchProblem,
    SearchResult,
    SensitivityTable,
)
from mpsearch.report.measurement import check_latency
from mpsearch.report.page import render_page
from mpsearch.report.reasons import budget_reasons, layer_reasons, speed_reasons, target_reasons, width_reasons
from mpsearch.runs.bundle_prediction import HOST
from mpsearch.runs.candidates import spread_points, uniform_choice
from mpsearch.runs.folder import RunFolder
from mpsearch.runs.measured import REPORT_FILE, bundle_digest, keep_measurement, load_measurements, measure_beside
from mpsearch.runs.request import RunRequest
from mpsearch.runs.stamp import stamped
from mpsearch.runs.summary import Summary, front_csv, report_data, result_json, unfinished_json
from mpsearch.runs.trials import Trial, TrialBook, TrialKind
from mpsearch.search import SOLVERS
from mpsearch.search.budget import parse_budget
from mpsearch.search.feasibility import check_feasible
from mpsearch.search.problem import CLOSED_GAP, RELATIVE_TOLERANCE, build_problem
from mpsearch.search.quicker import solve_quicker
from mpsearch.search.sweep import FrontPoint, sweep_budgets
from mpsearch.sensitivity import PROXIES, Probe
from mpsearch.sensitivity.output_kl import output_distance
from mpsearch.storage import save_record, write_config_yaml
from mpsearch.workloads.workload import Workload

SCORING_SAMPLES = 256
"""Calibration samples that proxies see."""

TEST_VECTORS = 8
"""Evaluation samples that a bundle's self-test replays."""

SWEEP_POINTS = 16

QUICKER_SLACK = 0.1
"""A config that the target runs faster is evaluated too, if its score is at most this part above the best."""

Progress = Callable[[str, int, int], None]
"""Called with (stage, steps done, steps in all)."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Show nothing."""


class Pipeline:
    """One workload on its way through the stages. Every stage is computed on first use, or read from the run's folder if it is there."""

    def __init__(self, workload: Workload, request: RunRequest, folder: RunFolder, progress: Progress = no_progress) -> None:
        """Check every name in the request before any work is done."""
        self.budget: Budget = parse_budget(request.budget)
        self.hardware: HardwareModel = load_target(request.target)
        self.space = load_search_space(request.space)
        for kind, name, known in (
            ("proxy", request.proxy, PROXIES),
            ("solver", request.solver, SOLVERS),
            ("rounding", request.rounding, get_args(Rounding)),
        ):
            if name not in known:
                raise CatalogError(f"Unknown {kind} '{name}'.", nearest_names(name, known))
        self.workload, self.request, self.folder, self.progress = workload, request, folder, progress

    # ------------------------------------------------------------ the stages

    @cached_property
    def graph(self) -> LayerGraph:
        """Stage 1; the model is traced every time, because a record cannot tell whether its forward has changed.

        Raises:
            RecordError: The folder belongs to another model.
        """
        with self.folder.timed("graph"):
            traced = self._capture()
        graph = self.folder.stage("graph", LayerGraph, lambda: traced)
        if graph.model_digest != traced.model_digest:
            raise RecordError(
                f"The folder '{self.folder.path}' belongs to model {graph.model_digest[:12]}, this one is {traced.model_digest[:12]}.",
                "name another folder with --out.",
            )
        return graph

    @cached_property
    def stats(self) -> CalibrationStats:
        """Stage 2."""
        return self.folder.stage("stats", CalibrationStats, self._calibrate)

    @cached_property
    def scores(self) -> SensitivityTable:
        """Stage 3."""
        return self.folder.stage("scores", SensitivityTable, self._score)

    @cached_property
    def costs(self) -> CostTable:
        """Stage 4."""
        return self.folder.stage("costs", CostTable, self._cost)

    @cached_property
    def found(self) -> SearchResult:
        """Stage 5."""
        return self.folder.stage("search", SearchResult, self._search)

    @cached_property
    def float_evaluation(self) -> Evaluation:
        """Stage 6, for the float network."""
        compute = lambda: measure_error(self.real, self.workload.evaluation, self.workload.metric, "real")  # noqa: E731
        return self.folder.stage("evaluation_float", Evaluation, compute)

    # ------------------------------------------------------------ what the stages share

    @cached_property
    def real(self) -> RealNetwork:
        """The folded network in float32."""
        return RealNetwork(self.graph)

    @cached_property
    def quantizer(self) -> Quantizer:
        """Rounds weights; what it has rounded once it keeps."""
        return Quantizer(self.graph, self.stats)

    @cached_property
    def offered(self) -> dict[str, tuple[Precision, ...]]:
        """Group -> precisions that space, kernels and target have in common."""
        return offered_precisions(self.graph, self.space, _is_searched, self.hardware)

    @cached_property
    def problem(self) -> SearchProblem:
        """Scores, costs and limits."""
        return build_problem(self.scores, self.costs, self.budget)

    def check_feasible(self) -> None:
        """Refuse a budget that no config meets; needs no data.

        Raises:
            InfeasibleBudgetError: With the floor, the layers that pin it and the nearest feasible budget.
        """
        for stage in ("graph", "costs"):  # one after the other, so that each is timed by itself
            getattr(self, stage)
        check_feasible(self.costs, self.budget)

    def config(self, choice: tuple[int, ...]) -> BitWidthConfig:
        """Return a choice of one precision per group as a precision per layer."""
        chosen = {name: self.costs.precisions[index] for group, index in zip(self.graph.groups, choice, strict=True) for name in group.layers}
        return BitWidthConfig(
            model_digest=self.graph.model_digest, precisions=tuple((layer.name, chosen[layer.name]) for layer in self.graph.weighted_layers)
        )

    def quantized(self, config: BitWidthConfig) -> QuantizedGraph:
        """Return every integer of the network, in the requested rounding."""
        return replace(self.quantizer.quantize(config), rounding=cast(Rounding, self.request.rounding))

    def evaluate(self, config: BitWidthConfig) -> Evaluation:
        """Return the true error of the integer network."""
        network = IntegerNetwork(self.quantized(config))
        return measure_error(network, self.workload.evaluation, self.workload.metric, "integer")

    def achieved(self, choice: tuple[int, ...]) -> dict[str, float]:
        """Return every metric's cost of a choice; RAM is the planned arena, not its lower bound."""
        index = np.array(choice, dtype=np.int64)
        totals = {metric.metric: metric.total(index) for metric in self.costs.metrics}
        return {**totals, "ram": float(plan_memory(self.graph, self.config(choice)).arena_bytes)}

    def meets_budget(self, choice: tuple[int, ...]) -> bool:
        """Whether a choice keeps every limit, the planned arena included."""
        achieved = self.achieved(choice)
        return all(achieved[limit.metric] <= limit.value * (1 + RELATIVE_TOLERANCE) for limit in self.budget.limits)

    # ------------------------------------------------------------ candidates

    def candidates(self) -> list[tuple[TrialKind, tuple[int, ...]]]:
        """Return what is evaluated for real: the solver's answers, the quickest of nearly their score, the best uniform precision, the front.

        Raises:
            SolverError: The solver stopped without an answer, or none of the configs at hand fits once activations are placed in the arena.
        """
        if self.found.status in ("failed", "infeasible"):
            raise SolverError(f"Solver '{self.request.solver}' stopped without an answer.", "choose --solver ilp, or loosen the budget.")
        fitting = [solution.choice for solution in self.found.solutions if self.meets_budget(solution.choice)]
        uniform = [("uniform", choice) for choice in (self.best_uniform(),) if choice is not None]
        front = spread_points(self.front, self.request.front_points)
        quicker = [("quicker", choice) for choice in (self.quicker(),) if choice is not None and choice not in fitting and self.meets_budget(choice)]
        candidates = [*(("solver", choice) for choice in fitting), *quicker, *uniform, *(("front", point.choice) for point in front)]
        if not any(self.meets_budget(choice) for _, choice in candidates):
            raise SolverError(
                f"None of {len(candidates)} configs keeps every budget once activations are placed in the arena.",
                "raise --trials, or allow more RAM.",
            )
        return candidates  # type: ignore[return-value]

    def quicker(self) -> tuple[int, ...] | None:
        """Return the choice that the target runs fastest among those that score nearly as well as the best."""
        limit = self.found.solutions[0].objective * (1 + QUICKER_SLACK)
        with self.folder.timed("search"):
            solution = solve_quicker(self.problem, self.costs.metric("latency"), limit, self.request.seed)
        return solution.choice if solution else None

    @cached_property
    def front(self) -> tuple[FrontPoint, ...]:
        """The predicted front of score against flash, without any other limit."""
        flash = Limit(metric="flash", value=float(np.finfo(np.float32).max), text="")
        with self.folder.timed("search"):
            return sweep_budgets(build_problem(self.scores, self.costs, Budget(limits=(flash,))), "flash", SWEEP_POINTS, self.request.seed)

    def uniform(self, bits: int) -> tuple[int, ...]:
        """Return the choice of one weight bit-width everywhere, as far as it is offered."""
        return uniform_choice(self.graph.groups, self.costs.precisions, self.offered, bits)

    def best_uniform(self) -> tuple[int, ...] | None:
        """Return the widest uniform choice within the budget, or None."""
        widths = sorted({precision.weight_bits for precision in self.scores.precisions}, reverse=True)
        return next((choice for choice in map(self.uniform, widths) if self.meets_budget(choice)), None)

    def run_trials(self) -> tuple[Trial, ...]:
        """Stage 6: evaluate every candidate for real; what is known from before is not evaluated again."""
        candidates = self.candidates()
        book = TrialBook(self.folder.path / "trials.json", self.graph.model_digest)
        for done, (kind, choice) in enumerate(candidates):
            self.progress("evaluate", done, len(candidates))
            with self.folder.timed("evaluate"):
                error = book.error_of(self.config(choice), lambda config: self.evaluate(config).error)
            book.add(self._trial(kind, choice, error))
        self.progress("evaluate", len(candidates), len(candidates))
        return book.trials

    def export(self, config: BitWidthConfig, folder: Path) -> ExportBundle:
        """Stage 7: write the bundle, with real evaluation samples as test vectors.

        Raises:
            ExportError: The bundle cannot be written.
        """
        quantized = self.quantized(config)
        network = IntegerNetwork(quantized)
        inputs, _ = self.workload.evaluation[0]
        sample = tuple(value[:TEST_VECTORS] for value in inputs) if isinstance(inputs, tuple) else inputs[:TEST_VECTORS]
        integers = network.quantize_inputs(sample)
        output = network.integer_output(integers).to(torch.int8).numpy()
        arrays = [integers[name].to(torch.int8).numpy() for name in self.graph.inputs]
        vectors = [([array[index] for array in arrays], output[index]) for index in range(len(output))]
        with self.folder.timed("export"):
            return write_bundle(quantized, vectors, folder)

    def finish(self, measure: bool = False) -> Summary:
        """Run what is left, from calibration to the report, and write the run's files.

        Args:
            measure: Also run the bundle on the target's core, where it can be emulated here.

        Raises:
            MpsearchError: A stage failed, or the bundle computes something else on the core.
        """
        for stage in ("stats", "scores", "found", "float_evaluation"):
            getattr(self, stage)
        trials = self.run_trials()
        fitting = [trial for trial in trials if self.meets_budget(trial.choice)]
        chosen = min(fitting, key=lambda trial: (trial.error, trial.score, trial.cost("latency"), trial.cost("flash")))
        write_config_yaml(chosen.config, self.folder.path / "config.yaml")
        bundle = self._bundle(chosen)
        notes = (*self._notes(chosen), *(self._measure() if measure else ()))
        layers = layer_costs(self.graph, chosen.config, self.hardware)
        summary = Summary(
            request=self.request,
            budget=self.budget,
            graph=self.graph,
            scores=self.scores,
            costs=self.costs,
            found=self.found,
            trials=trials,
            chosen=chosen,
            floating=self.float_evaluation,
            layers=layers,
            front=self.front,
            bundle=bundle,
            notes=notes,
            seconds=self.folder.seconds,
            accuracy=self.hardware.accuracy,
            reasons=self._reasons(chosen, trials),
            layer_reasons=layer_reasons(self.graph, self.costs, self.budget, chosen.choice, layers),
            measured=load_measurements(self.folder.path, bundle_digest(Path(bundle.path))),
        )
        data = report_data(summary)
        self.folder.write_text("front.csv", front_csv(summary))
        save_record(replace(data, measured=()), self.folder.path / REPORT_FILE)
        self.folder.write_text("report.html", render_page(data))
        return summary

    def _bundle(self, chosen: Trial) -> ExportBundle:
        self.progress("export", 0, 1)
        path = self.folder.path / "bundle"
        if path.exists():  # an interrupted run got this far; it is quick to write again
            shutil.rmtree(path)
        bundle = self.export(chosen.config, path)
        check_bundle(bundle, dict(chosen.costs))
        self.progress("export", 1, 1)
        return bundle

    def _measure(self) -> tuple[str, ...]:
        """Run the bundle on the target's core and keep what it took; returns what the user should know, also why nothing was measured."""
        core, bundle = self.hardware.core, self.folder.path / "bundle"
        if core is None:
            return (f"nothing was measured: the file of target {self.hardware.name} names no core to run the bundle on",)
        self.progress("measure", 0, 1)
        try:
            with self.folder.timed("measure"):
                run = run_on_host(bundle) if core == HOST else run_on_target(bundle, core)
        except ExportError as error:
            return (f"nothing was measured on {core}: {error}",)
        if run.mismatches:
            raise ExportError(f"The bundle computes something else on {core}: {run.mismatches} of its outputs differ from the test vectors.")
        measurement = measure_beside(bundle, run, self.hardware)
        keep_measurement(self.folder.path, measurement)
        self.progress("measure", 1, 1)
        latency = next((limit.value for limit in self.budget.limits if limit.metric == "latency"), None)
        check = check_latency(latency, measurement)
        return tuple(note for note in (check, *measurement.notes) if note)

    def _reasons(self, chosen: Trial, trials: Sequence[Trial]) -> tuple[str, ...]:
        """Return why the target gives the chosen config."""
        first = next((trial for trial in trials if trial.kind == "solver"), chosen)
        return (
            *target_reasons(self.graph, self.space, self.hardware),
            *width_reasons(self.graph, self.costs),
            *budget_reasons(self.costs, self.budget, chosen.choice),
            *speed_reasons(self.hardware.name, chosen.cost("latency"), first.cost("latency"), chosen.kind == "quicker"),
        )

    def _notes(self, chosen: Trial) -> tuple[str, ...]:
        notes = []
        for metric, capacity in (("flash", self.hardware.flash_bytes.value), ("ram", self.hardware.ram_bytes.value)):
            if chosen.cost(metric) > capacity:
                notes.append(f"{self.hardware.name} has {capacity:,.0f} bytes of {metric}, this model needs {chosen.cost(metric):,.0f}")
        if chosen.kind == "uniform":
            notes.append("no searched config beat the best uniform precision within the budget")
        elif chosen.score > self.found.bound * (1 + CLOSED_GAP):
            notes.append("chosen for its true error: another config has a lower predicted score")
        return tuple(notes)

    # ------------------------------------------------------------ how each stage computes its record

    def _capture(self) -> LayerGraph:
        self.progress("capture", 0, 1)
        graph = captured_graph(self.workload)
        self.progress("capture", 1, 1)
        return graph

    def _calibrate(self) -> CalibrationStats:
        """Gather statistics, then choose the activation intervals by what they do to the output."""
        self.progress("calibrate", 0, 2)
        stats = calibrate(self.graph, lambda: self.real.activations(self.workload.calibration), self.request.seed)
        self.progress("calibrate", 1, 2)
        output = self.graph.output
        distance = output_distance(self.workload.metric_name)

        def moved_by(values: Mapping[str, torch.Tensor], replaced: Mapping[str, torch.Tensor]) -> float:
            return float(distance(values[output], self.real.output_with(values, replaced)).sum())

        stats = measure_intervals(self.graph, stats, lambda: self.real.activations(self.workload.calibration), moved_by)
        self.progress("calibrate", 2, 2)
        return stats

    def _score(self) -> SensitivityTable:
        widths = {name: [precision.weight_bits for precision in self.offered[group.name]] for group in self.graph.groups for name in group.layers}
        self.quantizer.prepare(widths, lambda done, total: self.progress("round", done, total))
        probe = Probe(
            network=self.real,
            quantizer=self.quantizer,
            batches=_first_samples(self.workload, SCORING_SAMPLES),
            offered=self.offered,
            metric=self.workload.metric_name,
            seed=self.request.seed,
            progress=lambda done, total: self.progress("score", done, total),
        )
        return PROXIES[self.request.proxy](probe)

    def _cost(self) -> CostTable:
        precisions = tuple(sorted({precision for offered in self.offered.values() for precision in offered}))
        limited = {limit.metric for limit in self.budget.limits}
        known = [name for name in METRICS if name in limited or name not in HARDWARE_METRICS or name == "latency" or gives_energy(self.hardware)]
        return build_cost_table(self.graph, self.offered, precisions, self.hardware, known)

    def _search(self) -> SearchResult:
        self.progress("search", 0, 1)
        result = SOLVERS[self.request.solver](self.problem, self.request.seed, solutions=self.request.trials)
        self.progress("search", 1, 1)
        return result

    def _trial(self, kind: TrialKind, choice: tuple[int, ...], error: float) -> Trial:
        score = float(sum(self.scores.score[group, index] for group, index in enumerate(choice)))
        return Trial(kind=kind, choice=choice, config=self.config(choice), score=score, costs=tuple(self.achieved(choice).items()), error=error)


def captured_graph(workload: Workload) -> LayerGraph:
    """Return the graph of a workload's model, checked against the model itself on the first calibration batch.

    Raises:
        GraphError: The model cannot be captured, or the graph computes something else.
    """
    example = workload.calibration[0]
    graph = capture(workload.model, example)
    with torch.no_grad():
        wanted = workload.model(*(example if isinstance(example, tuple) else (example,)))
        got = from_memory(graph, RealNetwork(graph).output(example))
    difference = float((got - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12)) if got.shape == wanted.shape else float("inf")
    if difference > 1e-3:
        raise GraphError(f"The captured graph differs from the model by {difference:.2g} of its largest output on the first calibration batch.")
    return graph


def optimize(
    workload: Workload, request: RunRequest, out: Path, *, resume: bool = False, measure: bool = False, progress: Progress = no_progress
) -> tuple[Summary, dict[str, object]]:
    """Do the main job: the config of least true error within the budget, exported, with its report.

    Args:
        workload: Model, data and metric.
        request: Budget and options.
        out: The run's folder; must be free unless `resume`.
        resume: Continue an interrupted run with the same request; one that was killed before its folder was made starts anew.
        measure: Also run the bundle on the target's core; what is missing for that is noted. A run may be resumed with or without.
        progress: Told about every step.

    Returns:
        What was found, and the content of result.json.

    Raises:
        MpsearchError: Bad input (nothing is written), an infeasible budget (nothing is written), or a stage that failed.
    """
    folder = RunFolder(out)
    resume = resume and not folder.is_free()
    request = stamped(request, workload)
    pipeline = Pipeline(workload, request, folder, progress)
    if resume:
        folder.resume(request)
    else:
        folder.check_free()
    pipeline.check_feasible()
    if not resume:
        # What the data or the metric may have wrong shows here; nothing is written before that.
        for stage in ("float_evaluation", "stats"):
            getattr(pipeline, stage)
        folder.start(request)
    try:
        summary = pipeline.finish(measure)
    except KeyboardInterrupt:
        folder.write_json("result.json", unfinished_json(request, "interrupted", "stopped by the user"))
        raise
    except (MpsearchError, OSError) as error:
        folder.write_json("result.json", unfinished_json(request, "infeasible" if isinstance(error, InfeasibleBudgetError) else "failed", str(error)))
        raise
    result = result_json(summary)
    folder.write_json("result.json", result)
    return summary, result


def check_bundle(bundle: ExportBundle, costs: dict[str, float]) -> None:
    """Refuse a bundle that is not what the solver was told.

    Raises:
        ExportError: Its bytes or its arena differ from the costs.
    """
    for name, got, wanted in (("flash", bundle.flash_bytes, costs["flash"]), ("ram", bundle.arena_bytes, costs["ram"])):
        if got != wanted:
            raise ExportError(
                f"The bundle's {name} is {got} bytes, the solver was told {wanted:.0f}.", "this is a defect of mpsearch: please report it."
            )


def _is_searched(layer: Layer, precision: Precision) -> bool:
    """Return whether a search may offer a precision: no proxy scores activations yet, so those of 4 and 16 bits come from configs written by hand."""
    return kernel_supports(layer, precision) and precision.activation_bits == DEFAULT_BITS


def _first_samples(workload: Workload, count: int) -> list[torch.Tensor | tuple[torch.Tensor, ...]]:
    chosen: list[torch.Tensor | tuple[torch.Tensor, ...]] = []
    for batch in workload.calibration:
        if count <= 0:
            break
        part = tuple(value[:count] for value in batch) if isinstance(batch, tuple) else batch[:count]
        chosen.append(part)
        count -= len(part[0]) if isinstance(part, tuple) else len(part)
    return chosen
