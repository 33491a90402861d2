# SPDX-License-Identifier: Apache-2.0
"""What every shipped YAML file keeps."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mpsearch.catalog import check_hardware_model, list_names, load_hardware_model, load_search_space, shipped_folder
from mpsearch.catalog.check import SHORTEST_SOURCE
from mpsearch.records import OPERATOR_CLASSES, WEIGHTED_CLASSES

SPACES = list_names("search_spaces")
TARGETS = list_names("hw_models")


def numbers_without_source(content: Any, path: str = "", sourced: bool = False) -> list[str]:
    """Return the paths of the numbers that have no source; bit-widths are names, no measurements.

    A source stands for the numbers of its own mapping, and for the flat tables and lists of numbers there, for nothing deeper.
    """
    if isinstance(content, dict):
        own = sourced or ("source" in content and len(str(content["source"]).strip()) >= SHORTEST_SOURCE)
        items = [(str(key), value) for key, value in content.items() if not str(key).endswith("_bits")]
    elif isinstance(content, list):
        own, items = sourced, [(str(index), value) for index, value in enumerate(content)]
    else:
        return [path] if isinstance(content, int | float) and not isinstance(content, bool) and not sourced else []
    return [found for key, value in items for found in numbers_without_source(value, f"{path}.{key}", own and (is_number(value) or is_flat(value)))]


def is_number(value: Any) -> bool:
    """Return whether something is a number, or nothing that a source is wanted for."""
    return not isinstance(value, dict | list)


def is_flat(value: Any) -> bool:
    """Return whether a table or list holds nothing but numbers and words."""
    return all(map(is_number, value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()))


@pytest.mark.parametrize("name", SPACES)
def test_a_space_is_named_like_its_file_and_describes_itself(name: str) -> None:
    space = load_search_space(name)
    assert space.name == name
    assert len(space.description) > 20


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_named_like_its_file_and_describes_itself(name: str) -> None:
    target = load_hardware_model(name)
    assert target.name == name
    assert len(target.description) > 100


@pytest.mark.parametrize("name", TARGETS)
def test_every_number_of_a_target_has_a_source(name: str) -> None:
    content = yaml.safe_load((shipped_folder("hw_models") / f"{name}.yaml").read_text(encoding="utf-8"))
    assert numbers_without_source(content) == []


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_about_a_target_is_unlikely(name: str) -> None:
    """A device may lack operators, precisions, energy or a comparison; it may not be implausible."""
    check = check_hardware_model(name)
    lacking = ("no rate", "accuracy is not given", "so there is no energy", "energy leaves out", "no search space reaches")
    assert [warning.message for warning in check.warnings if not any(words in warning.message for words in lacking)] == []


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_runs_convolutions_and_dense_layers_at_one_precision_at_least(name: str) -> None:
    target = load_hardware_model(name)
    assert all(target.precisions(operator) for operator in ("conv2d", "dense"))


@pytest.mark.parametrize("name", TARGETS)
def test_what_runs_the_shipped_kernels_runs_every_operator_at_every_weight_bits(name: str) -> None:
    """A target with a core runs what bundles run, which lack nothing."""
    target = load_hardware_model(name)
    if target.core is None:
        return
    assert {operator for rates in target.compute for operator in rates.operators} == set(OPERATOR_CLASSES)
    for operator in WEIGHTED_CLASSES:
        assert {precision.weight_bits for precision in target.precisions(operator) if precision.activation_bits == 8} >= {2, 3, 4, 5, 6, 7, 8}


@pytest.mark.parametrize("name", TARGETS)
def test_a_model_may_take_no_more_than_the_memories_have(name: str) -> None:
    target = load_hardware_model(name)
    homes = [memory.size_bytes.value for memory in target.memories if "activations" in memory.holds]
    assert target.flash_bytes.value <= target.weight_memory.size_bytes.value
    assert target.ram_bytes.value <= max(homes)


def test_an_unsourced_number_is_noticed() -> None:
    assert numbers_without_source({"clock_hz": {"value": 1, "source": " "}, "compute": [{"weight_bits": 4, "rate": 2.0}]}) == [
        ".clock_hz.value",
        ".compute.0.rate",
    ]
    sourced = {"activation_bits": 8, "macs_per_cycle": {4: 1.0}, "array": {"inputs": 8}, "source": "a data sheet of the maker"}
    assert numbers_without_source({"compute": [sourced, {**sourced, "source": "x"}]}) == [".compute.1.macs_per_cycle.4", ".compute.1.array.inputs"]
    assert numbers_without_source({"extra": {"a": {"b": {"c": 1}}, "d": [[2]], "source": "a data sheet of the maker"}}) == [
        ".extra.a.b.c",
        ".extra.d.0.0",
    ]
    assert numbers_without_source({"extra": {"entry": {"value": 1, "source": "short"}, "source": "x"}}) == [".extra.entry.value"]
