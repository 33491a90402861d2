# SPDX-License-Identifier: Apache-2.0
"""`mpsearch.apply` against the float model in PyTorch: python benchmarks/packed_module.py [--rounds 15] [--threads 1] [--only mlp].

Every round calls every contender in turn, in one process and with the same number of threads, so that what else the machine does meets all of them
alike; printed are the median milliseconds of a call, and the median of the rounds' ratios to the float model. The float model is as fast as torch
makes it without retraining: batch norms fused into convolutions, channels-last, the fused transformer layer. For dense models torch's own dynamic
8-bit quantisation stands beside it. Networks of the data folder need MPSEARCH_DATA.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's waiting threads leave the cores to the packed layers

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import mpsearch
from mpsearch.evaluate.folded_norms import following_norms
from mpsearch.quant.host_kernels import host_isa

WIDTHS = ("w8a8", "w4a8", "w2a8")
SHORTEST_ROUND_S = 0.03

Contenders = dict[str, Callable[[], object]]


def time_rounds(contenders: Contenders, rounds: int) -> dict[str, list[float]]:
    """Return seconds a call, one entry a round."""
    for run in contenders.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            calls, start = 0, time.perf_counter()
            while (passed := time.perf_counter() - start) < SHORTEST_ROUND_S or calls == 0:
                run()
                calls += 1
            seconds[name].append(passed / calls)
    return seconds


def dense_names(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if type(module) is nn.Linear]


def dense_contenders(model: nn.Module, threads: int, precisions: tuple[str, ...]) -> dict[str, nn.Module]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that torch.ao moves
        quantized = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8)
    ours = {name: mpsearch.apply(model, dict.fromkeys(dense_names(model), name), threads=threads) for name in precisions}
    return {"float": model, "torch int8": quantized, **ours}


def mlp(threads: int) -> Iterator[tuple[str, dict[str, nn.Module], torch.Tensor]]:
    sizes = (1024, 4096, 4096, 1024)
    layers = [layer for inputs, outputs in pairwise(sizes) for layer in (nn.Linear(inputs, outputs), nn.GELU())]
    models = dense_contenders(nn.Sequential(*layers[:-1]).eval(), threads, (*WIDTHS, "w4a8g128", "w2a8g64"))
    for rows in (1, 16, 128):
        yield f"MLP 1024-4096-4096-1024, {rows} rows", models, torch.randn(rows, sizes[0])


def transformer(threads: int) -> Iterator[tuple[str, dict[str, nn.Module], torch.Tensor]]:
    layer = nn.TransformerEncoderLayer(512, 8, dim_feedforward=2048, batch_first=True, activation="gelu")
    model = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False).eval()
    ours = {name: mpsearch.apply(model, dict.fromkeys(dense_names(model), name), threads=threads) for name in (*WIDTHS, "w4a8g128")}
    yield "transformer, 4 layers of 512/2048, 2 x 64 tokens (attention in float)", {"float": model, **ours}, torch.randn(2, 64, 512)


def network(name: str, threads: int) -> Iterator[tuple[str, dict[str, nn.Module], torch.Tensor]]:
    workload = mpsearch.load_workload(name)
    names = [path for path, module in workload.model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    example = workload.calibration[0]
    assert isinstance(example, torch.Tensor)
    models = {width: mpsearch.apply(workload.model, dict.fromkeys(names, width), calibration=[example], threads=threads) for width in WIDTHS}
    for batch in (1, 64):
        image = example[:batch].to(memory_format=torch.channels_last)
        yield f"{name}, batch of {batch}", {"float": fused(workload.model, example), **models}, image


def fused(model: nn.Module, example: torch.Tensor) -> nn.Module:
    """Return the float model with its batch norms in its convolutions."""
    model = copy.deepcopy(model).eval()
    paths = {id(module): path for path, module in model.named_modules()}
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    norms = following_norms(model, convolutions, example)
    for convolution in convolutions:
        if id(convolution) in norms:
            norm = norms[id(convolution)]
            model.set_submodule(paths[id(norm)], nn.Identity())
            model.set_submodule(paths[id(convolution)], fuse_conv_bn_eval(convolution, norm))
    return model.to(memory_format=torch.channels_last)


SUITES = {
    "mlp": mlp,
    "transformer": transformer,
    "cifar10_resnet20": lambda threads: network("cifar10_resnet20", threads),
    "kws_dscnn_s": lambda threads: network("kws_dscnn_s", threads),
}


def packed_mebibytes(model: nn.Module) -> float:
    """Return the mebibytes of a model's state."""
    return sum(value.nbytes for value in model.state_dict().values() if isinstance(value, torch.Tensor)) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=SUITES, action="append")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {host_isa()}, {options.threads} threads, {options.rounds} rounds\n")
    print("| model | contender | MiB | ms | times as fast as float |\n|---|---|---|---|---|")
    for suite in options.only or SUITES:
        for title, models, x in SUITES[suite](options.threads):
            with torch.inference_mode():
                seconds = time_rounds({name: lambda model=model, x=x: model(x) for name, model in models.items()}, options.rounds)
            for name, model in models.items():
                ratio = statistics.median(theirs / ours for ours, theirs in zip(seconds[name], seconds["float"], strict=True))
                held = "" if name == "torch int8" else f"{packed_mebibytes(model):.2f}"
                print(f"| {title} | {name} | {held} | {statistics.median(seconds[name]) * 1e3:.3g} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
