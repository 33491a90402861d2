# SPDX-License-Identifier: Apache-2.0
"""The exceptions that mpsearch raises on purpose.

    MpsearchError
    ├── WorkloadError           a workload that cannot be found, loaded or trusted        exit 2
    ├── GraphError              a model that cannot be captured                           exit 2
    ├── QuantizationError       values that have no integer representation                exit 2
    ├── CatalogError            an unknown name or a bad YAML file                        exit 2
    │   └── HardwareModelError  a device file, or a precision its device does not have    exit 2
    ├── BudgetError             a budget that cannot be read                              exit 2
    ├── RecordError             a saved record that is missing, damaged or foreign        exit 2
    ├── ExportError             a bundle that cannot be written, built or run             exit 2
    ├── PlotError               a picture that cannot be drawn                            exit 2
    ├── InfeasibleBudgetError   a budget that no config meets                             exit 3
    └── SolverError             a solver that stopped without an answer                   exit 4

A message says what, where, got and wanted; the hint says what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MpsearchError(ValueError):
    """Root of the tree.

    Args:
        message: What went wrong, where, what was found and what was wanted.
        hint: The next step for the user; empty if there is none.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        """Keep message and hint apart, so that programs can read both."""
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Return the message, followed by the hint if there is one."""
        return f"{self.message} Hint: {self.hint}" if self.hint else self.message


class WorkloadError(MpsearchError):
    """A workload cannot be found, loaded or trusted."""


class GraphError(MpsearchError):
    """A model cannot be captured as a LayerGraph."""


class QuantizationError(MpsearchError):
    """Values have no integer representation."""


class CatalogError(MpsearchError):
    """A name is unknown, or a YAML file does not hold what it should."""


class HardwareModelError(CatalogError):
    """A device file is wrong, or its device lacks what was asked of it."""


class BudgetError(MpsearchError):
    """A budget cannot be read."""


class RecordError(MpsearchError):
    """A saved record is missing, damaged, or belongs to something else."""


class ExportError(MpsearchError):
    """A bundle cannot be written, built or run."""


class PlotError(MpsearchError):
    """A picture cannot be drawn."""


class InfeasibleBudgetError(MpsearchError):
    """No config of the search space meets the budget."""

    exit_code = 3


class SolverError(MpsearchError):
    """A solver stopped without an answer."""

    exit_code = 4


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Return a hint that offers the known names nearest to a mistyped one."""
    names = sorted(known)
    if longer := [candidate for candidate in names if name and candidate.startswith(name)]:
        return f"did you mean {' or '.join(longer)}?"
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}."
