# SPDX-License-Identifier: Apache-2.0
"""model.h and model.c: the constants as one object, the arena, and one call for each layer. Floats appear only in comments."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from mpsearch.export.constants import ConstantBlock
from mpsearch.export.kernel_library import kernel_function
from mpsearch.export.memory_plan import MemoryPlan
from mpsearch.quant.packed_size import weight_owner
from mpsearch.records import Concat, Layer, LayerGraph, QuantizedGraph, Rounding

_LICENSE = "/* SPDX-License-Identifier: Apache-2.0 */\n"
_ROUNDING_CHECKS: dict[Rounding, tuple[str, ...]] = {
    "single": (),
    "tflite_double": (
        '#ifndef MPS_DOUBLE_ROUNDING\n#error "this model rounds twice: compile all of its files with -DMPS_DOUBLE_ROUNDING"\n#endif\n',
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Everything that the emitted C says.

    Attributes:
        quantized: The model.
        plan: Where its buffers lie.
        blocks: The constants of each layer, in graph order.
    """

    quantized: QuantizedGraph
    plan: MemoryPlan
    blocks: tuple[ConstantBlock, ...]

    @property
    def flash_bytes(self) -> int:
        """Length of the constants."""
        return sum(len(block.data()) for block in self.blocks)

    def offset(self, tensor: str) -> int:
        """Return where a tensor lies in the arena."""
        return dict(self.plan.tensor_offsets)[tensor]


def emit_header(program: Program) -> str:
    """Return model.h."""
    graph = program.quantized.graph
    lines = [
        f"{_LICENSE}#ifndef MPS_MODEL_H\n#define MPS_MODEL_H\n",
        '#include <stdint.h>\n\n#include "mps/mps.h"\n',
        f"#define MPS_MODEL_FLASH_BYTES {program.flash_bytes}",
        f"#define MPS_MODEL_ARENA_BYTES {program.plan.arena_bytes}",
        f"#define MPS_MODEL_INPUTS {len(graph.inputs)}",
    ]
    for index, name in enumerate(graph.inputs):
        lines += _describe_tensor(program, name, f"INPUT_{index}")
    lines += _describe_tensor(program, graph.output, "OUTPUT")
    lines.append(
        textwrap.dedent("""
        /* Write every input, run, read the output. A run may overwrite the inputs: write them again before the next.
           All values are int8 in memory order; real = scale * (q - zero_point). */
        int8_t *mps_model_input(unsigned index); /* a null pointer if there is no such input */
        mps_status mps_model_run(void);
        const int8_t *mps_model_output(void);

        #endif
        """).rstrip("\n")
    )
    return "\n".join(lines) + "\n"


def _describe_tensor(program: Program, name: str, macro: str) -> list[str]:
    tensor, quantization = program.quantized.graph.tensor(name), program.quantized.quantization(name)
    shape = ", ".join(str(size) for size in tensor.shape)
    return [
        f"\n/* {_comment(name)}: shape ({shape}), scale {quantization.scale!r} */",
        f"#define MPS_MODEL_{macro}_BYTES {tensor.size}",
        *(f"#define MPS_MODEL_{macro}_DIM_{axis} {size}" for axis, size in enumerate(tensor.shape)),
        f"#define MPS_MODEL_{macro}_ZERO_POINT ({quantization.zero_point})",
    ]


def emit_source(program: Program) -> str:
    """Return model.c."""
    graph = program.quantized.graph
    names = c_names(graph)
    parts = [f'{_LICENSE}#include "model.h"\n', *_ROUNDING_CHECKS[program.quantized.rounding], _emit_constants(program, names)]
    parts.append(f"static _Alignas(4) int8_t arena[{max(program.plan.arena_bytes, 1)}];\n")
    calls = []
    for step, block in enumerate(program.blocks):
        if block.params_type:
            parts.append(_emit_step(program, names, step))
            calls.append(f"  if ((status = run_{names[step]}()) != MPS_OK) return status;")
    inputs = "\n".join(f"    case {index}: return arena + {program.offset(name)};" for index, name in enumerate(graph.inputs))
    parts.append(f"int8_t *mps_model_input(unsigned index) {{\n  switch (index) {{\n{inputs}\n    default: return 0;\n  }}\n}}\n")
    parts.append("mps_status mps_model_run(void) {\n  mps_status status = MPS_OK;\n" + "\n".join(calls) + "\n  return status;\n}\n")
    parts.append(f"const int8_t *mps_model_output(void) {{ return arena + {program.offset(graph.output)}; }}\n")
    return "\n".join(parts)


