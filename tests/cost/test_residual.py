# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from mpsearch.catalog import HardwareModel, load_hardware_model
from mpsearch.cost.device_file import write_device_file
from mpsearch.cost.fit import fit_device
from mpsearch.cost.latency import layer_roofline
from mpsearch.cost.residual import FEATURES, Trees, features_of, grow_trees, load_residual
from mpsearch.cost.work import LayerWork
from mpsearch.errors import HardwareModelError
from mpsearch.records import MeasuredLayer, MeasuredTable, Precision
from mpsearch.storage import save_record
from tests.cost.test_fit import SHAPES, taken


def with_steps_in_width() -> MeasuredTable:
    """Return a table in which wide layers take half as long again, which no term can say."""
    rows = [
        MeasuredLayer(shape=shape, precision=Precision(weight_bits=bits), cycles=taken(shape, bits) * (1.5 if shape.input[1] > 8 else 1.0))
        for shape in SHAPES
        for bits in (2, 4, 8)
    ]
    return MeasuredTable(target="cortex-m4", method="a formula", clock_hz=None, rows=tuple(rows))


def work_of(row: MeasuredLayer) -> LayerWork:
    """Return a layer whose bytes do not matter."""
    return LayerWork(name="layer", shape=row.shape, precision=row.precision, constant_bytes=8, input_bytes=8, output_bytes=8, live_bytes=16)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> HardwareModel:
    """A device with a residual, read from its files."""
    pytest.importorskip("xgboost", reason="grows the trees; pip install 'mpsearch[residual]'")
    folder = tmp_path_factory.mktemp("residual")
    fit = fit_device(with_steps_in_width(), load_hardware_model("cortex-m4"), "mine", residual=True)
    assert fit.residual is not None
    save_record(fit.residual, folder / "mine.residual.json")
    return load_hardware_model(write_device_file(fit.hardware, folder / "mine.yaml"))


def median_error(hardware: HardwareModel) -> float:
    """Return how far the device is off on the rows that it was fitted to."""
    rows = with_steps_in_width().rows
    return float(np.median([abs(layer_roofline(work_of(row), hardware).total / (row.cycles or 1) - 1) for row in rows]))


def test_trees_add_up_the_leaves_that_a_layer_comes_to() -> None:
    """One split at 8 columns, then a lone leaf."""
    place = FEATURES.index("log2_width")
    trees = Trees(
        roots=np.array([0, 3], np.int32),
        feature=np.array([place, -1, -1, -1], np.int32),
        threshold=np.array([3, 0, 0, 0], np.float32),
        left=np.array([1, 0, 0, 0], np.int32),
        right=np.array([2, 0, 0, 0], np.int32),
        value=np.array([0, 0.5, -0.25, 1], np.float32),
    )
    narrow, wide = (next(shape for shape in SHAPES if shape.input[1] == width) for width in (7, 8))
    assert trees.sum_of(features_of(narrow, Precision(weight_bits=8))) == 1.5
    assert trees.sum_of(features_of(wide, Precision(weight_bits=8))) == 0.75


def test_saved_trees_predict_what_xgboost_does() -> None:
    xgboost = pytest.importorskip("xgboost", reason="grows the trees; pip install 'mpsearch[residual]'")
    from mpsearch.cost.residual import ROUNDS, SETTINGS

    random = np.random.default_rng(0)
    features, values = random.normal(size=(80, len(FEATURES))).astype(np.float32), random.normal(size=80)
    booster = xgboost.train(SETTINGS, xgboost.DMatrix(features, label=values), num_boost_round=ROUNDS)
    trees = grow_trees(features.tolist(), values)
    assert [trees.sum_of(row) for row in features.tolist()] == pytest.approx(booster.predict(xgboost.DMatrix(features)).tolist(), abs=1e-5)


def test_a_residual_takes_the_error_that_terms_leave(learned: HardwareModel) -> None:
    plain = fit_device(with_steps_in_width(), load_hardware_model("cortex-m4"), "plain").hardware
    assert median_error(learned) < 0.5 * median_error(plain)


def test_a_residual_leaves_other_operators_alone(learned: HardwareModel) -> None:
    row = MeasuredLayer(shape=SHAPES[0], precision=Precision(weight_bits=8))
    assert learned.residual is not None
    assert load_residual(learned.residual.file, learned.residual.digest).operators == ("conv2d",)
    assert math.isfinite(layer_roofline(work_of(row), learned).residual)


def test_a_residual_of_another_fit_is_refused(learned: HardwareModel, tmp_path: Path) -> None:
    assert learned.residual is not None
    folder = Path(learned.residual.file).parent
    text = (folder / "mine.yaml").read_text(encoding="utf-8").replace(learned.residual.digest, "f" * 64)
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    foreign = load_hardware_model(tmp_path / "mine.yaml")
    with pytest.raises(HardwareModelError, match="cannot be read"):
        layer_roofline(work_of(with_steps_in_width().rows[0]), foreign)
    shutil.copy(folder / "mine.residual.json", tmp_path / "mine.residual.json")
    with pytest.raises(HardwareModelError, match="is not the one that the device's file names"):
        layer_roofline(work_of(with_steps_in_width().rows[0]), foreign)
