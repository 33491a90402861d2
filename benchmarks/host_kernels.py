# SPDX-License-Identifier: Apache-2.0
"""Packed host kernels against ONNX Runtime on the same shapes: python benchmarks/host_kernels.py [--rounds 15] [--threads 1] [--quick].

Every round times every contender once, in turn, in one process, so that what else the machine does meets all of them alike; printed are medians of
the rounds' ratios. One thread is timed by its processor time, more by the wall. Float in and float out on both sides, with the quantisation of the
activations counted; "integers" is int8 in, int8 out. Needs onnx and onnxruntime.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from mpsearch.quant.host_kernels import PackedConv2d, PackedDense, host_isa
from mpsearch.records import Requantize

WIDTHS = (2, 3, 4, 5, 6, 7, 8)
GEMM_SHAPES = ((64, 1024), (64, 4096), (256, 1024), (256, 4096))
CONVOLUTIONS = (  # name, input channels, output channels, kernel, height and width, groups
    ("3x3, 16 -> 16, 32x32", 16, 16, 3, 32, 1),
    ("3x3, 64 -> 64, 56x56", 64, 64, 3, 56, 1),
    ("1x1, 256 -> 256, 28x28", 256, 256, 1, 28, 1),
    ("3x3, 3 -> 16, 32x32", 3, 16, 3, 32, 1),
    ("depthwise 3x3, 64, 25x25", 64, 64, 3, 25, 64),
    ("depthwise 3x3, 256, 28x28", 256, 256, 3, 28, 256),
)
REALTIME = "--realtime"
GEMV_SIZE, GEMV_CHAIN = 4096, 8
RANDOM = np.random.default_rng(0)

Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds a call, one entry a round."""

    rounds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Seconds a call."""
        return statistics.median(self.rounds[name])

    def speedup(self, name: str, over: str) -> float:
        """How many times faster `name` is than `over`: the median of the rounds' ratios."""
        return statistics.median(theirs / ours for ours, theirs in zip(self.rounds[name], self.rounds[over], strict=True))


