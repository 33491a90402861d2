# SPDX-License-Identifier: Apache-2.0
"""A file of layers to measure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from mpsearch.catalog.values import Operator
from mpsearch.records import LayerShape

Size = Annotated[int, Field(ge=1, le=65535)]
Side = Annotated[int, Field(ge=0, le=65535)]


@dataclass(frozen=True, slots=True, kw_only=True)
class GridLayer:
    """One layer: the fields of `LayerShape` but the batch, with their numbers checked; those that have defaults there may be left out."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    operator: Operator
    input: tuple[Size, Size, Size]
    output: tuple[Size, Size, Size]
    kernel: tuple[Size, Size] = (1, 1)
    stride: tuple[Size, Size] = (1, 1)
    dilation: tuple[Size, Size] = (1, 1)
    padding: tuple[Side, Side, Side, Side] = (0, 0, 0, 0)
    groups: Size = 1
    operands: Size = 1

    @property
    def shape(self) -> LayerShape:
        """As everything else knows it."""
        return LayerShape(**asdict(self))


GridLayers = Annotated[tuple[GridLayer, ...], Field(min_length=1)]
