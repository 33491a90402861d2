# SPDX-License-Identifier: Apache-2.0
"""What a run was asked to do: enough to repeat or resume it."""

from __future__ import annotations

from dataclasses import dataclass, fields

DEFAULT_PROXY = "output_kl"


_OFFERED = {"space", "space_digest", "target", "target_digest"}

OUTDATED_BY: dict[str, set[str]] = {
    "stats": {"seed"},
    "scores": {*_OFFERED, "proxy", "seed"},
    "costs": {*_OFFERED, "budget"},
    "search": {*_OFFERED, "proxy", "seed", "budget", "solver", "trials"},
    "trials": {*_OFFERED, "proxy", "seed", "budget", "solver", "trials", "front_points", "rounding"},
}
"""Stage -> the fields of a request that its record depends on, besides the workload."""

FOLLOWERS: dict[str, tuple[str, ...]] = {
    "graph": ("stats", "scores", "costs", "search", "trials", "evaluation_float"),
    "stats": ("scores", "search", "trials"),
    "scores": ("search", "trials"),
    "costs": ("search", "trials"),
    "search": ("trials",),
}
"""Stage -> the stages whose records are made from its record."""


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
        rounding: How the integer model rounds wherever it runs, "single" or "tflite_double".
        workload_digest: SHA-256 of the model's weights, the metric, and the calibration and evaluation data.
        target_digest: SHA-256 of what the hardware model's file says.
        space_digest: SHA-256 of what the search space's file says.
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
    rounding: str = "single"
    workload_digest: str = ""
    target_digest: str = ""
    space_digest: str = ""

    def outdated_by(self, other: RunRequest) -> list[str]:
        """Return the stages whose records no longer hold once the request becomes `other`."""
        changed = {item.name for item in fields(self) if getattr(self, item.name) != getattr(other, item.name)}
        return [stage for stage, causes in OUTDATED_BY.items() if changed & causes]

    def differences(self, other: RunRequest) -> list[str]:
        """Return "name: mine, theirs" for every field that differs."""
        pairs = [(item.name, getattr(self, item.name), getattr(other, item.name)) for item in fields(self)]
        return [f"{name}: {mine}, was {theirs}" for name, mine, theirs in pairs if mine != theirs]
