# SPDX-License-Identifier: Apache-2.0
"""Devices whose makers published what whole layers attain, beside their files."""

from __future__ import annotations

import pytest

from mpsearch.catalog import load_hardware_model
from mpsearch.cost.latency import layer_roofline
from mpsearch.cost.work import LayerWork
from mpsearch.records import LayerShape, Precision

# The layer of Garofalo et al., arXiv 1908.11263, and Bruschi et al., arXiv 2007.07759: 16 x 16 x 32 into 64 channels by 3 x 3.
LAYER = LayerShape(operator="conv2d", input=(16, 16, 32), output=(16, 16, 64), kernel=(3, 3), padding=(1, 1, 1, 1))


def attained(target: str, weight_bits: int, activation_bits: int) -> float:
    """Return MACs a cycle of the layer."""
    work = LayerWork(
        name="layer",
        shape=LAYER,
        precision=Precision(weight_bits=weight_bits, activation_bits=activation_bits),
        constant_bytes=LAYER.weights * weight_bits // 8,
        input_bytes=LAYER.input_values * activation_bits // 8,
        output_bytes=LAYER.output_values * activation_bits // 8,
        live_bytes=0,
    )
    return LAYER.macs / layer_roofline(work, load_hardware_model(target)).total


def test_gap8_attains_what_pulp_nn_was_measured_at() -> None:
    assert attained("gap8", 8, 8) == pytest.approx(15.5, rel=0.1)
    assert attained("gap8", 8, 8) == pytest.approx(16, rel=0.1)


def test_narrow_weights_save_no_time_where_they_are_unpacked() -> None:
    for target in ("gap8", "gap9"):
        assert max(attained(target, 4, 8), attained(target, 2, 8)) < attained(target, 8, 8) / 2


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits", "published"),
    [(2, 2, 6.5), (4, 2, 4.0), (8, 2, 2.2), (2, 4, 3.9), (4, 4, 3.5), (8, 4, 2.1), (2, 8, 2.5), (4, 8, 2.3), (8, 8, 2.1)],
)
def test_mpic_attains_what_its_paper_gives(weight_bits: int, activation_bits: int, published: float) -> None:
    assert attained("mpic", weight_bits, activation_bits) == pytest.approx(published, rel=1e-9)