def c_names(graph: LayerGraph) -> tuple[str, ...]:
    """Return a C identifier for each layer: its place in the graph and its name."""
    return tuple(f"l{step}_{re.sub(r'[^0-9A-Za-z]+', '_', layer.name).strip('_')}" for step, layer in enumerate(graph.layers))


def _emit_constants(program: Program, names: tuple[str, ...]) -> str:
    """Return the one constant object; a model without constants gets none."""
    blocks = [(name, block) for name, block in zip(names, program.blocks, strict=True) if block.params_type]
    if not blocks:
        return ""
    members, values = [], []
    for name, block in blocks:
        count = f"[{block.params_count}]" if block.params_count > 1 or block.params_type == "mps_copy_params" else ""
        arrays = "".join(f" {item.c_type} {item.designator}[{len(item.values)}];" for item in block.arrays if isinstance(item.values, tuple))
        members.append(f"  struct {{ {block.params_type} params{count};{arrays} }} {name};")
        values.append(f"  .{name} = {{\n{_emit_values(block, indexed=bool(count))}  }},")
    return (
        "static const struct {\n" + "\n".join(members) + "\n} constants = {\n" + "\n".join(values) + "\n};\n\n"
        '_Static_assert(sizeof(constants) == MPS_MODEL_FLASH_BYTES, "the bytes that were counted are the bytes that are stored");\n'
    )


def _emit_values(block: ConstantBlock, indexed: bool) -> str:
    lines = []
    for item in (*block.params, *block.arrays):
        if item.designator.endswith("reserved"):
            continue
        name = item.designator.replace("params.", "params[0].") if indexed else item.designator
        if isinstance(item.values, int):
            lines.append(f"    .{name} = {_literal(item.values)},\n")
        else:
            text = ", ".join(map(_literal, item.values))
            wrapped = textwrap.fill(text, 140, initial_indent="      ", subsequent_indent="      ") if len(text) > 120 else text
            lines.append(f"    .{name} = {{\n{wrapped}}},\n" if len(text) > 120 else f"    .{name} = {{{wrapped}}},\n")
    return "".join(lines)


def _literal(value: int) -> str:
    """Return a C constant; the lowest int32 cannot be written as a negated literal."""
    return "INT32_MIN" if value == -(1 << 31) else str(value)


def _emit_step(program: Program, names: tuple[str, ...], step: int) -> str:
    """Return the function that runs one layer."""
    graph = program.quantized.graph
    layer, name = graph.layers[step], names[step]
    body = _call(program, names, step)
    shapes = " + ".join("x".join(map(str, graph.tensor(tensor).shape)) for tensor in layer.inputs)
    target = "x".join(map(str, graph.tensor(layer.output).shape))
    bits = f", {program.quantized.config[layer.name]}" if layer.weight is not None else ""
    title = f"/* {_comment(layer.name)}: {type(layer.op).__name__} {shapes} -> {target}{bits} */"
    return f"{title}\nstatic mps_status run_{name}(void) {{\n{body}\n}}\n"


def _call(program: Program, names: tuple[str, ...], step: int) -> str:
    graph = program.quantized.graph
    layer, block = graph.layers[step], program.blocks[step]
    own = f"constants.{names[step]}"
    inputs = [f"arena + {program.offset(tensor)}" for tensor in layer.inputs]
    output = f"arena + {program.offset(layer.output)}"
    function = kernel_function(layer, program.quantized.activation_bits(layer))
    if layer.weight is not None:
        weights = f"constants.{names[_index(graph, weight_owner(graph, layer))]}.weights"
        channels = f"  const mps_channels channels = {{{own}.bias, {own}.multiplier, {own}.right_shift, {weights}}};\n"
        return f"{channels}  return {function}(&{own}.params, &channels, {inputs[0]}, {output}, arena + {program.plan.scratch_offsets[step]});"
    if isinstance(layer.op, Concat):
        copies = [f"  (void){function}(&{own}.params[{index}], {source}, {output});" for index, source in enumerate(inputs)]
        return "\n".join([*copies, "  return MPS_OK;"])
    params = f"&{own}.params[0]" if block.params_type == "mps_copy_params" else f"&{own}.params"
    arrays = [f"{own}.{item.designator}" for item in block.arrays]
    return f"  return {function}({', '.join([params, *arrays, *inputs, output])});"


def _index(graph: LayerGraph, layer: Layer) -> int:
    return next(index for index, other in enumerate(graph.layers) if other.name == layer.name)


def _comment(text: str) -> str:
    """Return text that cannot end a C comment."""
    return re.sub(r"[^ -~]|\*/|/\*", "?", text)
