# SPDX-License-Identifier: Apache-2.0
"""Stage 6: the true error of a network on the evaluation data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import torch

from mpsearch.errors import WorkloadError
from mpsearch.evaluate.metrics import SampleLoss, sample_loss
from mpsearch.evaluate.walk import SAMPLES_AT_ONCE, Inputs, from_memory, split_batch
from mpsearch.records import Evaluation, LayerGraph


class Network(Protocol):
    """Any of the executions."""

    graph: LayerGraph

    def output(self, inputs: Inputs, /) -> torch.Tensor:
        """Return the real output (memory order) of a batch."""
        ...


def measure_error(
    network: Network,
    batches: Sequence[tuple[Inputs, torch.Tensor]],
    metric: str | SampleLoss,
    execution: Literal["real", "simulated", "integer"],
    progress: Callable[[int], None] = lambda samples: None,
) -> Evaluation:
    """Return the mean loss over all batches.

    Args:
        network: Any of the executions.
        batches: (inputs, targets), batch first.
        metric: Name or per-sample loss.
        execution: Which execution `network` is, for the record.
        progress: Called with the number of samples after each batch.

    Raises:
        WorkloadError: The metric is unknown, or does not fit outputs and targets.
    """
    loss = sample_loss(metric)
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")
    total, count, samples = 0.0, 0, 0
    for inputs, targets in (part for pair in batches for part in _parts(*pair)):
        with torch.no_grad():
            output = from_memory(network.graph, network.output(inputs))
        try:
            losses = torch.as_tensor(loss(output, targets))
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise WorkloadError(
                f"Metric '{name}' does not accept an output of shape {tuple(output.shape)} with targets of shape {tuple(targets.shape)}: {error}",
                "targets are batch first; a callable metric takes (output, target) and returns a loss per sample.",
            ) from error
        if callable(metric) and (losses.ndim == 0 or len(losses) != len(targets)):
            raise WorkloadError(
                f"Metric '{name}' returned losses of shape {tuple(losses.shape)} for {len(targets)} samples, wanted one loss a sample."
            )
        if not torch.isfinite(losses).all():
            raise WorkloadError(f"Metric '{name}' is NaN or infinite on the {execution} network's output.", "check the metric and the targets.")
        total += float(losses.to(torch.float64).sum())
        count += losses.numel()
        samples += len(targets)
        progress(len(targets))
    return Evaluation(error=total / count, metric=name, samples=samples, execution=execution)


def _parts(inputs: Inputs, targets: torch.Tensor) -> list[tuple[Inputs, torch.Tensor]]:
    return list(zip(split_batch(inputs), torch.split(targets, SAMPLES_AT_ONCE), strict=True))
