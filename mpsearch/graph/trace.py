# SPDX-License-Identifier: Apache-2.0
"""torch.export, with its failures turned into errors that name the user's own line."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import re
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx, nn

from mpsearch.errors import GraphError

TRACED_BATCH = 2
"""Samples in the traced example: enough to tell the batch axis from an axis of length 1."""

_FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError)
"""What a forward, or torch.export, raises on a model that cannot be captured."""

_TORCH_FOLDER = str(Path(torch.__file__).parent)
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A functional ATen graph.

    Attributes:
        nodes: In execution order.
        constants: Placeholder name -> parameter, buffer or lifted constant.
        constant_names: Placeholder name -> qualified name in the model.
    """

    nodes: tuple[fx.Node, ...]
    constants: dict[str, torch.Tensor]
    constant_names: dict[str, str]


def trace_model(model: nn.Module, example: tuple[torch.Tensor, ...]) -> Trace:
    """Export a model in eval mode, without changing it.

    Args:
        model: Any module that torch.export accepts.
        example: Inputs, batch first; they are cut or repeated to `TRACED_BATCH` samples.

    Raises:
        GraphError: The model does not run on the example, or cannot be exported (control flow that depends on data).
    """
    inputs = tuple(_resize_batch(value, TRACED_BATCH) for value in example)
    frozen = _frozen_copy(model)
    _check_output(_run(frozen, inputs))
    try:
        with torch.no_grad(), _silence():
            program = torch.export.export(frozen, inputs).run_decompositions({})
    except _FAILURES as error:
        raise GraphError(
            f"The model cannot be exported at {_user_line(error)}: {_first_line(error)}",
            "control flow that depends on the values of tensors has no fixed schedule: replace it by tensor operations, or move it out of forward.",
        ) from error
    signature = program.graph_signature
    if signature.buffers_to_mutate:
        names = ", ".join(sorted(set(signature.buffers_to_mutate.values())))
        raise GraphError(
            f"The model's forward writes to its buffers: {names}.", "nothing is kept between samples: make the state an input, or drop it."
        )
    lifted: dict[str, str] = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    values = {**program.state_dict, **program.constants}
    return Trace(nodes=tuple(program.graph.nodes), constants={name: values[target] for name, target in lifted.items()}, constant_names=lifted)


def _frozen_copy(model: nn.Module) -> nn.Module:
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise GraphError(f"The model is a {type(model).__name__}, wanted an nn.Module.", "pass the module itself, before torch.jit or torch.export.")
    try:
        frozen = copy.deepcopy(model).eval()
    except _FAILURES as error:
        raise GraphError(f"The model cannot be copied: {_first_line(error)}", "keep no tensors that a forward computed as attributes.") from error
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    return frozen


def _run(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> object:
    try:
        with torch.no_grad():
            return model(*inputs)
    except _FAILURES as error:
        shapes = ", ".join(str(tuple(value.shape)) for value in inputs)
        raise GraphError(
            f"The model does not run on the first calibration batch: inputs of shape {shapes} at {_user_line(error)}: {_first_line(error)}",
            "calibration inputs are batch-first tensors (or tuples of them) exactly as the model's forward takes them.",
        ) from error


def _check_output(output: object) -> None:
    """Refuse what is not one batch-first tensor.

    Raises:
        GraphError: The model returns something else.
    """
    hint = "wrap it in a module that returns the tensor to deploy."
    if isinstance(output, (tuple, list)):
        raise GraphError(f"The model returns {len(output)} values in a {type(output).__name__}, wanted one tensor.", hint)
    if not isinstance(output, torch.Tensor):
        raise GraphError(f"The model returns a {type(output).__name__}, wanted one tensor.", hint)
    if output.ndim < 1 or output.shape[0] != TRACED_BATCH:
        raise GraphError(
            f"The model returns shape {tuple(output.shape)} for a batch of {TRACED_BATCH}, wanted one result a sample, batch first.",
            "return the result of each sample; losses and means over the batch stay out of forward.",
        )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep torch.export's own prints, logs and warnings away from the user: what went wrong is in the exception."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def source_line(node: fx.Node) -> str:
    """Return "file:line" of the user's call that made a node, or ""."""
    frames = [(file, line) for file, line in _FRAME.findall(node.meta.get("stack_trace") or "") if not file.startswith(_TORCH_FOLDER)]
    return f"{Path(frames[-1][0]).name}:{frames[-1][1]}" if frames else ""


def module_path(node: fx.Node) -> str:
    """Return the qualified name of the module whose forward made a node, or "" for the top."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def _resize_batch(value: torch.Tensor, batch: int) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise GraphError(f"An input is a {type(value).__name__}, wanted a batch-first tensor.", "wrap arrays with torch.from_numpy.")
    if value.ndim < 2 or value.shape[0] == 0:
        raise GraphError(f"An input has shape {tuple(value.shape)}, wanted a batch-first tensor with at least one sample and one feature axis.")
    return value[torch.arange(batch) % value.shape[0]]


def _user_line(error: BaseException) -> str:
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith((_TORCH_FOLDER, str(Path(__file__).parent)))
    ]
    own = [(file, int(line)) for file, line in _FRAME.findall(str(error)) if not file.startswith(_TORCH_FOLDER)]
    if own:
        return f"{Path(own[-1][0]).name}:{own[-1][1]}"
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown line"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
