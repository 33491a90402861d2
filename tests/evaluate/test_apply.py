# SPDX-License-Identifier: Apache-2.0
"""`mpsearch.apply`: which modules are replaced, what they hold, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mpsearch
from mpsearch.errors import MpsearchError, QuantizationError, RecordError
from mpsearch.evaluate.apply import set_threads
from mpsearch.evaluate.integer import IntegerNetwork
from mpsearch.evaluate.measure_error import measure_error
from mpsearch.evaluate.packed_modules import PackedConv1d, PackedConv2d, PackedLinear
from mpsearch.evaluate.real import RealNetwork
from mpsearch.graph.capture import capture
from mpsearch.quant import host_library
from mpsearch.quant.calibrate import calibrate
from mpsearch.quant.native import native_library
from mpsearch.quant.quantize import Quantizer
from mpsearch.records import BitWidthConfig, CalibrationStats, LayerGraph, Precision
from mpsearch.storage import save_record, write_config_yaml
from mpsearch.workloads.workload import Workload
from tests.evaluate.dynamic_reference import conv_integers, real_weight

pytestmark = pytest.mark.skipif(native_library() is None, reason="NO NATIVE LIBRARY: build the package with a C compiler")


class SmallNet(nn.Module):
    """Batch norms with a channel of each sign and a dead one, a depthwise layer, and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.depthwise, self.norm2 = nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)
        for norm in (self.norm, self.norm2):
            nn.init.uniform_(norm.running_mean, -0.2, 0.2)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.uniform_(norm.bias, -0.2, 0.2)
            with torch.no_grad():
                norm.weight.copy_(torch.tensor([1.0, -0.7, 0.5, 2.0, -1.5, 1.0, 0.0, 0.3]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        return self.head(torch.relu(self.norm2(self.depthwise(x))).mean((2, 3)))


BATCHES = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(1)).split(16)
NAMES = ("stem", "depthwise", "head")


def small_config(model: nn.Module, **precisions: str) -> BitWidthConfig:
    graph = capture(model, BATCHES[0])
    return BitWidthConfig(
        model_digest=graph.model_digest, precisions=tuple((layer.name, Precision.parse(precisions[layer.name])) for layer in graph.weighted_layers)
    )


def statistics(graph: LayerGraph) -> CalibrationStats:
    return calibrate(graph, lambda: RealNetwork(graph).activations(BATCHES))


def save_run(folder: Path, graph: LayerGraph, stats: CalibrationStats, config: BitWidthConfig) -> Path:
    """Write what apply reads of a run's folder."""
    save_record(graph, folder / "graph.json")
    save_record(stats, folder / "stats.json")
    write_config_yaml(config, folder / "config.yaml")
    return folder


# ---------------------------------------------------------------- what is replaced


def test_named_layers_are_replaced_by_their_path_and_the_others_stay() -> None:
    ours = mpsearch.apply(SmallNet(), {"stem": "w4a8", "head": Precision(weight_bits=3, group_size=32)}, threads=2)
    assert isinstance(ours.stem, PackedConv2d)
    assert isinstance(ours.head, PackedLinear)
    assert isinstance(ours.depthwise, nn.Conv2d)
    assert (str(ours.head.precision), ours.head.threads) == ("w3a8g32", 2)
    assert not any(module.training for module in ours.modules())
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    assert set_threads(ours, 1).head.threads == 1


def test_the_callers_model_is_not_changed() -> None:
    model = SmallNet().train()
    before = copy.deepcopy(model.state_dict())
    mpsearch.apply(model, dict.fromkeys(NAMES, "w2a8"), calibration=BATCHES)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert isinstance(model.head, nn.Linear)


class Repeated(nn.Module):
    """One module at two places and called twice at each; two modules with one weight."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(16, 16)
        self.again = self.first
        self.left, self.right = nn.Linear(16, 16), nn.Linear(16, 16)
        self.right.weight = self.left.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.right(self.left(self.again(self.first(torch.relu(self.first(x))))))


def test_a_module_at_two_places_stays_one_module_and_a_tied_weight_is_packed_once() -> None:
    ours = mpsearch.apply(Repeated(), {"again": "w4a8", "left": "w4a8", "right": "w4a8"})
    assert ours.first is ours.again
    assert isinstance(ours.first, PackedLinear)
    assert ours.left is not ours.right
    assert ours.left.weights is ours.right.weights
    assert not np.array_equal(ours.left.bias, ours.right.bias)
    clone = copy.deepcopy(ours)
    assert clone.left.weights is clone.right.weights
    assert clone.first is clone.again


def test_the_second_call_of_a_module_is_named_as_capture_names_it() -> None:
    model = Repeated()
    names = [layer.name for layer in capture(model, torch.randn(2, 16)).weighted_layers]
    assert any("#2" in name for name in names)
    ours = mpsearch.apply(model, dict.fromkeys(names, "w8a8"), calibration=[torch.randn(8, 16)])
    assert all(isinstance(layer, PackedLinear) for layer in (ours.first, ours.left, ours.right))


@pytest.mark.parametrize(
    ("layer", "shape", "kind", "name"),
    [(nn.Linear(6, 4), (8, 6), PackedLinear, "linear"), (nn.Conv1d(6, 4, 3), (8, 6, 9), PackedConv1d, "conv2d")],
)
def test_a_model_that_is_one_layer_is_replaced_as_a_whole(layer: nn.Module, shape: tuple[int, ...], kind: type, name: str) -> None:
    x = torch.randn(shape)
    assert [captured.name for captured in capture(layer, x).weighted_layers] == [name]
    assert isinstance(mpsearch.apply(layer, {name: "w8a8"}, calibration=[x]), kind)
    assert isinstance(mpsearch.apply(layer, {"": "w8a8"}), kind)


@pytest.mark.parametrize("first", ["w4a8g128", "w2a8g64"])
def test_a_transformer_layer_runs_its_dense_layers_on_group_scales(first: str) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(256, 4, dim_feedforward=512, batch_first=True, dropout=0.0)
    model = nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=True), nn.Linear(256, 10)).eval()
    names = [name for name, module in model.named_modules() if type(module) is nn.Linear]
    ours, x = mpsearch.apply(model, dict.fromkeys(names, first)), torch.randn(3, 7, 256)
    rounded = copy.deepcopy(model)
    for name in names:
        weight = real_weight(ours.get_submodule(name))  # type: ignore[arg-type]
        rounded.get_submodule(name).weight = nn.Parameter(weight.float())
    with torch.no_grad():
        got, wanted = ours(x), rounded(x)
    # The same rounded weights in float: what is left is the rounding of activations to 8 bits, 1/254 of a row's largest value at most.
    assert float((got - wanted).norm() / wanted.norm()) < 4 / 254
    assert isinstance(ours[0].layers[1].linear2, PackedLinear)


# ---------------------------------------------------------------- the integers


def test_without_calibration_weights_are_rounded_to_nearest_channel_by_channel() -> None:
    head = mpsearch.apply(SmallNet(), {"head": "w3a8"}).head
    weight = SmallNet().head.weight.detach().double().numpy()
    scale = head.weights.scale.astype(np.float64)[:, None]
    assert np.abs(head.weights.unpack()).max() <= 4
    inside = np.abs(weight / scale) < 3
    assert np.abs(head.weights.unpack() * scale - weight)[inside].max() <= scale.max() / 2 * (1 + 1e-6)
    assert np.array_equal(head.weights.unpack(), np.clip(np.rint(weight / scale), -4, 3))


@pytest.mark.parametrize("source", ["calibration", "run"])
def test_with_calibration_the_integers_are_those_of_the_exported_network(source: str, tmp_path: Path) -> None:
    model = SmallNet()
    config = small_config(model, stem="w3a8", depthwise="w4a8", head="w2a8")
    graph = capture(model, BATCHES[0])
    quantizer = Quantizer(graph, statistics(graph))
    if source == "run":
        ours = mpsearch.apply(model, save_run(tmp_path, graph, statistics(graph), config))
    else:
        ours = mpsearch.apply(model, config, calibration=BATCHES)
    for name in NAMES:
        rounded, packed = quantizer.rounded(graph.layer(name), config[name].weight_bits), ours.get_submodule(name)
        integers = packed.weights.unpack() if isinstance(packed, PackedLinear) else conv_integers(packed)
        assert np.array_equal(integers, rounded.weight)
        assert np.allclose(packed.weights.scale, rounded.scale, rtol=1e-6)
        assert np.allclose(packed.bias, rounded.bias, rtol=1e-6)
    assert isinstance(ours.norm, nn.Identity)
    assert isinstance(ours.norm2, nn.Identity)


class NormElsewhere(SmallNet):
    """The first batch norm is called as a function, the second is scaled, so that no module does what was folded."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm = self.norm
        x = torch.relu(nn.functional.batch_norm(self.stem(x), norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps))
        return self.head(torch.relu(0.5 * self.norm2(self.depthwise(x))).mean((2, 3)))


def test_a_batch_norm_that_must_stay_is_divided_out_of_the_layer_before_it() -> None:
    model = NormElsewhere()
    config = small_config(model, stem="w3a8", depthwise="w4a8", head="w8a8")
    graph = capture(model, BATCHES[0])
    quantizer = Quantizer(graph, statistics(graph))
    ours = mpsearch.apply(model, config, calibration=BATCHES)
    assert isinstance(ours.norm2, nn.BatchNorm2d)
    for name, norm, factor in (("stem", model.norm, 1.0), ("depthwise", model.norm2, 0.5)):
        rounded, packed = quantizer.rounded(graph.layer(name), config[name].weight_bits), ours.get_submodule(name)
        assert np.array_equal(conv_integers(packed), rounded.weight)
        # By hand: what the model still does behind the layer is a multiplication by gain and an offset.
        gain = factor * (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().double().numpy()
        offset = factor * norm.bias.detach().double().numpy() - gain * norm.running_mean.double().numpy()
        alive = gain != 0
        assert np.allclose(packed.weights.scale * gain, np.where(alive, rounded.scale, 0), rtol=1e-5)
        assert np.allclose((packed.bias * gain + offset)[alive], rounded.bias[alive], atol=1e-5)


def test_a_batch_norm_that_no_layer_took_in_stays_float_though_a_captured_config_names_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3)).eval()
    names = [layer.name for layer in capture(model, BATCHES[0]).weighted_layers]
    assert names == ["0", "2"]
    config = small_config(model, **dict.fromkeys(names, "w8a8"))
    for ours in (mpsearch.apply(model, config), mpsearch.apply(model, config, calibration=BATCHES)):
        assert [type(module).__name__ for module in ours] == ["BatchNorm2d", "ReLU", "PackedConv2d"]


