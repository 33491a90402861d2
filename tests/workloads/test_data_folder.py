# SPDX-License-Identifier: Apache-2.0
"""Each network of a data folder becomes a workload; a missing folder says how to name one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpsearch import load_workload
from mpsearch.errors import WorkloadError
from mpsearch.workloads import WORKLOADS
from mpsearch.workloads.data_folder import from_data_folder

ZOO = """
import torch

def shapes(name):
    return {"classes": ((7, 4), (7,)), "tokens": ((5, 20_000), (5, 20_000))}[name]

class Tokens(torch.nn.Module):
    def forward(self, x):
        return torch.stack([x, -x], -1)

WORKLOADS = {"classes": None, "tokens": None, "broken": None}

def load(name):
    if name == "broken":
        raise FileNotFoundError("models/broken.safetensors")
    inputs, targets = shapes(name)
    model = torch.nn.Linear(4, 3) if name == "classes" else Tokens()
    return model, torch.ones(130, *inputs[1:]), torch.ones(inputs), torch.zeros(targets, dtype=torch.int64)
"""


@pytest.fixture
def small_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "zoo.py").write_text(ZOO)
    monkeypatch.setenv("MPSEARCH_DATA", str(tmp_path))
    return tmp_path


def test_class_targets_are_scored_by_top1_and_cut_into_batches(small_folder: Path) -> None:
    workload = from_data_folder("classes")
    assert (workload.name, workload.metric) == ("classes", "top1_error")
    assert [len(batch) for batch in workload.calibration] == [64, 64, 2]
    assert [len(targets) for _, targets in workload.evaluation] == [7]


def test_sequences_are_scored_in_bits_per_token_in_batches_of_few_tokens(small_folder: Path) -> None:
    workload = from_data_folder("tokens")
    assert workload.metric == "bits_per_token"
    assert [len(targets) for _, targets in workload.evaluation] == [1] * 5


def test_a_network_that_the_folder_lacks_offers_the_nearest(small_folder: Path) -> None:
    with pytest.raises(WorkloadError, match=r"zoo\.py has no network 'class'\. Hint: did you mean classes\?"):
        from_data_folder("class")


def test_a_missing_file_of_the_folder_is_named(small_folder: Path) -> None:
    with pytest.raises(WorkloadError, match=r"'broken' cannot be read from .*models/broken\.safetensors"):
        from_data_folder("broken")


def test_a_folder_without_zoo_says_to_set_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPSEARCH_DATA", str(tmp_path))
    with pytest.raises(WorkloadError, match=r"holds no zoo\.py\. Hint: set MPSEARCH_DATA"):
        load_workload("cifar10_resnet20")


@pytest.mark.parametrize("name", sorted(name for name, home in WORKLOADS.items() if "data_folder" in home))
def test_every_network_of_the_real_folder_loads(data_folder: Path, name: str) -> None:
    workload = load_workload(name)
    assert workload.name == name
    assert sum(len(targets) for _, targets in workload.evaluation) >= 40
    assert workload.metric == ("bits_per_token" if name.startswith(("lm_", "charlstm")) else "top1_error")
