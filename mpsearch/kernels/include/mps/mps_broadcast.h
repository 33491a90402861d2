/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_BROADCAST_H
#define MPS_BROADCAST_H

#include <stddef.h>
#include <stdint.h>

#include "mps/mps_params.h"

/* How far an operand moves along each axis of the output; 0 where it is broadcast. */
static inline void mps_broadcast_strides(const uint32_t shape[MPS_RANK], unsigned broadcast, size_t stride[MPS_RANK]) {
  size_t step = 1;
  for (int axis = MPS_RANK - 1; axis >= 0; axis--) {
    const int repeated = (broadcast >> axis & 1u) != 0;
    stride[axis] = repeated ? 0 : step;
    if (!repeated) step *= shape[axis];
  }
}

/* Computes one line of the output from one line of each operand; a step of 0 repeats an operand's single value. */
typedef void (*mps_line)(const void *params, const int8_t *first, size_t first_step, const int8_t *second, size_t second_step, size_t count,
                         int8_t *output);

/* Walks the output of an elementwise op with two operands, line by line, or as a single line where nothing is broadcast. */
static inline void mps_for_each_line(const uint32_t shape[MPS_RANK], const uint8_t broadcast[2], mps_line line, const void *params,
                                     const int8_t *first, const int8_t *second, int8_t *output) {
  if (broadcast[0] == 0 && broadcast[1] == 0) {
    line(params, first, 1, second, 1, (size_t)shape[0] * shape[1] * shape[2] * shape[3], output);
    return;
  }
  size_t a[MPS_RANK], b[MPS_RANK];
  mps_broadcast_strides(shape, broadcast[0], a);
  mps_broadcast_strides(shape, broadcast[1], b);
  for (uint32_t i = 0; i < shape[0]; i++) {
    for (uint32_t j = 0; j < shape[1]; j++) {
      for (uint32_t k = 0; k < shape[2]; k++, output += shape[3])
        line(params, first + i * a[0] + j * a[1] + k * a[2], a[3], second + i * b[0] + j * b[1] + k * b[2], b[3], shape[3], output);
    }
  }
}

#endif
