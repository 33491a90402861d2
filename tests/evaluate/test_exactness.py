# SPDX-License-Identifier: Apache-2.0
"""Integer execution is exact whatever convolution backend torch picks."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from mpsearch.evaluate.integer import IntegerNetwork
from tests.export.models import GraphMaker
from tests.export.reference import run_reference


def test_integer_execution_is_exact_without_onednn() -> None:
    maker = GraphMaker(3, False)
    quantized = maker.finish(maker.conv(maker.input(16, 16, 32), 32, (3, 3), 8, padding=(1, 1, 1, 1)))
    sample = maker.samples(1)
    wanted = run_reference(quantized, [item[0] for item in sample])
    integers = {name: torch.from_numpy(item.astype(np.float32)) for name, item in zip(quantized.graph.inputs, sample, strict=True)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch talks about Intel GPUs here
        with torch.backends.mkldnn.flags(enabled=False):
            got = IntegerNetwork(quantized).integer_output(integers)
    assert np.array_equal(got[0].numpy(), wanted)
