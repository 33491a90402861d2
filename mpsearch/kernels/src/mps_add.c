/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_broadcast.h"
#include "mps/mps_finish.h"

/* Operands enter with 20 more fractional bits, so that rounding them does not show in the sum. */
enum { FRACTION_BITS = 20, BLOCK = 4 };

/* One operand or the sum: what scales it. */
typedef struct {
  int32_t zero_point;
  uint32_t left_shift;
  mps_scale scale;
} part;

static part part_of(const mps_add_params *p, int index, int32_t zero_point, uint32_t more_bits) {
  return (part){
      .zero_point = zero_point,
      .left_shift = p->left_shift[index] + more_bits,
      .scale = {.multiplier = p->multiplier[index], .half = (int32_t)1 << (p->right_shift[index] - 1), .right_shift = p->right_shift[index]}};
}

static inline int32_t operand(int32_t value, const part *p) {
  return mps_rescale_fine(value - p->zero_point, FRACTION_BITS, p->left_shift, p->scale);
}

static inline int32_t total(int32_t sum, const part *p) { return mps_rescale(sum, p->left_shift, p->scale); }

/* Operand by operand, BLOCK elements at a time: the constants of all three would not fit the registers.
   [in] plain  a constant, mps_is_plain(range) */
MPS_INLINE void add_block(int plain, const part parts[3], mps_range range, const int8_t *first, const int8_t *second, int8_t *output) {
  int32_t a = operand(first[0], &parts[0]), b = operand(first[1], &parts[0]), c = operand(first[2], &parts[0]), d = operand(first[3], &parts[0]);
  MPS_HOLD_4(a, b, c, d);
  a += operand(second[0], &parts[1]), b += operand(second[1], &parts[1]), c += operand(second[2], &parts[1]), d += operand(second[3], &parts[1]);
  MPS_HOLD_4(a, b, c, d);
  if (plain) {
    output[0] = mps_finish_plain(a, parts[2].scale, range);
    output[1] = mps_finish_plain(b, parts[2].scale, range);
    output[2] = mps_finish_plain(c, parts[2].scale, range);
    output[3] = mps_finish_plain(d, parts[2].scale, range);
    return;
  }
  a = total(a, &parts[2]), b = total(b, &parts[2]), c = total(c, &parts[2]), d = total(d, &parts[2]);
  MPS_HOLD_4(a, b, c, d);
  output[0] = mps_into_range(a, range);
  output[1] = mps_into_range(b, range);
  output[2] = mps_into_range(c, range);
  output[3] = mps_into_range(d, range);
}

static void add_line(const void *opaque, const int8_t *first, size_t first_step, const int8_t *second, size_t second_step, size_t count,
                     int8_t *output) {
  const mps_add_params *params = opaque;
  const part parts[3] = {part_of(params, 0, params->input_zero_point[0], FRACTION_BITS),
                         part_of(params, 1, params->input_zero_point[1], FRACTION_BITS), part_of(params, 2, 0, 0)};
  const mps_range range = mps_range_of(params->output_zero_point, params->lowest, params->highest, params->left_shift[2]);
  const int8_t *end = output + count;
  if (first_step == 1 && second_step == 1 && mps_is_plain(range)) {
    for (; end - output >= BLOCK; output += BLOCK, first += BLOCK, second += BLOCK) add_block(1, parts, range, first, second, output);
  } else if (first_step == 1 && second_step == 1) {
    for (; end - output >= BLOCK; output += BLOCK, first += BLOCK, second += BLOCK) add_block(0, parts, range, first, second, output);
  }
  for (; output != end; output++, first += first_step, second += second_step) {
    const int32_t sum = operand(*first, &parts[0]) + operand(*second, &parts[1]);
    *output = mps_into_range(total(sum, &parts[2]), range);
  }
}

mps_status mps_add(const mps_add_params *params, const int8_t *first, const int8_t *second, int8_t *output) {
  mps_for_each_line(params->shape, params->broadcast, add_line, params, first, second, output);
  return MPS_OK;
}
