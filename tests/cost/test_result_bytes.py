# SPDX-License-Identifier: Apache-2.0
"""Sums that pass through a memory before they are requantised, counted by hand."""

from __future__ import annotations

from mpsearch.catalog import ComputeRates, HardwareModel, Memory, Quantity
from mpsearch.cost.latency import layer_roofline
from mpsearch.cost.work import LayerWork
from mpsearch.records import LayerShape, Precision


def one(value: float) -> Quantity:
    return Quantity(value=value, source="by hand")


def device(result_bytes: Quantity | None) -> HardwareModel:
    return HardwareModel(
        name="small",
        description="by hand",
        clock_hz=one(1e6),
        flash_bytes=one(1e6),
        ram_bytes=one(1e6),
        compute=(
            ComputeRates(operators=("dense",), activation_bits=8, macs_per_cycle={8: 1000.0}, source="by hand"),
            ComputeRates(operators=("add",), activation_bits=8, values_per_cycle=1000.0, source="by hand"),
        ),
        memories=(
            Memory(
                name="ram",
                holds=("weights", "activations"),
                size_bytes=one(1e6),
                bytes_per_cycle=one(2),
                result_bytes=result_bytes,
                picojoules_per_byte=one(3),
            ),
        ),
    )


def work(shape: LayerShape, precision: Precision | None, constant_bytes: int) -> LayerWork:
    return LayerWork(
        name="layer",
        shape=shape,
        precision=precision,
        constant_bytes=constant_bytes,
        input_bytes=shape.input_values,
        output_bytes=shape.output_values,
        live_bytes=0,
    )


def test_sums_move_in_place_of_the_stored_output() -> None:
    dense = work(LayerShape(operator="dense", input=(1, 1, 10), output=(1, 1, 6), batch=2), Precision(weight_bits=8), 60)
    plain, passing = layer_roofline(dense, device(None)), layer_roofline(dense, device(one(9)))
    assert plain.memories == (("ram", (60 + 20 + 12) / 2),)
    assert passing.memories == (("ram", (60 + 20 + 12 * 9) / 2),)
    assert passing.joules_beside_power == (60 + 20 + 12 * 9) * 3e-12


def test_layers_without_weights_have_no_sums() -> None:
    added = work(LayerShape(operator="add", input=(1, 1, 10), output=(1, 1, 10), operands=2), None, 0)
    assert layer_roofline(added, device(one(9))) == layer_roofline(added, device(None))
