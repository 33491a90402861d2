/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps.h"
#include "mps/mps_broadcast.h"
#include "mps/mps_requantize.h"

static void mul_line(const void *params, const int8_t *first, size_t first_step, const int8_t *second, size_t second_step, size_t count,
                     int8_t *output) {
  const mps_mul_params p = *(const mps_mul_params *)params; /* a copy: bytes written to the output could alias the original */
  for (size_t i = 0; i < count; i++, first += first_step, second += second_step) {
    const int32_t product = (*first - p.input_zero_point[0]) * (*second - p.input_zero_point[1]);
    const int32_t scaled = mps_requantize(product, p.multiplier, p.left_shift, p.right_shift);
    output[i] = mps_clamp(scaled + p.output_zero_point, p.lowest, p.highest);
  }
}

mps_status mps_mul(const mps_mul_params *params, const int8_t *first, const int8_t *second, int8_t *output) {
  mps_for_each_line(params->shape, params->broadcast, mul_line, params, first, second, output);
  return MPS_OK;
}