def measure(contenders: dict[str, Run], rounds: int, seconds: float, threads: int) -> Times:
    """Time all contenders in turn, round after round; one round calls each for at least that long."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in contenders}
    with first_in_line(REALTIME in sys.argv):
        for run in contenders.values():
            run()
        for _ in range(rounds):
            for name, run in contenders.items():
                calls, start = 0, clock()
                while (passed := clock() - start) < seconds or calls == 0:
                    run()
                    calls += 1
                times[name].append(passed / calls)
                time.sleep(0.002)  # others want to live, too
    return Times(times)


# ---------------------------------------------------------------- ONNX Runtime


def session(
    nodes: Sequence[Any], constants: Sequence[Any], shape: Sequence[Any], kind: int, output: str, threads: int
) -> onnxruntime.InferenceSession:
    inputs = [helper.make_tensor_value_info("x0", kind, shape)]
    graph = helper.make_graph(nodes, "layer", inputs, [helper.make_tensor_value_info(output, kind, None)], constants)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    model = helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def constant(name: str, value: Any) -> Any:
    return numpy_helper.from_array(np.asarray(value), name)


def their_floats(x: np.ndarray, outputs: int, bits: int, layers: int, threads: int, block: int = 128) -> Run:
    """MatMulNBits with accuracy level 4, which quantises the activations to int8; `layers` different matrices in a chain."""
    inputs = x.shape[1]
    nodes, constants = [], []
    for i in range(layers):
        packed = RANDOM.integers(0, 256, (outputs, inputs // block, block * bits // 8), dtype=np.uint8)
        constants += [constant(f"b{i}", packed), constant(f"s{i}", RANDOM.random((outputs, inputs // block), dtype=np.float32) * 0.01)]
        names = ([f"x{i}", f"b{i}", f"s{i}"], [f"x{i + 1}"])
        nodes.append(
            helper.make_node("MatMulNBits", *names, domain="com.microsoft", K=inputs, N=outputs, bits=bits, block_size=block, accuracy_level=4)
        )
    made = session(nodes, constants, [None, inputs], TensorProto.FLOAT, f"x{layers}", threads)
    return lambda: made.run(None, {"x0": x})


def their_integers(x: np.ndarray, outputs: int, threads: int) -> Run:
    """QLinearMatMul: uint8 activations, int8 weights with a scale a channel."""
    weight = RANDOM.integers(-127, 128, (x.shape[1], outputs), dtype=np.int8)
    scales = [("sx", np.float32(0.02)), ("zx", np.uint8(128)), ("sy", np.float32(0.5)), ("zy", np.uint8(128))]
    constants = [constant("w", weight), constant("sw", np.full(outputs, 1e-3, np.float32)), constant("zw", np.zeros(outputs, np.int8))]
    constants += [constant(*entry) for entry in scales]
    node = helper.make_node("QLinearMatMul", ["x0", "sx", "zx", "w", "sw", "zw", "sy", "zy"], ["x1"])
    made = session([node], constants, [None, x.shape[1]], TensorProto.UINT8, "x1", threads)
    return lambda: made.run(None, {"x0": x})


def their_convolution(inputs: int, outputs: int, kernel: int, size: int, groups: int, integers: bool, threads: int) -> Run:
    """QLinearConv on uint8, or Conv on float, both (batch, channels, height, width)."""
    weight = RANDOM.integers(-127, 128, (outputs, inputs // groups, kernel, kernel), dtype=np.int8)
    attributes = {"group": groups, "kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4}
    shape = (1, inputs, size, size)
    if not integers:
        node = helper.make_node("Conv", ["x0", "w"], ["x1"], **attributes)
        made = session([node], [constant("w", weight * np.float32(1e-3))], shape, TensorProto.FLOAT, "x1", threads)
        x = RANDOM.standard_normal(shape, dtype=np.float32)
        return lambda: made.run(None, {"x0": x})
    scales = [("sx", np.float32(0.02)), ("zx", np.uint8(128)), ("sy", np.float32(0.5)), ("zy", np.uint8(128))]
    constants = [constant("w", weight), constant("sw", np.full(outputs, 1e-3, np.float32)), constant("zw", np.zeros(outputs, np.int8))]
    constants += [*(constant(*entry) for entry in scales), constant("b", np.zeros(outputs, np.int32))]
    node = helper.make_node("QLinearConv", ["x0", "sx", "zx", "w", "sw", "zw", "sy", "zy", "b"], ["x1"], **attributes)
    made = session([node], constants, shape, TensorProto.UINT8, "x1", threads)
    bytes_in = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    return lambda: made.run(None, {"x0": bytes_in})


# ---------------------------------------------------------------- ours


def random_weight(shape: Sequence[int], bits: int) -> np.ndarray:
    half = 1 << (bits - 1)
    return RANDOM.integers(-half, half, shape, dtype=np.int8)


def dense(outputs: int, inputs: int, bits: int, group_size: int | None) -> PackedDense:
    scale = RANDOM.random(outputs if group_size is None else (outputs, inputs // group_size), dtype=np.float32)
    return PackedDense(random_weight((outputs, inputs), bits), scale, bits, group_size)


def our_floats(x: np.ndarray, outputs: int, bits: int, group_size: int | None, layers: int, threads: int) -> Run:
    chain = [dense(outputs, x.shape[1], bits, group_size) for _ in range(layers)]
    out = np.empty((x.shape[0], outputs), dtype=np.float32)
    return lambda: [layer.multiply(x, threads=threads, out=out) for layer in chain]


def our_integers(x: np.ndarray, outputs: int, bits: int, threads: int) -> Run:
    layer = dense(outputs, x.shape[1], bits, None)
    count = np.arange(outputs, dtype=np.int32)
    scales = Requantize(multiplier=(1 << 30) + count, right_shift=np.full(outputs, 12, dtype=np.int8))
    out = np.empty((x.shape[0], outputs), dtype=np.int8)
    return lambda: layer.multiply_integers(x, -3, count, scales, 5, threads=threads, out=out)


def our_convolution(inputs: int, outputs: int, kernel: int, size: int, groups: int, bits: int, integers: bool, threads: int) -> Run:
    weight = random_weight((outputs, kernel, kernel, inputs // groups), bits)
    layer = PackedConv2d(weight, RANDOM.random(outputs, dtype=np.float32), bits, padding=(kernel // 2,) * 4, groups=groups)
    if not integers:
        x, out = RANDOM.standard_normal((1, size, size, inputs), dtype=np.float32), np.empty((1, size, size, outputs), dtype=np.float32)
        return lambda: layer.convolve(x, threads=threads, out=out)
    count = np.arange(outputs, dtype=np.int32)
    scales = Requantize(multiplier=(1 << 30) + count, right_shift=np.full(outputs, 12, dtype=np.int8))
    bytes_in, bytes_out = RANDOM.integers(-128, 128, (1, size, size, inputs), dtype=np.int8), np.empty((1, size, size, outputs), dtype=np.int8)
    return lambda: layer.convolve_integers(bytes_in, -3, count, scales, 5, threads=threads, out=bytes_out)


# ---------------------------------------------------------------- tables


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(f'{cell:.2f}' if isinstance(cell, float) else str(cell) for cell in row)} |", flush=True)


def gemm(shapes: Sequence[tuple[int, int]], rounds: int, seconds: float, threads: int) -> None:
    for rows, size in shapes:
        x = RANDOM.standard_normal((rows, size), dtype=np.float32)
        bytes_in = RANDOM.integers(-128, 128, (rows, size), dtype=np.int8)
        contenders = {"NBits4": their_floats(x, size, 4, 1, threads), "QLinear": their_integers(bytes_in.view(np.uint8), size, threads)}
        for bits in WIDTHS:
            contenders[f"group {bits}"] = our_floats(x, size, bits, 128, 1, threads)
            contenders[f"channel {bits}"] = our_floats(x, size, bits, None, 1, threads)
            contenders[f"integers {bits}"] = our_integers(bytes_in, size, bits, threads)
        times = measure(contenders, rounds, seconds, threads)
        lines = []
        for bits in WIDTHS:
            group, channel, integers = f"group {bits}", f"channel {bits}", f"integers {bits}"
            speed = 2e-9 * rows * size * size / times.median(group)
            ratios = [
                *(times.speedup(name, "NBits4") for name in (group, channel)),
                times.speedup(integers, "QLinear"),
                times.speedup("group 4", group),
            ]
            lines.append([bits, 1e6 * times.median(group), speed, *ratios])
        columns = ["bits", "µs, groups of 128", "Gop/s", "x NBits4", "x NBits4, scale a channel", "integers x QLinearMatMul", "time over 4 bits"]
        table(f"GEMM, {rows} x {size} x {size}, {threads} thread{'s' if threads > 1 else ''}", columns, lines)
        print(f"\nMatMulNBits 4 bits {1e6 * times.median('NBits4'):.0f} µs, QLinearMatMul {1e6 * times.median('QLinear'):.0f} µs.")


def gemv(rounds: int, seconds: float, threads: int) -> None:
    x = RANDOM.standard_normal((1, GEMV_SIZE), dtype=np.float32)
    for place, layers in (("hot", 1), (f"a chain of {GEMV_CHAIN}", GEMV_CHAIN)):
        contenders = {f"NBits{bits}": their_floats(x, GEMV_SIZE, bits, layers, threads) for bits in (2, 4, 8)}
        contenders |= {f"packed {bits}": our_floats(x, GEMV_SIZE, bits, 128, layers, threads) for bits in WIDTHS}
        times = measure(contenders, rounds, seconds, threads)
        lines = []
        for bits in WIDTHS:
            name, rival = f"packed {bits}", f"NBits{bits}"
            each = times.median(name) / layers
            ratio: object = times.speedup(name, rival) if rival in times.rounds else "-"
            theirs: object = 1e6 * times.median(rival) / layers if rival in times.rounds else "-"
            lines.append([bits, 1e6 * each, GEMV_SIZE**2 * bits / 8e9 / each, theirs, ratio, times.speedup("packed 4", name)])
        columns = ["bits", "µs", "GB/s of weights", "NBits µs", "x NBits, same bits", "time over 4 bits"]
        table(f"GEMV, {GEMV_SIZE} x {GEMV_SIZE}, groups of 128, {place}, {threads} thread{'s' if threads > 1 else ''}", columns, lines)


def convolutions(rounds: int, seconds: float, threads: int) -> None:
    lines = []
    for name, *shape in CONVOLUTIONS:
        contenders = {"QLinearConv": their_convolution(*shape, True, threads), "Conv": their_convolution(*shape, False, threads)}
        for bits in (2, 4, 8):
            contenders |= {
                f"integers {bits}": our_convolution(*shape, bits, True, threads),
                f"floats {bits}": our_convolution(*shape, bits, False, threads),
            }
        times = measure(contenders, rounds, seconds, threads)
        inputs, outputs, kernel, size, groups = shape
        billions = 2e-9 * inputs / groups * outputs * (kernel * size) ** 2
        widths = [1e6 * times.median(f"integers {bits}") for bits in (2, 4, 8)]
        ratios = [("integers 4", "QLinearConv"), ("floats 4", "Conv"), ("integers 4", "integers 2"), ("integers 8", "integers 4")]
        lines.append([name, *widths, 1e6 * billions / widths[1], *(times.speedup(*pair) for pair in ratios)])
    columns = [
        "convolution",
        "2 bits, µs",
        "4 bits, µs",
        "8 bits, µs",
        "Gop/s, 4 bits",
        "x QLinearConv",
        "float in and out x Conv",
        "2 over 4",
        "4 over 8",
    ]
    table(f"Convolution, integers, {threads} thread{'s' if threads > 1 else ''}", columns, lines)


def scaling(rounds: int, seconds: float, threads: int) -> None:
    """Wall time of one thread over that of several."""
    lines = []
    for rows, size, layers in ((64, 1024, 1), (256, 1024, 1), (64, 4096, 1), (256, 4096, 1), (1, GEMV_SIZE, 1), (1, GEMV_SIZE, GEMV_CHAIN)):
        x = RANDOM.standard_normal((rows, size), dtype=np.float32)
        name = f"{rows} x {size} x {size}{f', a chain of {layers}' if layers > 1 else ''}"
        for bits in (2, 4, 8):
            one, several = "1 thread", f"{threads} threads"
            times = measure(
                {one: our_floats(x, size, bits, 128, layers, 1), several: our_floats(x, size, bits, 128, layers, threads)}, rounds, seconds, threads
            )
            lines.append([name, bits, *(1e6 * times.median(entry) / layers for entry in (one, several)), times.speedup(several, one)])
    table(f"{threads} threads", ["product", "bits", "1 thread, µs", f"{threads} threads, µs", "times faster"], lines)


@contextlib.contextmanager
def first_in_line(wanted: bool) -> Iterator[None]:
    """Run before everything else on the machine, on as many processors as there are threads; needs Linux and root."""
    if wanted:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(20))
    try:
        yield
    finally:
        if wanted:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few, short rounds on the small shapes")
    parser.add_argument(REALTIME, action="store_true", help="run before everything else on the machine while measuring (Linux, root)")
    parser.add_argument("--only", choices=("gemv", "gemm", "conv", "scaling"))
    arguments = parser.parse_args()
    rounds, seconds = (3, 0.02) if arguments.quick else (arguments.rounds, 0.04)
    print(f"Instruction set {host_isa()}, onnxruntime {onnxruntime.__version__}, {rounds} rounds")
    if arguments.only in (None, "gemv"):
        gemv(rounds, seconds, arguments.threads)
    if arguments.only in (None, "conv"):
        convolutions(rounds, seconds, arguments.threads)
    if arguments.only in (None, "scaling"):
        scaling(rounds, seconds, max(2, arguments.threads))
    if arguments.only in (None, "gemm"):
        gemm([shape for shape in GEMM_SHAPES if shape[1] == 1024] if arguments.quick else GEMM_SHAPES, rounds, seconds, arguments.threads)


if __name__ == "__main__":
    main()
