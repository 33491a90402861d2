# SPDX-License-Identifier: Apache-2.0
"""A workload is found by its name, or by a user's file and function; whatever goes wrong there names both."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mpsearch import load_workload
from mpsearch.errors import WorkloadError
from mpsearch.workloads import DEFAULT_WORKLOAD, WORKLOADS

GOOD = """
import torch
from mpsearch import Workload
import settings_beside_it

def make(size=4):
    inputs = torch.ones(3, size)
    return Workload(settings_beside_it.NAME, torch.nn.Linear(size, 2), [inputs], [(inputs, torch.tensor([0, 1, 0]))], "top1_error")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings_beside_it.py").write_text("NAME = 'mine'\n")
    return tmp_path


def write(folder: Path, source: str) -> str:
    (folder / "mine.py").write_text(source)
    return "mine.py:make"


def test_a_users_file_may_import_what_lies_beside_it(folder: Path) -> None:
    before = list(sys.path)
    assert load_workload(write(folder, GOOD)).name == "mine"
    assert sys.path == before


def test_a_full_path_works_from_any_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, GOOD)
    monkeypatch.chdir("/")
    assert load_workload(f"{folder}/mine.py:make").name == "mine"


def test_a_changed_file_is_read_again(folder: Path) -> None:
    load_workload(write(folder, GOOD))
    assert load_workload(write(folder, GOOD.replace("settings_beside_it.NAME", "'changed'"))).name == "changed"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("def made(): pass", r"mine\.py has no function 'make'\. Hint: did you mean made\?"),
        ("x = 1", r"mine\.py has no function 'make'\. Hint: it defines no function"),
        ("make = 3", r"mine\.py:make is a int, wanted a function"),
        ("def make(path, seed=0): pass", r"mine\.py:make needs the arguments path, wanted a function without arguments"),
        ("def make(): return 3", r"mine\.py:make returned a int, wanted a Workload"),
        ("def make():\n    return 1 / 0", r"mine\.py:make raised ZeroDivisionError at mine\.py:2: division by zero"),
        ("def make(:", r"mine\.py:make raised SyntaxError"),
        ("import no_such_package", r"mine\.py:make raised ModuleNotFoundError at mine\.py:1: No module named 'no_such_package'"),
        ("raise SystemExit(3)", r"mine\.py:make raised SystemExit at mine\.py:1: 3"),
    ],
)
def test_a_bad_file_is_refused_by_file_and_function(folder: Path, source: str, complaint: str) -> None:
    with pytest.raises(WorkloadError, match=complaint):
        load_workload(write(folder, source))


def test_what_the_users_code_raised_is_kept_as_the_cause(folder: Path) -> None:
    with pytest.raises(WorkloadError, match="KeyError") as caught:
        load_workload(write(folder, "def make():\n    return {}['weights']"))
    assert isinstance(caught.value.__cause__, KeyError)


def test_the_users_own_interrupt_passes_through(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_workload(write(folder, "raise KeyboardInterrupt"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("digit", r"Unknown workload 'digit'\. Hint: did you mean digits\?"),
        ("xyz", r"Unknown workload 'xyz'\. Hint: known: .*digits.*Your own model: file\.py:function"),
        ("nothing.py:make", r"Workload file 'nothing\.py' does not exist"),
        ("mine.py", r"names a file without a function\. Hint: .*mine\.py:make_workload"),
    ],
)
def test_an_unknown_name_offers_the_nearest(folder: Path, text: str, complaint: str) -> None:
    with pytest.raises(WorkloadError, match=complaint):
        load_workload(text)


def test_every_builtin_names_a_function_that_exists() -> None:
    assert DEFAULT_WORKLOAD in WORKLOADS
    for home in WORKLOADS.values():
        module, function, *_ = home.split(":")
        assert callable(getattr(import_module(module), function))


def test_listing_the_workloads_imports_no_torch() -> None:
    code = "import sys, mpsearch.workloads, mpsearch.workloads.load; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
