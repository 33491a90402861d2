# SPDX-License-Identifier: Apache-2.0
"""The mutable form of a graph between tracing and the finished record: lowering writes it, folding rewrites it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mpsearch.records import Op


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelAffine:
    """scale[c] * x + offset[c] over the last axis: a batch norm that has not found its convolution yet."""


@dataclass(slots=True, kw_only=True, eq=False)
class Draft:
    """A layer that can still change; the fields are those of `records.Layer`.

    Attributes:
        weight_name: Qualified name of the parameter the weight came from.
    """

    name: str
    op: Op | ChannelAffine
    inputs: list[str]
    output: str
    weight: npt.NDArray[np.float64] | None = None
    bias: npt.NDArray[np.float64] | None = None
    clamp: tuple[float, float] | None = None
    weight_name: str = ""
    module_path: str = ""
    source: str = ""

    @property
    def where(self) -> str:
        """Name, module path and source line, for messages."""
        module = f"module '{self.module_path}'" if self.module_path else "the top module"
        return f"'{self.name}' ({module}{', ' + self.source if self.source else ''})"


@dataclass(slots=True, kw_only=True)
class DraftGraph:
    """Drafts in execution order, and the memory shape of every tensor they touch."""

    drafts: list[Draft] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    input_orders: list[tuple[int, ...]] = field(default_factory=list)
    output: str = ""
    output_order: tuple[int, ...] = ()

    def producer(self, tensor: str) -> Draft | None:
        """Return the draft that writes a tensor, or None for an input."""
        return next((draft for draft in self.drafts if draft.output == tensor), None)

    def uses(self, tensor: str) -> int:
        """Return how often a tensor is read, the graph's output included."""
        return sum(draft.inputs.count(tensor) for draft in self.drafts) + (tensor == self.output)

    def replace_tensor(self, old: str, new: str) -> None:
        """Let every reader of one tensor read another."""
        for draft in self.drafts:
            draft.inputs = [new if name == old else name for name in draft.inputs]
        if self.output == old:
            self.output = new
