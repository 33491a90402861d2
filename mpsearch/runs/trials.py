# SPDX-License-Identifier: Apache-2.0
"""Trials: configs whose integer error is known. They are written one by one, so that a kill loses at most one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mpsearch.errors import RecordError
from mpsearch.records import BitWidthConfig
from mpsearch.storage import load_record, save_record

TrialKind = Literal["solver", "quicker", "uniform", "front"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One evaluated config.

    Attributes:
        kind: Why it was evaluated: an answer of the solver, the quickest config that scores nearly as well, the best uniform precision, or a
            point along the front.
        choice: Index of each group's precision.
        config: The precisions by layer.
        score: Its total score under the proxy.
        costs: (metric, value) of every costed metric.
        error: Error of the integer model.
    """

    kind: TrialKind
    choice: tuple[int, ...]
    config: BitWidthConfig
    score: float
    costs: tuple[tuple[str, float], ...]
    error: float

    def cost(self, metric: str) -> float:
        """Return one metric's value."""
        return dict(self.costs)[metric]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLog:
    """Every trial of a run, in the order they were evaluated."""

    model_digest: str
    trials: tuple[Trial, ...]


class TrialBook:
    """Evaluates configs, never one twice, and keeps the log on disk up to date."""

    def __init__(self, path: Path, model_digest: str) -> None:
        """Open the log, or start one.

        Raises:
            RecordError: The log belongs to another model.
        """
        self._path = path
        self._log = load_record(path, TrialLog) if path.exists() else TrialLog(model_digest=model_digest, trials=())
        if self._log.model_digest != model_digest:
            raise RecordError(
                f"{path} belongs to model {self._log.model_digest[:12]}, this one is {model_digest[:12]}.", "name another folder with --out."
            )
        self._errors = {trial.config.precisions: trial.error for trial in self._log.trials}

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial so far."""
        return self._log.trials

    def error_of(self, config: BitWidthConfig, evaluate: Callable[[BitWidthConfig], float]) -> float:
        """Return the error of a config, which is evaluated only if no trial knows it."""
        known = self._errors.get(config.precisions)
        return evaluate(config) if known is None else known

    def add(self, trial: Trial) -> None:
        """Log a trial, unless the same is logged already."""
        if any((trial.kind, trial.choice) == (other.kind, other.choice) for other in self._log.trials):
            return
        self._errors[trial.config.precisions] = trial.error
        self._log = TrialLog(model_digest=self._log.model_digest, trials=(*self._log.trials, trial))
        save_record(self._log, self._path)