def test_a_folded_and_an_unfolded_batch_norm_give_one_network() -> None:
    """The same weights behind both: what a module computes must not depend on where its batch norm is computed."""
    folded = mpsearch.apply(SmallNet(), dict.fromkeys(NAMES, "w8a8"), calibration=BATCHES)
    plain = mpsearch.apply(SmallNet(), dict.fromkeys(NAMES, "w8a8"))
    wanted = SmallNet().eval()(BATCHES[0]).detach()
    for ours in (folded, plain):
        assert float((ours(BATCHES[0]) - wanted).norm() / wanted.norm()) < 0.02


def test_layers_with_a_group_size_are_rounded_to_nearest_beside_calibrated_ones() -> None:
    with_data = mpsearch.apply(SmallNet(), {"stem": "w2a8", "head": "w4a8g32"}, calibration=BATCHES)
    without = mpsearch.apply(SmallNet(), {"stem": "w2a8", "head": "w4a8g32"})
    assert np.array_equal(with_data.head.weights.unpack(), without.head.weights.unpack())
    assert not np.array_equal(with_data.stem.weights.rows, without.stem.weights.rows)


def test_a_config_file_gives_what_the_config_gives(tmp_path: Path) -> None:
    config = small_config(SmallNet(), stem="w3a8", depthwise="w4a8", head="w2a8")
    path = write_config_yaml(config, tmp_path / "config.yaml")
    wanted = mpsearch.apply(SmallNet(), config)(BATCHES[0])
    assert torch.equal(mpsearch.apply(SmallNet(), path)(BATCHES[0]), wanted)
    assert torch.equal(mpsearch.apply(SmallNet(), str(path))(BATCHES[0]), wanted)
    assert torch.equal(mpsearch.apply(SmallNet(), dict(config.precisions))(BATCHES[0]), wanted)


