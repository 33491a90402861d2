# SPDX-License-Identifier: Apache-2.0
"""Small versions of the architectures that people deploy, and of the odd things that their forwards do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network to capture.

    Attributes:
        build: Makes it.
        shapes: Shape of each input, without batch.
        macs: Multiply-accumulates counted by hand, or None where the layer shapes are checked by formula alone.
    """

    build: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    macs: int | None = None

    def model(self) -> nn.Module:
        """Build it with fixed weights and batch norm statistics that are far from 0 and 1."""
        torch.manual_seed(0)
        model = self.build().eval()
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.uniform_(module.weight, 0.6, 1.4)
                nn.init.normal_(module.bias, 0.0, 0.3)
                module.running_mean.normal_(0.0, 0.3)
                module.running_var.uniform_(0.4, 1.6)
        return model

    def batch(self, samples: int, seed: int = 1) -> tuple[torch.Tensor, ...]:
        """Draw inputs."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(samples, *shape, generator=generator) for shape in self.shapes)


class Lambda(nn.Module):
    """A function as a module, with submodules that it may call by attribute."""

    def __init__(self, function: Callable[..., torch.Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(self, *inputs)


def conv_bn(inputs: int, outputs: int, kernel: int = 3, activation: nn.Module | None = None, **options: int) -> nn.Sequential:
    padding = options.pop("padding", (kernel - 1) // 2 * options.get("dilation", 1))
    layers = [nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False, **options), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([activation] if activation else []))


def head(channels: int, classes: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


# ---------------------------------------------------------------- image networks


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, by_mean: bool = False) -> None:
        super().__init__()
        self.by_mean = by_mean
        self.down, self.up = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = x.mean((2, 3), keepdim=True) if self.by_mean else F.adaptive_avg_pool2d(x, 1)
        gate = self.up(F.relu(self.down(pooled)))
        return x * (gate.sigmoid() if self.by_mean else F.hardsigmoid(gate, inplace=True))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, activation: Callable[[], nn.Module], excite: nn.Module | None = None) -> None:
        super().__init__()
        wide = inputs * 3
        excites = [excite] if excite else []
        self.body = nn.Sequential(
            conv_bn(inputs, wide, 1, activation()),
            conv_bn(wide, wide, 3, activation(), stride=stride, groups=wide),
            *excites,
            conv_bn(wide, outputs, 1),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


def mobilenet_v2() -> nn.Module:
    return nn.Sequential(
        conv_bn(3, 8, 3, nn.ReLU6(inplace=True), stride=2), InvertedResidual(8, 8, 1, nn.ReLU6), InvertedResidual(8, 12, 2, nn.ReLU6), head(12)
    )


def mobilenet_v3() -> nn.Module:
    first, second = InvertedResidual(8, 8, 1, nn.ReLU, SqueezeExcite(24)), InvertedResidual(8, 12, 2, nn.Hardswish, SqueezeExcite(24))
    return nn.Sequential(conv_bn(3, 8, 3, nn.Hardswish(), stride=2), first, second, head(12))


def efficientnet() -> nn.Module:
    first, second = (InvertedResidual(8, width, stride, nn.SiLU, SqueezeExcite(24, by_mean=True)) for width, stride in ((8, 1), (12, 2)))
    return nn.Sequential(conv_bn(3, 8, 3, nn.SiLU(), stride=2), first, second, head(12))


class ShuffleUnit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(conv_bn(half, half, 1, nn.ReLU()), conv_bn(half, half, 3, groups=half), conv_bn(half, half, 1, nn.ReLU()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=1)
        joined = torch.cat((first, self.branch(second)), dim=1)
        batch, channels, height, width = joined.shape
        return joined.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous().view(batch, -1, height, width)


class Fire(nn.Module):
    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.narrow, self.wide = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.squeeze(x), inplace=True)
        return torch.cat([F.relu(self.narrow(x)), F.relu(self.wide(x))], 1)


def squeezenet() -> nn.Module:
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), pool, Fire(8, 4, 6), pool, Fire(12, 4, 8), nn.Dropout(0.5), nn.Conv2d(16, 5, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
    )  # fmt: skip


class DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 2 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(2 * growth), nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        x = self.conv1(F.relu(self.norm1(torch.cat(features, 1))))
        return self.conv2(F.relu(self.norm2(x)))


class DenseBlock(nn.Module):
    def __init__(self, inputs: int, growth: int, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(inputs + index * growth, growth) for index in range(count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(features))
        return torch.cat(features, 1)


def densenet(blocks: tuple[int, ...] = (2, 2), growth: int = 4) -> nn.Module:
    layers: list[nn.Module] = [conv_bn(3, 2 * growth, 3, nn.ReLU(), stride=2)]
    width = 2 * growth
    for index, count in enumerate(blocks):
        layers.append(DenseBlock(width, growth, count))
        width += count * growth
        if index + 1 < len(blocks):
            layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width // 2, 1, bias=False), nn.AvgPool2d(2)]
            width //= 2
    return nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(), head(width))


class PreActivation(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(outputs), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = F.relu(self.norm1(x))
        shortcut = self.shortcut(start) if self.shortcut is not None else x
        return self.conv2(F.relu(self.norm2(self.conv1(start)))) + shortcut


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_bn(inputs, outputs, 3, nn.ReLU(inplace=True), stride=stride), conv_bn(outputs, outputs))
        self.shortcut = conv_bn(inputs, outputs, 1, stride=stride) if stride > 1 else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        y += self.shortcut(x)
        return self.relu(y)


class UNet(nn.Module):
    """Encoder and decoder with a skip by concatenation; the decoder upsamples by depth to space."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = conv_bn(1, 6, 3, nn.ReLU()), conv_bn(6, 8, 3, nn.ReLU(), stride=2)
        self.up, self.last = conv_bn(8, 24, 1), conv_bn(12, 4, 3, nn.ReLU())
        self.mask = nn.Conv2d(4, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.first(x)
        y = self.up(self.down(skip))
        batch, _, height, width = y.shape
        y = y.view(batch, 6, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3).reshape(batch, 6, 2 * height, 2 * width)
        return self.mask(self.last(torch.cat([y, skip], 1)))


class Inception(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.one = conv_bn(inputs, 4, 1, nn.ReLU())
        self.three = nn.Sequential(conv_bn(inputs, 4, 1, nn.ReLU()), conv_bn(4, 6, 3, nn.ReLU()))
        self.factored = nn.Sequential(nn.Conv2d(inputs, 4, (1, 5), padding=(0, 2)), nn.Conv2d(4, 4, (5, 1), padding=(2, 0)), nn.ReLU())
        self.counted = nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=True), conv_bn(inputs, 4, 1, nn.ReLU()))
        self.uncounted = nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), conv_bn(inputs, 4, 1, nn.ReLU()))
        self.largest = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_bn(inputs, 4, 1, nn.ReLU()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.one(x), self.three(x), self.factored(x), self.counted(x), self.uncounted(x), self.largest(x)], dim=1)


