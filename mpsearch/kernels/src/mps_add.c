/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps.h"
#include "mps/mps_broadcast.h"
#include "mps/mps_requantize.h"

/* Operands enter with 20 more fractional bits, so that rounding them does not show in the sum. */
enum { FRACTION = 1 << 20 };

static void run_line(const mps_add_params *params, const int8_t *first, size_t first_step, const int8_t *second, size_t second_step, int8_t *output) {
  const mps_add_params p = *params; /* a copy: bytes written to the output could alias the original */
  const uint32_t count = p.shape[MPS_RANK - 1];
  for (uint32_t i = 0; i < count; i++, first += first_step, second += second_step) {
    const int32_t x = (*first - p.input_zero_point[0]) * FRACTION, y = (*second - p.input_zero_point[1]) * FRACTION;
    const int32_t sum = mps_requantize(x, p.multiplier[0], p.left_shift[0], p.right_shift[0]) +
                        mps_requantize(y, p.multiplier[1], p.left_shift[1], p.right_shift[1]);
    const int32_t scaled = mps_requantize(sum, p.multiplier[2], p.left_shift[2], p.right_shift[2]);
    output[i] = mps_clamp(scaled + p.output_zero_point, p.lowest, p.highest);
  }
}

mps_status mps_add(const mps_add_params *params, const int8_t *first, const int8_t *second, int8_t *output) {
  const uint32_t *shape = params->shape;
  size_t a[MPS_RANK], b[MPS_RANK];
  mps_broadcast_strides(shape, params->broadcast[0], a);
  mps_broadcast_strides(shape, params->broadcast[1], b);
  for (uint32_t i = 0; i < shape[0]; i++) {
    for (uint32_t j = 0; j < shape[1]; j++) {
      for (uint32_t k = 0; k < shape[2]; k++, output += shape[3])
        run_line(params, first + i * a[0] + j * a[1] + k * a[2], a[3], second + i * b[0] + j * b[1] + k * b[2], b[3], output);
    }
  }
  return MPS_OK;
}
