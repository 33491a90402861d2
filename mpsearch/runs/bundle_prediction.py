# SPDX-License-Identifier: Apache-2.0
"""What a device's file predicts for a bundle, from the bundle's manifest alone; and which file describes a target."""

from __future__ import annotations

from dataclasses import replace

from mpsearch.catalog import HardwareModel, list_names, load_hardware_model
from mpsearch.cost.latency import Roofline, layer_roofline
from mpsearch.cost.work import LayerWork
from mpsearch.errors import ExportError, HardwareModelError
from mpsearch.export.manifest import LayerEntry, Manifest, read_shape
from mpsearch.records import Precision

HOST = "host"


def predict_layers(manifest: Manifest, hardware: HardwareModel) -> tuple[Roofline, ...]:
    """Return where the time of every layer goes, in execution order.

    Raises:
        ExportError: The bundle was exported by a version that did not write shapes, or its manifest is damaged.
        HardwareModelError: The device has no rate for a layer.
    """
    return tuple(layer_roofline(work, hardware) for work in layer_works(manifest))


def layer_works(manifest: Manifest) -> tuple[LayerWork, ...]:
    """Return what the layers of a bundle do, in execution order.

    Raises:
        ExportError: The manifest does not say it.
    """
    works: list[LayerWork] = []
    before = None
    for entry in manifest["layers"]:
        works.append(replace(layer_work(entry), before=before))
        before = before if works[-1].shape.operator == "view" else works[-1].shape
    return tuple(works)


def layer_work(entry: LayerEntry) -> LayerWork:
    """Return what a layer of a bundle does, the layer before it left out.

    Raises:
        ExportError: The manifest does not say it.
    """
    sizes = [entry.get(name) for name in ("flash_bytes", "input_bytes", "output_bytes", "live_bytes")]
    shape = entry.get("shape")
    if not isinstance(shape, dict) or not all(isinstance(size, int) for size in sizes):
        raise ExportError(f"Layer '{entry['name']}': the manifest gives no shape, as bundles of earlier versions.", "export the bundle again.")
    constants, inputs, output, live = (int(size) for size in sizes if isinstance(size, int))
    return LayerWork(
        name=entry["name"],
        shape=read_shape(entry["name"], shape),
        precision=Precision.parse(entry["precision"]) if entry["precision"] else None,
        constant_bytes=constants,
        input_bytes=inputs,
        output_bytes=output,
        live_bytes=live,
        reads_network_input=bool(entry.get("reads_network_input")),
    )


def find_device(target: str) -> HardwareModel:
    """Return the shipped device whose rates describe a target: of its name, else the only one with that core.

    Args:
        target: "host", or an emulated core.

    Raises:
        HardwareModelError: None does, or several do.
    """
    names = list_names("hw_models")
    first = [name for name in names if name == target]
    found = [model for model in map(load_hardware_model, first) if _describes(model, target)]
    if not found:
        found = [model for model in map(load_hardware_model, names) if _describes(model, target)]
    if len(found) != 1:
        several = f"several device files describe {target}: {', '.join(model.name for model in found)}"
        raise HardwareModelError(
            f"No prediction: {several if found else f'no device file describes {target}'}.", "name one with --target; it may be the path of your own."
        )
    return found[0]


def _describes(model: HardwareModel, target: str) -> bool:
    return model.core == target or (target == HOST and model.name.split("-")[0] == HOST)
