# SPDX-License-Identifier: Apache-2.0
"""Where the generators of kernel cases get their decisions from: Hypothesis, which searches and shrinks, or a seed, which serves other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from hypothesis import strategies as st

from mpsearch.records import Rounding

T = TypeVar("T")


class Choices(Protocol):
    @property
    def rounding(self) -> Rounding:
        """How the kernels round that the cases are for."""

    def integer(self, low: int, high: int) -> int:
        """Return an integer within both bounds."""

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options."""


class DrawnChoices:
    """Decisions that Hypothesis makes."""

    def __init__(self, data: st.DataObject, rounding: Rounding = "single") -> None:
        self._data, self.rounding = data, rounding

    def integer(self, low: int, high: int) -> int:
        return self._data.draw(st.integers(low, high))

    def pick(self, options: Sequence[T]) -> T:
        return self._data.draw(st.sampled_from(options))


class SeededChoices:
    """Decisions that a seed makes."""

    def __init__(self, seed: int, rounding: Rounding = "single") -> None:
        self._random, self.rounding = np.random.default_rng(seed), rounding

    def integer(self, low: int, high: int) -> int:
        return int(self._random.integers(low, high + 1))

    def pick(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]
