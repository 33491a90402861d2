# SPDX-License-Identifier: Apache-2.0
"""Weight SQNR: the noise-to-signal ratio of a layer's weights. Data free."""

from __future__ import annotations

import numpy as np

from mpsearch.records import SensitivityTable
from mpsearch.sensitivity.probe import Probe, finish_table


def score_weight_sqnr(probe: Probe) -> SensitivityTable:
    """Return ||Q(W) - W||^2 / ||W||^2, summed over the layers of each group (1 / SQNR)."""
    raw = {}
    for done, (group, precision) in enumerate(probe.candidates, 1):
        total = 0.0
        for name in group.layers:
            layer = probe.graph.layer(name)
            assert layer.weight is not None
            power = float(np.square(layer.weight, dtype=np.float64).sum())
            total += float(np.square(probe.weight_error(layer, precision)).sum()) / max(power, 1e-30)
        raw[group.name, precision] = total
        probe.progress(done, len(probe.candidates))
    return finish_table("weight_sqnr", probe, raw, forward_passes=0)
