# SPDX-License-Identifier: Apache-2.0
"""Thin wrappers over the pretrained networks of a data folder.

The folder ($MPSEARCH_DATA, else ../shared/data beside the current folder) brings its own loader, `zoo.py`:
`load(name) -> (model, calibration inputs, test inputs, test targets)`.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from mpsearch.errors import WorkloadError, nearest_names
from mpsearch.workloads.workload import Workload

CALIBRATION_BATCH = 64
EVALUATION_BATCH = 250
EVALUATION_TOKENS = 25_000
"""A batch of sequences is cut to about this many tokens, since the logits of a language model are wide."""


def data_folder() -> Path:
    """Return the folder that holds zoo.py.

    Raises:
        WorkloadError: It is not where MPSEARCH_DATA says, or MPSEARCH_DATA is unset and the default place is empty.
    """
    asked = os.environ.get("MPSEARCH_DATA")
    candidates = [Path(asked).expanduser()] if asked else [Path("../shared/data"), Path(__file__).resolve().parents[2] / "../shared/data"]
    for folder in candidates:
        if (folder / "zoo.py").is_file():
            return folder.resolve()
    place = f"MPSEARCH_DATA={asked}" if asked else str(candidates[0].resolve())
    raise WorkloadError(
        f"No data folder: {place} holds no zoo.py.", "set MPSEARCH_DATA to the folder with zoo.py, models/ and sets/, or use 'digits'."
    )


def from_data_folder(name: str) -> Workload:
    """Return one network of the data folder: class targets are scored by top1_error, sequences by bits_per_token.

    Args:
        name: A key of the folder's WORKLOADS.

    Raises:
        WorkloadError: The folder, the network or one of its files is missing.
    """
    folder = data_folder()
    zoo = _zoo(folder)
    if name not in zoo.WORKLOADS:
        raise WorkloadError(f"{folder / 'zoo.py'} has no network '{name}'.", nearest_names(name, zoo.WORKLOADS))
    try:
        model, calibration, inputs, targets = zoo.load(name)
    except (OSError, ImportError, KeyError) as error:
        raise WorkloadError(
            f"'{name}' cannot be read from {folder}: {error}", "pip install 'mpsearch[data]', and check the folder's files."
        ) from error
    is_sequence = targets.ndim > 1
    size = max(1, EVALUATION_TOKENS // targets.shape[1]) if is_sequence else EVALUATION_BATCH
    return Workload(
        name=name,
        model=model,
        calibration=_split(calibration, CALIBRATION_BATCH),
        evaluation=tuple(zip(_split(inputs, size), _split(targets, size), strict=True)),
        metric="bits_per_token" if is_sequence else "top1_error",
    )


def _split(values: Tensor, size: int) -> tuple[Tensor, ...]:
    return tuple(part.contiguous() for part in torch.split(values, size))


def _zoo(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("mpsearch_data_zoo", folder / "zoo.py")
    if spec is None or spec.loader is None:
        raise WorkloadError(f"{folder / 'zoo.py'} is no Python file.", "set MPSEARCH_DATA to the folder with zoo.py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
