# SPDX-License-Identifier: Apache-2.0
"""Search spaces: which precisions the layers of a network may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, StringConstraints

from mpsearch.records import Precision

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Bits = Annotated[int, Field(ge=2, le=16)]
BitChoice = Annotated[tuple[Bits, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """Which precisions each layer may take.

    Attributes:
        name: As in the file's name.
        description: What it is for.
        weight_bits: Bits per weight that any layer may take.
        activation_bits: Bits per activation.
        first_layer: Weight bits that the first layer with weights may take.
        last_layer: Weight bits that the last layer with weights may take.
        depthwise: Weight bits that depthwise convolutions may take.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: Text
    description: Text
    weight_bits: BitChoice
    activation_bits: BitChoice
    first_layer: BitChoice
    last_layer: BitChoice
    depthwise: BitChoice

    def __post_init__(self) -> None:
        """Check that bits rise and that every rule picks from the space."""
        for key in ("weight_bits", "activation_bits", "first_layer", "last_layer", "depthwise"):
            bits = getattr(self, key)
            if list(bits) != sorted(set(bits)):
                raise ValueError(f"{key} is {list(bits)}, wanted distinct bits in rising order")
        for key in ("first_layer", "last_layer", "depthwise"):
            if strange := set(getattr(self, key)) - set(self.weight_bits):
                raise ValueError(f"{key} allows {sorted(strange)}, which weight_bits {list(self.weight_bits)} lacks")

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Every precision of the space, rising in bits."""
        return tuple(Precision(weight_bits=weight, activation_bits=activation) for weight in self.weight_bits for activation in self.activation_bits)
