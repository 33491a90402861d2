# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mpsearch.catalog import load_layer_grid
from mpsearch.errors import CatalogError, ExportError
from mpsearch.export.measure_grid import default_grid, grid_requests, read_precisions
from mpsearch.export.measure_wire import request_line
from mpsearch.records import OPERATOR_CLASSES, LayerShape, Precision


def test_the_grid_has_every_operator_in_several_sizes_and_no_layer_twice() -> None:
    grid = default_grid()
    assert len(set(grid)) == len(grid)
    counts = Counter(shape.operator for shape in grid)
    assert set(counts) == set(OPERATOR_CLASSES)
    assert min(counts.values()) >= 7


def test_the_grid_has_the_layers_that_networks_on_small_devices_are_made_of() -> None:
    convolutions = [shape for shape in default_grid() if shape.operator == "conv2d"]
    assert {(1, 1), (3, 3), (5, 5), (10, 4)} <= {shape.kernel for shape in convolutions}
    assert {(1, 1), (2, 2)} <= {shape.stride for shape in convolutions}
    assert {1, 3} <= {shape.input[2] for shape in convolutions}
    assert any(shape.input[2] % 2 and shape.output[2] % 2 and shape.input[2] > 3 for shape in convolutions)
    assert {(3, 3), (5, 5)} < {shape.kernel for shape in default_grid() if shape.operator == "depthwise"}


def test_outputs_are_those_of_the_windows() -> None:
    """Output = (input + padding - kernel) / stride + 1, rounded down."""
    for shape in default_grid():
        if shape.operator in ("conv2d", "depthwise", "max_pool", "avg_pool"):
            for axis in (0, 1):
                padded = shape.input[axis] + sum(shape.padding[2 * axis : 2 * axis + 2])
                assert shape.output[axis] == (padded - shape.kernel[axis]) // shape.stride[axis] + 1, shape


def test_layers_with_weights_are_asked_for_at_every_precision_and_others_once() -> None:
    conv, dense = (LayerShape(operator=name, input=(4, 4, 8), output=(4, 4, 8)) for name in ("conv2d", "dense"))
    depthwise = LayerShape(operator="depthwise", input=(4, 4, 8), output=(4, 4, 8), kernel=(3, 3), padding=(1, 1, 1, 1), groups=8)
    add = LayerShape(operator="add", input=(4, 4, 8), output=(4, 4, 8), operands=2)
    requests = grid_requests([conv, dense, depthwise, add], read_precisions("2,w4a4"))
    assert [(request.shape.operator, str(request.precision)) for request in requests] == [
        ("conv2d", "w2a8"),
        ("conv2d", "w4a4"),
        ("dense", "w2a8"),
        ("dense", "w4a4"),
        ("depthwise", "w2a8"),  # its kernel takes 8-bit activations only
        ("add", "None"),
    ]


def test_every_request_of_the_grid_can_be_said() -> None:
    lines = [request_line(number, request) for number, request in enumerate(grid_requests(default_grid(), read_precisions(None)), 1)]
    assert len(lines) == len(set(lines)) > 400
    assert max(map(len, lines)) < 255


def test_bits_are_read_as_widths_or_precisions() -> None:
    assert read_precisions("2, 4,w8a16,4") == (
        Precision(weight_bits=2),
        Precision(weight_bits=4),
        Precision(weight_bits=8, activation_bits=16),
    )
    assert [precision.weight_bits for precision in read_precisions(None)] == [2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("text", ["", "x", "1", "2,,4", "w4", "17", "w2a1"])
def test_other_bits_are_refused(text: str) -> None:
    with pytest.raises(ExportError, match=f"--bits {text}: Precision.*e.g. 2,4,8 or w4a8"):
        read_precisions(text)


def test_a_file_of_layers_says_what_has_no_default(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        "- {operator: conv2d, input: [8, 8, 3], output: [4, 4, 16], kernel: [3, 3], stride: [2, 2], padding: [0, 1, 0, 1]}\n"
        "- {operator: dense, input: [1, 1, 64], output: [1, 1, 10]}\n",
        encoding="utf-8",
    )
    assert load_layer_grid(path) == (
        LayerShape(operator="conv2d", input=(8, 8, 3), output=(4, 4, 16), kernel=(3, 3), stride=(2, 2), padding=(0, 1, 0, 1)),
        LayerShape(operator="dense", input=(1, 1, 64), output=(1, 1, 10)),
    )


def test_a_depthwise_convolution_has_as_many_groups_as_channels(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("- {operator: depthwise, input: [8, 8, 4], output: [6, 6, 4], kernel: [3, 3]}\n", encoding="utf-8")
    assert [layer.groups for layer in load_layer_grid(path)] == [4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "at least 1 entry"),
        ("operator: dense", "wanted"),
        ("- {operator: dense, input: [1, 1, 64]}", "output is missing"),
        ("- {operator: sense, input: [1, 1, 64], output: [1, 1, 10]}", "got 'sense'"),
        ("- {operator: dense, input: [1, 1, 0], output: [1, 1, 10]}", "greater than or equal to 1"),
        ("- {operator: dense, input: [1, 1, 4], output: [1, 1, 70000]}", "less than or equal to 65535"),
        ("- {operator: dense, input: [1, 1, 4], output: [1, 1, 7], strides: [2, 2]}", "strides is not a known key.*did you mean 'stride'"),
        ("- {operator: dense, input: [1, 1.5, 4], output: [1, 1, 7]}", "wanted a valid integer"),
        (
            "- {operator: conv2d, input: [32, 32, 3], output: [99, 16, 8], kernel: [3, 3], stride: [2, 2]}",
            r"output \[99, 16\] .*wanted \[15, 15\]",
        ),
        ("- {operator: depthwise, input: [8, 8, 4], output: [8, 8, 6]}", "makes 6 channels of 4"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_file_of_layers_is_an_error_that_says_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError, match=f"grid.yaml.*{message}"):
        load_layer_grid(path)