def lenet() -> nn.Module:
    convolutions = [nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(16 * 16, 20), nn.ReLU(), nn.Linear(20, 10))


LENET_MACS = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25 + 16 * 16 * 20 + 20 * 10
"""For a 28 x 28 image."""


# ---------------------------------------------------------------- sequences and dense networks


def ecg() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 8, 7, stride=2, padding=3, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(8, 8, 3, padding=2, dilation=2, groups=8), nn.BatchNorm1d(8), nn.ReLU6(), nn.Conv1d(8, 12, 1), nn.ReLU(), nn.AvgPool1d(3, 2, 1),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 4),
    )  # fmt: skip


ECG_MACS = 32 * 8 * 2 * 7 + 16 * 8 * 3 + 16 * 12 * 8 + 12 * 4
"""For 64 samples."""


class CausalBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.reach = 2 * dilation
        self.conv1, self.norm1 = nn.Conv1d(inputs, outputs, 3, dilation=dilation), nn.BatchNorm1d(outputs)
        self.conv2 = nn.Conv1d(outputs, outputs, 3, padding=self.reach, dilation=dilation)
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(F.pad(x, (self.reach, 0)))))
        y = F.relu(self.conv2(y)[:, :, : -self.reach])
        return F.relu(y + self.shortcut(x))


