# SPDX-License-Identifier: Apache-2.0
"""The embedded default: scikit-learn's handwritten digits and a residual CNN a little over 2 MB at 8 bits, trained here once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mpsearch.workloads.weight_cache import load_or_make
from mpsearch.workloads.workload import Workload

Progress = Callable[[int, int], None]
"""Called with (epochs done, epochs in all)."""

ARCHITECTURE_VERSION = 1
"""Grows whenever network, split or training change, so that weights trained before are not used again."""
SEED = 0
EPOCHS = 12
TRAINING_BATCH = 48
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-2
THREADS = 1
"""The layers are too small to gain from more, and one thread sums in the same order on every machine."""
TRAINING_IMAGES = 1197
CALIBRATION_IMAGES = 256


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a strided 1x1 projection where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Build a block from `inputs` to `outputs` channels."""
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(convolutions(x) + shortcut(x))."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class DigitsNet(nn.Module):
    """Images (batch, 1, 8, 8) in [0, 1] to logits (batch, 10); 2.14 million weights."""

    def __init__(self) -> None:
        """Build stem, five residual blocks and head."""
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(32)
        widths = ((32, 32, 1), (32, 96, 2), (96, 96, 1), (96, 192, 2), (192, 192, 1), (192, 192, 1))
        self.blocks = nn.Sequential(*(ResidualBlock(*width) for width in widths))
        self.head = nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.blocks(functional.relu(self.bn(self.stem(x))))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


def digits(progress: Progress | None = None) -> Workload:
    """Return the digits workload; the first call on a machine trains the network (15 s on one core) and keeps it in the user's cache folder.

    Args:
        progress: Told about the training; a bar on stderr if None.
    """
    images, labels = digit_images()
    model = DigitsNet()
    trained = images[:TRAINING_IMAGES], labels[:TRAINING_IMAGES]
    model.load_state_dict(load_or_make(f"digits-{training_digest(images, labels)}", lambda: _train_with_progress(*trained, progress)))
    held_out = zip(torch.split(images[TRAINING_IMAGES:], 200), torch.split(labels[TRAINING_IMAGES:], 200), strict=True)
    return Workload(
        name="digits",
        model=model,
        calibration=torch.split(images[:CALIBRATION_IMAGES], 64),
        evaluation=tuple(held_out),
        metric="top1_error",
    )


def digit_images() -> tuple[Tensor, Tensor]:
    """Return all 1797 images, float32 (1797, 1, 8, 8) in [0, 1], and their labels in a fixed shuffled order, training images first."""
    from sklearn.datasets import load_digits

    source = load_digits()
    order = np.random.default_rng(SEED).permutation(len(source.target))
    images = torch.from_numpy((source.images[order, None] / 16).astype(np.float32))
    return images, torch.from_numpy(source.target[order].astype(np.int64))


def training_digest(images: Tensor, labels: Tensor) -> str:
    """Return what the trained weights depend on, as 16 hexadecimal digits."""
    hasher = hashlib.sha256(f"{ARCHITECTURE_VERSION} {SEED} {EPOCHS} {TRAINING_BATCH} {LEARNING_RATE} {WEIGHT_DECAY} {torch.__version__}".encode())
    hasher.update(images.numpy().tobytes())
    hasher.update(labels.numpy().tobytes())
    return hasher.hexdigest()[:16]


def train_digits(images: Tensor, labels: Tensor, epochs: int, seed: int, progress: Progress) -> dict[str, Tensor]:
    """Train the network and return its state; the same arguments give the same weights on one machine.

    Args:
        images: Float32 (n, 1, 8, 8).
        labels: Int64 (n,).
        epochs: Passes over the images.
        seed: Of the initial weights, the order of the batches and the shifts.
        progress: Called after every epoch.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            model = DigitsNet()
            _fit(model, images, labels, epochs, progress)
    finally:
        torch.set_num_threads(threads)
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _fit(model: nn.Module, images: Tensor, labels: Tensor, epochs: int, progress: Progress) -> None:
    steps = -(-len(images) // TRAINING_BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LEARNING_RATE, total_steps=epochs * steps)
    model.train()
    for epoch in range(epochs):
        for batch in torch.split(torch.randperm(len(images)), TRAINING_BATCH):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(_shifted(images[batch])), labels[batch], label_smoothing=0.05)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        progress(epoch + 1, epochs)


def _shifted(images: Tensor) -> Tensor:
    """Move the batch by up to one pixel each way: the images are few, and the writers do not centre them."""
    down, right = (int(value) for value in torch.randint(0, 3, (2,)))
    return functional.pad(images, (1, 1, 1, 1))[:, :, down : down + 8, right : right + 8]


def _train_with_progress(images: Tensor, labels: Tensor, progress: Progress | None) -> dict[str, Tensor]:
    if progress is not None:
        return train_digits(images, labels, EPOCHS, SEED, progress)
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("training the digits network, once"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} epochs"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("train", total=EPOCHS)
        return train_digits(images, labels, EPOCHS, SEED, lambda done, total: bar.update(task, completed=done))
