# SPDX-License-Identifier: Apache-2.0
"""The elementwise functions, in float64: what tables are made from and what the real execution computes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mpsearch.errors import GraphError
from mpsearch.records import Unary


def apply_unary(op: Unary, x: torch.Tensor) -> torch.Tensor:
    """Return the function's value for each entry, in the input's dtype.

    Raises:
        GraphError: The function is unknown.
    """
    parameters = op.parameters
    match op.function:
        case "relu":
            return F.relu(x)
        case "relu6":
            return F.relu6(x)
        case "leaky_relu":
            return F.leaky_relu(x, parameters[0])
        case "hardswish":
            return F.hardswish(x)
        case "hardsigmoid":
            return F.hardsigmoid(x)
        case "sigmoid":
            return torch.sigmoid(x)
        case "tanh":
            return torch.tanh(x)
        case "silu":
            return F.silu(x)
        case "gelu":
            return F.gelu(x)
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        case "clamp":
            return x.clamp(*parameters)
        case "affine":
            return x * parameters[0] + parameters[1]
    raise GraphError(f"Unary function {op.function!r} is not known.")