# ---------------------------------------------------------------- what is refused


class Twice(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 2


def hooked() -> nn.Module:
    model = SmallNet()
    model.head.register_forward_hook(lambda module, inputs, output: output)
    return model


def broken(value: float) -> nn.Module:
    model = SmallNet()
    with torch.no_grad():
        model.head.weight[0, 0] = value
    return model


def uncopyable() -> nn.Module:
    model = SmallNet()
    model.last = model.head.weight * 2
    return model


@pytest.mark.parametrize(
    ("model", "config", "message"),
    [
        (SmallNet(), {"haed": "w4a8"}, r"The model has no layer 'haed'\. Hint: did you mean head\?"),
        (nn.Sequential(nn.ReLU()), {"1": "w4a8"}, r"The model has no layer '1'\. Hint: it has none that can be packed\."),
        (
            SmallNet(),
            {"norm": "w8a8"},
            "Layer 'norm' is a BatchNorm2d, wanted a Linear, Conv1d or Conv2d. Hint: leave it out of the config",
        ),
        (SmallNet(), {"head": "w4a4"}, "Layer 'head': the host kernels have no w4a4, wanted activations of 8 bits, got 4"),
        (SmallNet(), {"head": "w9a8"}, "Layer 'head': the host kernels have no w9a8, wanted weights of 2 to 8 bits, got 9"),
        (SmallNet(), {"head": "w4a8g48"}, "Layer 'head': the host kernels have no w4a8g48, wanted a group size of 32, 64, 128, got 48"),
        (SmallNet(), {"stem": "w4a8g32"}, "the host kernels have no w4a8g32 for a convolution, wanted one scale a channel. Hint: use w4a8"),
        (SmallNet(), {"head": "4 bits"}, "Layer 'head': Precision: got '4 bits', wanted the form w4a8"),
        (SmallNet(), {"head": 4}, "Layer 'head': the precision is a int, wanted a text such as 'w4a8', or a Precision"),
        (SmallNet(), {}, "The config names no layer. Hint: name at least one"),
        (SmallNet(), ["head"], "The config is a list, wanted a BitWidthConfig, a path, or a mapping"),
        (torch.zeros(3), {"head": "w4a8"}, "The model is a Tensor, wanted an nn.Module"),
        (uncopyable(), {"head": "w4a8"}, "The model cannot be copied: .* Hint: keep no tensors that a forward computed"),
        (Repeated(), {"first": "w4a8", "again": "w2a8"}, "Layers 'first' and 'again' are one module, but are given w4a8 and w2a8"),
        (nn.Sequential(Twice(3, 3)), {"0": "w4a8"}, "Layer '0' is a Twice with a forward of its own, wanted a plain Linear"),
        (hooked(), {"head": "w4a8"}, "Layer 'head' has forward hooks, which would be lost. Hint: remove them first"),
        (
            nn.Sequential(nn.MultiheadAttention(8, 2)),
            {"0.out_proj": "w4a8"},
            "Layer '0.out_proj': MultiheadAttention reads its weight",
        ),
        (broken(float("nan")), {"head": "w4a8"}, "Layer 'head': its weight holds 1 values that are NaN or infinite"),
        (SmallNet().to("meta"), {"head": "w4a8"}, "Layer 'head': its weight is on meta, wanted on the CPU. Hint: call .cpu"),
        (nn.Sequential(nn.Linear(70_000, 1)), {"0": "w4a8"}, "Layer '0': Packed weights: 70000 weights an output may overflow"),
    ],
)
def test_what_cannot_be_packed_is_refused_by_name(model: nn.Module, config: Mapping[str, str], message: str) -> None:
    with pytest.raises(QuantizationError, match=message):
        mpsearch.apply(model, config)


def test_a_config_that_belongs_to_another_model_is_refused(tmp_path: Path) -> None:
    config, other = small_config(SmallNet(), stem="w4a8", depthwise="w4a8", head="w4a8"), broken(0.5)
    with pytest.raises(RecordError, match="The config was made for model"):
        mpsearch.apply(other, config, calibration=BATCHES)
    graph = capture(SmallNet(), BATCHES[0])
    run = save_run(tmp_path, graph, statistics(graph), config)
    with pytest.raises(RecordError, match=r"Layer 'head': .* has another weight: they differ by 0\.\d+.* belongs to another model"):
        mpsearch.apply(other, run)
    deeper = SmallNet()
    deeper.stem = nn.Conv2d(4, 8, 3)
    with pytest.raises(RecordError, match=r"does not run on inputs of shape \(2, 3, 8, 8\): .* Hint: the run belongs to another model"):
        mpsearch.apply(deeper, run)
    wider = SmallNet()
    wider.head = nn.Linear(8, 6)
    with pytest.raises(RecordError, match=r"it has shape \(6, 8\) in the model and \(5, 8\) in the graph"):
        mpsearch.apply(wider, run)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"config.yaml does not exist"):
        mpsearch.apply(SmallNet(), tmp_path)
    write_config_yaml(small_config(SmallNet(), stem="w4a8", depthwise="w4a8", head="w4a8"), tmp_path / "config.yaml")
    with pytest.raises(RecordError, match=r"graph.json does not exist"):
        mpsearch.apply(SmallNet(), tmp_path)


