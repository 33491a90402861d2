# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest

from mpsearch.catalog import load_search_space
from mpsearch.cost import offered_precisions
from mpsearch.errors import CatalogError, HardwareModelError
from mpsearch.quant.packed_size import kernel_supports
from mpsearch.records import Layer, LayerGraph, Precision
from tests.cost.devices import device, macs

SPACE = load_search_space("w248-a8")
SUBSETS = ({2}, {4}, {8}, {2, 4}, {2, 8}, {4, 8}, {2, 4, 8})


def bits_of(offered: dict[str, tuple[Precision, ...]]) -> dict[str, list[int]]:
    """Return the weight bits of every group."""
    return {name: [precision.weight_bits for precision in precisions] for name, precisions in offered.items()}


def test_first_last_and_depthwise_layers_follow_their_rules(graph: LayerGraph) -> None:
    assert bits_of(offered_precisions(graph, SPACE, kernel_supports)) == {"conv1": [4, 8], "dw": [4, 8], "fc": [4, 8]}
    free = replace(SPACE, first_layer=(2, 4, 8), last_layer=(8,), depthwise=(2,))
    assert bits_of(offered_precisions(graph, free, kernel_supports)) == {"conv1": [2, 4, 8], "dw": [2], "fc": [8]}


@pytest.mark.parametrize("built", SUBSETS)
@pytest.mark.parametrize("runs", SUBSETS)
def test_nothing_is_offered_beyond_space_kernels_and_device(graph: LayerGraph, built: set[int], runs: set[int]) -> None:
    hardware = device(*(macs(operator, dict.fromkeys(runs, 1.0)) for operator in ("conv2d", "depthwise", "dense")))
    free = replace(SPACE, first_layer=(2, 4, 8), last_layer=(2, 4, 8), depthwise=(2, 4, 8))

    def supports(layer: Layer, precision: Precision) -> bool:
        return precision.weight_bits in built

    if built & runs:
        assert set(map(tuple, bits_of(offered_precisions(graph, free, supports, hardware)).values())) == {tuple(sorted(built & runs))}
    else:
        with pytest.raises(HardwareModelError, match="Layer 'conv1': target 'by-hand' has conv2d at none of"):
            offered_precisions(graph, free, supports, hardware)


def test_a_layer_that_the_kernel_library_lacks_is_named(graph: LayerGraph) -> None:
    with pytest.raises(CatalogError, match="Layer 'dw': space 'w248-a8' allows w4a8, w8a8, the kernel library has depthwise at none of them"):
        offered_precisions(graph, SPACE, lambda layer, precision: not layer.is_depthwise)


def test_rules_that_exclude_one_another_name_the_layer(graph: LayerGraph) -> None:
    only_depthwise = replace(graph, layers=graph.layers[3:4], inputs=("s",), output="d", groups=graph.groups[1:2])
    with pytest.raises(CatalogError, match="Layer 'dw': the rules of space 'w248-a8' leave it no precision"):
        offered_precisions(only_depthwise, replace(SPACE, first_layer=(4,), depthwise=(8,)), kernel_supports)


def test_layers_of_one_group_that_share_no_precision_are_named(graph: LayerGraph) -> None:
    with pytest.raises(CatalogError, match="Layers conv1, conv2 must share one precision"):
        offered_precisions(graph, SPACE, lambda layer, precision: (precision.weight_bits == 4) == (layer.name == "conv1"))


def test_a_device_may_have_other_precisions_for_another_operator(graph: LayerGraph) -> None:
    hardware = device(macs("conv2d", {4: 1.0, 8: 1.0}), macs("depthwise", {8: 1.0}), macs("dense", {2: 1.0, 8: 1.0}))
    free = replace(SPACE, first_layer=(2, 4, 8), last_layer=(2, 4, 8), depthwise=(2, 4, 8))
    assert bits_of(offered_precisions(graph, free, kernel_supports, hardware)) == {"conv1": [4, 8], "dw": [8], "fc": [2, 8]}


def test_a_device_without_an_operator_or_its_activations_is_an_error(graph: LayerGraph) -> None:
    only_dense = device(macs("dense", {2: 1.0, 4: 1.0, 8: 1.0}))
    with pytest.raises(HardwareModelError, match=r"Layer 'conv1': target 'by-hand' has conv2d at none of w4a8, w8a8.*choose another space or target"):
        offered_precisions(graph, SPACE, kernel_supports, only_dense)
    wide = device(*(macs(operator, {4: 1.0, 8: 1.0}, activation_bits=16) for operator in ("conv2d", "depthwise", "dense")))
    with pytest.raises(HardwareModelError, match="has conv2d at none of w4a8, w8a8"):
        offered_precisions(graph, SPACE, kernel_supports, wide)
