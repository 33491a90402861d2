# SPDX-License-Identifier: Apache-2.0
"""Every op on real numbers against torch's own modules."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.evaluate.operations import apply_real, convolve, pool_maximum, window_counts
from mpsearch.records import AvgPool2d, Concat, Conv2d, Layer, MaxPool2d, Mean, Pad, Reshape, Slice, Transpose
from tests.evaluate.float_graphs import layer


def image(channels: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 7, 6, channels, generator=torch.Generator().manual_seed(seed))


def run(record: Layer, *inputs: torch.Tensor, shape: tuple[int, ...] = ()) -> torch.Tensor:
    return apply_real(record, inputs, shape, None, None)


@given(stride=st.integers(1, 3), dilation=st.integers(1, 2), groups=st.sampled_from((1, 2, 4)), padding=st.tuples(*[st.integers(0, 2)] * 4))
def test_convolution_equals_torch_on_a_padded_image(stride: int, dilation: int, groups: int, padding: tuple[int, int, int, int]) -> None:
    x, weight = image(), torch.randn(8, 3, 2, 4 // groups, generator=torch.Generator().manual_seed(1))
    op = Conv2d(stride=(stride, 1), padding=padding, dilation=(dilation, 1), groups=groups)
    top, bottom, left, right = padding
    padded = F.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
    wanted = F.conv2d(padded, weight.permute(0, 3, 1, 2), torch.arange(8.0), (stride, 1), 0, (dilation, 1), groups)
    torch.testing.assert_close(convolve(op, x, weight, torch.arange(8.0)), wanted.permute(0, 2, 3, 1))


@pytest.mark.parametrize("count_padding", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [((2, 2), (2, 2), (0, 0)), ((3, 2), (2, 1), (1, 1)), ((3, 3), (1, 2), (1, 0))])
def test_average_pooling_equals_torch(count_padding: bool, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> None:
    x = image()
    op = AvgPool2d(kernel=kernel, stride=stride, padding=(padding[0], padding[0], padding[1], padding[1]), count_padding=count_padding)
    wanted = F.avg_pool2d(x.permute(0, 3, 1, 2), kernel, stride, padding, count_include_pad=count_padding).permute(0, 2, 3, 1)
    torch.testing.assert_close(run(layer("l", op, ("a",), "b"), x), wanted)


def test_corner_windows_count_only_the_values_they_hold() -> None:
    op = AvgPool2d(kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1), count_padding=False)
    assert window_counts(op, 3, 3)[0, :, :, 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]


def test_padding_never_wins_a_maximum() -> None:
    x = -torch.ones(1, 2, 2, 1)
    op = MaxPool2d(kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1))
    assert pool_maximum(op, x).flatten().tolist() == [-1.0]


def test_maximum_pooling_equals_torch() -> None:
    op = MaxPool2d(kernel=(3, 2), stride=(2, 2), padding=(1, 1, 1, 1))
    wanted = F.max_pool2d(image().permute(0, 3, 1, 2), (3, 2), 2, (1, 1)).permute(0, 2, 3, 1)
    assert torch.equal(run(layer("l", op, ("a",), "b"), image()), wanted)


def test_means_over_axes_take_the_output_shape() -> None:
    record = layer("l", Mean(axes=(0, 1)), ("a",), "b")
    torch.testing.assert_close(run(record, image(), shape=(4,)), image().mean((1, 2)))
    assert run(record, image(), shape=(1, 1, 4)).shape == (2, 1, 1, 4)


def test_moving_ops_do_what_torch_does() -> None:
    x, other = image(), image(seed=1)
    assert torch.equal(run(layer("l", Concat(axis=2), ("a", "b"), "c"), x, other), torch.cat([x, other], 3))
    assert torch.equal(run(layer("l", Transpose(permutation=(2, 0, 1)), ("a",), "b"), x), x.permute(0, 3, 1, 2))
    assert torch.equal(run(layer("l", Reshape(), ("a",), "b"), x, shape=(42, 4)), x.reshape(2, 42, 4))
    assert torch.equal(run(layer("l", Slice(start=(1, 0, 0), stop=(7, 6, 4), step=(2, 1, 3)), ("a",), "b"), x), x[:, 1:7:2, :, ::3])
    padded = run(layer("l", Pad(before=(1, 0, 2), after=(0, 3, 0), value=9.0), ("a",), "b"), x)
    assert padded.shape == (2, 8, 9, 6)
    assert torch.equal(padded[:, 1:, :6, 2:], x)
    assert padded.eq(9.0).sum() == padded.numel() - x.numel()


def test_a_fused_activation_clamps() -> None:
    record = layer("l", Mean(axes=(2,)), ("a",), "b", clamp=(0.0, 0.5))
    assert torch.equal(run(record, image(), shape=(7, 6)), image().mean(3).clamp(0.0, 0.5))
