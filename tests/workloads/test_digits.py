# SPDX-License-Identifier: Apache-2.0
"""The embedded default is small, reproducible and accurate, and its budget of 2 MB binds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mpsearch import load_workload
from mpsearch.workloads import digits, weight_cache


@pytest.fixture(scope="module")
def images_and_labels() -> tuple[torch.Tensor, torch.Tensor]:
    return digits.digit_images()


def test_two_megabytes_are_a_little_too_few_for_8_bits() -> None:
    weights = sum(module.weight.numel() for module in digits.DigitsNet().modules() if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)))
    assert 2_050_000 <= weights <= 2_200_000


def test_the_trained_network_is_at_least_98_percent_right() -> None:
    workload = load_workload("digits")
    with torch.no_grad():
        wrong = sum(int((workload.model(inputs).argmax(1) != targets).sum()) for inputs, targets in workload.evaluation)
    samples = sum(len(targets) for _, targets in workload.evaluation)
    assert samples == 600
    assert wrong / samples <= 0.02


def test_calibration_and_evaluation_share_no_image() -> None:
    workload = load_workload("digits")
    calibration = {image.numpy().tobytes() for batch in workload.calibration for image in batch}  # type: ignore[union-attr]
    evaluation = {image.numpy().tobytes() for batch, _ in workload.evaluation for image in batch}  # type: ignore[union-attr]
    assert len(calibration) == 256
    assert not calibration & evaluation


def test_images_lie_between_0_and_1_and_every_digit_is_in_both_parts(images_and_labels: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, labels = images_and_labels
    assert images.shape == (1797, 1, 8, 8)
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
    for part in (labels[: digits.TRAINING_IMAGES], labels[digits.TRAINING_IMAGES :]):
        assert set(part.tolist()) == set(range(10))


def test_training_is_reproducible_and_leaves_the_global_generator_alone(images_and_labels: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, labels = (part[:96] for part in images_and_labels)
    state, threads, seen = torch.get_rng_state(), torch.get_num_threads(), []
    first = digits.train_digits(images, labels, epochs=1, seed=3, progress=lambda done, total: seen.append((done, total)))
    second = digits.train_digits(images, labels, epochs=1, seed=3, progress=lambda done, total: None)
    other = digits.train_digits(images, labels, epochs=1, seed=4, progress=lambda done, total: None)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert seen == [(1, 1)]


def test_the_cache_name_changes_with_the_data(images_and_labels: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, labels = images_and_labels
    assert digits.training_digest(images, labels) == digits.training_digest(images.clone(), labels.clone())
    assert digits.training_digest(images, labels) != digits.training_digest(images, labels.flip(0))


# ---------------------------------------------------------------- the cache


class Maker:
    """Counts how often the weights are made."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, torch.Tensor]:
        self.calls += 1
        return {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(7)}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MPSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_weights_are_made_once(cache: Path) -> None:
    make = Maker()
    made, kept = weight_cache.load_or_make("net", make), weight_cache.load_or_make("net", make)
    assert make.calls == 1
    assert all(torch.equal(made[name], kept[name]) for name in made)
    assert [path.name for path in cache.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "foreign"])
def test_a_damaged_file_is_replaced(cache: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    make = Maker()
    weight_cache.load_or_make("net", make)
    path = cache / "net.safetensors"
    sound = path.read_bytes()
    broken = {"cut": sound[:-5], "flip": sound[:-1] + bytes([sound[-1] ^ 1]), "empty": b"", "foreign": b"x" * 100}[damage]
    path.write_bytes(broken)
    made = weight_cache.load_or_make("net", make)
    assert make.calls == 2
    assert "damaged" in caplog.text
    assert torch.equal(made["weight"], torch.arange(6.0).reshape(2, 3))
    assert path.read_bytes() == sound


def test_a_cache_that_cannot_be_written_costs_time_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MPSEARCH_CACHE", str(tmp_path / "file" / "cache"))
    make = Maker()
    assert torch.equal(weight_cache.load_or_make("net", make)["count"], torch.tensor(7))
    assert "cannot be kept" in caplog.text


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPSEARCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert weight_cache.cache_folder() == Path("/xdg/mpsearch")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weight_cache.cache_folder() == Path("~/.cache/mpsearch").expanduser()
    monkeypatch.setenv("MPSEARCH_CACHE", "/mine")
    assert weight_cache.cache_folder() == Path("/mine")
