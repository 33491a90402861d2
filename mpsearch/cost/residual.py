# SPDX-License-Identifier: Apache-2.0
"""What rates and terms leave over, learned from a layer's shape: boosted trees of log(measured / predicted). The only file that knows XGBoost.

XGBoost grows the trees; what is saved is plain numbers, and predicting takes nothing but them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mpsearch.catalog import HardwareModel
from mpsearch.errors import HardwareModelError, RecordError
from mpsearch.records import OPERATOR_CLASSES, LayerShape, Widths, digest_of
from mpsearch.storage import load_record

FEATURES = (
    "operator",
    "weight_bits",
    "activation_bits",
    "log2_height",
    "log2_width",
    "log2_input_channels",
    "log2_output_channels",
    "kernel_height",
    "kernel_width",
    "stride",
    "log2_window_values",
    "log2_output_pixels",
    "log2_steps",
    "window_values_mod_16",
    "output_channels_mod_16",
    "output_pixels_mod_12",
)
LEAST_SHAPES = 10
"""Operators of which fewer shapes were measured are left as their terms predict them: there is too little to learn from."""
LEAF = -1
ROUNDS = 150
SETTINGS = {
    "objective": "reg:squarederror",
    "base_score": 0.0,
    "max_depth": 3,
    "eta": 0.1,
    "min_child_weight": 3,
    "lambda": 1.0,
    "tree_method": "exact",
    "nthread": 1,
    "seed": 0,
    "verbosity": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trees:
    """Boosted trees, their nodes one after another.

    Attributes:
        roots: int32 (trees,), node where each tree begins.
        feature: int32 (nodes,), what a node looks at, in FEATURES; LEAF for a leaf.
        threshold: float32 (nodes,): values below it go to `left`, others to `right`.
        left: int32 (nodes,).
        right: int32 (nodes,).
        value: float32 (nodes,), what a leaf adds; 0 elsewhere.
    """

    roots: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float32]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    value: npt.NDArray[np.float32]

    def sum_of(self, features: Sequence[float]) -> float:
        """Return what the trees add up to for one layer."""
        row = np.array(features, dtype=np.float32)
        total = 0.0
        for root in self.roots.tolist():
            node = root
            while (looked_at := int(self.feature[node])) != LEAF:
                node = int(self.left[node] if row[looked_at] < self.threshold[node] else self.right[node])
            total += float(self.value[node])
        return total


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResidualTrees:
    """What is saved beside a device's file.

    Attributes:
        features: Names of what the trees look at: FEATURES.
        operators: Operator classes that they were grown on; they say nothing of others.
        cycles: log(measured / predicted) of cycles.
        instructions: Likewise; None if they were not counted.
    """

    features: tuple[str, ...]
    operators: tuple[str, ...]
    cycles: Trees
    instructions: Trees | None = None


def features_of(shape: LayerShape, precision: Widths | None) -> tuple[float, ...]:
    """Return the values of FEATURES."""
    pixels = shape.batch * math.prod(shape.output[:2])
    logarithms = (*shape.input, shape.output[2])
    return (
        float(OPERATOR_CLASSES.index(shape.operator)),
        float(precision.weight_bits if precision else 0),
        float(precision.activation_bits if precision else 8),
        *(math.log2(size) for size in logarithms),
        *map(float, shape.kernel),
        float(shape.stride[0]),
        math.log2(max(shape.window_values, 1)),
        math.log2(pixels),
        math.log2(shape.steps),
        float(shape.window_values % 16),
        float(shape.output[2] % 16),
        float(pixels % 12),
    )


def grow_trees(features: Sequence[Sequence[float]], values: npt.NDArray[np.float64]) -> Trees:
    """Return trees that add up to about the values; equal arguments give equal trees.

    Args:
        features: For each row those of FEATURES.
        values: (rows,), e.g. log(measured / predicted).

    Raises:
        HardwareModelError: XGBoost is not installed.
    """
    try:
        import xgboost
    except ImportError as error:
        raise HardwareModelError("A residual is grown by XGBoost, which is not installed.", "pip install 'mpsearch[residual]'.") from error
    table = xgboost.DMatrix(np.array(features, dtype=np.float32), label=values)
    booster = xgboost.train(SETTINGS, table, num_boost_round=ROUNDS)
    return _flat([json.loads(text) for text in booster.get_dump(dump_format="json")])


def residual_factors(shape: LayerShape, precision: Widths | None, hardware: HardwareModel) -> tuple[float, float]:
    """Return what the cycles and the instructions of a layer are multiplied by; 1 without a residual.

    Raises:
        HardwareModelError: The residual's file is missing, damaged or another one than the device's file names.
    """
    if hardware.residual is None:
        return 1.0, 1.0
    trees = load_residual(hardware.residual.file, hardware.residual.digest)
    if shape.operator not in trees.operators:
        return 1.0, 1.0
    features = features_of(shape, precision)
    return math.exp(trees.cycles.sum_of(features)), math.exp(trees.instructions.sum_of(features)) if trees.instructions else 1.0


@lru_cache(maxsize=8)
def load_residual(file: str, digest: str) -> ResidualTrees:
    """Return the trees of a residual's file.

    Raises:
        HardwareModelError: It is missing, damaged or another one than the device's file names.
    """
    try:
        trees = load_record(Path(file), ResidualTrees)
    except RecordError as error:
        raise HardwareModelError(f"The residual of the device cannot be read: {error.message}", "keep it beside the device's file.") from error
    if digest_of(trees) != digest or trees.features != FEATURES:
        raise HardwareModelError(
            f"The residual '{file}' is not the one that the device's file names: its digest is {digest_of(trees)[:12]}…, wanted {digest[:12]}….",
            "keep the two files of one mpsearch fit together.",
        )
    return trees


def _flat(roots: Sequence[dict[str, Any]]) -> Trees:
    """Return nested nodes as arrays."""
    nodes: list[tuple[int, float, int, int, float]] = []

    def add(node: dict[str, Any]) -> int:
        place = len(nodes)
        nodes.append((LEAF, 0.0, 0, 0, node.get("leaf", 0.0)))
        if "leaf" not in node:
            children = {child["nodeid"]: child for child in node["children"]}
            left, right = add(children[node["yes"]]), add(children[node["no"]])
            nodes[place] = (int(str(node["split"]).removeprefix("f")), node["split_condition"], left, right, 0.0)
        return place

    starts = [add(root) for root in roots]
    feature, threshold, left, right, value = zip(*nodes, strict=True)
    return Trees(
        roots=np.array(starts, dtype=np.int32),
        feature=np.array(feature, dtype=np.int32),
        threshold=np.array(threshold, dtype=np.float32),
        left=np.array(left, dtype=np.int32),
        right=np.array(right, dtype=np.int32),
        value=np.array(value, dtype=np.float32),
    )
