# SPDX-License-Identifier: Apache-2.0
"""What every shipped YAML file keeps."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mpsearch.catalog import OPERATOR_CLASSES, list_names, load_hardware_model, load_search_space, shipped_folder

SPACES = list_names("search_spaces")
TARGETS = list_names("hw_models")


def numbers_without_source(content: Any, path: str = "") -> list[str]:
    """Return the paths of the numbers that stand outside a value with a source; bit-widths are names of rates, no measurements."""
    if isinstance(content, dict):
        if set(content) == {"value", "source"} and str(content["source"]).strip():
            return []
        return [found for key, value in content.items() if not key.endswith("_bits") for found in numbers_without_source(value, f"{path}.{key}")]
    if isinstance(content, list):
        return [found for index, value in enumerate(content) for found in numbers_without_source(value, f"{path}.{index}")]
    return [path] if isinstance(content, int | float) else []


@pytest.mark.parametrize("name", SPACES)
def test_a_space_is_named_like_its_file_and_describes_itself(name: str) -> None:
    space = load_search_space(name)
    assert space.name == name
    assert len(space.description) > 20


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_named_like_its_file_and_describes_itself(name: str) -> None:
    target = load_hardware_model(name)
    assert target.name == name
    assert "no chip was measured" in target.description


@pytest.mark.parametrize("name", TARGETS)
def test_every_number_of_a_target_has_a_source(name: str) -> None:
    content = yaml.safe_load((shipped_folder("hw_models") / f"{name}.yaml").read_text(encoding="utf-8"))
    assert numbers_without_source(content) == []


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_runs_every_class_of_operator(name: str) -> None:
    assert {rate.operator for rate in load_hardware_model(name).compute} == set(OPERATOR_CLASSES)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("space", SPACES)
def test_a_target_runs_every_precision_of_every_space(target: str, space: str) -> None:
    hardware = load_hardware_model(target)
    for precision in load_search_space(space).precisions:
        assert all(hardware.rate(operator, precision) for operator in ("conv2d", "depthwise", "dense"))


@pytest.mark.parametrize("name", TARGETS)
def test_the_memories_are_as_large_as_the_device(name: str) -> None:
    target = load_hardware_model(name)
    assert target.memory("weights").size_bytes.value == target.flash_bytes.value
    assert target.memory("activations").size_bytes.value == target.ram_bytes.value


def test_an_unsourced_number_is_noticed() -> None:
    assert numbers_without_source({"clock_hz": {"value": 1, "source": " "}, "compute": [{"weight_bits": 4, "rate": 2.0}]}) == [
        ".clock_hz.value",
        ".compute.0.rate",
    ]
