# SPDX-License-Identifier: Apache-2.0
"""A model whose dense and convolution layers run on packed weights, in Python, without C tools: `mpsearch.apply`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from mpsearch.errors import MpsearchError, QuantizationError, RecordError, nearest_names
from mpsearch.evaluate.folded_norms import BatchNorm, example_of, following_norms
from mpsearch.evaluate.packable import Config, choose_modules, layer_precisions, read_config
from mpsearch.evaluate.packed_modules import PackedConv1d, PackedConv2d, PackedLayer, PackedLinear
from mpsearch.evaluate.real import RealNetwork
from mpsearch.evaluate.rounded_modules import RoundedModule, Weighted, round_by_quantizer, round_to_nearest, window_of
from mpsearch.evaluate.walk import Inputs
from mpsearch.graph.capture import capture
from mpsearch.quant.calibrate import calibrate
from mpsearch.quant.quantize import Quantizer
from mpsearch.records import BitWidthConfig, CalibrationStats, Layer, LayerGraph, Precision
from mpsearch.storage import load_record

RoundLayer = Callable[[str, Weighted, Precision], RoundedModule]
"""(layer name, module, precision) -> its integers."""


def apply(model: nn.Module, config: Config, *, calibration: Sequence[Inputs] | None = None, threads: int = 1) -> nn.Module:
    """Return a copy of a model whose dense and convolution layers run the packed host kernels.

    Every `nn.Linear`, `nn.Conv1d` and `nn.Conv2d` that the config names is replaced by a module of the same call: floats in, floats out, any leading
    axes, inference only (float16, bfloat16 and float64 are computed in float32 and come back as they were). It holds 2- to 8-bit weights, and
    quantises its input to 8 bits on the way in, a row of a dense layer and a sample of a convolution at a time, so that no activation ranges are
    needed. Layers that the config does not name stay in float, and so do batch norms; a module that the model uses in several places stays one.
    Convolutions are fastest on inputs in torch.channels_last.

    Args:
        model: Trained, on the CPU; it is copied and not changed.
        config: Which layer gets which precision: a `BitWidthConfig`, the path of a config.yaml, the folder of an `mpsearch optimize` run, or a
            mapping of module path to precision ("w4a8", "w4a8g128"). Weights take 2 to 8 bits, activations 8; dense layers may have a scale for
            every 32, 64 or 128 inputs.
        calibration: Batches of inputs, as a `Workload` has them. With them, or with a run's folder, weights are rounded jointly and biases
            corrected as in an exported bundle, a batch norm behind a layer is folded into it, and the config's model digest is checked. Without,
            weights are rounded to nearest, each channel over the range of least squared error; layers with a group size are in any case.
        threads: At most so many threads work on a layer, at least 1; `set_threads` changes it later. It never changes a result.
            With more than one, set OMP_WAIT_POLICY=PASSIVE before torch is imported, or torch's own waiting threads keep the cores busy.

    Returns:
        The copy, in eval mode, without gradients.

    Raises:
        QuantizationError: A name that is no dense or convolution layer of the model, a precision that the kernels lack, or no native library.
        RecordError: A config file that cannot be read, or that belongs to another model.
        GraphError: With calibration: the model cannot be captured.
    """
    if not isinstance(model, nn.Module):
        raise QuantizationError(f"The model is a {type(model).__name__}, wanted an nn.Module.")
    asked, run = read_config(config)
    precisions = layer_precisions(asked)
    packed = _frozen_copy(model)
    chosen = list(choose_modules(packed, precisions, keep_norms=isinstance(asked, BitWidthConfig)))
    graph, stats = _measured(model, run, calibration)
    if graph is not None and isinstance(asked, BitWidthConfig):
        asked.check_model(graph)
    rounding: RoundLayer = _round_alone
    if graph is not None and stats is not None:
        norms = following_norms(packed, [module for _, module, _ in chosen], calibration[0] if calibration else example_of(graph))
        rounding = _joint_rounding(graph, stats, precisions, norms)
    made: dict[int, nn.Module] = {}
    for name, module, precision in chosen:
        if id(module) not in made:
            made[id(module)], absorbed = _pack_layer(name, module, precision, rounding)
            if absorbed is not None:
                made[id(absorbed)] = nn.Identity()
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


# ---------------------------------------------------------------- the modules


def _frozen_copy(model: nn.Module) -> nn.Module:
    try:
        frozen = copy.deepcopy(model).eval()
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise QuantizationError(f"The model cannot be copied: {error}", "keep no tensors that a forward computed as attributes.") from error
    return frozen.requires_grad_(False)


def _pack_layer(name: str, module: Weighted, precision: Precision, rounding: RoundLayer) -> tuple[PackedLayer, nn.Module | None]:
    """Return a layer's replacement, and the batch norm that it makes superfluous."""
    try:
        rounded = rounding(name, module, precision)
        packed = (rounded.weight, rounded.scale, rounded.bias, precision)
        if isinstance(module, nn.Linear):
            return PackedLinear(*packed), rounded.absorbed
        kind = PackedConv1d if isinstance(module, nn.Conv1d) else PackedConv2d
        return kind(*packed, window_of(module), padding_mode=module.padding_mode), rounded.absorbed
    except MpsearchError as error:
        raise type(error)(f"Layer '{name}': {error.message}", error.hint) from error


def _share_tied_weights(modules: Mapping[int, Weighted], made: Mapping[int, nn.Module]) -> None:
    """Let dense layers that shared one parameter share one packed weight."""
    first: dict[tuple[int, Precision], PackedLinear] = {}
    for key, module in modules.items():
        layer = made[key]
        if isinstance(layer, PackedLinear):
            twin = first.setdefault((id(module.weight), layer.precision), layer)
            if np.array_equal(layer.weights.scale, twin.weights.scale):
                layer.weights = twin.weights


def _replaced(model: nn.Module, made: Mapping[int, nn.Module]) -> nn.Module:
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


def _joint_rounding(graph: LayerGraph, stats: CalibrationStats, precisions: Mapping[str, Precision], norms: Mapping[int, BatchNorm]) -> RoundLayer:
    """Return the rounding of an exported bundle; layers with a group size, which no bundle has, are rounded to nearest."""
    quantizer = Quantizer(graph, stats)
    quantizer.prepare({name: (precision.weight_bits,) for name, precision in precisions.items() if precision.group_size is None})

    def round_jointly(name: str, module: Weighted, precision: Precision) -> RoundedModule:
        if precision.group_size is not None:
            return round_to_nearest(module, precision)
        return round_by_quantizer(module, _graph_layer(name, graph), quantizer, precision, norms.get(id(module)))

    return round_jointly


def _graph_layer(name: str, graph: LayerGraph) -> Layer:
    for layer in graph.weighted_layers:
        if layer.name == name:
            return layer
    raise RecordError("the captured model does not call it.", nearest_names(name, [layer.name for layer in graph.weighted_layers]))
