# SPDX-License-Identifier: Apache-2.0
"""Files whose block engine does not fit together are refused, when they load or when a layer does not fit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mpsearch.catalog import load_hardware_model, shipped_folder
from mpsearch.cost.latency import layer_roofline
from mpsearch.cost.work import LayerWork
from mpsearch.errors import HardwareModelError
from mpsearch.records import LayerShape, Precision

FILE = (shipped_folder("hw_models") / "ethos-u55-128.yaml").read_text(encoding="utf-8")


def edited(folder: Path, pattern: str, new: str) -> Path:
    """Write a copy of a file with one change."""
    text, count = re.subn(pattern, new, FILE, count=1)
    assert count == 1
    path = folder / "edited.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("pattern", "new", "message"),
    [
        (r"step_values: \{.*\}", "step_values: {16: 16}", "step_values has activation bits .16., step_taps .8, 16., wanted the same"),
        (r"step_taps: \{8: \d+", "step_taps: {8: 999", "step_taps is 999 at 8 bits, wanted a divisor of step_values"),
        (r"activation_bits: 8", "activation_bits: 4", r"block_engine: its tables have activation bits \[8, 16\], wanted .*4"),
    ],
)
def test_tables_that_do_not_fit_together_do_not_load(tmp_path: Path, pattern: str, new: str, message: str) -> None:
    with pytest.raises(HardwareModelError, match=message):
        load_hardware_model(edited(tmp_path, pattern, new))


def test_a_layer_that_no_block_fits_is_an_error_that_names_the_buffers(tmp_path: Path) -> None:
    hardware = load_hardware_model(edited(tmp_path, r"banks: \d+", "banks: 2"))
    shape = LayerShape(operator="conv2d", input=(16, 16, 64), output=(14, 14, 64), kernel=(3, 3))
    work = LayerWork(
        name="x", shape=shape, precision=Precision(weight_bits=8), constant_bytes=37000, input_bytes=16384, output_bytes=12544, live_bytes=29000
    )
    with pytest.raises(HardwareModelError, match=r"no block of a layer .* fits its buffers.*buffers.banks"):
        layer_roofline(work, hardware)
