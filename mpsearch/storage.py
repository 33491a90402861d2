# SPDX-License-Identifier: Apache-2.0
"""Records to files and back: JSON for what people read, an .npz of the same stem beside it for large arrays.

The JSON says what it holds: {"schema": 1, "record": "SensitivityTable", "digest": "...", "data": {...}}. Types are not written but rebuilt
from the records' annotations; only a union of records (`Op`) notes which of them it is. Every array notes its dtype and shape. NaN in an
array is null; any other number that JSON lacks is the text "NaN", "Infinity" or "-Infinity". The digest is checked on the way in.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import types
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import yaml

from mpsearch.errors import MpsearchError, RecordError
from mpsearch.records import SCHEMA, BitWidthConfig, Precision, digest_of

INLINE_VALUES = 4096
"""Arrays of more values than this go to the .npz."""

Record = TypeVar("Record")
Arrays = dict[str, np.ndarray[typing.Any, np.dtype[typing.Any]]]
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


# ---------------------------------------------------------------- records


def save_record(record: object, path: Path | str) -> Path:
    """Write a record; the file is either complete or not there.

    Args:
        record: Any dataclass of records.py.
        path: The JSON file; its folder is made if needed. Large arrays go to the same path with the suffix .npz.

    Returns:
        The JSON file's path.

    Raises:
        RecordError: The file cannot be written.
    """
    path = Path(path)
    arrays: Arrays = {}
    data = _to_json(record, type(record), "", arrays)
    # The digest is that of the record as it will be read: a field that holds numpy's 3 comes back as Python's.
    digest = digest_of(_from_json(data, type(record), arrays))
    archive = BytesIO()
    if arrays:
        np.savez(archive, allow_pickle=False, **arrays)
        # The arrays first: whoever sees the JSON finds them complete.
        write_atomically(path.with_suffix(".npz"), lambda file: file.write(archive.getbuffer()))
    document = {
        "schema": SCHEMA,
        "record": type(record).__name__,
        "digest": digest,
        "npz_sha256": hashlib.sha256(archive.getbuffer()).hexdigest() if arrays else None,
        "data": data,
    }
    text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def load_record(path: Path | str, record_type: type[Record]) -> Record:
    """Read a record that `save_record` wrote.

    Args:
        path: The JSON file.
        record_type: The dataclass that it must hold.

    Raises:
        RecordError: The file is missing, damaged, of another schema, or holds another record.
    """
    path = Path(path)
    document = _read_document(path)
    name = record_type.__name__
    if document.get("schema") != SCHEMA:
        raise RecordError(
            f"{path}: schema {document.get('schema')!r}, wanted {SCHEMA}.", "it was written by another version of mpsearch: make it again."
        )
    if document.get("record") != name:
        raise RecordError(f"{path} holds a {document.get('record')}, wanted a {name}.", "pass the file of that stage.")
    arrays = _read_arrays(path.with_suffix(".npz"), document["npz_sha256"]) if document.get("npz_sha256") else {}
    try:
        record = _from_json(document.get("data"), record_type, arrays)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"{path} is damaged: {_reason(error)}", "make it again.") from error
    if digest_of(record) != document.get("digest"):
        raise RecordError(
            f"{path} is damaged: its contents do not give its digest {document.get('digest')}.", "it was edited or cut short: make it again."
        )
    return typing.cast(Record, record)


def _read_document(path: Path) -> dict[str, Json]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RecordError(f"{path} does not exist.", "run the stage that writes it, or check the path.") from None
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.", "check the path and its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is damaged: no JSON ({error}).", "make it again.") from error
    if not isinstance(document, dict):
        raise RecordError(f"{path} is damaged: it holds a {type(document).__name__}, wanted a record.", "make it again.")
    return document


def _read_arrays(path: Path, digest: Json) -> Arrays:
    try:
        contents = path.read_bytes()
    except FileNotFoundError:
        raise RecordError(f"{path} does not exist, but its record has arrays there.", "keep both files together.") from None
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.", "check its permissions.") from error
    # Checked before NumPy parses anything: on damaged headers it raises whatever its tokenizer raises.
    if hashlib.sha256(contents).hexdigest() != digest:
        raise RecordError(f"{path} is damaged, or belongs to another record than {path.with_suffix('.json').name}.", "make both again.")
    with np.load(BytesIO(contents), allow_pickle=False) as archive:
        return dict(archive)


def _reason(error: Exception) -> str:
    if isinstance(error, MpsearchError):
        return error.message
    return f"field {error} is missing." if isinstance(error, KeyError) else f"{error}."


# ---------------------------------------------------------------- values


@cache
def _hints(record_type: type) -> dict[str, object]:
    return typing.get_type_hints(record_type)


def _to_json(value: object, hint: object, place: str, arrays: Arrays) -> Json:
    """Return the JSON form of a value whose annotation is `hint`; large arrays are put into `arrays` under their place in the record."""
    if isinstance(value, np.ndarray):
        return _array_to_json(value, place, arrays)
    if is_dataclass(value) and not isinstance(value, type):
        hints = _hints(type(value))
        data = {item.name: _to_json(getattr(value, item.name), hints[item.name], f"{place}/{item.name}", arrays) for item in fields(value)}
        return {"op": type(value).__name__, **data} if len(_record_options(hint)) > 1 else data
    if isinstance(value, tuple):
        hints_of_items = _item_hints(hint, len(value))
        return [
            _to_json(item, item_hint, f"{place}/{index}", arrays) for index, (item, item_hint) in enumerate(zip(value, hints_of_items, strict=True))
        ]
    return _scalar_to_json(value, place)


def _scalar_to_json(value: object, place: str) -> Json:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise RecordError(
        f"A {type(value).__name__} at {place or 'the top'} cannot be saved.", "records hold scalars, texts, tuples, arrays and records."
    )


def _array_to_json(value: np.ndarray[typing.Any, np.dtype[typing.Any]], place: str, arrays: Arrays) -> Json:
    if value.size > INLINE_VALUES:
        arrays[place.lstrip("/")] = value
        return {"npz": place.lstrip("/")}
    return {"dtype": value.dtype.str, "shape": list(value.shape), "values": _nested(value.tolist())}


def _nested(values: object) -> Json:
    """Return the nested lists of an array with null for NaN."""
    if isinstance(values, list):
        return [_nested(item) for item in values]
    return None if isinstance(values, float) and math.isnan(values) else _scalar_to_json(values, "an array")


def _from_json(value: Json, hint: object, arrays: Arrays) -> object:
    """Return the value that `_to_json` wrote for that annotation."""
    options = _options(hint)
    if value is None and type(None) in options:
        return None
    records = _record_options(hint)
    if records and isinstance(value, dict):
        record_type = records[0] if len(records) == 1 else {option.__name__: option for option in records}[str(value["op"])]
        hints = _hints(record_type)
        return record_type(**{item.name: _from_json(value[item.name], hints[item.name], arrays) for item in fields(record_type)})
    if isinstance(value, dict):
        return _array_from_json(value, arrays)
    if isinstance(value, list):
        item_hints = _item_hints(hint, len(value))
        return tuple(_from_json(item, item_hint, arrays) for item, item_hint in zip(value, item_hints, strict=True))
    return _scalar_from_json(value, options)


def _scalar_from_json(value: Json, options: tuple[object, ...]) -> object:
    if float in options and not isinstance(value, bool) and (isinstance(value, (int, float)) or value in ("NaN", "Infinity", "-Infinity")):
        return float(value)
    literals = [choice for option in options if typing.get_origin(option) is typing.Literal for choice in typing.get_args(option)]
    if value in literals or any(type(value) is option for option in options if option is not float):
        return value
    return _refuse(value, options)


def _refuse(value: object, options: tuple[object, ...]) -> object:
    raise TypeError(f"got {value!r} where {' or '.join(str(option) for option in options)} was wanted")


def _array_from_json(value: dict[str, Json], arrays: Arrays) -> object:
    if "npz" in value:
        return arrays[str(value["npz"])]
    shape = value["shape"]
    if not isinstance(shape, list):
        raise TypeError(f"got the shape {shape!r} where a list was wanted")
    dtype = np.dtype(str(value["dtype"]))
    if dtype.kind not in "biuf":
        raise TypeError(f"got an array of {dtype} where numbers were wanted")
    return np.array(_numbers(value["values"]), dtype=dtype).reshape([int(str(size)) for size in shape])


def _numbers(values: Json) -> object:
    """Undo `_nested`."""
    if isinstance(values, list):
        return [_numbers(item) for item in values]
    return math.nan if values is None else float(values) if isinstance(values, str) else values


def _options(hint: object) -> tuple[object, ...]:
    """Return the members of a union, or the hint alone."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _record_options(hint: object) -> tuple[type, ...]:
    return tuple(option for option in _options(hint) if isinstance(option, type) and is_dataclass(option))


