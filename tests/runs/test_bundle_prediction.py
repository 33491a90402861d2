# SPDX-License-Identifier: Apache-2.0
"""A bundle's manifest is all that a prediction needs: it says of every layer what the graph says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mpsearch.cost.latency import layer_roofline
from mpsearch.cost.work import layer_work as work_in_graph
from mpsearch.errors import ExportError, HardwareModelError
from mpsearch.export.bundle import write_bundle
from mpsearch.export.manifest import read_manifest, read_shape, shape_entry
from mpsearch.graph.liveness import live_bytes
from mpsearch.quant.activation_bits import activation_bits
from mpsearch.records import LayerShape
from mpsearch.runs import bundle_prediction
from mpsearch.runs.bundle_prediction import find_device, layer_works, predict_layers
from tests.export.models import GraphMaker
from tests.runs.devices import plain_device


@pytest.mark.parametrize("wide", [8, 4])
def test_a_manifest_says_of_every_layer_what_the_graph_says(wide: int, tmp_path: Path) -> None:
    maker = GraphMaker(0)
    value = maker.conv(maker.input(9, 7, 4), 6, (3, 2), 3, padding=(1, 1, 1, 0), stride=(2, 1), output_bits=wide)
    value = maker.conv(value, 6, (1, 1), 4)
    value = maker.add(value, maker.conv(value, 6, (3, 3), 8, groups=6, padding=(1, 1, 1, 1)))
    value = maker.linear(maker.mean(maker.max_pool(value, (2, 2), (2, 2), (0, 0, 0, 0)), (0, 1)), 5, 7)
    quantized = maker.finish(maker.reshape(value, 5, 1))
    write_bundle(quantized, [], tmp_path / "bundle")
    graph, config = quantized.graph, quantized.config
    bits = activation_bits(graph, config)
    wanted = [
        work_in_graph(graph, layer, config[layer.name] if layer.weight is not None else None, live, bits)
        for layer, live in zip(graph.layers, live_bytes(graph, bits), strict=True)
    ]
    manifest = read_manifest(tmp_path / "bundle")
    assert list(layer_works(manifest)) == wanted
    if wide == 8:
        device = plain_device()
        assert predict_layers(manifest, device) == tuple(layer_roofline(work, device) for work in wanted)


@pytest.mark.parametrize("missing", ["shape", "input_bytes", "output_bytes", "live_bytes"])
def test_a_bundle_of_an_earlier_version_has_no_prediction(missing: str, tmp_path: Path) -> None:
    maker = GraphMaker(0)
    write_bundle(maker.finish(maker.linear(maker.input(4), 2)), [], tmp_path / "bundle")
    path = tmp_path / "bundle" / "manifest.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for layer in content["layers"]:
        del layer[missing]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ExportError, match=r"the manifest gives no shape, as bundles of earlier versions.*export the bundle again"):
        predict_layers(read_manifest(tmp_path / "bundle"), plain_device())


SHAPE = LayerShape(operator="conv2d", input=(9, 7, 4), output=(5, 7, 6), kernel=(3, 2), stride=(2, 1), padding=(1, 1, 1, 0), groups=2)


def test_a_shape_comes_back_from_json() -> None:
    assert read_shape("conv", json.loads(json.dumps(shape_entry(SHAPE)))) == SHAPE


def test_what_a_shape_leaves_out_has_its_default() -> None:
    assert read_shape("fc", {"operator": "dense", "input": [1, 1, 4], "output": [1, 1, 2]}) == LayerShape(
        operator="dense", input=(1, 1, 4), output=(1, 1, 2)
    )


@pytest.mark.parametrize(
    "change",
    [{"input": [9, 7]}, {"input": 9}, {"groups": "2"}, {"groups": True}, {"groups": -1}, {"operator": 3}, {"depth": 4}, {"kernel": [1, None]}],
)
def test_a_damaged_shape_is_an_error(change: dict[str, object]) -> None:
    with pytest.raises(ExportError, match=r"Layer 'conv': the manifest's shape is .*wanted the fields of a LayerShape"):
        read_shape("conv", {**shape_entry(SHAPE), **change})


def test_the_device_of_a_cores_name_predicts_for_it() -> None:
    assert find_device("cortex-m4").core == find_device("cortex-m4").name == "cortex-m4"


def test_without_a_device_of_that_name_the_only_one_with_the_core_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = {"one": "rv32", "two": "cortex-m4", "three": "cortex-m4", "host-x": None}
    monkeypatch.setattr(bundle_prediction, "list_names", lambda kind: tuple(cores))
    monkeypatch.setattr(bundle_prediction, "load_hardware_model", lambda name: replace(plain_device(cores[name]), name=name))
    assert find_device("rv32").name == "one"
    assert find_device("host").name == "host-x"
    with pytest.raises(HardwareModelError, match=r"several device files describe cortex-m4: two, three.*--target"):
        find_device("cortex-m4")
    with pytest.raises(HardwareModelError, match="No prediction: no device file describes cortex-m0"):
        find_device("cortex-m0")
