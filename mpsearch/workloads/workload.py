# SPDX-License-Identifier: Apache-2.0
"""The one way a user hands over a problem: a trained model, data to calibrate and evaluate it, and a metric."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mpsearch.errors import WorkloadError, nearest_names
from mpsearch.workloads.checks import as_inputs, check_alike, check_inputs, check_model, check_output, check_targets

Inputs = Tensor | tuple[Tensor, ...]
PerSampleLoss = Callable[[Tensor, Tensor], Tensor]

METRIC_NAMES = ("top1_error", "bits_per_token", "mse")
"""Metrics known by name: percent of wrong classes, bits per target token, mean squared error. Lower is better."""


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """A trained model with the data and the metric that say how good it is.

    Everything is checked here, once; later stages trust it. The caller's model is never changed: `model` is replaced by a copy in eval
    mode. The batches are kept as they are (not copied) and must not be changed afterwards.

    Attributes:
        name: Names the run's folder and the exported files.
        model: Trained, float32.
        calibration: Batches of inputs from training data. A batch is a batch-first tensor, or a tuple of them for a model with several
            inputs; float32 values, or int32 or int64 ids. The first batch is the example input of the capture.
        evaluation: Batches of (inputs, targets) that the model was not trained on.
        metric: One of METRIC_NAMES, or a function (output, target) -> per-sample loss of shape (batch,), lower is better.

    Raises:
        WorkloadError: The model, a batch or the metric cannot be used; the message names it.
    """

    name: str
    model: nn.Module
    calibration: Sequence[Inputs]
    evaluation: Sequence[tuple[Inputs, Tensor]]
    metric: str | PerSampleLoss

    def __post_init__(self) -> None:
        """Check every part and keep a copy of the model for our own use."""
        if not isinstance(self.name, str) or not self.name.strip():
            raise WorkloadError(f"Workload: name is {self.name!r}, wanted a text that is not empty.", "it names the run's folder, e.g. 'my_network'.")
        where = f"Workload '{self.name}'"
        check_model(self.model, where)
        _check_metric(self.metric, where)
        calibration, evaluation = _batches(self.calibration, "calibration", where), _batches(self.evaluation, "evaluation", where)
        _check_calibration(calibration, where)
        _check_evaluation(evaluation, calibration[0], self.metric, where)
        model = _own_copy(self.model, where)
        _check_first_output(model, calibration[0], evaluation, self.metric, where)
        for field, value in (("model", model), ("calibration", calibration), ("evaluation", evaluation)):
            object.__setattr__(self, field, value)

    @property
    def example_inputs(self) -> tuple[Tensor, ...]:
        """The first calibration batch, one tensor per input of the model."""
        return as_inputs(self.calibration[0])

    @property
    def metric_name(self) -> str:
        """The metric's name, or the name of the user's function."""
        return self.metric if isinstance(self.metric, str) else getattr(self.metric, "__name__", "metric")


def _batches(value: object, field: str, where: str) -> tuple[object, ...]:
    if isinstance(value, Tensor) or not isinstance(value, Iterable) or isinstance(value, (str, bytes, dict)):
        raise WorkloadError(f"{where}: {field} is a {type(value).__name__}, wanted a sequence of batches.", "put a single batch in a list: [batch].")
    batches = tuple(value)
    if not batches:
        raise WorkloadError(f"{where}: {field} is empty, wanted at least one batch.", "a few hundred samples are enough to calibrate.")
    return batches


def _check_calibration(batches: tuple[object, ...], where: str) -> None:
    for index, batch in enumerate(batches):
        check_inputs(batch, f"{where}: calibration[{index}]")
        check_alike(batch, batches[0], f"{where}: calibration[{index}]")


def _check_evaluation(batches: tuple[object, ...], example: object, metric: str | PerSampleLoss, where: str) -> None:
    for index, batch in enumerate(batches):
        place = f"{where}: evaluation[{index}]"
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise WorkloadError(f"{place} is a {type(batch).__name__}, wanted a pair (inputs, targets).", "see the docstring of Workload.")
        inputs, targets = batch
        check_inputs(inputs, f"{place}[0]")
        check_alike(inputs, example, f"{place}[0]")
        check_targets(targets, len(as_inputs(inputs)[0]), metric, f"{place}[1]")


def _check_metric(metric: object, where: str) -> None:
    if callable(metric):
        return
    if not isinstance(metric, str):
        raise WorkloadError(f"{where}: metric is a {type(metric).__name__}, wanted a name or a function.", f"names: {', '.join(METRIC_NAMES)}.")
    if metric not in METRIC_NAMES:
        raise WorkloadError(f"{where}: unknown metric '{metric}'.", nearest_names(metric, METRIC_NAMES))


def _own_copy(model: nn.Module, where: str) -> nn.Module:
    try:
        return copy.deepcopy(model).eval()
    except (RuntimeError, TypeError) as error:
        raise WorkloadError(
            f"{where}: the model cannot be copied: {error}", "keep no tensors with a gradient history or open handles in it."
        ) from error


def _check_first_output(model: nn.Module, example: object, evaluation: tuple[object, ...], metric: str | PerSampleLoss, where: str) -> None:
    """Run the example batch once, so that a model and data that do not fit are refused before any work starts."""
    inputs = as_inputs(example)
    try:
        with torch.no_grad():
            output = model(*inputs)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, NotImplementedError) as error:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        raise WorkloadError(f"{where}: the model refuses calibration[0] of shape {shapes}: {error}", "one tensor per argument of forward.") from error
    check_output(output, len(inputs[0]), metric, [batch[1] for batch in evaluation], where)  # type: ignore[index]
