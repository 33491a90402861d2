# SPDX-License-Identifier: Apache-2.0
"""The files around model.c that let a stranger build and check it: Makefile, CMakeLists.txt, selftest.c and its vectors."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mpsearch.records import Rounding

_LICENSE = "/* SPDX-License-Identifier: Apache-2.0 */\n"
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror")
ROUNDING_FLAGS: dict[Rounding, tuple[str, ...]] = {"single": (), "tflite_double": ("-DMPS_DOUBLE_ROUNDING",)}
"""What every file of a bundle is compiled with, by its rounding."""

Int8Array = npt.NDArray[np.int8]


def emit_makefile(sources: Sequence[str], rounding: Rounding = "single") -> str:
    """Return a Makefile that builds the self-test; CC and CFLAGS may be overridden."""
    return (
        "# SPDX-License-Identifier: Apache-2.0\n"
        f"CFLAGS ?= -O2\nMPS_FLAGS = {' '.join([*WARNINGS, *ROUNDING_FLAGS[rounding]])} -I.\nSOURCES = {' '.join(sources)}\n\n"
        "selftest: selftest.c $(SOURCES)\n\t$(CC) $(CFLAGS) $(MPS_FLAGS) -o $@ selftest.c $(SOURCES)\n\n"
        "test: selftest\n\t./selftest\n\nclean:\n\trm -f selftest\n\n.PHONY: test clean\n"
    )


def emit_cmake(sources: Sequence[str], rounding: Rounding = "single") -> str:
    """Return a CMakeLists.txt with the model as a static library, and the self-test as a test."""
    flags = "".join(f"target_compile_options(mps_model PUBLIC {flag})\n" for flag in ROUNDING_FLAGS[rounding])
    return (
        "# SPDX-License-Identifier: Apache-2.0\ncmake_minimum_required(VERSION 3.16)\nproject(mps_model C)\n\nset(CMAKE_C_STANDARD 11)\n"
        f"add_library(mps_model STATIC {' '.join(sources)})\n"
        "target_include_directories(mps_model PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})\n"
        f"{flags}\n"
        "enable_testing()\nadd_executable(selftest selftest.c)\ntarget_link_libraries(selftest PRIVATE mps_model)\n"
        "add_test(NAME selftest COMMAND selftest)\n"
    )


def emit_vectors(vectors: Sequence[tuple[tuple[Int8Array, ...], Int8Array]]) -> str:
    """Return vectors.h: inputs of each vector one after the other, and the outputs that are expected."""
    lines = [f"{_LICENSE}#ifndef MPS_VECTORS_H\n#define MPS_VECTORS_H\n\n#include <stdint.h>\n", f"enum {{ VECTORS = {len(vectors)} }};\n"]
    inputs = [np.concatenate([item.ravel() for item in given]) for given, _ in vectors]
    outputs = [expected.ravel() for _, expected in vectors]
    for name, rows in (("vector_inputs", inputs), ("vector_outputs", outputs)):
        length = rows[0].size if rows else 1
        lines.append(f"static const int8_t {name}[{max(len(rows), 1)}][{length}] = {{")
        lines += ["  {\n" + _numbers(row) + "}," for row in rows] or ["  {0},"]
        lines.append("};\n")
    return "\n".join(lines) + "#endif\n"


def _numbers(values: Int8Array) -> str:
    return textwrap.fill(", ".join(map(str, values.tolist())), 140, initial_indent="    ", subsequent_indent="    ")


SELFTEST = (
    _LICENSE
    + r"""/* Runs the vectors and reports every output that differs; exits with 0 if none does. */
#include <stdio.h>
#include <string.h>

#include "model.h"
#include "vectors.h"

static const size_t input_bytes[] = {INPUT_BYTES};

int main(void) {
  unsigned long mismatches = 0;
  for (int vector = 0; vector < VECTORS; vector++) {
    const int8_t *from = vector_inputs[vector];
    for (unsigned index = 0; index < MPS_MODEL_INPUTS; index++) {
      memcpy(mps_model_input(index), from, input_bytes[index]);
      from += input_bytes[index];
    }
    const mps_status status = mps_model_run();
    if (status != MPS_OK) {
      printf("vector %d: the model stopped with status %d\n", vector, (int)status);
      return 2;
    }
    const int8_t *output = mps_model_output();
    for (size_t i = 0; i < MPS_MODEL_OUTPUT_BYTES; i++) {
      if (output[i] == vector_outputs[vector][i]) continue;
      mismatches++;
      printf("vector %d, output %lu: got %d, wanted %d\n", vector, (unsigned long)i, output[i], vector_outputs[vector][i]);
    }
  }
  printf("%d vectors, %lu mismatches\n", (int)VECTORS, mismatches);
  return mismatches == 0 ? 0 : 1;
}
"""
)

RUNNER = (
    _LICENSE
    + r"""/* runner INPUTS OUTPUTS: runs the model on every sample of a binary file. */
#include <stdio.h>

#include "model.h"

static const size_t input_bytes[] = {INPUT_BYTES};

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  FILE *inputs = fopen(argv[1], "rb"), *outputs = fopen(argv[2], "wb");
  if (!inputs || !outputs) return 3;
  for (;;) {
    for (unsigned index = 0; index < MPS_MODEL_INPUTS; index++) {
      if (fread(mps_model_input(index), 1, input_bytes[index], inputs) != input_bytes[index]) return fclose(outputs) ? 4 : index == 0 ? 0 : 5;
    }
    if (mps_model_run() != MPS_OK) return 6;
    if (fwrite(mps_model_output(), 1, MPS_MODEL_OUTPUT_BYTES, outputs) != MPS_MODEL_OUTPUT_BYTES) return 4;
  }
}
"""
)

TIMER = (
    _LICENSE
    + r"""/* Runs the model on the self-test's vectors, for half a second and at least five times; prints the nanoseconds of each run. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "model.h"
#include "vectors.h"

enum { LEAST = 5, MOST = 10000 };
static const long long enough = 500000000;
static const size_t input_bytes[] = {INPUT_BYTES};

static long long nanoseconds(void) {
  struct timespec now;
  timespec_get(&now, TIME_UTC);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(void) {
  long long total = 0;
  for (int run = 0; run < MOST && (run < LEAST || total < enough); run++) {
    const int8_t *from = vector_inputs[run % VECTORS];
    for (unsigned index = 0; index < MPS_MODEL_INPUTS; index++) {
      memcpy(mps_model_input(index), from, input_bytes[index]);
      from += input_bytes[index];
    }
    const long long start = nanoseconds();
    if (mps_model_run() != MPS_OK) return 2;
    const long long taken = nanoseconds() - start;
    printf("%lld\n", taken);
    total += taken;
  }
  (void)vector_outputs; /* vectors.h brings them along */
  return 0;
}
"""
)


def with_input_bytes(template: str, inputs: int) -> str:
    """Fill in the lengths of the model's inputs."""
    return template.replace("{INPUT_BYTES}", "{" + ", ".join(f"MPS_MODEL_INPUT_{index}_BYTES" for index in range(inputs)) + "}")
