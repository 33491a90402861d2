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

    def __post_init__(self) -> None:
        """Check that the output is what the input and the window give; a pooling may round up."""
        if self.operator not in ("conv2d", "depthwise", "max_pool", "avg_pool"):
            return
        padded = (self.input[0] + self.padding[0] + self.padding[1], self.input[1] + self.padding[2] + self.padding[3])
        reach = tuple(gap * (taps - 1) + 1 for gap, taps in zip(self.dilation, self.kernel, strict=True))
        wanted = tuple((size - window) // step + 1 for size, window, step in zip(padded, reach, self.stride, strict=True))
        beyond = [got - least for got, least in zip(self.output, wanted, strict=False)]
        if any(beyond) and not ("pool" in self.operator and set(beyond) <= {0, 1}):
            raise ValueError(f"output {list(self.output[:2])} does not follow from input, kernel, stride and padding, wanted {list(wanted)}")
        if self.operator != "conv2d" and self.output[2] % self.input[2]:
            raise ValueError(f"{self.operator} makes {self.output[2]} channels of {self.input[2]}, wanted as many, or a multiple for depthwise")

    @property
    def shape(self) -> LayerShape:
        """As everything else knows it; a depthwise convolution has as many groups as input channels."""
        groups = self.input[2] if self.operator == "depthwise" else self.groups
        return LayerShape(**asdict(self) | {"groups": groups})


GridLayers = Annotated[tuple[GridLayer, ...], Field(min_length=1)]
