# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpsearch.catalog import load_hardware_model, load_search_space
from mpsearch.cost import build_cost_table, offered_precisions
from mpsearch.graph.capture import capture
from mpsearch.quant.packed_size import kernel_supports
from mpsearch.records import CostTable
from mpsearch.search.budget import parse_budget
from mpsearch.search.feasibility import check_feasible
from mpsearch.workloads.load import load_workload


@pytest.fixture(scope="module")
def resnet20(data_folder: Path) -> CostTable:
    """The costs of a real network on cortex-m7."""
    workload = load_workload("cifar10_resnet20")
    graph = capture(workload.model, workload.calibration[0])
    space, hardware = load_search_space("w2to8-a8"), load_hardware_model("cortex-m7")
    return build_cost_table(
        graph, offered_precisions(graph, space, kernel_supports, hardware), space.precisions, hardware, ["flash", "ram", "latency"]
    )


def test_eight_bits_take_a_tenth_of_a_second_on_cortex_m7(resnet20: CostTable) -> None:
    eight_bits = np.full(len(resnet20.groups), len(resnet20.precisions) - 1)
    assert 0.080 < resnet20.metric("latency").total(eight_bits) < 0.120


def test_three_budgets_can_be_met_at_once(resnet20: CostTable) -> None:
    ranges = check_feasible(resnet20, parse_budget(["150KB", "ram=64KiB", "latency=150ms"]))
    assert all(entry.floor <= entry.limit for entry in ranges)