def test_a_layer_that_the_forward_does_not_call_has_nothing_to_calibrate_on() -> None:
    model = SmallNet()
    model.spare = nn.Linear(4, 4)
    assert isinstance(mpsearch.apply(model, {"spare": "w4a8"}).spare, PackedLinear)
    with pytest.raises(RecordError, match=r"Layer 'spare': the captured model does not call it. Hint: known: depthwise, head, stem"):
        mpsearch.apply(model, {"spare": "w4a8"}, calibration=BATCHES)


def test_no_calibration_batch_and_no_thread_are_refused() -> None:
    with pytest.raises(QuantizationError, match="There is no calibration data"):
        mpsearch.apply(SmallNet(), {"head": "w4a8"}, calibration=[])
    with pytest.raises(QuantizationError, match="got 0 threads, wanted at least 1"):
        mpsearch.apply(SmallNet(), {"head": "w4a8"}, threads=0)


def test_a_package_without_the_native_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_library, "native_library", lambda: None)
    with pytest.raises(MpsearchError, match=r"Layer 'head': There are no packed host kernels at .* Hint: install mpsearch with a C compiler"):
        mpsearch.apply(SmallNet(), {"head": "w4a8"})


# ---------------------------------------------------------------- real networks


def error_of(model: nn.Module, workload: Workload) -> float:
    wrong = samples = 0
    with torch.no_grad():
        for inputs, targets in workload.evaluation:
            assert isinstance(inputs, torch.Tensor)
            wrong += int((model(inputs).argmax(1) != targets).sum())
            samples += len(targets)
    return 100 * wrong / samples


