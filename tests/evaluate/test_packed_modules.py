# SPDX-License-Identifier: Apache-2.0
"""Packed layers equal a recomputation in torch, stay near the float layer, and behave as torch modules do."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import mpsearch
from mpsearch.errors import QuantizationError
from mpsearch.evaluate.packed_modules import PackedConv1d, PackedConv2d, PackedLinear
from mpsearch.quant.bitpack import row_bytes
from mpsearch.quant.native import native_library
from tests.evaluate.dynamic_reference import conv_reference, dense_reference, real_weight

pytestmark = pytest.mark.skipif(native_library() is None, reason="NO NATIVE LIBRARY: build the package with a C compiler")

BITS = st.integers(2, 8)
THREADS = st.integers(1, 3)


def packed(layer: nn.Module, precision: str, threads: int = 1) -> PackedLinear | PackedConv2d:
    result = mpsearch.apply(nn.Sequential(layer), {"0": precision}, threads=threads)[0]
    assert isinstance(result, (PackedLinear, PackedConv2d))
    return result


def assert_near(got: torch.Tensor, wanted: torch.Tensor) -> None:
    """Float32 sums and scalings against float64."""
    assert got.shape == wanted.shape
    assert torch.allclose(got.double(), wanted, rtol=1e-5, atol=1e-5 * max(1.0, float(wanted.abs().max()) if wanted.numel() else 0.0))


@st.composite
def dense_cases(draw: st.DrawFn) -> tuple[nn.Linear, str, torch.Tensor]:
    torch.manual_seed(draw(st.integers(0, 99)))
    inputs, outputs = draw(st.integers(1, 300)), draw(st.integers(1, 40))
    leading = draw(st.lists(st.integers(0, 5), max_size=3))
    group = draw(st.sampled_from(["", "g32", "g64", "g128"]))
    layer = nn.Linear(inputs, outputs, bias=draw(st.booleans()))
    return layer, f"w{draw(BITS)}a8{group}", torch.randn(*leading, inputs) * 10 ** draw(st.integers(-3, 3))


@given(dense_cases(), THREADS)
def test_a_dense_layer_equals_the_recomputation_for_any_shape_width_and_group(case: tuple[nn.Linear, str, torch.Tensor], threads: int) -> None:
    layer, precision, x = case
    ours = packed(layer, precision, threads)
    assert_near(ours(x), dense_reference(ours, x))


@st.composite
def conv_cases(draw: st.DrawFn) -> tuple[nn.Conv2d, str, torch.Tensor]:
    torch.manual_seed(draw(st.integers(0, 99)))
    groups = draw(st.sampled_from([1, 1, 2, 3, 8]))
    inputs = groups * draw(st.sampled_from([1, 1, 2, 5]))
    outputs = groups * draw(st.integers(1, 9))
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    mode = draw(st.sampled_from(["zeros", "zeros", "zeros", "reflect", "replicate", "circular"]))
    is_same = draw(st.booleans())
    stride = (1, 1) if is_same else (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = "same" if is_same else draw(st.sampled_from(["valid", 0, (1, 2), (2, 0)]))
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=draw(st.booleans()), padding_mode=mode)
    x = torch.randn(draw(st.integers(0, 3)), inputs, draw(st.integers(8, 13)), draw(st.integers(8, 13)))
    if draw(st.booleans()):
        x = x.to(memory_format=torch.channels_last)
    return layer, f"w{draw(BITS)}a8", x


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's own, of the float layer
@given(conv_cases(), THREADS)
def test_a_convolution_equals_the_recomputation_and_has_torchs_shape(case: tuple[nn.Conv2d, str, torch.Tensor], threads: int) -> None:
    layer, precision, x = case
    ours = packed(layer, precision, threads)
    result = ours(x)
    if len(x) == 0:
        assert result.numel() == 0
    else:
        assert result.shape == layer(x).shape
        assert_near(result, conv_reference(ours, x))


@given(
    st.sampled_from([1, 2, 4]),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([0, 2, "same"]),
    st.sampled_from(["zeros", "reflect", "circular"]),
    BITS,
)
def test_a_1d_convolution_equals_the_recomputation(
    groups: int, kernel: int, width: int, stride: int, padding: int | str, mode: str, bits: int
) -> None:
    torch.manual_seed(bits)
    layer = nn.Conv1d(4, 4 * width, kernel, 1 if padding == "same" else stride, padding, groups=groups, padding_mode=mode)
    ours = packed(layer, f"w{bits}a8")
    assert isinstance(ours, PackedConv1d)
    x = torch.randn(2, 4, 17)
    assert ours(x).shape == layer(x).shape
    assert_near(ours(x), conv_reference(ours, x))
    assert torch.equal(ours(x[0]), ours(x[:1])[0])


@pytest.mark.parametrize("precision", ["w8a8", "w5a8", "w2a8", "w8a8g32", "w4a8g64"])
def test_a_dense_layer_strays_from_float_by_no_more_than_its_rounding_allows(precision: str) -> None:
    torch.manual_seed(1)
    layer, x = nn.Linear(200, 50), torch.randn(30, 200)
    ours = packed(layer, precision)
    weight = real_weight(ours)
    # |x w - x' w'| <= |x - x'| |w'| + |x| |w - w'|, and an input moves by half a step at most.
    half_step = x.double().abs().amax(1, keepdim=True) / 127 / 2
    bound = half_step * weight.abs().sum(1) + x.double().abs() @ (layer.weight.double() - weight).abs().T
    error = (ours(x).double() - layer(x).double()).abs()
    assert (error <= bound + 1e-5).all()


def test_a_convolution_strays_from_float_by_no_more_than_its_rounding_allows() -> None:
    torch.manual_seed(1)
    layer, x = nn.Conv2d(6, 12, 3, padding=1), torch.randn(4, 6, 9, 9)
    ours = packed(layer, "w8a8")
    weight = real_weight(ours)
    half_step = x.double().abs().amax((1, 2, 3)) / 127 / 2
    moved = nn.functional.conv2d(x.double().abs(), (layer.weight.double() - weight).abs(), padding=1)
    bound = half_step[:, None, None, None] * weight.abs().sum((1, 2, 3))[None, :, None, None] + moved
    assert ((ours(x).double() - layer(x).double()).abs() <= bound + 1e-5).all()


@pytest.mark.parametrize("shape", [(7, 300), (64, 300)])
@pytest.mark.parametrize("precision", ["w2a8", "w3a8", "w8a8", "w4a8g128"])
def test_one_and_two_threads_give_identical_outputs(shape: tuple[int, int], precision: str) -> None:
    torch.manual_seed(0)
    layer, x = packed(nn.Linear(300, 130), precision), torch.randn(*shape)
    conv, image = packed(nn.Conv2d(8, 24, 3, padding=1), precision[:4]), torch.randn(5, 8, 12, 12)
    first = layer(x), conv(image)
    layer.threads = conv.threads = 2
    assert torch.equal(first[0], layer(x))
    assert torch.equal(first[1], conv(image))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_computed_in_float32_and_come_back_as_they_were(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, conv = packed(nn.Linear(20, 6), "w4a8"), packed(nn.Conv2d(3, 5, 3), "w4a8")
    x, image = torch.randn(4, 20).to(kind), torch.randn(2, 3, 8, 8).to(kind)
    assert layer(x).dtype == conv(image).dtype == kind
    assert torch.equal(layer(x), layer(x.float()).to(kind))
    assert torch.equal(conv(image), conv(image.float()).to(kind))


def test_the_output_of_a_convolution_has_the_memory_format_of_its_input() -> None:
    conv, image = packed(nn.Conv2d(4, 5, 3), "w4a8"), torch.randn(2, 4, 8, 8)
    assert conv(image).is_contiguous()
    last = conv(image.to(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert not last.is_contiguous()
    assert torch.equal(last, conv(image))


def test_a_strided_view_of_the_input_gives_the_same_as_its_copy() -> None:
    layer, x = packed(nn.Linear(20, 6), "w4a8"), torch.randn(8, 40)[::2, ::2]
    conv, image = packed(nn.Conv2d(4, 5, 3), "w4a8"), torch.randn(2, 8, 9, 18)[:, ::2, :, ::2]
    assert torch.equal(layer(x), layer(x.contiguous()))
    assert torch.equal(conv(image), conv(image.contiguous()))


def test_a_row_with_a_nan_is_nan_and_leaves_the_others_alone() -> None:
    layer, x = packed(nn.Linear(20, 6), "w4a8"), torch.randn(3, 20)
    broken = x.clone()
    broken[1, 4] = torch.nan
    result = layer(broken)
    assert torch.isnan(result[1]).all()
    assert torch.equal(result[[0, 2]], layer(x)[[0, 2]])


# ---------------------------------------------------------------- as a torch module


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 1, groups=2),
        nn.Flatten(),
        nn.Linear(216, 10),
    )


CONFIG = {"0": "w5a8", "2": "w3a8", "4": "w2a8", "6": "w4a8g64"}
IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(4))


def test_a_saved_state_gives_another_applied_model_the_same_outputs() -> None:
    ours, file = mpsearch.apply(network(), CONFIG), io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    stranger = network()
    for parameter in stranger.parameters():
        nn.init.normal_(parameter)
    other = mpsearch.apply(stranger, CONFIG)
    assert not torch.equal(other(IMAGES), ours(IMAGES))
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert torch.equal(other(IMAGES), ours(IMAGES))


def test_a_state_of_another_config_is_refused_entry_by_entry() -> None:
    state = mpsearch.apply(network(), CONFIG).state_dict()
    other = mpsearch.apply(network(), {**CONFIG, "0": "w4a8", "6": "w4a8"})
    before = other(IMAGES)
    with pytest.raises(RuntimeError, match=r"0\.packed_weight: got torch.uint8 of shape \(8, 18\), wanted torch.uint8 of shape \(8, 14\)"):
        other.load_state_dict(state)
    assert torch.equal(before, other(IMAGES))


def test_a_state_of_equal_shape_but_other_width_is_refused() -> None:
    narrow, wide = (mpsearch.apply(nn.Sequential(nn.Linear(1, 3)), {"0": precision}) for precision in ("w2a8", "w4a8"))
    with pytest.raises(RuntimeError, match="weights of 2 bits, wanted 4: the model was applied with another config"):
        wide.load_state_dict(narrow.state_dict())


def test_a_float_state_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r'(?s)Missing key.*"0.packed_weight".*Unexpected key.*"0.weight"'):
        mpsearch.apply(network(), CONFIG).load_state_dict(network().state_dict())


def test_part_of_a_state_is_taken_when_loading_is_not_strict() -> None:
    ours, other = mpsearch.apply(network(), CONFIG), mpsearch.apply(network(), CONFIG)
    part = {"6.bias": torch.full((10,), 7.0)}
    missing = other.load_state_dict(part, strict=False)
    assert missing.unexpected_keys == []
    assert torch.allclose(other(IMAGES) - torch.from_numpy(np.float32(7) - ours[6].bias), ours(IMAGES), atol=1e-5)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"])
def test_copies_give_the_same_outputs_and_hold_their_own_weights(clone: object) -> None:
    ours = mpsearch.apply(network(), CONFIG, threads=2)
    other = clone(ours)  # type: ignore[operator]
    wanted = ours(IMAGES)
    ours.load_state_dict({name: torch.zeros_like(value) if "bits" not in name else value for name, value in ours.state_dict().items()})
    assert torch.equal(other(IMAGES), wanted)
    assert not torch.equal(ours(IMAGES), wanted)
    assert other[6].threads == 2


def test_what_a_layer_holds_has_the_bytes_that_its_width_promises() -> None:
    layer = packed(nn.Linear(512, 256), "w3a8g128")
    state = layer.state_dict()
    assert state["packed_weight"].nbytes == 256 * row_bytes(512, 3) == 256 * 512 * 3 // 8
    assert layer.packed_bytes == 256 * 512 * 3 // 8
    assert state["scale"].shape == (256, 4)
    assert list(layer.parameters()) == list(layer.buffers()) == []
    held = sum(array.nbytes for array in vars(layer.weights).values() if isinstance(array, np.ndarray))
    assert held == 256 * 512 * 3 // 8 + 256 * 4 * 4 + 256 * 4  # weights, scales, and the sum of each channel
    assert packed(nn.Conv2d(64, 32, 3), "w5a8").packed_bytes == 32 * 64 * 9 * 5 // 8
    assert packed(nn.Conv2d(64, 64, 3, groups=64), "w4a8").state_dict()["packed_weight"].nbytes == 64 * 9 // 2


def test_the_description_says_shape_precision_and_threads() -> None:
    assert repr(packed(nn.Linear(64, 10), "w4a8g32", 2)) == "PackedLinear(in_features=64, out_features=10, precision=w4a8g32, threads=2)"
    conv = packed(nn.Conv2d(4, 6, (3, 5), padding="same", padding_mode="reflect", groups=2), "w3a8")
    assert repr(conv) == (
        "PackedConv2d(4, 6, kernel_size=(3, 5), stride=(1, 1), padding=(1, 1, 2, 2), dilation=(1, 1), groups=2, padding_mode=reflect, "
        "precision=w3a8, threads=1)"
    )
    line = packed(nn.Conv1d(4, 6, 3, stride=2, padding=1), "w8a8")
    assert repr(line) == "PackedConv1d(4, 6, kernel_size=(3,), stride=(2,), padding=(1, 1), dilation=(1,), groups=1, precision=w8a8, threads=1)"


def test_casting_the_model_leaves_packed_layers_as_they_are() -> None:
    ours = mpsearch.apply(network(), CONFIG)
    wanted = ours(IMAGES)
    assert torch.equal(ours.double()(IMAGES), wanted)
    assert torch.equal(ours.half()(IMAGES), wanted)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 5), r"PackedLinear: got an input of shape \(2, 5\), wanted \(\.\.\., 20\)"),
        (torch.zeros(()), r"PackedLinear: got an input of shape \(\), wanted \(\.\.\., 20\)"),
        (torch.zeros(2, 20, dtype=torch.int64), "PackedLinear: got an input of torch.int64, wanted floats. Hint: convert it with .float"),
        (torch.zeros(2, 20, device="meta"), "PackedLinear: got an input on meta, wanted one on the CPU. Hint: move it there with .cpu"),
        (
            torch.zeros(2, 20, requires_grad=True),
            "requires a gradient, but packed layers are for inference only. Hint: call",
        ),
    ],
)
def test_an_input_that_cannot_be_multiplied_is_refused(x: torch.Tensor, message: str) -> None:
    with pytest.raises(QuantizationError, match=message):
        packed(nn.Linear(20, 6), "w4a8")(x)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.Conv2d(3, 4, 3), (2, 4, 8, 8), r"PackedConv2d: got an input of shape \(2, 4, 8, 8\), wanted \(N, 3, H, W\), or no N"),
        (nn.Conv2d(3, 4, 3), (3, 8), r"PackedConv2d: got an input of shape \(3, 8\)"),
        (nn.Conv2d(3, 4, 3), (1, 3, 2, 2), "an input of 2x2 with padding .* is smaller than a kernel that spans 3x3"),
        (nn.Conv1d(3, 4, 3), (2, 4, 8), r"PackedConv1d: got an input of shape \(2, 4, 8\), wanted \(N, 3, L\), or no N"),
    ],
)
def test_an_input_that_cannot_be_convolved_is_refused(layer: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(QuantizationError, match=message):
        packed(layer, "w4a8")(torch.zeros(shape))


def test_an_input_with_a_gradient_is_taken_where_none_is_recorded() -> None:
    x = torch.zeros(2, 20, requires_grad=True)
    with torch.no_grad():
        assert not packed(nn.Linear(20, 6), "w4a8")(x).requires_grad
    with torch.inference_mode():
        assert packed(nn.Linear(20, 6), "w4a8")(torch.ones(2, 20)).shape == (2, 6)


@pytest.mark.parametrize("trace", [torch.jit.trace, torch.export.export], ids=["jit", "export"])
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.* is deprecated")
def test_a_packed_layer_is_not_traced_into_something_wrong(trace: object) -> None:
    with pytest.raises(QuantizationError, match="a packed layer is no torch operation, and cannot be traced or exported"):
        trace(packed(nn.Linear(20, 6), "w4a8"), (torch.ones(2, 20),))  # type: ignore[operator]
