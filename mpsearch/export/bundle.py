# SPDX-License-Identifier: Apache-2.0
"""The bundle: a folder with the model as C, the kernels it uses, a self-test and a manifest. The same model gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mpsearch.errors import ExportError
from mpsearch.export.constants import build_blocks
from mpsearch.export.emit_model import Program, emit_header, emit_source
from mpsearch.export.emit_project import SELFTEST, emit_cmake, emit_makefile, emit_vectors, with_input_bytes
from mpsearch.export.kernel_library import kernel_files, kernel_function
from mpsearch.export.manifest import MANIFEST_SCHEMA, LayerEntry, Manifest, TensorEntry, shape_entry
from mpsearch.export.memory_plan import plan_memory
from mpsearch.graph.liveness import live_bytes
from mpsearch.graph.shapes import layer_shape
from mpsearch.quant.activation_bits import activation_bits
from mpsearch.quant.packed_size import constant_bytes, header_bytes, kernel_supports
from mpsearch.records import ExportBundle, Layer, LayerGraph, QuantizedGraph

Int8Array = npt.NDArray[np.int8]
Vectors = Sequence[tuple[Sequence[Int8Array], Int8Array]]


def write_bundle(quantized: QuantizedGraph, vectors: Vectors, folder: Path) -> ExportBundle:
    """Write a model as a folder of C.

    Args:
        quantized: The model; its rounding is compiled in, and named by the manifest.
        vectors: For the self-test: int8 inputs in memory order, one a model input, and the int8 output that they must give.
        folder: Must not exist; it appears complete or not at all.

    Returns:
        What was written.

    Raises:
        QuantizationError: Activations of 4 or 16 bits that meet an op which only takes 8.
        ExportError: A layer without a kernel, a vector of the wrong shape, or a folder that cannot be written.
    """
    if folder.exists():
        raise ExportError(f"The bundle's folder '{folder}' already exists.", "remove it or name another one.")
    _check_kernels(quantized)
    program = Program(quantized=quantized, plan=plan_memory(quantized.graph, quantized.config), blocks=build_blocks(quantized))
    _check_counts(program)
    files = _render(program, _check_vectors(quantized.graph, vectors))
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    files["manifest.json"] = _manifest(program, digests).encode()
    _write(files, folder)
    return ExportBundle(
        path=str(folder),
        flash_bytes=program.flash_bytes,
        arena_bytes=program.plan.arena_bytes,
        macs=quantized.graph.macs,
        digests=(*digests.items(), ("manifest.json", hashlib.sha256(files["manifest.json"]).hexdigest())),
    )


def _check_kernels(quantized: QuantizedGraph) -> None:
    graph = quantized.graph
    for layer, constants in zip(graph.layers, quantized.constants, strict=True):
        precision = None if layer.weight is None else quantized.config[layer.name]
        if not kernel_supports(layer, precision):
            raise ExportError(
                f"Layer '{layer.name}': there is no kernel for {type(layer.op).__name__}{f' at {precision}' if precision else ''}.",
                "weights take 2 to 8 bits, activations 8 (4 and 16 too in dense layers and convolutions that are not depthwise); choose another "
                "precision, or replace the op in the model.",
            )
        if precision is not None and constants.weight_bits != precision.weight_bits:
            raise ExportError(f"Layer '{layer.name}': its weights have {constants.weight_bits} bits, but the config says {precision}.")
    wanted = activation_bits(graph, quantized.config)
    for tensor, quantization in zip(graph.tensors, quantized.quantizations, strict=True):
        if quantization.bits != wanted[tensor.name]:
            raise ExportError(f"Tensor '{tensor.name}': it has {quantization.bits} bits, but by the config it has {wanted[tensor.name]}.")


def _check_counts(program: Program) -> None:
    """The bytes that the solver was told are the bytes that are written."""
    quantized = program.quantized
    for layer, block in zip(quantized.graph.layers, program.blocks, strict=True):
        counted = constant_bytes(quantized.graph, layer, None if layer.weight is None else quantized.config[layer.name])
        assert counted == len(block.data()), f"layer {layer.name}: {counted} bytes counted, {len(block.data())} written"
    assert header_bytes(quantized.graph) == 0


def _check_vectors(graph: LayerGraph, vectors: Vectors) -> list[tuple[tuple[Int8Array, ...], Int8Array]]:
    shapes = tuple(graph.tensor(name).shape for name in graph.inputs)
    checked = []
    for index, (inputs, expected) in enumerate(vectors):
        found = tuple(item.shape for item in inputs)
        types = {item.dtype.name for item in (*inputs, expected)}
        if found != shapes or expected.shape != graph.tensor(graph.output).shape or types != {"int8"}:
            raise ExportError(
                f"Test vector {index}: got inputs {found} and output {expected.shape} of {', '.join(sorted(types))}, "
                f"wanted {shapes} and {graph.tensor(graph.output).shape} of int8."
            )
        checked.append((tuple(inputs), expected))
    return checked


def _render(program: Program, vectors: list[tuple[tuple[Int8Array, ...], Int8Array]]) -> dict[str, bytes]:
    graph = program.quantized.graph
    kernels = {f"mps/{path.name}": path.read_bytes() for path in kernel_files(_function(program.quantized, layer) for layer in graph.layers)}
    sources = ["model.c", *(name for name in sorted(kernels) if name.endswith(".c"))]
    texts = {
        "model.h": emit_header(program),
        "model.c": emit_source(program),
        "selftest.c": with_input_bytes(SELFTEST, len(graph.inputs)),
        "vectors.h": emit_vectors(vectors),
        "Makefile": emit_makefile(sources, program.quantized.rounding),
        "CMakeLists.txt": emit_cmake(sources, program.quantized.rounding),
    }
    return {**kernels, **{name: text.encode() for name, text in texts.items()}, "model.bin": b"".join(block.data() for block in program.blocks)}


def _manifest(program: Program, digests: dict[str, str]) -> str:
    graph = program.quantized.graph
    content = Manifest(
        schema=MANIFEST_SCHEMA,
        model_digest=graph.model_digest,
        rounding=program.quantized.rounding,
        flash_bytes=program.flash_bytes,
        arena_bytes=program.plan.arena_bytes,
        arena_bound_bytes=program.plan.bound_bytes,
        macs=graph.macs,
        inputs=[_tensor_entry(program, name, permutation) for name, permutation in zip(graph.inputs, graph.input_permutations, strict=True)],
        output=_tensor_entry(program, graph.output, graph.output_permutation),
        layers=_layer_entries(program),
        sources=["model.c", *(name for name in sorted(digests) if name.startswith("mps/") and name.endswith(".c"))],
        digests=digests,
    )
    return json.dumps(content, indent=1) + "\n"


def _tensor_entry(program: Program, name: str, permutation: tuple[int, ...]) -> TensorEntry:
    quantization = program.quantized.quantization(name)
    return TensorEntry(
        name=name,
        shape=list(program.quantized.graph.tensor(name).shape),
        permutation=list(permutation),
        scale=quantization.scale,
        zero_point=quantization.zero_point,
        bits=quantization.bits,
    )


def _layer_entries(program: Program) -> list[LayerEntry]:
    quantized, graph = program.quantized, program.quantized.graph
    bits = activation_bits(graph, quantized.config)

    def stored(name: str) -> int:
        return graph.tensor(name).stored_bytes(bits[name])

    return [
        LayerEntry(
            name=layer.name,
            op=type(layer.op).__name__,
            kernel=_function(quantized, layer),
            precision="" if layer.weight is None else str(quantized.config[layer.name]),
            flash_bytes=len(block.data()),
            macs=layer.macs,
            shape=shape_entry(layer_shape(graph, layer)),
            input_bytes=sum(stored(name) for name in layer.inputs),
            output_bytes=stored(layer.output),
            live_bytes=live,
            reads_network_input=layer.inputs[0] in graph.inputs,
        )
        for layer, block, live in zip(graph.layers, program.blocks, live_bytes(graph, bits), strict=True)
    ]


def _function(quantized: QuantizedGraph, layer: Layer) -> str:
    return kernel_function(layer, quantized.activation_bits(layer))


def _write(files: dict[str, bytes], folder: Path) -> None:
    """Write a sibling folder and rename it, so that nothing half-written carries the bundle's name."""
    partial: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        for name, content in files.items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_bytes(content)
        partial.chmod(0o755)
        partial.rename(folder)
    except OSError as error:
        raise ExportError(
            f"The bundle '{folder}' cannot be written: {error.strerror or error}.", "check the folder's permissions and the free space."
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