def tcn() -> nn.Module:
    blocks = nn.Sequential(CausalBlock(2, 6, 1), CausalBlock(6, 6, 2), CausalBlock(6, 6, 4))
    return Lambda(lambda self, x: self.classify(self.blocks(x)[:, :, -1]), blocks=blocks, classify=nn.Linear(6, 3))


class MixerBlock(nn.Module):
    def __init__(self, tokens: int, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm1d(tokens), nn.BatchNorm1d(tokens)
        self.tokens = nn.Sequential(nn.Linear(tokens, 12), nn.GELU(), nn.Linear(12, tokens))
        self.channels = nn.Sequential(nn.Linear(channels, 16), nn.GELU(), nn.Linear(16, channels))
        self.layer_scale = nn.Parameter(torch.linspace(0.2, 1.1, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.layer_scale * self.channels(self.norm2(x))


def mixer() -> nn.Module:
    blocks = nn.Sequential(MixerBlock(9, 8), MixerBlock(9, 8))
    forward = lambda self, x: self.classify(self.blocks(self.patches(x).flatten(2).transpose(1, 2)).mean(1))  # noqa: E731
    return Lambda(forward, patches=nn.Conv2d(1, 8, 4, stride=4), blocks=blocks, classify=nn.Linear(8, 3))


def autoencoder() -> nn.Module:
    widths = (24, 16, 4, 16)
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(16, 24))


# ---------------------------------------------------------------- odd forwards


class Normalised(nn.Module):
    """Normalises its own input by buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, -0.3]).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.2, 0.3, 0.25]).view(1, 3, 1, 1))
        self.body = nn.Sequential(conv_bn(3, 6, 3, nn.ReLU()), head(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body((x - self.mean) / self.deviation)


class Tied(nn.Module):
    """One weight under two names, one module called twice, one convolution with two batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.encode, self.decode, self.twice = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.decode.weight = self.encode.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.norm1(self.shared(x))) + self.norm2(self.shared(x))
        x = x.mean((2, 3))
        return self.decode(F.relu(self.twice(F.relu(self.twice(self.encode(x))))))


class Recurrent(nn.Module):
    """A python loop over channels slices, a select, a squeeze and an unsqueeze."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = self.step(x[:, 0])
        for index in range(1, x.shape[1]):
            state = torch.tanh(self.step(x.select(1, index)) + state)
        return self.last(state.unsqueeze(1)).squeeze(1)


class MeanStd(nn.Module):
    """Constants of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 4).view(4, 1, 1))
        self.out = nn.Conv2d(4, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ramp = torch.arange(4, dtype=torch.float32).view(1, 4, 1, 1) * 0.1
        y = 1 - self.conv(x * 0.5 + 1) * self.scale
        return self.out(F.leaky_relu(-(y - ramp) / 2 + 0.25, 0.1))


def two_inputs() -> nn.Module:
    forward = lambda self, image, state: self.out(torch.cat([self.conv(image).mean((2, 3)), torch.relu(self.dense(state))], 1))  # noqa: E731
    return Lambda(forward, conv=nn.Conv2d(1, 4, 3), dense=nn.Linear(5, 3), out=nn.Linear(7, 2))


def small(function: Callable[..., torch.Tensor], inputs: int = 4, outputs: int = 4, **options: object) -> Callable[[], nn.Module]:
    """Return a builder of a model with `conv` (1x1 unless told), `norm` over its channels, and `out`, a dense layer of 4 inputs."""
    kernel = options.pop("kernel_size", 1)
    conv = lambda: nn.Conv2d(inputs, outputs, kernel, **options)  # type: ignore[arg-type] # noqa: E731
    return lambda: Lambda(function, conv=conv(), norm=nn.BatchNorm2d(outputs), out=nn.Linear(4, 3))


def pooled(function: Callable[..., torch.Tensor], **options: object) -> Callable[[], nn.Module]:
    """Return a builder whose function's (N, 4, H, W) result is averaged and classified."""
    return small(lambda self, x: self.out(function(self, x).mean((2, 3))), **options)


IMAGE = ((4, 6, 6),)

ARCHITECTURES: dict[str, Network] = {
    "autoencoder": Network(build=autoencoder, shapes=((24,),), macs=24 * 16 + 16 * 4 + 4 * 16 + 16 * 24),
    "densenet": Network(build=densenet, shapes=((3, 16, 16),)),
    "ecg": Network(build=ecg, shapes=((2, 64),), macs=ECG_MACS),
    "efficientnet": Network(build=efficientnet, shapes=((3, 16, 16),)),
    "inception": Network(build=lambda: nn.Sequential(Inception(3), head(26)), shapes=((3, 8, 8),)),
    "lenet": Network(build=lenet, shapes=((1, 24, 24),), macs=24 * 24 * 150 + 8 * 8 * 2400 + 256 * 20 + 200),
    "mixer": Network(build=mixer, shapes=((1, 12, 12),)),
    "mobilenet_v2": Network(build=mobilenet_v2, shapes=((3, 16, 16),)),
    "mobilenet_v3": Network(build=mobilenet_v3, shapes=((3, 16, 16),)),
    "pre_activation": Network(build=lambda: nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), PreActivation(6, 6), PreActivation(6, 8, 2), head(8)),
                              shapes=((3, 8, 8),)),
    "resnet": Network(build=lambda: nn.Sequential(conv_bn(3, 6, 3, nn.ReLU()), Residual(6, 6), Residual(6, 8, 2), head(8)), shapes=((3, 8, 8),)),
    "shufflenet": Network(build=lambda: nn.Sequential(conv_bn(3, 8, 3, nn.ReLU(), stride=2), ShuffleUnit(8), ShuffleUnit(8), head(8)),
                          shapes=((3, 12, 12),)),
    "squeezenet": Network(build=squeezenet, shapes=((3, 31, 31),)),
    "tcn": Network(build=tcn, shapes=((2, 20),)),
    "unet": Network(build=UNet, shapes=((1, 8, 8),)),
}  # fmt: skip
"""Whole networks in small."""

