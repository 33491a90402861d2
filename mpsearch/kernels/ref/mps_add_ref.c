/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_ref.h"
#include "mps_ref_index.h"
#include "mps_ref_value.h"

/* Both operands are brought to a common scale with 20 fractional bits, added, and brought to the output's: as TensorFlow Lite does. */
enum { FRACTION_BITS = 20 };

static int64_t operand(const mps_add_params *p, int index, int32_t value) {
  const int64_t centred = value - p->input_zero_point[index];
  return mps_ref_rescale(centred * ((int64_t)1 << FRACTION_BITS), p->multiplier[index], p->left_shift[index], p->right_shift[index]);
}

void mps_add_ref(const mps_add_params *p, const int8_t *first, const int8_t *second, int8_t *output) {
  for (size_t i = 0; i < mps_ref_size(p->shape); i++) {
    const int8_t a = first[mps_ref_without(p->shape, i, p->broadcast[0])], b = second[mps_ref_without(p->shape, i, p->broadcast[1])];
    const int64_t scaled = mps_ref_rescale(operand(p, 0, a) + operand(p, 1, b), p->multiplier[2], p->left_shift[2], p->right_shift[2]);
    output[i] = (int8_t)mps_ref_clamp(scaled, p->output_zero_point, p->lowest, p->highest);
  }
}