def _item_hints(hint: object, length: int) -> tuple[object, ...]:
    """Return the annotation of each item of a tuple of that length."""
    arguments = next((typing.get_args(option) for option in _options(hint) if typing.get_origin(option) is tuple), None)
    if arguments is None:
        raise TypeError(f"got a sequence where {hint} was wanted")
    return (arguments[0],) * length if len(arguments) == 2 and arguments[1] is Ellipsis else arguments


# ---------------------------------------------------------------- the config that other tools read


def write_config_yaml(config: BitWidthConfig, path: Path | str) -> Path:
    """Write a bit-width config as YAML: schema, model_digest, and layers as name: w4a8.

    Raises:
        RecordError: The file cannot be written.
    """
    path = Path(path)
    layers = {name: str(precision) for name, precision in config.precisions}
    document = {"schema": SCHEMA, "model_digest": config.model_digest, "layers": layers}
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def read_config_yaml(path: Path | str) -> BitWidthConfig:
    """Read a bit-width config, as written by `write_config_yaml` or by hand.

    Raises:
        RecordError: The file is missing, or holds something else; the message names the layer.
    """
    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"{path} does not exist.", "`mpsearch optimize` writes config.yaml into its output folder.") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise RecordError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(document, dict) or set(document) != {"schema", "model_digest", "layers"}:
        raise RecordError(f"{path} is no config: wanted the keys schema, model_digest and layers.", "see the config.yaml of any run.")
    if document["schema"] != SCHEMA:
        raise RecordError(f"{path}: schema {document['schema']!r}, wanted {SCHEMA}.", "it was written by another version of mpsearch.")
    if not isinstance(document["model_digest"], str) or not isinstance(document["layers"], dict):
        raise RecordError(f"{path}: wanted model_digest as text and layers as a mapping of layer name to precision.")
    return BitWidthConfig(
        model_digest=document["model_digest"],
        precisions=tuple((str(name), _precision(text, str(name), path)) for name, text in document["layers"].items()),
    )


def _precision(text: object, layer: str, path: Path) -> Precision:
    try:
        return Precision.parse(str(text))
    except MpsearchError as error:
        raise RecordError(f"{path}: layers.{layer}: {error.message}", error.hint) from error


# ---------------------------------------------------------------- files


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside its final place and move it there, so that no reader ever sees half of it.

    Args:
        path: Final place; its folder is made if needed.
        write: Called with the open binary file.

    Raises:
        RecordError: The folder or the file cannot be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            write(file)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror}.", "check the folder's permissions and the free space.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@cache
def _umask() -> int:
    """Return the process's umask; Python reads it only by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
