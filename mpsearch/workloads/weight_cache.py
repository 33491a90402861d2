# SPDX-License-Identifier: Apache-2.0
"""Trained weights kept in the user's cache folder under a name that says all they depend on."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

LOGGER = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return $MPSEARCH_CACHE, else mpsearch in $XDG_CACHE_HOME, else ~/.cache/mpsearch."""
    asked = os.environ.get("MPSEARCH_CACHE")
    if asked:
        return Path(asked).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mpsearch"


def load_or_make(name: str, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors kept under a name; make and keep them where there are none, or where the file is damaged.

    Args:
        name: File name without suffix; it must change with everything that the tensors depend on.
        make: Called when the cache has no sound file.
    """
    path = cache_folder() / f"{name}.safetensors"
    kept = _read(path)
    if kept is not None:
        return kept
    tensors = dict(make())
    try:
        _write(path, tensors)
    except OSError as error:
        LOGGER.warning("the weights cannot be kept in %s (%s), so the next run makes them again", path.parent, error)
    return tensors


def _read(path: Path) -> dict[str, Tensor] | None:
    """Return the file's tensors; None if it is missing or its contents are not those that were written."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            digest = (file.metadata() or {}).get("sha256")
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
    except (SafetensorError, OSError) as error:
        LOGGER.warning("the cached weights %s are damaged (%s) and are made again", path, error)
        return None
    if digest != _digest(tensors):
        LOGGER.warning("the cached weights %s are damaged and are made again", path)
        return None
    return tensors


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write beside the final place and move there, so that no reader ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(save(dict(tensors), metadata={"sha256": _digest(tensors)}))
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    hasher = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        hasher.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        hasher.update(value.numpy().tobytes())
    return hasher.hexdigest()
