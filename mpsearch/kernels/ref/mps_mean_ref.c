/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_ref.h"
#include "mps_ref_index.h"
#include "mps_ref_value.h"

/* The sum of all that is averaged into output value `place`; the multiplier divides by their number. */
static int64_t sum_into(const mps_mean_params *p, const int8_t *input, size_t place) {
  int64_t sum = 0;
  for (size_t i = 0; i < mps_ref_size(p->shape); i++) {
    if (mps_ref_without(p->shape, i, p->reduced) == place) sum += input[i] - p->input_zero_point;
  }
  return sum;
}

void mps_mean_ref(const mps_mean_params *p, const int8_t *input, int8_t *output) {
  size_t outputs = 1;
  for (int axis = 0; axis < MPS_RANK; axis++) outputs *= (p->reduced >> axis & 1) != 0 ? 1 : p->shape[axis];
  for (size_t place = 0; place < outputs; place++) {
    const int64_t scaled = mps_ref_rescale(sum_into(p, input, place), p->multiplier, p->left_shift, p->right_shift);
    output[place] = (int8_t)mps_ref_clamp(scaled, p->output_zero_point, p->lowest, p->highest);
  }
}
