# SPDX-License-Identifier: Apache-2.0
"""What a run was asked to do: enough to repeat or resume it."""

from __future__ import annotations

from dataclasses import dataclass, fields

DEFAULT_PROXY = "output_kl"


OUTDATED_BY: dict[str, set[str]] = {
    "scores": {"space", "target", "proxy", "seed"},
    "costs": {"space", "target", "budget"},
    "search": {"space", "target", "proxy", "seed", "budget", "solver", "trials"},
    "trials": {"space", "target", "proxy", "seed", "budget", "solver", "trials", "front_points"},
}
"""Stage -> the fields of a request that its record depends on, besides the workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """The question, in the user's own words.

    Attributes:
        workload: Built-in name or file.py:function; or the Workload's own name when it was handed over in Python.
        budget: Limits as typed.
        target: Hardware model, name or path.
        space: Search space, name or path.
        proxy: Name of the sensitivity proxy.
        solver: Name of the solver.
        trials: How many of the solver's answers are evaluated for real.
        front_points: How many points along the flash axis are evaluated besides, for the front and the rank correlation.
        seed: Seeds everything that draws.
        workload_digest: SHA-256 of the model's weights and of the calibration and evaluation data.
    """

    workload: str
    budget: tuple[str, ...]
    target: str = "cortex-m7"
    space: str = "w2to8-a8"
    proxy: str = DEFAULT_PROXY
    solver: str = "ilp"
    trials: int = 6
    front_points: int = 5
    seed: int = 0
    workload_digest: str = ""

    def outdated_by(self, other: RunRequest) -> list[str]:
        """Return the stages whose records no longer hold once the request becomes `other`."""
        changed = {item.name for item in fields(self) if getattr(self, item.name) != getattr(other, item.name)}
        return [stage for stage, causes in OUTDATED_BY.items() if changed & causes]

    def differences(self, other: RunRequest) -> list[str]:
        """Return "name: mine, theirs" for every field that differs."""
        pairs = [(item.name, getattr(self, item.name), getattr(other, item.name)) for item in fields(self)]
        return [f"{name}: {mine}, was {theirs}" for name, mine, theirs in pairs if mine != theirs]
