# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mpsearch.errors import RecordError
from mpsearch.records import Evaluation
from mpsearch.runs.folder import RunFolder
from mpsearch.runs.request import RunRequest

REQUEST = RunRequest(workload="tiny", budget=("2MB",), workload_digest="a")
EVALUATION = Evaluation(error=1.5, metric="top1_error", samples=3, execution="real")


def test_nothing_is_written_before_the_run_starts(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.check_free()
    assert folder.stage("evaluation", Evaluation, lambda: EVALUATION) == EVALUATION
    assert not (tmp_path / "run").exists()
    folder.start(REQUEST)
    assert (tmp_path / "run" / "evaluation.json").exists()


def test_a_stage_whose_record_is_there_is_not_run_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.start(REQUEST)
    folder.stage("evaluation", Evaluation, lambda: EVALUATION)
    again = RunFolder(tmp_path)
    again.resume(REQUEST)
    assert again.stage("evaluation", Evaluation, lambda: pytest.fail("it was run again")) == EVALUATION


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RecordError, match=r"exists and is not empty.*name another one"):
        RunFolder(tmp_path).check_free()
    RunFolder(tmp_path / "run").start(REQUEST)
    with pytest.raises(RecordError, match=r"exists and is not empty.*--resume"):
        RunFolder(tmp_path / "run").check_free()


def test_an_unwritable_folder_is_refused() -> None:
    with pytest.raises(RecordError, match="'/proc/run' cannot be written"):
        RunFolder(Path("/proc/run")).check_free()


def test_resuming_asks_the_same_question(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(RecordError, match="no run to resume"):
        folder.resume(REQUEST)
    folder.start(REQUEST)
    with pytest.raises(RecordError, match=r"asked something else \(seed: 1, was 0\)"):
        folder.resume(replace(REQUEST, seed=1))


def test_a_new_proxy_drops_scores_and_keeps_costs(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.start(REQUEST)
    for stage in ("scores", "costs", "search", "stats"):
        folder.stage(stage, Evaluation, lambda: EVALUATION)
    folder.reopen(replace(REQUEST, proxy="fisher"))
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == ["costs", "request", "stats"]


def test_a_stage_that_reruns_takes_what_follows_with_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.start(REQUEST)
    for stage in ("stats", "scores", "costs", "search"):
        folder.stage(stage, Evaluation, lambda: EVALUATION)
    folder.drop("scores")
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == ["costs", "request", "stats"]


def test_another_workload_is_refused(tmp_path: Path) -> None:
    RunFolder(tmp_path).start(REQUEST)
    with pytest.raises(RecordError, match="belongs to workload 'tiny'"):
        RunFolder(tmp_path).reopen(replace(REQUEST, workload_digest="b"))
