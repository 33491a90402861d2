# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mpsearch.catalog import shipped_folder
from mpsearch.errors import InfeasibleBudgetError, MpsearchError, RecordError, SolverError, WorkloadError
from mpsearch.evaluate.apply import apply
from mpsearch.evaluate.integer import IntegerNetwork
from mpsearch.export.host import run_bundle
from mpsearch.pipeline import Pipeline, optimize
from mpsearch.quant.native import native_library
from mpsearch.records import BitWidthConfig, Evaluation
from mpsearch.runs.folder import RunFolder
from mpsearch.runs.request import RunRequest
from mpsearch.storage import read_config_yaml
from mpsearch.workloads.load import load_workload
from mpsearch.workloads.workload import Workload

TINY = f"{Path(__file__).with_name('tiny_workload.py')}:tiny"


@pytest.fixture(scope="module")
def workload() -> Workload:
    return load_workload(TINY)


def request(*budget: str, **options: object) -> RunRequest:
    return RunRequest(workload="tiny", budget=budget, **options)  # type: ignore[arg-type]


def test_a_run_leaves_everything_the_contract_names(workload: Workload, tmp_path: Path) -> None:
    optimize(workload, request("1300B"), tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"result.json", "config.yaml", "scores.json", "costs.json", "front.csv", "report.html", "bundle", "log.txt"} <= names
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    wanted = "schema workload model_digest seed budget cost status objective bound gap error error_float error_uniform"
    assert set(wanted.split()) | {"proxy_rank_correlation", "bundle", "wall_seconds"} <= result.keys()
    assert result["status"] == "optimal"
    assert result["error_float"] == 0


def test_the_budget_the_result_and_the_exported_bytes_are_one_number(workload: Workload, tmp_path: Path) -> None:
    _, result = optimize(workload, request("1300B"), tmp_path / "run")
    bundle = result["bundle"]
    exported = len((tmp_path / "run" / "bundle" / "model.bin").read_bytes())
    assert bundle["flash_bytes"] == exported == result["cost"]["flash"]  # type: ignore[index]
    assert exported <= 1300
    manifest = json.loads((tmp_path / "run" / "bundle" / "manifest.json").read_text())
    assert manifest["arena_bytes"] == result["cost"]["ram"]  # type: ignore[index]


def test_the_reported_error_is_that_of_the_exported_c(workload: Workload, tmp_path: Path) -> None:
    _, result = optimize(workload, request("bits=3"), tmp_path / "run")
    pipeline = Pipeline(workload, request("bits=3"), RunFolder(tmp_path / "unused"))
    network = IntegerNetwork(pipeline.quantizer.quantize(read_config_yaml(tmp_path / "run" / "config.yaml")))
    images, labels = workload.evaluation[0]
    integers = network.quantize_inputs(images)[pipeline.graph.inputs[0]].to(torch.int8).numpy()
    outputs = run_bundle(tmp_path / "run" / "bundle", integers)
    assert np.array_equal(outputs, network.integer_output(network.quantize_inputs(images)).numpy())
    assert result["error"] == pytest.approx(100 * float((outputs.argmax(1) != labels.numpy()).mean()))


@pytest.mark.skipif(native_library() is None, reason="NO NATIVE LIBRARY: build the package with a C compiler")
def test_a_runs_folder_gives_a_torch_module_the_very_bytes_of_its_bundle(workload: Workload, tmp_path: Path) -> None:
    _, result = optimize(workload, request("bits=3"), tmp_path / "run")
    packed = apply(workload.model, tmp_path / "run")
    flash = (tmp_path / "run" / "bundle" / "model.bin").read_bytes()
    state = packed.state_dict()
    rows = [value.numpy() for name, value in state.items() if name.endswith(".packed_weight")]
    assert len(rows) == 4
    assert all(values.tobytes() in flash for values in rows)
    images, labels = workload.evaluation[0]
    assert isinstance(images, torch.Tensor)
    wrong = int((packed(images).argmax(1) != labels).sum())
    # Activations have the scales of each sample here, and fixed ones in the bundle: a decision or two of 64 may differ.
    assert abs(100 * wrong / len(labels) - float(str(result["error"]))) <= 100 * 3 / 64


