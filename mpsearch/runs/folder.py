# SPDX-License-Identifier: Apache-2.0
"""A run's folder: records by name, resumable, never overwritten."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mpsearch.errors import RecordError
from mpsearch.runs.request import FOLLOWERS, RunRequest
from mpsearch.storage import load_record, save_record, write_atomically

Record = TypeVar("Record")

REQUEST_FILE = "request.json"


class RunFolder:
    """Where a run keeps its records; a stage whose record is there already is not run again."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is written before `start` or `resume`."""
        self.path = path
        self.seconds: dict[str, float] = {}
        self._opened = False
        self._waiting: dict[str, object] = {}

    def is_free(self) -> bool:
        """Whether a new run may have the folder: it does not exist, or is empty."""
        return not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir()))

    def check_free(self) -> None:
        """Refuse a folder that holds anything, or that cannot be written, before any work is done.

        Raises:
            RecordError: It exists and is not empty, or its parent cannot be written.
        """
        if not self.is_free():
            resumable = (self.path / REQUEST_FILE).exists()
            raise RecordError(
                f"The output folder '{self.path}' exists and is not empty.",
                "continue it with --resume, or name another one." if resumable else "name another one with --out, or remove it.",
            )
        parent = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        probe = parent / f".mpsearch-{time.time_ns()}"
        try:
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise RecordError(f"The output folder '{self.path}' cannot be written: {error.strerror}.", "name another one with --out.") from error

    def start(self, request: RunRequest) -> None:
        """Make the folder, write down what was asked, and save the records of the stages that have run before."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(f"The output folder '{self.path}' cannot be made: {error.strerror}.", "name another one with --out.") from error
        self._opened = True
        save_record(request, self.path / REQUEST_FILE)
        for name, record in self._waiting.items():
            save_record(record, self.path / f"{name}.json")

    def resume(self, request: RunRequest) -> None:
        """Check that the folder belongs to the same question.

        Raises:
            RecordError: There is nothing to resume, or it was asked something else.
        """
        if not (self.path / REQUEST_FILE).exists():
            raise RecordError(f"There is no run to resume in '{self.path}'.", "leave out --resume to start one there.")
        different = request.differences(load_record(self.path / REQUEST_FILE, RunRequest))
        if different:
            raise RecordError(
                f"The run in '{self.path}' was asked something else ({'; '.join(different)}).", "repeat its options, or start a new run."
            )
        self._opened = True

    def saved_request(self) -> RunRequest | None:
        """Return what was asked of this folder before, if anything."""
        path = self.path / REQUEST_FILE
        return load_record(path, RunRequest) if path.exists() else None

    def reopen(self, request: RunRequest) -> None:
        """Work in the folder stage by stage; records that the request has outdated are dropped.

        Raises:
            RecordError: The folder belongs to another model or other data.
        """
        saved = self.saved_request()
        if saved is not None and saved.workload_digest != request.workload_digest:
            raise RecordError(
                f"The folder '{self.path}' belongs to workload '{saved.workload}', or that workload's model or data have changed since.",
                "name another folder with --out.",
            )
        self.start(request)
        for stage in saved.outdated_by(request) if saved else ():
            self.drop(stage)

    def log(self, line: str) -> None:
        """Append a line to log.txt, with the time."""
        if self._opened:
            with (self.path / "log.txt").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def stage(self, name: str, record_type: type[Record], compute: Callable[[], Record]) -> Record:
        """Return a stage's record: from disk if it is there, else computed and saved; the time it took is kept."""
        path = self.path / f"{name}.json"
        with self.timed(name):
            if self._opened and path.exists():
                self.log(f"{name}: read from {path.name}")
                return self._load(path, record_type)
            record = compute()
            if self._opened:
                save_record(record, path)
            else:
                self._waiting[name] = record
        self.log(f"{name}: done in {self.seconds[name]:.1f} s")
        return record

    def _load(self, path: Path, record_type: type[Record]) -> Record:
        try:
            return load_record(path, record_type)
        except RecordError as error:
            raise RecordError(error.message, f"remove {path} and repeat the command: that stage runs again, the others are kept.") from error

    def drop(self, name: str) -> None:
        """Forget a stage's record, and what was made from it, so that they run again."""
        for stage in (name, *FOLLOWERS.get(name, ())):
            for suffix in (".json", ".npz"):
                (self.path / f"{stage}{suffix}").unlink(missing_ok=True)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time inside to a stage's wall seconds."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

    def write_json(self, name: str, content: object) -> None:
        """Write a JSON file, complete or not at all."""
        self.write_text(name, json.dumps(content, indent=1, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, complete or not at all."""
        write_atomically(self.path / name, lambda file: file.write(text.encode()))
