# SPDX-License-Identifier: Apache-2.0
"""The device file of HAQ's accelerator gives the published latencies, and the exact optimum is no worse than the published bits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from mpsearch.catalog import load_hardware_model
from mpsearch.search.ilp import solve_ilp
from tests.golden.haq import (
    AS_COUNTED,
    EIGHT_BITS,
    RATIO,
    STRATEGY,
    Floats,
    Sensitivity,
    bits_of,
    choose_bits_problem,
    mobilenet_v2,
    noise,
    predicted_cycles,
    published_cycles,
    total,
)


@pytest.fixture(scope="module")
def published() -> Floats:
    return published_cycles()


@pytest.fixture(scope="module")
def predicted() -> Floats:
    return predicted_cycles(load_hardware_model("bitfusion-haq"))


def test_the_network_is_mobilenet_v2() -> None:
    shapes = mobilenet_v2()
    assert len(shapes) == 53
    assert sum(shape.weights for shape in shapes) == 3_469_760
    assert sum(shape.macs for shape in shapes) == 16 * 300_774_272


def test_the_published_bits_cost_what_was_published(published: Floats) -> None:
    assert total(published, AS_COUNTED) / total(published, EIGHT_BITS) == pytest.approx(RATIO, abs=1e-4)
    assert total(published, ((4, 4),) * 53) / total(published, EIGHT_BITS) == pytest.approx(0.3966, abs=1e-4)
    assert total(published, ((6, 6),) * 53) / total(published, EIGHT_BITS) == pytest.approx(0.6727, abs=1e-4)


def test_the_device_file_gives_the_published_cycles(published: Floats, predicted: Floats) -> None:
    error = np.abs(predicted / published - 1)
    assert error.shape == (53, 8, 8)
    assert np.median(error) < 0.03
    assert np.median(error, axis=(1, 2)).max() < 0.12
    assert np.quantile(error, 0.9) < 0.15


def test_the_device_file_gives_the_published_totals(published: Floats, predicted: Floats) -> None:
    for bits in (EIGHT_BITS, ((6, 6),) * 53, ((4, 4),) * 53, STRATEGY):
        assert total(predicted, bits) == pytest.approx(total(published, bits), rel=0.03)


def test_every_layer_ranks_its_precisions_as_published(published: Floats, predicted: Floats) -> None:
    for ours, theirs in zip(predicted, published, strict=True):
        assert spearmanr(ours.ravel(), theirs.ravel()).statistic > 0.9


@pytest.mark.parametrize("sensitivity", ["values", "macs"])
def test_the_optimum_at_the_published_ratio_is_no_noisier(published: Floats, sensitivity: Sensitivity) -> None:
    limit = RATIO * total(published, EIGHT_BITS)
    result = solve_ilp(choose_bits_problem(noise(sensitivity), published, limit), 0)
    bits = bits_of(result)
    assert result.status == "optimal"
    assert (bits[0], bits[-1]) == ((8, 8), (8, 8))
    assert total(published, bits) <= limit
    assert total(noise(sensitivity), bits) <= total(noise(sensitivity), STRATEGY)


@pytest.mark.parametrize("sensitivity", ["values", "macs"])
def test_the_optimum_at_the_published_noise_is_no_slower(published: Floats, sensitivity: Sensitivity) -> None:
    result = solve_ilp(choose_bits_problem(published, noise(sensitivity), total(noise(sensitivity), STRATEGY)), 0)
    bits = bits_of(result)
    assert result.status == "optimal"
    assert total(noise(sensitivity), bits) <= total(noise(sensitivity), STRATEGY) * (1 + 1e-9)
    assert total(published, bits) <= RATIO * total(published, EIGHT_BITS)


@pytest.mark.parametrize("sensitivity", ["values", "macs"])
def test_bits_found_with_the_device_file_alone_are_better_by_the_published_table(
    published: Floats, predicted: Floats, sensitivity: Sensitivity
) -> None:
    result = solve_ilp(choose_bits_problem(noise(sensitivity), predicted, RATIO * total(predicted, EIGHT_BITS)), 0)
    bits = bits_of(result)
    assert result.status == "optimal"
    assert total(noise(sensitivity), bits) <= total(noise(sensitivity), STRATEGY)
    assert total(published, bits) <= total(published, STRATEGY)
    assert total(published, bits) / total(published, EIGHT_BITS) == pytest.approx(RATIO, rel=0.01)
