# SPDX-License-Identifier: Apache-2.0
"""What a model, a batch of inputs, targets and an output must be; each check raises one clear WorkloadError."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mpsearch.errors import WorkloadError

INPUT_DTYPES = (torch.float32, torch.int32, torch.int64)
INTEGER_DTYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def as_inputs(batch: object) -> tuple[Tensor, ...]:
    """Return a batch as one tensor per input of the model."""
    return (batch,) if isinstance(batch, Tensor) else tuple(batch)  # type: ignore[arg-type]


def check_model(model: object, where: str) -> None:
    """Refuse what is not a float32 module with finite parameters and buffers."""
    if not isinstance(model, nn.Module):
        raise WorkloadError(
            f"{where}: model is a {type(model).__name__}, wanted a torch.nn.Module.", "pass the built model, not its class or weights."
        )
    for kind, tensors in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, tensor in tensors:
            if not tensor.is_floating_point():
                continue
            if tensor.dtype != torch.float32:
                raise WorkloadError(f"{where}: {kind} '{name}' has dtype {tensor.dtype}, wanted torch.float32.", "call .float() on the model.")
            broken = int((~torch.isfinite(tensor)).sum())
            if broken:
                raise WorkloadError(
                    f"{where}: {kind} '{name}' holds {broken} of {tensor.numel()} values that are NaN or infinite.",
                    "check the checkpoint or the training.",
                )


def check_inputs(batch: object, where: str) -> None:
    """Refuse a batch that is not one batch-first tensor, or a tuple of them, with finite values of a dtype that models read."""
    tensors = (batch,) if isinstance(batch, Tensor) else batch
    if not isinstance(tensors, (tuple, list)) or not tensors:
        raise WorkloadError(
            f"{where} is a {type(batch).__name__}, wanted a tensor or a tuple of tensors.", "torch.from_numpy turns arrays into tensors."
        )
    for index, tensor in enumerate(tensors):
        place = where if isinstance(batch, Tensor) else f"{where}, input {index}"
        if not isinstance(tensor, Tensor):
            raise WorkloadError(f"{place} is a {type(tensor).__name__}, wanted a tensor.", "torch.from_numpy turns arrays into tensors.")
        if tensor.dtype not in INPUT_DTYPES:
            raise WorkloadError(f"{place} has dtype {tensor.dtype}, wanted float32 values, or int32 or int64 ids.", "call .float() on the batch.")
        if tensor.ndim < 1 or 0 in tensor.shape:
            raise WorkloadError(
                f"{place} has shape {tuple(tensor.shape)}, wanted (batch, ...) with at least one sample.", "the first axis is the batch."
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WorkloadError(f"{place} holds {int((~torch.isfinite(tensor)).sum())} values that are NaN or infinite.", "check the preprocessing.")
    sizes = {len(tensor) for tensor in tensors}
    if len(sizes) > 1:
        raise WorkloadError(f"{where} has inputs with {sorted(sizes)} samples, wanted the same number in each.", "the first axis is the batch.")


def check_alike(batch: object, example: object, where: str) -> None:
    """Refuse a batch whose inputs differ from the example's in number, in dtype or in shape behind the batch axis."""
    got, wanted = as_inputs(batch), as_inputs(example)
    if len(got) != len(wanted):
        raise WorkloadError(
            f"{where} has {len(got)} inputs, calibration[0] has {len(wanted)}.", "every batch holds one tensor per input of the model."
        )
    for index, (tensor, first) in enumerate(zip(got, wanted, strict=True)):
        if tensor.shape[1:] != first.shape[1:]:
            raise WorkloadError(
                f"{where}, input {index}: a sample has shape {tuple(tensor.shape[1:])}, in calibration[0] it has {tuple(first.shape[1:])}.",
                "only the batch axis may differ.",
            )
        if tensor.dtype != first.dtype:
            raise WorkloadError(
                f"{where}, input {index} has dtype {tensor.dtype}, calibration[0] has {first.dtype}.", "give every batch the same dtype."
            )


def check_targets(targets: object, samples: int, metric: object, where: str) -> None:
    """Refuse targets that do not fit the batch or the metric."""
    if not isinstance(targets, Tensor):
        raise WorkloadError(
            f"{where} is a {type(targets).__name__}, wanted a tensor of targets.", "torch.as_tensor turns lists and arrays into tensors."
        )
    if targets.ndim < 1 or len(targets) != samples:
        raise WorkloadError(f"{where} has shape {tuple(targets.shape)}, wanted {samples} targets, one per sample.", "the first axis is the batch.")
    wants_ids = metric in ("top1_error", "bits_per_token") if isinstance(metric, str) else False
    if wants_ids and targets.dtype not in INTEGER_DTYPES:
        raise WorkloadError(f"{where} has dtype {targets.dtype}, wanted class indices (integers) for {metric}.", "call .long() on the targets.")
    if metric == "top1_error" and targets.ndim != 1:
        raise WorkloadError(
            f"{where} has shape {tuple(targets.shape)}, wanted ({samples},) for top1_error.", "one class index per sample, no one-hot."
        )
    if targets.is_floating_point() and not bool(torch.isfinite(targets).all()):
        raise WorkloadError(f"{where} holds {int((~torch.isfinite(targets)).sum())} values that are NaN or infinite.", "check the targets.")


def check_output(output: object, samples: int, metric: object, targets: Sequence[Tensor], where: str) -> None:
    """Refuse an output that is not one finite batch-first tensor, or that cannot be compared with the targets."""
    if not isinstance(output, Tensor):
        raise WorkloadError(
            f"{where}: the model returns a {type(output).__name__}, wanted one tensor.", "wrap it in a module that returns the logits."
        )
    if output.ndim < 1 or len(output) != samples:
        raise WorkloadError(
            f"{where}: {samples} samples in, output of shape {tuple(output.shape)}, wanted ({samples}, ...).",
            "the first axis of the output is the batch.",
        )
    if not bool(torch.isfinite(output).all()):
        raise WorkloadError(f"{where}: the output for calibration[0] is NaN or infinite.", "check the weights and the scaling of the inputs.")
    if metric not in ("top1_error", "bits_per_token") if isinstance(metric, str) else True:
        return
    classes = output[0].numel() if metric == "top1_error" else output.shape[-1]
    lowest, highest = min(int(batch.min()) for batch in targets), max(int(batch.max()) for batch in targets)
    if lowest < 0 or highest >= classes:
        raise WorkloadError(
            f"{where}: targets range from {lowest} to {highest}, the model tells {classes} classes apart.", f"wanted 0 to {classes - 1}."
        )
