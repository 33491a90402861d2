# SPDX-License-Identifier: Apache-2.0
"""Find a workload by its built-in name, or by the file and function of a user."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

from mpsearch.errors import MpsearchError, WorkloadError, nearest_names
from mpsearch.workloads import WORKLOADS

if TYPE_CHECKING:
    from mpsearch.workloads.workload import Workload


def load_workload(text: str) -> Workload:
    """Return the workload of that name.

    Args:
        text: A key of WORKLOADS, or "file.py:function" with a function without arguments that returns a Workload. While it runs, the
            file's folder is on sys.path, as it would be for `python file.py`.

    Raises:
        WorkloadError: No such name, file or function, or the function does not give a Workload; what the user's code raised is chained.
    """
    if text in WORKLOADS:
        return _built_in(text)
    path, colon, function = text.rpartition(":")
    if colon and path.endswith(".py"):
        return _from_file(Path(path).expanduser(), function)
    if text.endswith(".py"):
        raise WorkloadError(
            f"Workload '{text}' names a file without a function.", f"add the function that returns the Workload: {text}:make_workload."
        )
    raise WorkloadError(f"Unknown workload '{text}'.", f"{nearest_names(text, WORKLOADS)} Your own model: file.py:function.")


def _built_in(name: str) -> Workload:
    module, function, *arguments = WORKLOADS[name].split(":")
    workload: Workload = getattr(import_module(module), function)(*arguments)
    return workload


def _from_file(path: Path, name: str) -> Workload:
    from mpsearch.workloads.workload import Workload

    if not path.is_file():
        raise WorkloadError(
            f"Workload file '{path}' does not exist (looked in {Path.cwd()}).", "give the path from the current folder, or a full one."
        )
    with _UserCode(f"{path}:{name}", path.parent):
        function = _function_of(_module_from(path), path, name)
        workload = function()
    if not isinstance(workload, Workload):
        raise WorkloadError(f"{path}:{name} returned a {type(workload).__name__}, wanted a Workload.", "end it with: return Workload(...).")
    return workload


def _module_from(path: Path) -> ModuleType:
    """Run a file as a module under a name of its own, so that pickling and dataclasses inside it work."""
    name = f"mpsearch_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise WorkloadError(f"Workload file '{path}' is no Python file.", "its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _function_of(module: ModuleType, path: Path, name: str) -> Callable[[], object]:
    function: object = getattr(module, name, None)
    if function is None:
        known = [key for key, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__]
        raise WorkloadError(f"{path} has no function '{name}'.", nearest_names(name, known) if known else "it defines no function.")
    if not callable(function):
        raise WorkloadError(f"{path}:{name} is a {type(function).__name__}, wanted a function.", "it takes no arguments and returns a Workload.")
    needed = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise WorkloadError(f"{path}:{name} needs the arguments {', '.join(needed)}, wanted a function without arguments.", "give them defaults.")
    return function


class _UserCode:
    """While a user's code runs its folder is on sys.path; whatever it raises becomes a WorkloadError that names it and keeps the cause."""

    def __init__(self, where: str, folder: Path) -> None:
        self._where = where
        self._folder = str(folder.resolve())

    def __enter__(self) -> None:
        sys.path.insert(0, self._folder)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._folder in sys.path:
            sys.path.remove(self._folder)
        if isinstance(error, (Exception, SystemExit)) and not isinstance(error, MpsearchError):
            raise WorkloadError(
                f"{self._where} raised {type(error).__name__}{_line_of(error)}: {error}", "run the file on its own to debug it."
            ) from error


def _line_of(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
