# SPDX-License-Identifier: Apache-2.0
"""A model whose dense and convolution layers run on packed weights, in Python, without C tools: `mpsearch.apply`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from mpsearch.errors import MpsearchError, QuantizationError, RecordError, nearest_names
from mpsearch.evaluate.packed_modules import PackedConv1d, PackedConv2d, PackedLayer, PackedLinear
from mpsearch.evaluate.real import RealNetwork
from mpsearch.evaluate.rounded_modules import RoundedModule, Weighted, round_by_quantizer, round_to_nearest, window_of
from mpsearch.evaluate.walk import Inputs
from mpsearch.graph.capture import capture
from mpsearch.quant.bitpack import PLANES
from mpsearch.quant.calibrate import calibrate
from mpsearch.quant.host_kernels import GROUP_SIZES
from mpsearch.quant.quantize import Quantizer
from mpsearch.records import BitWidthConfig, CalibrationStats, Layer, LayerGraph, Precision
from mpsearch.storage import load_record, read_config_yaml

Config = BitWidthConfig | str | Path | Mapping[str, str | Precision]
"""A config, a config.yaml, a run's folder, or layer name -> precision."""

Rounding = Callable[[str, Weighted, Precision], RoundedModule]
"""(layer name, module, precision) -> its integers."""


def apply(model: nn.Module, config: Config, *, calibration: Sequence[Inputs] | None = None, threads: int = 1) -> nn.Module:
    """Return a copy of a model whose dense and convolution layers run the packed host kernels.

    Every `nn.Linear`, `nn.Conv1d` and `nn.Conv2d` that the config names is replaced by a module of the same call: floats in, floats out, any leading
    axes, inference only (float16, bfloat16 and float64 are computed in float32 and come back as they were). It holds 2- to 8-bit weights, and
    quantises its input to 8 bits on the way in, a row of a dense layer and a sample of a convolution at a time, so that no activation ranges are
    needed. Layers that the config does not name stay as they are; a module that the model uses in several places stays one module. Convolutions are
    fastest on inputs in torch.channels_last.

    Args:
        model: Trained, on the CPU; it is copied and not changed.
        config: Which layer gets which precision: a `BitWidthConfig`, the path of a config.yaml, the folder of an `mpsearch optimize` run, or a
            mapping of module path to precision ("w4a8", "w4a8g128"). Weights take 2 to 8 bits, activations 8; dense layers may have a scale for
            every 32, 64 or 128 inputs.
        calibration: Batches of inputs, as a `Workload` has them. With them, or with a run's folder, weights are rounded jointly and biases
            corrected as in an exported bundle, and the config's model digest is checked. Without, weights are rounded to nearest, each channel over
            the range of least squared error; layers with a group size are in any case.
        threads: At most so many threads work on a layer, at least 1; `set_threads` changes it later. It never changes a result.

    Returns:
        The copy, in eval mode, without gradients.

    Raises:
        QuantizationError: A name that is no dense or convolution layer of the model, a precision that the kernels lack, or no native library.
        RecordError: A config file that cannot be read, or that belongs to another model.
        GraphError: With calibration: the model cannot be captured.
    """
    if not isinstance(model, nn.Module):
        raise QuantizationError(f"The model is a {type(model).__name__}, wanted an nn.Module.")
    asked, run = _read_config(config)
    precisions = _precisions(asked)
    packed = _frozen_copy(model)
    chosen = list(_chosen_modules(packed, precisions))
    graph, stats = _measured(model, run, calibration)
    if graph is not None and isinstance(asked, BitWidthConfig):
        asked.check_model(graph)
    rounding = _round_alone if graph is None or stats is None else _joint_rounding(graph, stats, precisions)
    made: dict[int, PackedLayer] = {}
    for name, module, precision in chosen:
        if id(module) not in made:
            made[id(module)] = _pack_layer(name, module, precision, rounding)
    _share_tied_weights({id(module): module for _, module, _ in chosen}, made)
    return set_threads(_replaced(packed, made), threads)


def set_threads(model: nn.Module, threads: int) -> nn.Module:
    """Let every packed layer of a model use at most so many threads, and return the model.

    Raises:
        QuantizationError: Fewer than one.
    """
    if threads < 1:
        raise QuantizationError(f"Packed layers: got {threads} threads, wanted at least 1.")
    for module in model.modules():
        if isinstance(module, PackedLayer):
            module.threads = threads
    return model


# ---------------------------------------------------------------- the config


def _read_config(config: Config) -> tuple[BitWidthConfig | Mapping[str, str | Precision], Path | None]:
    """Return the precisions, and the run's folder if that is what was named."""
    if isinstance(config, (str, Path)):
        path = Path(config)
        return read_config_yaml(path / "config.yaml" if path.is_dir() else path), path if path.is_dir() else None
    if isinstance(config, (BitWidthConfig, Mapping)):
        return config, None
    raise QuantizationError(
        f"The config is a {type(config).__name__}, wanted a BitWidthConfig, a path, or a mapping of layer name to precision.",
        "for instance {'fc': 'w4a8'}.",
    )


