# SPDX-License-Identifier: Apache-2.0
"""The kinds of values that a device's file is made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Operator = Literal["conv2d", "depthwise", "dense", "add", "mul", "max_pool", "avg_pool", "mean", "copy", "lookup"]
Operators = Annotated[tuple[Operator, ...], Field(min_length=1)]
DeviceBits = Annotated[int, Field(ge=1, le=32)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Lanes = Annotated[int, Field(ge=1)]
