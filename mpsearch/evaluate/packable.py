# SPDX-License-Identifier: Apache-2.0
"""Which modules of a model a config gives packed weights, and whether the host kernels can run them as it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import nn

from mpsearch.errors import MpsearchError, QuantizationError, nearest_names
from mpsearch.evaluate.folded_norms import BatchNorm
from mpsearch.evaluate.rounded_modules import Weighted
from mpsearch.quant.bitpack import PLANES
from mpsearch.quant.host_kernels import GROUP_SIZES
from mpsearch.records import BitWidthConfig, Precision
from mpsearch.storage import read_config_yaml

Config = BitWidthConfig | str | Path | Mapping[str, str | Precision]
"""A config, a config.yaml, a run's folder, or layer name -> precision."""


def read_config(config: Config) -> tuple[BitWidthConfig | Mapping[str, str | Precision], Path | None]:
    """Return the precisions, and the run's folder if that is what was named.

    Raises:
        RecordError: A file that is missing or holds something else.
        QuantizationError: Neither a config, nor a path, nor a mapping.
    """
    if isinstance(config, (str, Path)):
        path = Path(config)
        return read_config_yaml(path / "config.yaml" if path.is_dir() else path), path if path.is_dir() else None
    if isinstance(config, (BitWidthConfig, Mapping)):
        return config, None
    raise QuantizationError(
        f"The config is a {type(config).__name__}, wanted a BitWidthConfig, a path, or a mapping of layer name to precision.",
        "for instance {'fc': 'w4a8'}.",
    )


def layer_precisions(config: BitWidthConfig | Mapping[str, str | Precision]) -> dict[str, Precision]:
    """Return layer name -> precision.

    Raises:
        QuantizationError: No layer at all, or a precision that cannot be read.
    """
    pairs = config.precisions if isinstance(config, BitWidthConfig) else config.items()
    if not pairs:
        raise QuantizationError("The config names no layer.", "name at least one dense or convolution layer, for instance {'fc': 'w4a8'}.")
    return {name: _precision(name, given) for name, given in pairs}


def _precision(name: str, given: object) -> Precision:
    if isinstance(given, Precision):
        return given
    if not isinstance(given, str):
        raise QuantizationError(f"Layer '{name}': the precision is a {type(given).__name__}, wanted a text such as 'w4a8', or a Precision.")
    try:
        return Precision.parse(given)
    except MpsearchError as error:
        raise QuantizationError(f"Layer '{name}': {error.message}", error.hint) from error


def choose_modules(model: nn.Module, precisions: Mapping[str, Precision], keep_norms: bool = False) -> Iterator[tuple[str, Weighted, Precision]]:
    """Yield every name with its module and precision.

    Args:
        model: Holds the modules.
        precisions: By name.
        keep_norms: Pass over batch norms: a captured graph gives those that no layer took in a precision of their own, but float runs them as well.

    Raises:
        QuantizationError: A name that is no dense or convolution layer, a precision without kernels, or two precisions for one module.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    seen: dict[int, tuple[str, Precision]] = {}
    for name, precision in precisions.items():
        if keep_norms and isinstance(modules.get(name), BatchNorm):
            continue
        module = _find_layer(name, modules)
        _check_precision(name, module, precision)
        first, other = seen.setdefault(id(module), (name, precision))
        if other != precision:
            raise QuantizationError(f"Layers '{first}' and '{name}' are one module, but are given {other} and {precision}.", "give both the same.")
        yield name, module, precision


def _find_layer(name: str, modules: Mapping[str, nn.Module]) -> Weighted:
    # The second call of a module is called "fc#2" in a captured graph, and a model that is one layer has no path but its kind.
    path = name.partition("#")[0]
    root = modules[""]
    kind = type(root).__name__.lower()
    if path not in modules and isinstance(root, Weighted) and (path == kind or (path == "conv2d" and isinstance(root, nn.Conv1d))):
        path = ""
    layers = [known or kind for known, module in modules.items() if isinstance(module, Weighted)]
    if path not in modules:
        raise QuantizationError(f"The model has no layer '{name}'.", nearest_names(name, layers) if layers else "it has none that can be packed.")
    module = modules[path]
    if not isinstance(module, Weighted):
        raise QuantizationError(
            f"Layer '{name}' is a {type(module).__name__}, wanted a Linear, Conv1d or Conv2d.", "leave it out of the config: it stays float."
        )
    _check_plain(name, module, modules.get(path.rpartition(".")[0]))
    return module


def _check_plain(name: str, module: Weighted, parent: nn.Module | None) -> None:
    """Refuse layers that do more than their class says.

    Raises:
        QuantizationError: The forward is the user's own, hooks hang on it, or attention reads its weight past it.
    """
    kind = next(kind for kind in (nn.Linear, nn.Conv1d, nn.Conv2d) if isinstance(module, kind))
    if type(module).forward is not kind.forward:
        raise QuantizationError(
            f"Layer '{name}' is a {type(module).__name__} with a forward of its own, wanted a plain {kind.__name__}.", "leave it out of the config."
        )
    if module._forward_hooks or module._forward_pre_hooks:
        raise QuantizationError(
            f"Layer '{name}' has forward hooks, which would be lost.",
            "remove them first (torch.nn.utils.remove_weight_norm or prune.remove, where those made them).",
        )
    if isinstance(parent, nn.MultiheadAttention):
        raise QuantizationError(f"Layer '{name}': MultiheadAttention reads its weight without calling it.", "leave it out of the config.")


def _check_precision(name: str, module: Weighted, precision: Precision) -> None:
    where = f"Layer '{name}': the host kernels have no {precision}"
    if precision.activation_bits != 8:
        raise QuantizationError(f"{where}, wanted activations of 8 bits, got {precision.activation_bits}.")
    if precision.weight_bits not in PLANES:
        raise QuantizationError(f"{where}, wanted weights of 2 to 8 bits, got {precision.weight_bits}.")
    if precision.group_size is not None and not isinstance(module, nn.Linear):
        raise QuantizationError(f"{where} for a convolution, wanted one scale a channel.", f"use w{precision.weight_bits}a8.")
    if precision.group_size is not None and precision.group_size not in GROUP_SIZES:
        raise QuantizationError(f"{where}, wanted a group size of {', '.join(map(str, GROUP_SIZES))}, got {precision.group_size}.")