def test_the_same_seed_gives_the_same_bytes(workload: Workload, tmp_path: Path) -> None:
    for name in ("one", "two"):
        optimize(workload, request("1300B", seed=3), tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one" / "bundle").rglob("*") if path.is_file())
    for file in (Path("config.yaml"), *files):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_an_infeasible_budget_is_refused_before_anything_is_written(workload: Workload, tmp_path: Path) -> None:
    with pytest.raises(InfeasibleBudgetError, match=r"the least flash .* Pinned by .*nearest feasible is --budget"):
        optimize(workload, request("100B"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_several_budgets_hold_at_once(workload: Workload, tmp_path: Path) -> None:
    _, result = optimize(workload, request("1600B", "ram=4KiB", "bops=4M", "latency=20ms"), tmp_path / "run")
    limits = {"flash": 1600, "ram": 4096, "bops": 4e6, "latency": 0.02}
    assert result["budget"] == limits
    assert all(result["cost"][metric] <= limit for metric, limit in limits.items())  # type: ignore[index]


def test_the_best_uniform_precision_competes(workload: Workload, tmp_path: Path) -> None:
    summary, result = optimize(workload, request("bits=5"), tmp_path / "run")
    assert summary.uniform is not None
    assert {summary.scores.precisions[index].weight_bits for index in summary.uniform.choice} == {5}
    assert result["error"] <= result["error_uniform"]  # type: ignore[operator]


def test_a_search_offers_activations_of_8_bits_only(workload: Workload, tmp_path: Path) -> None:
    space = (shipped_folder("search_spaces") / "w248-a8.yaml").read_text(encoding="utf-8")
    (tmp_path / "narrow.yaml").write_text(
        space.replace("w248-a8", "narrow").replace("activation_bits: [8]", "activation_bits: [4, 8]"), encoding="utf-8"
    )
    pipeline = Pipeline(workload, request("bits=3", space=str(tmp_path / "narrow.yaml")), RunFolder(tmp_path / "run"))
    assert {precision.activation_bits for offered in pipeline.offered.values() for precision in offered} == {8}


def test_an_interrupted_run_resumes_to_the_same_result(workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, undisturbed = optimize(workload, request("1300B"), tmp_path / "undisturbed")
    evaluate, calls = Pipeline.evaluate, []

    def interrupt(self: Pipeline, config: object) -> object:
        calls.append(config)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(self, config)  # type: ignore[arg-type]

    monkeypatch.setattr(Pipeline, "evaluate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        optimize(workload, request("1300B"), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "interrupted"
    calls.clear()
    calls.extend(["two", "were", "done", "before"])
    _, resumed = optimize(workload, request("1300B"), tmp_path / "run", resume=True)
    fresh = [key for key in undisturbed if key != "wall_seconds"]
    assert {key: resumed[key] for key in fresh} == {key: undisturbed[key] for key in fresh}
    evaluated = len(calls) - 4
    assert evaluated == undisturbed["trials"]["finished"] - 2  # type: ignore[index]
    assert (tmp_path / "run" / "config.yaml").read_bytes() == (tmp_path / "undisturbed" / "config.yaml").read_bytes()


def test_the_callers_model_is_not_changed(workload: Workload, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in workload.model.state_dict().items()}
    optimize(workload, request("bits=3"), tmp_path / "run")
    assert all(torch.equal(value, before[name]) for name, value in workload.model.state_dict().items())


@pytest.mark.parametrize(("option", "value"), [("proxy", "fishr"), ("solver", "lip")])
def test_unknown_strategies_offer_the_nearest(workload: Workload, option: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(MpsearchError, match=rf"Unknown {option} '{value}'.*did you mean"):
        Pipeline(workload, request("2MB", **{option: value}), RunFolder(tmp_path))


def test_a_forward_that_changed_is_noticed_when_a_run_resumes(workload: Workload, tmp_path: Path) -> None:
    optimize(workload, request("1300B"), tmp_path / "run")
    (tmp_path / "run" / "trials.json").unlink()

    class Other(type(workload.model)):  # type: ignore[misc]  # the same weights under the same names
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(torch.tanh(x))

    other = Other()
    other.load_state_dict(workload.model.state_dict())
    changed = Workload(name="tiny", model=other, calibration=workload.calibration, evaluation=workload.evaluation, metric="top1_error")
    with pytest.raises(RecordError, match="belongs to model"):
        optimize(changed, request("1300B"), tmp_path / "run", resume=True)


def test_an_edited_device_file_is_noticed_when_a_run_resumes(workload: Workload, tmp_path: Path) -> None:
    device = tmp_path / "device.yaml"
    text = (shipped_folder("hw_models") / "cortex-m7.yaml").read_text()
    device.write_text(text)
    optimize(workload, request("1300B", target=str(device)), tmp_path / "run")
    device.write_text(text.replace("480000000", "240000000").replace("480_000_000", "240_000_000"))
    assert device.read_text() != text
    with pytest.raises(RecordError, match=r"asked something else .*target_digest"):
        optimize(workload, request("1300B", target=str(device)), tmp_path / "run", resume=True)


def test_a_metric_that_is_not_a_number_is_refused_before_anything_is_written(workload: Workload, tmp_path: Path) -> None:
    def broken(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return output[:, 0] * float("nan")

    bad = Workload(name="tiny", model=workload.model, calibration=workload.calibration, evaluation=workload.evaluation, metric=broken)
    with pytest.raises(WorkloadError, match="'broken' is NaN or infinite"):
        optimize(bad, request("1300B"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_metric_gives_one_loss_a_sample(workload: Workload, tmp_path: Path) -> None:
    bad = Workload(
        name="tiny", model=workload.model, calibration=workload.calibration, evaluation=workload.evaluation, metric=lambda output, _: output.mean()
    )
    with pytest.raises(WorkloadError, match="wanted one loss a sample"):
        optimize(bad, request("1300B"), tmp_path / "run")


def test_uniform_wins_where_it_is_better(workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prefer_uniform(self: Pipeline, config: BitWidthConfig) -> Evaluation:
        widths = {precision.weight_bits for _, precision in config.precisions}
        return Evaluation(error=1.0 if len(widths) == 1 else 5.0, metric="top1_error", samples=64, execution="integer")

    monkeypatch.setattr(Pipeline, "evaluate", prefer_uniform)
    summary, result = optimize(workload, request("bits=4.5"), tmp_path / "run")
    assert (summary.chosen.kind, result["error"], result["error_first_answer"]) == ("uniform", 1.0, 5.0)
    assert result["status"] == "feasible"  # the solver's own answer is optimal, the config that is written is not
    assert result["gap"] == pytest.approx((summary.chosen.score - summary.found.bound) / summary.found.bound)
    assert "best uniform" in str(result["notes"])


def test_no_config_that_fits_the_arena_is_a_failure_and_not_infeasible(workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pipeline, "meets_budget", lambda *_: False)
    with pytest.raises(SolverError, match="configs keeps every budget once activations are placed"):
        optimize(workload, request("bits=4"), tmp_path / "run")


def test_resuming_a_run_that_was_killed_before_its_folder_was_made_starts_it(workload: Workload, tmp_path: Path) -> None:
    _, result = optimize(workload, request("1300B"), tmp_path / "run", resume=True)
    assert result["status"] in ("optimal", "feasible")


def test_resuming_a_folder_that_is_no_run_is_refused(workload: Workload, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RecordError, match="no run to resume"):
        optimize(workload, request("1300B"), tmp_path, resume=True)


@pytest.mark.parametrize("stage", ["_score", "_search", "evaluate", "export"])
def test_a_kill_in_any_stage_resumes_to_the_same_bytes(stage: str, workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    optimize(workload, request("1300B"), tmp_path / "undisturbed")

    class Killed(BaseException):
        """Like kill -9: nobody handles it."""

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, stage, kill)
        with pytest.raises(Killed):
            optimize(workload, request("1300B"), tmp_path / "run")
    optimize(workload, request("1300B"), tmp_path / "run", resume=True)
    for file in ("config.yaml", "front.csv", "bundle/model.bin", "bundle/manifest.json"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "undisturbed" / file).read_bytes(), file
