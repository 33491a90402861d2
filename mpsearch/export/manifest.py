# SPDX-License-Identifier: Apache-2.0
"""manifest.json: what a bundle says about itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path, PurePosixPath
from typing import Any, NotRequired, TypedDict, cast, get_args

from mpsearch.errors import ExportError
from mpsearch.records import LayerShape, Rounding

MANIFEST_SCHEMA = 1


class TensorEntry(TypedDict):
    """One input, or the output.

    `permutation` is that of the LayerGraph: memory axis i of an input is torch axis permutation[i]; torch axis i of the output is memory axis
    permutation[i]. Both leave out the batch axis.
    """

    name: str
    shape: list[int]
    permutation: list[int]
    scale: float
    zero_point: int
    bits: int


class LayerEntry(TypedDict):
    """One layer.

    `shape` holds the fields of a LayerShape. With the bytes it is all that a device's file needs to predict the layer: `flash_bytes` are its
    constants, `input_bytes` all its inputs, each once, `output_bytes` its output, `live_bytes` the activations that exist while it runs;
    `reads_network_input` says whether its (first) input comes from outside. Bundles of earlier versions lack these five.
    """

    name: str
    op: str
    kernel: str
    precision: str
    flash_bytes: int
    macs: int
    shape: NotRequired[dict[str, Any]]
    input_bytes: NotRequired[int]
    output_bytes: NotRequired[int]
    live_bytes: NotRequired[int]
    reads_network_input: NotRequired[bool]


class Manifest(TypedDict):
    """The whole file."""

    schema: int
    model_digest: str
    rounding: Rounding
    flash_bytes: int
    arena_bytes: int
    arena_bound_bytes: int
    macs: int
    inputs: list[TensorEntry]
    output: TensorEntry
    layers: list[LayerEntry]
    sources: list[str]
    digests: dict[str, str]


def read_manifest(folder: Path) -> Manifest:
    """Return a bundle's manifest.

    Raises:
        ExportError: There is none, or it cannot be read.
    """
    path = folder / "manifest.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExportError(f"'{folder}' is not a bundle: it has no manifest.json.", "mpsearch export writes one.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"The manifest '{path}' cannot be read: {error}.", "export the bundle again.") from error
    missing = set(Manifest.__annotations__) - set(content if isinstance(content, dict) else ())
    if missing:
        raise ExportError(f"The manifest '{path}' lacks {', '.join(sorted(missing))}.", "export the bundle again.")
    if content["schema"] != MANIFEST_SCHEMA:
        raise ExportError(f"The manifest '{path}' has schema {content['schema']}, wanted {MANIFEST_SCHEMA}.", "export the bundle again.")
    if content["rounding"] not in get_args(Rounding):
        raise ExportError(
            f"The manifest '{path}' has rounding {content['rounding']!r}, wanted one of {get_args(Rounding)}.", "export the bundle again."
        )
    sources = content["sources"]
    if not isinstance(sources, list) or not all(isinstance(name, str) and _is_inside(name) for name in sources):
        raise ExportError(f"The manifest '{path}': sources is {sources!r}, wanted names of files inside the bundle.", "export the bundle again.")
    return cast(Manifest, content)


def shape_entry(shape: LayerShape) -> dict[str, Any]:
    """Return a layer's shape as a manifest holds it."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(shape).items()}


def read_shape(layer: str, content: Mapping[str, Any]) -> LayerShape:
    """Return the shape that `shape_entry` wrote; what is missing has its default.

    Raises:
        ExportError: It is no shape.
    """
    known = {item.name: item for item in fields(LayerShape)}
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    sizes = [size for name, value in values.items() if name != "operator" for size in (value if isinstance(value, tuple) else (value,))]
    whole = isinstance(values.get("operator"), str) and all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in sizes)
    lengths = {"input": 3, "output": 3, "kernel": 2, "stride": 2, "dilation": 2, "padding": 4}
    right = all(
        isinstance(values.get(name, (0,) * length), tuple) and len(values.get(name, (0,) * length)) == length for name, length in lengths.items()
    )
    if not (whole and right and set(values) <= set(known) and {"input", "output"} <= set(values)):
        raise ExportError(f"Layer '{layer}': the manifest's shape is {dict(content)}, wanted the fields of a LayerShape.", "export the bundle again.")
    return LayerShape(**values)


def check_files(folder: Path, manifest: Manifest) -> None:
    """Check that a bundle's files are those that were exported.

    Raises:
        ExportError: One is missing, damaged or edited.
    """
    for name, digest in manifest["digests"].items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise ExportError(f"The bundle '{folder}' lacks {name}: {error.strerror}.", "export it again.") from error
        if found != digest:
            raise ExportError(
                f"The bundle's file '{folder / name}' is not the one that was exported.", "export it again, or build an edited one with its Makefile."
            )


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
