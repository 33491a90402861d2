# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from mpsearch.errors import ExportError
from mpsearch.export.measure_wire import Answer, Hello, LayerRequest, check_reason, measured_layer, read_answer, read_hello, request_line
from mpsearch.records import LayerShape, Precision

CONV = LayerShape(
    operator="conv2d", input=(49, 10, 1), output=(25, 5, 64), kernel=(10, 4), stride=(2, 2), dilation=(1, 1), padding=(4, 5, 1, 1), groups=1
)
ADD = LayerShape(operator="add", input=(8, 8, 4), output=(8, 8, 4), operands=2)


def test_a_request_names_every_number_of_a_layer_in_the_documented_order() -> None:
    line = request_line(7, LayerRequest(shape=CONV, precision=Precision(weight_bits=4)))
    assert line == "layer 7 conv2d 49 10 1 25 5 64 10 4 2 2 1 1 4 5 1 1 1 1 4 8"


def test_a_layer_without_weights_has_zero_weight_bits() -> None:
    assert request_line(1, LayerRequest(shape=ADD, precision=None)) == "layer 1 add 8 8 4 8 8 4 1 1 1 1 1 1 0 0 0 0 1 2 0 8"


@pytest.mark.parametrize(
    ("shape", "precision"),
    [
        (CONV, None),
        (ADD, Precision(weight_bits=8)),
        (CONV, Precision(weight_bits=4, group_size=32)),
        (LayerShape(operator="add", input=(8, 8, 4), output=(8, 8, 4), operands=2, batch=4), None),
    ],
)
def test_what_the_protocol_cannot_say_is_refused(shape: LayerShape, precision: Precision | None) -> None:
    with pytest.raises(ExportError, match=r"cannot be measured.*wanted batch 1"):
        request_line(1, LayerRequest(shape=shape, precision=precision))


def test_a_greeting_tells_unit_clock_and_board() -> None:
    assert read_hello("hello 1 cycles 168000000 STM32F407, gcc 12 -O2") == Hello(unit="cycles", clock_hz=168e6, description="STM32F407, gcc 12 -O2")
    assert read_hello("hello 1 nanoseconds 0") == Hello(unit="nanoseconds", clock_hz=None, description="")


@pytest.mark.parametrize("line", ["", "hello", "hello there", "hello 1 cycles fast", "ok 1 5", "Hello 1 cycles 0"])
def test_what_is_no_greeting_is_passed_over(line: str) -> None:
    assert read_hello(line) is None


@pytest.mark.parametrize(("line", "message"), [("hello 2 cycles 0 x", "speaks version 2"), ("hello 1 joules 0 x", "counts in 'joules'")])
def test_another_version_or_unit_is_an_error(line: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        read_hello(line)


def test_an_answer_is_a_count_or_a_reason() -> None:
    assert read_answer("ok 3 1234", 3) == Answer(count=1234)
    assert read_answer("error 3 memory", 3) == Answer(reason="memory")


@pytest.mark.parametrize(
    "line", ["", "ok", "ok 3", "ok 4 5", "ok 3 5 6", "ok 3 -5", "ok 3 1.5", "ok 3 0x10", "ok 3 ٣", "error 3", "error 4 memory", "yes 3 5"]
)
def test_anything_else_is_an_error_that_quotes_it(line: str) -> None:
    with pytest.raises(ExportError, match=r"wanted 'ok 3 <count>' or 'error 3 <reason>'"):
        read_answer(line, 3)


def test_only_what_a_board_lacks_leaves_a_layer_out() -> None:
    request = LayerRequest(shape=ADD, precision=None)
    assert "memory" in check_reason(request, "memory")
    assert "no kernel" in check_reason(request, "unsupported")
    for reason, message in (("differs", "not that of the reference"), ("refused", "refused"), ("tired", "error tired")):
        with pytest.raises(ExportError, match=f"add 8x8x4 to 8x8x4, 2 operands: .*{message}"):
            check_reason(request, reason)


def test_a_count_becomes_what_its_unit_says() -> None:
    request = LayerRequest(shape=ADD, precision=None)
    assert measured_layer(request, "cycles", 5).cycles == 5
    assert measured_layer(request, "instructions", 5).instructions == 5
    assert measured_layer(request, "nanoseconds", 5).seconds == 5e-9
    with pytest.raises(ExportError, match="counted 0 cycles, wanted at least 1"):
        measured_layer(request, "cycles", 0)
