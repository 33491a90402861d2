# SPDX-License-Identifier: Apache-2.0
"""The C program itself, on this machine: it reads requests, checks every output against the references, and answers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mpsearch.export.compilers import host_compiler
from mpsearch.export.emit_project import WARNINGS
from mpsearch.export.host import SANITIZERS
from mpsearch.export.kernel_library import KERNELS
from mpsearch.export.measure import MeasuredFile, measure_layers
from mpsearch.export.measure_grid import default_grid, grid_requests, read_precisions
from mpsearch.export.measure_on import MeasurePlace, open_meter
from mpsearch.export.measure_program import measure_flags, measure_sources
from mpsearch.export.measure_wire import LayerRequest, request_line
from mpsearch.records import LayerShape, MeasuredTable, Precision

pytestmark = pytest.mark.skipif(host_compiler() is None, reason="NOTHING WAS MEASURED ON THE HOST: no C compiler")

DENSE = "dense 1 1 8 1 1 4 1 1 1 1 1 1 0 0 0 0 1 1 4 8"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, with the sanitizers and room for few samples."""
    program = tmp_path_factory.mktemp("measure") / "measure"
    command = [*(host_compiler() or []), *WARNINGS, "-O1", *SANITIZERS, *measure_flags(8 << 20), "-DMEASURE_SAMPLES=1"]
    subprocess.run([*command, "-o", program, *measure_sources(), KERNELS / "measure" / "port_host.c"], check=True)
    return program


def ask(program: Path, *lines: str) -> list[str]:
    """Return what the program answers."""
    done = subprocess.run([program], input="".join(f"{line}\n" for line in lines), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def outcomes(answers: list[str]) -> list[str]:
    """Return answers without their counts."""
    return [answer.split()[0] if answer.startswith("ok") else answer for answer in answers]


def test_it_greets_and_answers(program: Path) -> None:
    answers = ask(program, "hello 1", f"layer 1 {DENSE}", "", f"  layer  2  {DENSE}\r")
    assert answers[0] == "hello 1 nanoseconds 0 host"
    assert [answer.split()[:2] for answer in answers[1:]] == [["ok", "1"], ["ok", "2"]]
    assert all(int(answer.split()[2]) > 0 for answer in answers[1:])


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("what", "error 0 request"),
        ("layer", "error 0 request"),
        ("layer x", "error 0 request"),
        ("layer 5", "error 5 request"),
        (f"layer 5 {DENSE} 1", "error 5 request"),
        (f"layer 5 {DENSE}".rsplit(" ", 1)[0], "error 5 request"),
        (f"layer 5 {DENSE}".replace(" 8 ", " -8 ", 1), "error 5 request"),
        (f"layer 5 {DENSE}".replace(" 8 ", " 8888888888 ", 1), "error 5 request"),
        (f"layer 5 {DENSE}" + " 1" * 300, "error 5 request"),
        (f"layer 5 {DENSE}".replace("dense", "sense"), "error 5 unsupported"),
    ],
)
def test_what_it_cannot_read_it_refuses_and_goes_on(program: Path, line: str, answer: str) -> None:
    answers = ask(program, line, f"layer 6 {DENSE}")
    assert answers[0] == answer
    assert answers[1].startswith("ok 6 ")


def test_no_layer_is_too_large_or_too_strange_to_be_answered(program: Path) -> None:
    window = "3 3 1 1 1 1 1 1 1 1"
    cases = {
        f"conv2d 60000 60000 64 60000 60000 64 {window} 1 1 8 8": "memory",
        f"conv2d 999999999 1 1 1 1 1 {window} 1 1 8 8": "unsupported",
        f"conv2d 8 8 8 8 8 8 {window} 0 1 8 8": "unsupported",
        f"conv2d 8 8 8 8 8 8 {window} 3 1 8 8": "unsupported",
        f"conv2d 8 8 8 8 8 9 {window} 4 1 8 8": "refused",
        f"conv2d 8 8 8 8 8 8 {window} 1 1 9 8": "unsupported",
        f"conv2d 8 8 8 8 8 8 {window} 1 1 8 5": "unsupported",
        f"depthwise 8 8 8 8 8 8 {window} 4 1 8 8": "unsupported",
        f"depthwise 8 8 8 8 8 8 {window} 8 1 8 4": "unsupported",
        "dense 2 1 8 1 1 4 1 1 1 1 1 1 0 0 0 0 1 1 4 8": "unsupported",
        "add 8 8 8 8 8 4 1 1 1 1 1 1 0 0 0 0 1 2 0 8": "unsupported",
        "add 8 8 8 8 8 8 1 1 1 1 1 1 0 0 0 0 1 3 0 8": "unsupported",
        "mean 8 8 8 8 8 4 1 1 1 1 1 1 0 0 0 0 1 1 0 8": "unsupported",
        "avg_pool 8 8 8 4 4 8 0 2 2 2 1 1 0 0 0 0 1 1 0 8": "unsupported",
        "copy 8 8 8 4 16 9 1 1 1 1 1 1 0 0 0 0 1 1 0 8": "unsupported",
        "copy 8 8 8 16 16 8 1 1 1 1 1 1 0 0 0 0 1 2 0 8": "unsupported",
        "copy 8 8 8 8 8 9 1 1 1 1 1 1 0 0 0 0 1 99 0 8": "unsupported",
        "lookup 8 8 8 8 8 7 1 1 1 1 1 1 0 0 0 0 1 1 0 8": "unsupported",
    }
    answers = ask(program, *(f"layer {number} {case}" for number, case in enumerate(cases, 1)))
    assert answers == [f"error {number} {reason}" for number, reason in enumerate(cases.values(), 1)]


