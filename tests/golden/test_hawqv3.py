# SPDX-License-Identifier: Apache-2.0
"""The integer program finds the published HAWQ-V3 bit assignments (arXiv 2011.10680) from the published inputs; see data/README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpsearch.records import MetricCost, Precision, SearchProblem
from mpsearch.search.ilp import solve_ilp

PUBLISHED = json.loads((Path(__file__).parent / "data" / "hawqv3_ilp_inputs.json").read_text(encoding="utf-8"))
INSTANCES = [(network, instance) for network in ("resnet18", "resnet50") for instance in PUBLISHED[network]["published_bits"]]
IMPROVED = ("resnet50", "modelsize_0.25")


def costs_of(inputs: dict[str, Any], kind: str) -> np.ndarray:
    """Return float64 (layers, 2), at 4 and at 8 bits: size in bytes, bit operations in G, latency in ms."""
    if kind == "modelsize":
        return np.outer(inputs["params_mi"], [4 / 8, 8 / 8])
    if kind == "bops":
        return np.outer(inputs["fp_macs_M"], [1 / 64, 1 / 16])
    return np.stack([inputs["latency_int4_ms"], inputs["latency_int8_ms"]], axis=1)


def decision_of(inputs: dict[str, Any]) -> np.ndarray:
    """Return the decision that each layer follows: a downsampling convolution shares that of the layer that it is tied to."""
    owner = np.arange(len(inputs["layers"]))
    for first, second in inputs["tied_pairs"]:
        owner[max(first, second)] = owner[min(first, second)]
    return np.unique(owner, return_inverse=True)[1]


def problem_of(network: str, instance: str) -> tuple[SearchProblem, np.ndarray]:
    """Return the problem and the decision of each layer."""
    inputs = PUBLISHED[network]
    kind, fraction = instance.split("_")
    error = np.stack([inputs["delta_w_sq_int4"], inputs["delta_w_sq_int8"]], axis=1)
    score = np.array(inputs["hutchinson_trace_per_param"])[:, None] * error
    cost, decision = costs_of(inputs, kind), decision_of(inputs)
    groups = decision.max() + 1
    grouped_score, grouped_cost = np.zeros((groups, 2)), np.zeros((groups, 2))
    np.add.at(grouped_score, decision, score)
    np.add.at(grouped_cost, decision, cost)
    low, high = cost.sum(axis=0)
    problem = SearchProblem(
        groups=tuple(str(index) for index in range(groups)),
        precisions=(Precision(weight_bits=4, activation_bits=4), Precision(weight_bits=8)),
        score=grouped_score,
        costs=(MetricCost(metric=kind, unit="", cost=grouped_cost[None], fixed=np.zeros(1)),),
        limits=(low + float(fraction) * (high - low),),
    )
    return problem, decision


@pytest.mark.parametrize(("network", "instance"), [pair for pair in INSTANCES if pair != IMPROVED])
def test_the_published_assignment_is_found(network: str, instance: str) -> None:
    problem, decision = problem_of(network, instance)
    result = solve_ilp(problem, 0)
    bits = [(4, 8)[result.solutions[0].choice[index]] for index in decision]
    assert result.status == "optimal"
    assert bits == PUBLISHED[network]["published_bits"][instance]


def test_one_published_assignment_is_beaten() -> None:
    problem, decision = problem_of(*IMPROVED)
    published_bits = np.array(PUBLISHED[IMPROVED[0]]["published_bits"][IMPROVED[1]])
    published_choice = np.zeros(decision.max() + 1, dtype=np.int64)
    published_choice[decision] = published_bits // 8
    result = solve_ilp(problem, 0)
    ours = np.array(result.solutions[0].choice)[decision]
    assert problem.costs[0].total(published_choice) <= problem.limits[0]
    assert problem.score[np.arange(len(published_choice)), published_choice].sum() == pytest.approx(0.08311, abs=5e-6)
    assert result.status == "optimal"
    assert result.solutions[0].objective == pytest.approx(0.07495, abs=5e-6)
    assert np.flatnonzero(ours != published_bits // 8).tolist() == [39]


def test_there_are_eighteen_instances() -> None:
    assert len(INSTANCES) == 18
