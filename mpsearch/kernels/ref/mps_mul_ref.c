/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_ref.h"
#include "mps_ref_index.h"
#include "mps_ref_value.h"

void mps_mul_ref(const mps_mul_params *p, const int8_t *first, const int8_t *second, int8_t *output) {
  for (size_t i = 0; i < mps_ref_size(p->shape); i++) {
    const int64_t a = first[mps_ref_without(p->shape, i, p->broadcast[0])] - p->input_zero_point[0];
    const int64_t b = second[mps_ref_without(p->shape, i, p->broadcast[1])] - p->input_zero_point[1];
    const int64_t scaled = mps_ref_rescale(a * b, p->multiplier, p->left_shift, p->right_shift);
    output[i] = (int8_t)mps_ref_clamp(scaled, p->output_zero_point, p->lowest, p->highest);
  }
}