def test_every_operator_and_width_agrees_with_its_reference(program: Path) -> None:
    """A wrong output would be answered by "error <number> differs", a fault by the sanitizers."""
    small = [shape for shape in default_grid() if shape.steps <= 100_000]
    assert len({shape.operator for shape in small}) == 10
    requests = grid_requests(small, read_precisions("2,3,4,5,6,7,8,w4a4,w8a4,w8a16,w3a16"))
    answers = ask(program, *(request_line(number, request) for number, request in enumerate(requests, 1)))
    assert outcomes(answers) == ["ok"] * len(requests)


def test_broadcasts_axes_groups_and_odd_copies_agree_with_their_references(program: Path) -> None:
    shapes = (
        LayerShape(operator="mul", input=(1, 1, 12), output=(6, 5, 12), operands=2),
        LayerShape(operator="add", input=(6, 5, 1), output=(6, 5, 12), operands=2),
        LayerShape(operator="add", input=(1, 5, 1), output=(6, 5, 12), operands=2),
        LayerShape(operator="mean", input=(6, 1, 12), output=(1, 1, 12)),
        LayerShape(operator="mean", input=(6, 5, 12), output=(6, 1, 5)),
        LayerShape(operator="mean", input=(6, 5, 12), output=(6, 5, 1)),
        LayerShape(operator="mean", input=(6, 5, 12), output=(1, 1, 1)),
        LayerShape(operator="mean", input=(6, 5, 12), output=(1, 5, 12)),
        LayerShape(operator="avg_pool", input=(7, 7, 6), output=(4, 4, 6), kernel=(2, 2), stride=(2, 2)),
        LayerShape(operator="max_pool", input=(7, 7, 6), output=(4, 4, 6), kernel=(2, 2), stride=(2, 2)),
        LayerShape(operator="copy", input=(5, 7, 3), output=(3, 5, 7)),
        LayerShape(operator="copy", input=(5, 7, 3), output=(7, 3, 5)),
        LayerShape(operator="copy", input=(5, 5, 3), output=(5, 5, 3)),
        LayerShape(operator="copy", input=(5, 7, 3), output=(5, 7, 3)),
        LayerShape(operator="copy", input=(5, 7, 3), output=(5, 7, 14), operands=5),
        LayerShape(operator="copy", input=(5, 7, 3), output=(5, 20, 3), operands=3),
        LayerShape(operator="copy", input=(5, 7, 3), output=(8, 7, 5)),
        LayerShape(operator="copy", input=(5, 7, 3), output=(2, 7, 1)),
        LayerShape(operator="conv2d", input=(5, 7, 6), output=(5, 7, 9), kernel=(3, 3), padding=(1, 1, 1, 1), groups=3),
        LayerShape(operator="conv2d", input=(9, 9, 5), output=(5, 5, 4), kernel=(3, 3), dilation=(2, 2)),
        LayerShape(operator="depthwise", input=(6, 6, 5), output=(6, 6, 10), kernel=(3, 3), padding=(1, 1, 1, 1), groups=5),
        LayerShape(operator="dense", input=(3, 2, 5), output=(3, 2, 7)),
    )
    requests = grid_requests(shapes, read_precisions("3,4,8"))
    answers = ask(program, *(request_line(number, request) for number, request in enumerate(requests, 1)))
    assert outcomes(answers) == ["ok"] * len(requests)


WRONG = """
#define mps_linear mps_linear_right
#include "mps_linear.c"
#undef mps_linear
mps_status mps_linear(const mps_linear_params *params, const mps_channels *channels, const void *input, void *output, int8_t *scratch) {
  const mps_status status = mps_linear_right(params, channels, input, output, scratch);
  ((int8_t *)output)[params->rows * params->output_c - 1] ^= 1;
  return status;
}
"""


def test_a_kernel_that_is_wrong_in_one_bit_is_an_error_and_never_a_count(tmp_path: Path) -> None:
    (tmp_path / "wrong.c").write_text(WRONG, encoding="utf-8")
    sources = [source for source in measure_sources() if source.name != "mps_linear.c"]
    flags = ["-std=c11", "-O1", *measure_flags(1 << 20), f"-I{KERNELS / 'src'}"]
    program = tmp_path / "measure"
    subprocess.run([*(host_compiler() or []), *flags, "-o", program, *sources, KERNELS / "measure" / "port_host.c", tmp_path / "wrong.c"], check=True)
    assert ask(program, f"layer 1 {DENSE}") == ["error 1 differs"]


def test_the_host_is_timed_with_the_portable_kernels() -> None:
    conv = LayerShape(operator="conv2d", input=(8, 8, 16), output=(8, 8, 16), kernel=(3, 3), padding=(1, 1, 1, 1))
    large = LayerShape(operator="conv2d", input=(16, 16, 32), output=(16, 16, 64), kernel=(3, 3), padding=(1, 1, 1, 1))
    requests = [LayerRequest(shape=shape, precision=Precision(weight_bits=8)) for shape in (conv, large)]
    with open_meter(MeasurePlace(on="host")) as meter:
        empty = MeasuredTable(target="host", method=meter.method, clock_hz=meter.clock_hz, rows=())
        rows = measure_layers(meter, requests, empty, MeasuredFile()).table.rows
    assert "portable C kernels" in empty.method
    assert "median time" in empty.method
    assert all(row.cycles is None and row.instructions is None for row in rows)
    small, big = (row.seconds or 0.0 for row in rows)
    # 32 times the multiply-accumulates; a busy machine may disturb either.
    assert 0 < small < big < 1
