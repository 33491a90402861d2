/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_packed.h"

#include "mps/mps_finish.h"

#if MPS_SIMD

enum { ONES = 0x00010001 };

/* Values 0 .. 3 and the four that lie half a block further as four pairs, `step` words apart; returns their sum. */
static inline int32_t pair_up(const int8_t *values, const int8_t *further, uint32_t *pairs, size_t step, int32_t sum) {
  const uint32_t a = mps_load_word(values), b = mps_load_word(further);
  const uint32_t a_even = mps_even_bytes(a), a_odd = mps_odd_bytes(a), b_even = mps_even_bytes(b), b_odd = mps_odd_bytes(b);
  sum = mps_dual_product(a_even, ONES, sum);
  sum = mps_dual_product(a_odd, ONES, sum);
  sum = mps_dual_product(b_even, ONES, sum);
  sum = mps_dual_product(b_odd, ONES, sum);
  pairs[0] = mps_low_halves(a_even, b_even);
  pairs[step] = mps_low_halves(a_odd, b_odd);
  pairs[2 * step] = mps_high_halves(a_even, b_even);
  pairs[3 * step] = mps_high_halves(a_odd, b_odd);
  return sum;
}

static int32_t pack_pixel(const int8_t *values, size_t count, size_t half, uint32_t *pairs, size_t step) {
  int32_t sum = 0;
  for (; count >= 2 * half; count -= 2 * half, values += half) {
    for (const int8_t *end = values + half; values != end; values += 4, pairs += 4 * step) sum = pair_up(values, values + half, pairs, step, sum);
  }
  if (count > 0) {
    int8_t rest[16] = {0};
    memcpy(rest, values, count);
    for (size_t i = 0; i < half; i += 4, pairs += 4 * step) sum = pair_up(rest + i, rest + i + half, pairs, step, sum);
  }
  return sum;
}

void mps_pack_pixels(mps_packed_input *input, const int8_t *first, const int8_t *second, unsigned bits) {
  const size_t half = 16 / bits;
  input->sums[0] = pack_pixel(first, input->values, half, input->pairs, input->pixels);
  input->sums[1] = 0;
  if (input->pixels == 2) input->sums[1] = pack_pixel(second, input->values, half, input->pairs + 1, 2);
}

/* The last, incomplete word of a row; the pairs that it lacks are zero. */
static inline uint32_t load_bytes(const uint8_t *bytes, size_t count) {
  uint32_t word = 0;
  for (size_t i = 0; i < count; i++) word |= (uint32_t)bytes[i] << (8 * i);
  return word;
}

#define MPS_NAME dot_w4_2x2
#define MPS_WIDTH 4
#define MPS_PIXELS 2
#include "mps_packed_width.inc"

#define MPS_NAME dot_w4_2x1
#define MPS_WIDTH 4
#define MPS_PIXELS 1
#include "mps_packed_width.inc"

#define MPS_NAME dot_w2_2x2
#define MPS_WIDTH 2
#define MPS_PIXELS 2
#include "mps_packed_width.inc"

#define MPS_NAME dot_w2_2x1
#define MPS_WIDTH 2
#define MPS_PIXELS 1
#include "mps_packed_width.inc"

void mps_packed_channels(const mps_packed_input *input, const mps_dot_target *target, unsigned bits, size_t first, size_t end, int8_t *output,
                         size_t output_pitch) {
  const mps_channels channels = *target->channels;
  const mps_range range = mps_range_of(target->zero_point, target->lowest, target->highest, target->left_shift);
  const size_t bytes = (input->values * bits + 7) / 8;
  const int32_t zero = -(1 << (bits - 1)), zero_0 = zero * input->sums[0], zero_1 = zero * input->sums[1];
  const uint8_t *row = channels.weights + first * bytes;
  for (size_t c = first; c < end; c += 2, row += 2 * bytes, output += 2) {
    const size_t next = c + 1 < end ? c + 1 : c;
    const uint8_t *next_row = next == c ? row : row + bytes;
    const int32_t bias = channels.bias[c], next_bias = channels.bias[next];
    int32_t sums[4] = {bias + zero_0, bias + zero_1, next_bias + zero_0, next_bias + zero_1};
    const mps_scale scale = mps_scale_of(&channels, c), next_scale = mps_scale_of(&channels, next);
    if (input->pixels == 2) {
      (bits == 4 ? dot_w4_2x2 : dot_w2_2x2)(row, next_row, bytes, input->pairs, sums);
      mps_finish_2x2(sums, scale, next_scale, range, next != c, output, output_pitch);
    } else {
      (bits == 4 ? dot_w4_2x1 : dot_w2_2x1)(row, next_row, bytes, input->pairs, sums);
      mps_finish_2x1(sums, scale, next_scale, range, next != c, output);
    }
  }
}

#endif
