/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps.h"
#include "mps/mps_broadcast.h"
#include "mps/mps_requantize.h"

static void run_line(const mps_mul_params *params, const int8_t *first, size_t first_step, const int8_t *second, size_t second_step, size_t count,
                     int8_t *output) {
  const mps_mul_params p = *params; /* a copy: bytes written to the output could alias the original */
  for (size_t i = 0; i < count; i++, first += first_step, second += second_step) {
    const int32_t product = (*first - p.input_zero_point[0]) * (*second - p.input_zero_point[1]);
    const int32_t scaled = mps_requantize(product, p.multiplier, p.left_shift, p.right_shift);
    output[i] = mps_clamp(scaled + p.output_zero_point, p.lowest, p.highest);
  }
}

mps_status mps_mul(const mps_mul_params *params, const int8_t *first, const int8_t *second, int8_t *output) {
  const uint32_t *shape = params->shape;
  if (params->broadcast[0] == 0 && params->broadcast[1] == 0) {
    run_line(params, first, 1, second, 1, (size_t)shape[0] * shape[1] * shape[2] * shape[3], output);
    return MPS_OK;
  }
  size_t a[MPS_RANK], b[MPS_RANK];
  mps_broadcast_strides(shape, params->broadcast[0], a);
  mps_broadcast_strides(shape, params->broadcast[1], b);
  for (uint32_t i = 0; i < shape[0]; i++) {
    for (uint32_t j = 0; j < shape[1]; j++) {
      for (uint32_t k = 0; k < shape[2]; k++, output += shape[3])
        run_line(params, first + i * a[0] + j * a[1] + k * a[2], a[3], second + i * b[0] + j * b[1] + k * b[2], b[3], shape[3], output);
    }
  }
  return MPS_OK;
}
