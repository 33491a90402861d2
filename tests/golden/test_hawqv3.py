# SPDX-License-Identifier: Apache-2.0
"""The integer program finds the published HAWQ-V3 bit assignments (arXiv 2011.10680) from the published inputs; see data/README.md."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from mpsearch.catalog import load_hardware_model
from mpsearch.records import MetricCost, Precision, SearchProblem
from mpsearch.search.ilp import solve_ilp
from tests.golden.hawqv3 import PRECISIONS, PUBLISHED, Network, layer_shapes, measured_seconds, measured_table, predicted_seconds

NETWORKS: tuple[Network, ...] = ("resnet18", "resnet50")
INSTANCES = [(network, instance) for network in NETWORKS for instance in PUBLISHED[network]["published_bits"]]
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


def problem_of(network: str, instance: str, cost: np.ndarray | None = None) -> tuple[SearchProblem, np.ndarray]:
    """Return the problem and the decision of each layer; the cost of each layer at 4 and at 8 bits is the published one if none is given."""
    inputs = PUBLISHED[network]
    kind, fraction = instance.split("_")
    error = np.stack([inputs["delta_w_sq_int4"], inputs["delta_w_sq_int8"]], axis=1)
    score = np.array(inputs["hutchinson_trace_per_param"])[:, None] * error
    cost, decision = costs_of(inputs, kind) if cost is None else cost, decision_of(inputs)
    groups = decision.max() + 1
    grouped_score, grouped_cost = np.zeros((groups, 2)), np.zeros((groups, 2))
    np.add.at(grouped_score, decision, score)
    np.add.at(grouped_cost, decision, cost)
    low, high = cost.sum(axis=0)
    problem = SearchProblem(
        groups=tuple(str(index) for index in range(groups)),
        precisions=PRECISIONS,
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


def bits_found(network: str, instance: str, cost: np.ndarray) -> list[int]:
    """Return the bits of the optimum with these costs."""
    problem, decision = problem_of(network, instance, cost)
    result = solve_ilp(problem, 0)
    assert result.status == "optimal"
    return [(4, 8)[result.solutions[0].choice[index]] for index in decision]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_shapes_are_those_of_the_published_counts(network: Network) -> None:
    shapes, inputs = layer_shapes(network), PUBLISHED[network]
    unit = 2**20 if network == "resnet18" else 1e6
    assert [shape.weights / unit for shape in shapes] == pytest.approx(inputs["params_mi"], rel=1e-9)
    assert [shape.macs / shape.batch / 1e6 for shape in shapes] == pytest.approx(inputs["fp_macs_M"], rel=1e-9)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("fraction", ["0.25", "0.5", "0.75"])
def test_the_measured_table_of_the_t4_gives_the_published_bits(network: Network, fraction: str) -> None:
    instance = f"latency_{fraction}"
    assert bits_found(network, instance, measured_seconds(network)) == PUBLISHED[network]["published_bits"][instance]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_table_has_a_row_for_every_layer_and_precision(network: Network) -> None:
    table = measured_table(network)
    assert len(table.rows) == 2 * len(PUBLISHED[network]["layers"])
    assert sum(row.seconds or 0.0 for row in table.rows if row.precision == Precision(weight_bits=8)) == pytest.approx(
        sum(PUBLISHED[network]["latency_int8_ms"]) / 1e3
    )


def test_rates_from_resnet18_predict_resnet50() -> None:
    predicted, measured = predicted_seconds("resnet50", load_hardware_model("t4-hawqv3")), measured_seconds("resnet50")
    error = np.abs(predicted / measured - 1)
    assert np.median(error) < 0.1
    assert predicted.sum(axis=0) == pytest.approx(measured.sum(axis=0), rel=0.1)
    assert spearmanr(predicted.ravel(), measured.ravel()).statistic > 0.95


def test_the_rates_are_the_medians_of_resnet18() -> None:
    hardware = load_hardware_model("t4-hawqv3")
    wide = [index for index, shape in enumerate(layer_shapes("resnet18")) if shape.kernel == (3, 3)]
    for column, precision in enumerate(PRECISIONS):
        attained = [layer_shapes("resnet18")[i].macs / measured_seconds("resnet18")[i, column] / hardware.clock_hz.value for i in wide]
        rate = hardware.rate("conv2d", precision)
        assert rate is not None
        assert rate.per_cycle == pytest.approx(np.median(attained), rel=0.005)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("fraction", ["0.25", "0.5", "0.75"])
def test_bits_found_with_the_device_file_nearly_meet_the_measured_limit(network: Network, fraction: str) -> None:
    measured = measured_seconds(network)
    bits = np.array(bits_found(network, f"latency_{fraction}", predicted_seconds(network, load_hardware_model("t4-hawqv3"))))
    low, high = measured.sum(axis=0)
    taken = measured[np.arange(len(bits)), bits // 8].sum()
    assert taken <= 1.03 * (low + float(fraction) * (high - low))
    assert (bits == PUBLISHED[network]["published_bits"][f"latency_{fraction}"]).mean() > 0.75


def test_the_t4_refuses_mixed_widths() -> None:
    assert load_hardware_model("t4-hawqv3").rate("conv2d", Precision(weight_bits=4)) is None