def _precisions(config: BitWidthConfig | Mapping[str, str | Precision]) -> dict[str, Precision]:
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


# ---------------------------------------------------------------- the layers


def _frozen_copy(model: nn.Module) -> nn.Module:
    try:
        frozen = copy.deepcopy(model).eval()
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise QuantizationError(f"The model cannot be copied: {error}", "keep no tensors that a forward computed as attributes.") from error
    return frozen.requires_grad_(False)


def _chosen_modules(model: nn.Module, precisions: Mapping[str, Precision]) -> Iterator[tuple[str, Weighted, Precision]]:
    """Return the module and the precision of every name; a module that was named twice must get one precision."""
    modules = dict(model.named_modules(remove_duplicate=False))
    seen: dict[int, tuple[str, Precision]] = {}
    for name, precision in precisions.items():
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
    if path not in modules and isinstance(root, Weighted) and path == ("linear" if isinstance(root, nn.Linear) else "conv2d"):
        path = ""
    layers = [known for known, module in modules.items() if isinstance(module, Weighted)]
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


def _pack_layer(name: str, module: Weighted, precision: Precision, rounding: Rounding) -> PackedLayer:
    try:
        rounded = rounding(name, module, precision)
        if isinstance(module, nn.Linear):
            return PackedLinear(rounded.weight, rounded.scale, rounded.bias, precision)
        kind = PackedConv1d if isinstance(module, nn.Conv1d) else PackedConv2d
        return kind(rounded.weight, rounded.scale, rounded.bias, precision, window_of(module), padding_mode=module.padding_mode)
    except MpsearchError as error:
        raise type(error)(f"Layer '{name}': {error.message}", error.hint) from error


def _share_tied_weights(modules: Mapping[int, Weighted], made: Mapping[int, PackedLayer]) -> None:
    """Let dense layers that shared one parameter share one packed weight."""
    first: dict[tuple[int, Precision], PackedLayer] = {}
    for key, module in modules.items():
        layer = made[key]
        twin = first.setdefault((id(module.weight), layer.precision), layer)
        if isinstance(module, nn.Linear) and isinstance(twin, PackedLinear) and np.array_equal(layer.weights.scale, twin.weights.scale):
            layer.weights = twin.weights


def _replaced(model: nn.Module, made: Mapping[int, PackedLayer]) -> nn.Module:
    if id(model) in made:
        return made[id(model)].eval()
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if id(child) in made:
                parent._modules[name] = made[id(child)].eval()
    _leave_fused_attention(model)
    return model


def _leave_fused_attention(model: nn.Module) -> None:
    """Keep torch's transformer layers from running their fused kernel, which reads the float weights of layers that have none any more."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and any(isinstance(child, PackedLayer) for child in module.modules()):
            module.activation_relu_or_gelu = 0
        if isinstance(module, nn.TransformerEncoder) and any(isinstance(child, PackedLayer) for child in module.modules()):
            module.use_nested_tensor = False


# ---------------------------------------------------------------- the integers


def _measured(model: nn.Module, run: Path | None, calibration: Sequence[Inputs] | None) -> tuple[LayerGraph, CalibrationStats] | tuple[None, None]:
    """Return the captured graph and its statistics, if there is something to take them from."""
    if calibration is not None:
        if not calibration:
            raise QuantizationError("There is no calibration data.", "pass at least one batch, or leave calibration out.")
        graph = capture(model, calibration[0])
        return graph, calibrate(graph, lambda: RealNetwork(graph).activations(calibration))
    if run is not None:
        return load_record(run / "graph.json", LayerGraph), load_record(run / "stats.json", CalibrationStats)
    return None, None


def _round_alone(name: str, module: Weighted, precision: Precision) -> RoundedModule:
    return round_to_nearest(module, precision)


def _joint_rounding(graph: LayerGraph, stats: CalibrationStats, precisions: Mapping[str, Precision]) -> Rounding:
    """Return the rounding of an exported bundle; layers with a group size, which no bundle has, are rounded to nearest."""
    quantizer = Quantizer(graph, stats)
    quantizer.prepare({name: (precision.weight_bits,) for name, precision in precisions.items() if precision.group_size is None})

    def round_jointly(name: str, module: Weighted, precision: Precision) -> RoundedModule:
        if precision.group_size is not None:
            return round_to_nearest(module, precision)
        return round_by_quantizer(module, _graph_layer(name, graph), quantizer, precision)

    return round_jointly


def _graph_layer(name: str, graph: LayerGraph) -> Layer:
    for layer in graph.weighted_layers:
        if layer.name == name:
            return layer
    raise RecordError("the captured model does not call it.", nearest_names(name, [layer.name for layer in graph.weighted_layers]))