def every_layer(model: nn.Module, precision: str) -> dict[str, str]:
    return {name: precision for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10_resnet20", "kws_dscnn_s"])
def test_a_real_network_rounded_to_8_bits_without_data_errs_as_the_float_network_does(data_folder: Path, name: str) -> None:
    workload = mpsearch.load_workload(name)
    ours = mpsearch.apply(workload.model, every_layer(workload.model, "w8a8"), threads=2)
    # 8 bits change few decisions, to the better or the worse: one in a hundred at most.
    assert abs(error_of(ours, workload) - error_of(workload.model, workload)) <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10_resnet20", "kws_dscnn_s", "imagenet_mobilenetv1_025_128"])
def test_a_real_network_from_a_runs_folder_errs_as_the_exported_network_does(data_folder: Path, name: str, tmp_path: Path) -> None:
    workload = mpsearch.load_workload(name)
    graph = capture(workload.model, workload.calibration[0])
    stats = calibrate(graph, lambda: RealNetwork(graph).activations(workload.calibration))
    quantizer = Quantizer(graph, stats)
    floating = error_of(workload.model, workload)
    for bits, margin in ((8, 2.0), (4, 100.0)):
        precisions = tuple((layer.name, Precision(weight_bits=bits)) for layer in graph.weighted_layers)
        config = BitWidthConfig(model_digest=graph.model_digest, precisions=precisions)
        run = save_run(tmp_path, graph, stats, config)
        error = error_of(mpsearch.apply(workload.model, run, threads=2), workload)
        exported = measure_error(IntegerNetwork(quantizer.quantize(config)), workload.evaluation, workload.metric, "integer").error
        # The same integer weights; scales of activations are each sample's own here, and fixed there.
        assert error <= exported + 2.0
        assert error <= floating + margin
