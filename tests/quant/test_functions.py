# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from mpsearch.errors import GraphError
from mpsearch.quant.functions import apply_unary
from mpsearch.records import Unary


@pytest.mark.parametrize(
    ("function", "parameters", "at_minus_2", "at_1"),
    [
        ("relu", (), 0.0, 1.0),
        ("relu6", (), 0.0, 1.0),
        ("leaky_relu", (0.1,), -0.2, 1.0),
        ("hardswish", (), -1 / 3, 2 / 3),
        ("hardsigmoid", (), 1 / 6, 2 / 3),
        ("sigmoid", (), 1 / (1 + math.exp(2)), 1 / (1 + math.exp(-1))),
        ("tanh", (), math.tanh(-2), math.tanh(1)),
        ("silu", (), -2 / (1 + math.exp(2)), 1 / (1 + math.exp(-1))),
        ("gelu", (), -1 - math.erf(-math.sqrt(2)), 0.5 + 0.5 * math.erf(math.sqrt(0.5))),
        ("gelu_tanh", (), -1 - math.tanh(math.sqrt(2 / math.pi) * -2.35772), 0.5 + 0.5 * math.tanh(math.sqrt(2 / math.pi) * 1.044715)),
        ("clamp", (-1.0, 0.5), -1.0, 0.5),
        ("affine", (3.0, 0.5), -5.5, 3.5),
    ],
)
def test_functions_have_their_textbook_values(function: str, parameters: tuple[float, ...], at_minus_2: float, at_1: float) -> None:
    got = apply_unary(Unary(function=function, parameters=parameters), torch.tensor([-2.0, 1.0], dtype=torch.float64))
    assert got.dtype == torch.float64
    assert got.tolist() == pytest.approx([at_minus_2, at_1], abs=1e-12)


def test_an_unknown_function_is_refused() -> None:
    with pytest.raises(GraphError, match="Unary function 'relu7' is not known"):
        apply_unary(Unary(function="relu7"), torch.zeros(1))
