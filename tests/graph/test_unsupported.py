# SPDX-License-Identifier: Apache-2.0
"""What cannot be captured is refused, with the op, the module and the user's line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpsearch.errors import GraphError
from mpsearch.graph.capture import capture
from tests.graph.networks import Lambda, small

IMAGES = torch.randn(4, 4, 6, 6, generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(4, 3, 4, generator=torch.Generator().manual_seed(0))

OPS: dict[str, tuple[Callable[[], nn.Module], torch.Tensor, str]] = {
    "attention": (
        lambda: Lambda(lambda self, x: self.inner(x, x, x, need_weights=False)[0], inner=nn.MultiheadAttention(4, 2, batch_first=True)),
        ROWS,
        r"Op '\w+' in module 'inner' \(networks.py:\d+\): permutation .* moves the batch axis",
    ),
    "average over the batch": (small(lambda self, x: self.conv(x) - x.mean(0, keepdim=True)), IMAGES, "Op 'mean' .*: it works along the batch axis"),
    "batch loop": (
        small(lambda self, x: torch.stack([self.conv(x)[i] for i in range(len(x))])),
        IMAGES,
        "Op 'select' .*: it works along the batch axis",
    ),
    "batch mixed with rows": (
        small(lambda self, x: self.out(self.conv(x).flatten(2).transpose(1, 2).reshape(-1, 4)).view(2, -1)),
        IMAGES,
        r"the new shape \[72, 4\] mixes the batch axis",
    ),
    "boolean mask": (
        small(lambda self, x: torch.where(x > 0, self.conv(x), x)),
        IMAGES,
        r"Op 'gt' in the top module \(networks.py:\d+\): it is not supp",
    ),
    "cast to integers": (small(lambda self, x: self.conv(x).int().float()), IMAGES, "Op '(to|_to_copy)' .*: it casts to int32"),
    "circular padding": (
        small(lambda self, x: self.conv(x), kernel_size=3, padding=1, padding_mode="circular"),
        IMAGES,
        "Op 'pad' in module 'conv'.*: padding mode 'circular' is not supported.*wanted 'constant'",
    ),
    "constant joined": (small(lambda self, x: torch.cat([self.conv(x), torch.ones(len(x), 1, 6, 6)], 1)), IMAGES, "Op 'cat' .*: it joins a constant"),
    "constant matrix": (
        small(lambda self, x: self.conv(x) * torch.rand(6, 6)),
        IMAGES,
        r"a constant of shape \(6, 6\) meets a tensor of shape \(4, 6, 6\)",
    ),
    "constant stacked": (
        small(lambda self, x: torch.stack([self.conv(x), torch.ones(len(x), 4, 6, 6)], 1)),
        IMAGES,
        "Op 'stack' .*: it joins a constant",
    ),
    "convolution in space and time": (lambda: nn.Sequential(nn.Conv3d(1, 1, 1)), torch.zeros(2, 1, 2, 2, 2), "Op 'conv3d' in module '0'"),
    "counted padding in ceil mode": (
        small(lambda self, x: F.avg_pool2d(self.conv(x), 3, 2, 1, ceil_mode=True)),
        torch.randn(2, 4, 7, 8),
        "ceil_mode with counted padding is not supported",
    ),
    "dilated pooling": (
        small(lambda self, x: F.max_pool2d(self.conv(x), 2, dilation=2)),
        IMAGES,
        "Op 'max_pool2d.*: dilated pooling is not supported",
    ),
    "division by an activation": (small(lambda self, x: self.conv(x) / (x + 9)), IMAGES, "Op 'div' .*: only division by a constant"),
    "divisor": (small(lambda self, x: F.avg_pool2d(self.conv(x), 2, divisor_override=3)), IMAGES, "Op 'avg_pool2d' .*: divisor_override"),
    "dynamic clamp": (small(lambda self, x: torch.clamp(self.conv(x), min=x)), IMAGES, "Op 'clamp.*: the bounds are tensors, wanted numbers"),
    "dynamic weight": (
        lambda: Lambda(lambda self, x: F.linear(x, self.dense(x[0])), dense=nn.Linear(4, 4)),
        torch.randn(4, 3, 4),
        "Op 'select' .*: it works along the batch axis",
    ),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(5, 4)),
        torch.zeros(4, 3, dtype=torch.long),
        "Input '.*' holds int64 values, wanted float32.*token ids and embeddings",
    ),
    "flip": (small(lambda self, x: self.conv(x).flip(2)), IMAGES, "Op 'flip' .*: it is not supported.*supported: conv1d/2d"),
    "layer norm": (lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), ROWS, "Op 'layer_norm' in module '1'.*it is not supported"),
    "lstm": (
        lambda: Lambda(lambda self, x: self.cell(x)[0], cell=nn.LSTM(4, 4, batch_first=True)),
        ROWS,
        r"Op 'lstm' in module 'cell' \(networks.py:\d+\)",
    ),
    "mean of everything": (
        small(lambda self, x: self.conv(x) - x.mean()),
        IMAGES,
        r"Op 'mean' .*it averages over the batch axis too.*x.mean\(\(2, 3\)\)",
    ),
    "negative padding": (small(lambda self, x: self.conv(F.pad(x, (-1, 0)))), IMAGES, r"Op '\w+' .*: negative padding \[-1, 0\].*slice instead"),
    "product of activations": (
        lambda: Lambda(lambda self, x: self.dense(x) @ x.transpose(1, 2), dense=nn.Linear(4, 4)),
        ROWS,
        "Op 'matmul' .*: only a product with one constant matrix",
    ),
    "repeat": (
        small(lambda self, x: self.conv(self.conv(x).mean(1, keepdim=True).expand(-1, 4, -1, -1))),
        IMAGES,
        r"Op 'expand' .*: it repeats values \(\(1, 6, 6\) to \(4, 6, 6\)\)",
    ),
    "slope per channel": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.PReLU(4)), IMAGES, "in module '1'.*: it has a slope per channel"),
    "softmax": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Softmax(-1)), ROWS, "Op 'softmax' in module '1': it is not supported.*return the logits"),
    "softmax, logarithmic": (lambda: nn.Sequential(nn.Linear(4, 4), nn.LogSoftmax(-1)), ROWS, "Op 'log_softmax' in module '1'.*return the logits"),
    "statistics of the batch": (
        lambda: nn.Sequential(nn.BatchNorm2d(4, track_running_stats=False)),
        IMAGES,
        "Op '_native_batch_norm_legit' in module '0'",
    ),
    "transposed convolution": (lambda: nn.Sequential(nn.ConvTranspose2d(4, 4, 2)), IMAGES, "Op 'conv_transpose2d' in module '0'"),
    "uneven average": (small(lambda self, x: F.adaptive_avg_pool2d(self.conv(x), 4)), IMAGES, r"windows differ in size: \(6, 6\) into \(4, 4\)"),
    "uneven maximum": (small(lambda self, x: F.adaptive_max_pool2d(self.conv(x), 4)), IMAGES, r"windows differ in size: \(6, 6\) into \(4, 4\)"),
    "maximum over the batch": (small(lambda self, x: self.conv(x) - x.amax(0, keepdim=True)), IMAGES, "Op 'amax' .*: it works along the batch axis"),
    "maximum of everything": (small(lambda self, x: self.conv(x) - x.amax()), IMAGES, "Op 'amax' .*: it reduces the batch axis too"),
    "whole numbers": (small(lambda self, x: self.conv(x).round()), IMAGES, "Op 'round' .*: it is not supported"),
}


@pytest.mark.parametrize("name", OPS)
def test_an_unsupported_op_is_named_with_its_place(name: str) -> None:
    build, example, message = OPS[name]
    with pytest.raises(GraphError, match=message):
        capture(build(), example)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return self.dense(x)
        return x


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(Branching())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


@pytest.mark.parametrize("build", [Branching, Outer])
def test_control_flow_that_depends_on_data_is_refused_at_the_users_line(build: Callable[[], nn.Module], capfd: pytest.CaptureFixture[str]) -> None:
    source, start = inspect.getsourcelines(Branching.forward)
    line = start + next(index for index, text in enumerate(source) if "if x.sum()" in text)
    with pytest.raises(GraphError, match=rf"cannot be exported at {Path(__file__).name}:{line}: .*control flow that depends on the values") as caught:
        capture(build(), torch.randn(3, 4))
    assert caught.value.exit_code == 2
    assert capfd.readouterr() == ("", "")  # torch's own dump of the graph is kept away


def test_the_source_line_is_the_users_call() -> None:
    class Rolled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.roll(1, 1)

    line = inspect.getsourcelines(Rolled.forward)[1] + 1
    with pytest.raises(GraphError, match=rf"Op 'roll' in module 'last' \({Path(__file__).name}:{line}\)"):
        capture(Lambda(lambda self, x: self.last(self.first(x)), first=nn.Linear(4, 4), last=Rolled()), torch.randn(3, 4))


# ---------------------------------------------------------------- outputs


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda self, x: {"logits": self.dense(x)}, "The model returns a dict, wanted one tensor.*wrap it in a module"),
        (lambda self, x: (self.dense(x), x), "The model returns 2 values in a tuple, wanted one tensor"),
        (lambda self, x: [self.dense(x)], "The model returns 1 values in a list, wanted one tensor"),
        (lambda self, x: None, "The model returns a NoneType"),
        (lambda self, x: self.dense(x).mean(), r"The model returns shape \(\) for a batch of 2, wanted one result a sample"),
        (lambda self, x: self.dense(x)[0], r"The model returns shape \(4,\) for a batch of 2"),
        (lambda self, x: self.dense.weight[:2], "output does not depend on its input"),
        (lambda self, x: x, "no quantisable layer.*wanted at least one convolution or linear layer"),
        (lambda self, x: torch.relu(x), "no quantisable layer"),
    ],
)
def test_only_one_tensor_that_depends_on_layers_can_be_deployed(forward: Callable[..., torch.Tensor], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        capture(Lambda(forward, dense=nn.Linear(4, 4)), torch.randn(3, 4))


# ---------------------------------------------------------------- models and inputs


def poisoned(value: float) -> nn.Module:
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    model[1].running_var[0] = value
    return model


@pytest.mark.parametrize("value", [float("nan"), float("inf") * -1, -1.0])
def test_weights_that_are_not_numbers_are_refused(value: float) -> None:
    with pytest.raises(GraphError, match=r"Layer '0': its weight holds 4 values that are NaN or infinite \(batch norm folded\)"):
        capture(poisoned(value), IMAGES)


@pytest.mark.parametrize(
    ("error", "name"), [(KeyError("x"), "KeyError"), (AssertionError("odd"), "AssertionError"), (ZeroDivisionError(), "ZeroDivisionError")]
)
def test_a_forward_that_fails_is_told_with_its_line(error: BaseException, name: str) -> None:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        raise error

    line = inspect.getsourcelines(forward)[1] + 1
    with pytest.raises(
        GraphError, match=rf"does not run on the first calibration batch: inputs of shape \(2, 4\) at {Path(__file__).name}:{line}: {name}"
    ):
        capture(Lambda(forward), torch.randn(3, 4))


def test_inputs_of_another_shape_are_told_with_their_shape() -> None:
    with pytest.raises(GraphError, match=r"inputs of shape \(2, 4\) .*mat1 and mat2 shapes cannot be multiplied"):
        capture(nn.Linear(5, 5), torch.randn(3, 4))


def test_steps_backwards_are_refused() -> None:
    with pytest.raises(GraphError, match=r"does not run .*step must be greater than zero"):
        capture(small(lambda self, x: self.conv(x)[:, :, ::-1])(), IMAGES)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (torch.randn(4), r"An input has shape \(4,\), wanted a batch-first tensor"),
        (torch.randn(0, 4), r"An input has shape \(0, 4\), wanted a batch-first tensor with at least one sample"),
        (np.zeros((3, 4), dtype=np.float32), "An input is a ndarray, wanted a batch-first tensor.*torch.from_numpy"),
        ([torch.zeros(3, 4)], "An input is a list, wanted a batch-first tensor"),
    ],
)
def test_inputs_are_batch_first_tensors(example: object, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        capture(nn.Linear(4, 4), example)  # type: ignore[arg-type]


def test_a_forward_that_writes_to_buffers_is_refused() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(4, 4)
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen += 1
            return self.dense(x)

    with pytest.raises(GraphError, match=r"forward writes to its buffers: seen.*make the state an input"):
        capture(Counting(), torch.randn(3, 4))


@pytest.mark.parametrize("model", [torch.relu, "model.pt"])
def test_what_is_not_a_module_is_refused(model: object) -> None:
    with pytest.raises(GraphError, match=r"The model is a .*, wanted an nn.Module"):
        capture(model, torch.randn(3, 4))  # type: ignore[arg-type]


def test_a_model_that_keeps_computed_tensors_is_refused() -> None:
    model = nn.Linear(4, 4)
    model.kept = model.weight * 2  # type: ignore[assignment]
    with pytest.raises(GraphError, match=r"The model cannot be copied: .*keep no tensors"):
        capture(model, torch.randn(3, 4))