FORWARDS: dict[str, Network] = {
    "adaptive average to a grid": Network(build=small(lambda self, x: self.conv(F.adaptive_avg_pool2d(x, (3, 2)))), shapes=IMAGE),
    "amax": Network(build=small(lambda self, x: self.out(self.conv(x).amax((2, 3)))), shapes=IMAGE),
    "amax over everything": Network(build=small(lambda self, x: self.conv(x) - self.conv(x).amax((1, 2, 3), keepdim=True)), shapes=IMAGE),
    "asymmetric padding": Network(build=pooled(lambda self, x: self.conv(F.pad(x, (1, 0, 2, 1))), kernel_size=3, stride=2), shapes=IMAGE),
    "batch norm after add": Network(build=pooled(lambda self, x: F.relu(self.norm(self.conv(x) + x))), shapes=IMAGE),
    "batch norm after linear": Network(build=lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)), shapes=((6,),)),
    "batch norm first": Network(build=pooled(lambda self, x: self.conv(self.norm(x))), shapes=IMAGE),
    "channel multiplier": Network(build=small(lambda self, x: F.relu(self.conv(x)), outputs=8, groups=4, kernel_size=3, padding=1), shapes=IMAGE),
    "channels to axis": Network(build=small(lambda self, x: self.out(self.conv(x).permute(0, 2, 3, 1))), shapes=IMAGE),
    "clamps": Network(build=pooled(lambda self, x: F.hardtanh(self.conv(torch.clamp(x, -1, 0.5)), -0.5, 0.75).clamp_min(-0.25)), shapes=IMAGE),
    "concat twice": Network(build=small(lambda self, x: torch.cat([self.conv(x)] * 2, 1)), shapes=IMAGE),
    "constant branch": Network(build=pooled(lambda self, x: self.conv(x) + torch.ones(4, 1, 1).cumsum(0) * 2), shapes=IMAGE),
    "constants": Network(build=MeanStd, shapes=((2, 5, 5),)),
    "dilated depthwise": Network(build=pooled(lambda self, x: self.conv(x), groups=4, kernel_size=3, dilation=2, padding="same"), shapes=IMAGE),
    "dropout and identity": Network(build=lambda: nn.Sequential(nn.Dropout(0.3), nn.Linear(5, 4), nn.Identity(), nn.Dropout(0.3)), shapes=((5,),)),
    "even kernel, same padding": Network(build=pooled(lambda self, x: self.conv(x), kernel_size=(4, 2), padding="same"), shapes=IMAGE),
    "expand_as": Network(build=pooled(lambda self, x: x * self.conv(x.mean((2, 3), keepdim=True)).sigmoid().expand_as(x)), shapes=IMAGE),
    "flatten on another order": Network(build=small(lambda self, x: self.out(self.conv(x).flatten(2).transpose(1, 2))), shapes=IMAGE),
    "float": Network(build=pooled(lambda self, x: self.conv(x.float()).to(torch.float32)), shapes=IMAGE),
    "global max pool": Network(build=small(lambda self, x: self.out(F.adaptive_max_pool2d(self.conv(x), 1).flatten(1))), shapes=IMAGE),
    "global max pool 1-D": Network(
        build=lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(4, 2)), shapes=((2, 9),)
    ),
    "grouped": Network(build=pooled(lambda self, x: self.conv(x), groups=2, kernel_size=3, padding=1), shapes=IMAGE),
    "hard swish by hand": Network(build=pooled(lambda self, x: (y := self.conv(x)) * F.relu6(y + 3) / 6), shapes=IMAGE),
    "input normalisation": Network(build=Normalised, shapes=((3, 6, 6),)),
    "intermediate is the output": Network(build=small(lambda self, x: (y := self.conv(x), self.norm(y))[0]), shapes=IMAGE),
    "linear on images": Network(build=small(lambda self, x: self.out(self.conv(x).transpose(1, 3))), shapes=IMAGE),
    "mean over one axis": Network(build=small(lambda self, x: self.out(self.conv(x).mean(3).mean(2, keepdim=True).squeeze(2))), shapes=IMAGE),
    "mean over channels": Network(build=small(lambda self, x: self.conv(x).mean(1)), shapes=IMAGE),
    "matrix product": Network(build=small(lambda self, x: self.conv(x).mean((2, 3)) @ self.out.weight.t() + self.out.bias), shapes=IMAGE),
    "narrow, split, select": Network(
        build=small(lambda self, x: (lambda a, b: torch.cat([a, b.narrow(1, 1, 2), a[:, 1:]], 1))(*self.conv(x).split([2, 4], 1)), outputs=6),
        shapes=IMAGE,
    ),
    "output is a view": Network(build=small(lambda self, x: self.conv(x).flatten(1)), shapes=IMAGE),
    "product over a single output channel": Network(
        build=lambda: Lambda(lambda self, x: self.conv(x) * torch.linspace(0.5, 1.5, 6), conv=nn.Conv2d(4, 1, 1)), shapes=IMAGE
    ),
    "python loop": Network(build=Recurrent, shapes=((3, 4),)),
    "scalar output": Network(build=small(lambda self, x: self.out(self.conv(x).mean((2, 3))).narrow(1, 0, 1).squeeze(1)), shapes=IMAGE),
    "shared by two scales": Network(build=small(lambda self, x: self.out(self.conv(x).mean((2, 3))) * 0.5 + self.out(x.mean((2, 3)))), shapes=IMAGE),
    "sequence of images": Network(build=small(lambda self, x: self.conv(x.squeeze(1)).unsqueeze(1).squeeze((1,))), shapes=((1, 4, 6, 6),)),
    "slice of a slice": Network(build=pooled(lambda self, x: self.conv(x[:, :, 1:, ::2][:, :, 1:4:2, 1:])), shapes=IMAGE),
    "stack": Network(build=small(lambda self, x: torch.stack([self.conv(x), x], 2).flatten(1, 2)), shapes=IMAGE),
    "strided slice": Network(build=pooled(lambda self, x: self.conv(x[..., ::2, 1::2])), shapes=IMAGE),
    "tied": Network(build=Tied, shapes=((1, 6, 6),)),
    "two inputs": Network(build=two_inputs, shapes=((1, 6, 6), (5,))),
    "two clamps": Network(build=pooled(lambda self, x: F.relu6(F.relu(self.conv(x)) * 3)), shapes=IMAGE),
    "valid padding": Network(build=pooled(lambda self, x: self.conv(x), kernel_size=3, padding="valid"), shapes=IMAGE),
    "view then relu": Network(build=small(lambda self, x: self.out(F.relu(self.conv(x).flatten(1)).view(-1, 4, 36).mean(2))), shapes=IMAGE),
}  # fmt: skip
"""What forwards do besides calling layers."""
