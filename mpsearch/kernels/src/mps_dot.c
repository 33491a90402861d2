/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_dot.h"

#include "mps/mps_finish.h"

#if MPS_SIMD

/* Four values of two weight rows and of one or two pixels. */
#define STEP_2X2                                                                                       \
  do {                                                                                                 \
    const uint32_t a = mps_load_word(w0), b = mps_load_word(w1), c = mps_load_word(x0);                \
    const uint32_t a_even = mps_even_bytes(a), a_odd = mps_odd_bytes(a);                               \
    const uint32_t c_even = mps_even_bytes(c), c_odd = mps_odd_bytes(c);                               \
    s00 = mps_dual_product(a_odd, c_odd, mps_dual_product(a_even, c_even, s00));                       \
    const uint32_t b_even = mps_even_bytes(b), b_odd = mps_odd_bytes(b);                               \
    s10 = mps_dual_product(b_odd, c_odd, mps_dual_product(b_even, c_even, s10));                       \
    const uint32_t d = mps_load_word(x1), d_even = mps_even_bytes(d), d_odd = mps_odd_bytes(d);        \
    s01 = mps_dual_product(a_odd, d_odd, mps_dual_product(a_even, d_even, s01));                       \
    s11 = mps_dual_product(b_odd, d_odd, mps_dual_product(b_even, d_even, s11));                       \
    w0 += 4, w1 += 4, x0 += 4, x1 += 4;                                                                \
  } while (0)

#define STEP_2X1                                                                                       \
  do {                                                                                                 \
    const uint32_t a = mps_load_word(w0), b = mps_load_word(w1), c = mps_load_word(x0);                \
    const uint32_t c_even = mps_even_bytes(c), c_odd = mps_odd_bytes(c);                               \
    s00 = mps_dual_product(mps_odd_bytes(a), c_odd, mps_dual_product(mps_even_bytes(a), c_even, s00)); \
    s10 = mps_dual_product(mps_odd_bytes(b), c_odd, mps_dual_product(mps_even_bytes(b), c_even, s10)); \
    w0 += 4, w1 += 4, x0 += 4;                                                                         \
  } while (0)

#define REPEAT_BY_FOURS(step)                                                       \
  do {                                                                              \
    for (const int8_t *end = x0 + (values & ~(size_t)15); x0 != end;) {             \
      step;                                                                         \
      step;                                                                         \
      step;                                                                         \
      step;                                                                         \
    }                                                                               \
    for (const int8_t *end = x0 + (values & 12u); x0 != end;) step;                 \
    values &= 3u;                                                                   \
  } while (0)

#else
#define REPEAT_BY_FOURS(step) (void)0
#endif

/* Two weight rows times two pixels: four accumulators, which with four pointers is what a Cortex-M holds in registers. */
static void dot_2x2(const int8_t *restrict w0, const int8_t *restrict w1, const int8_t *restrict x0, const int8_t *restrict x1, size_t values,
                    int32_t sums[4]) {
  int32_t s00 = sums[0], s01 = sums[1], s10 = sums[2], s11 = sums[3];
  REPEAT_BY_FOURS(STEP_2X2);
#pragma GCC unroll 4
  for (size_t k = 0; k < values; k++) {
    const int32_t a = w0[k], b = w1[k], c = x0[k], d = x1[k];
    s00 += a * c;
    s01 += a * d;
    s10 += b * c;
    s11 += b * d;
  }
  sums[0] = s00, sums[1] = s01, sums[2] = s10, sums[3] = s11;
}

static void dot_2x1(const int8_t *restrict w0, const int8_t *restrict w1, const int8_t *restrict x0, size_t values, int32_t sums[4]) {
  int32_t s00 = sums[0], s10 = sums[2];
  REPEAT_BY_FOURS(STEP_2X1);
#pragma GCC unroll 4
  for (size_t k = 0; k < values; k++) {
    s00 += w0[k] * x0[k];
    s10 += w1[k] * x0[k];
  }
  sums[0] = s00, sums[2] = s10;
}

void mps_dot_pixels(const mps_dot_job *job, const mps_dot_target *target) {
  const mps_dot_job j = *job; /* a copy: bytes written to the output could alias the original */
  const int two = j.channels == 2;
  const size_t next = j.first + (two ? 1 : 0);
  const mps_range range = mps_range_of(target->zero_point, target->lowest, target->highest, target->left_shift);
  const mps_scale first = mps_scale_of(target->channels, j.first), second = mps_scale_of(target->channels, next);
  const int32_t bias = target->channels->bias[j.first], next_bias = target->channels->bias[next];
  const int8_t *input = j.input;
  int8_t *output = j.output;
  for (size_t pixel = 0; pixel < j.pixels; pixel += 2) {
    int32_t sums[4] = {bias, bias, next_bias, next_bias};
    if (pixel + 1 < j.pixels) {
      dot_2x2(j.weights[0], j.weights[1], input, input + j.input_pitch, j.values, sums);
      mps_finish_2x2(sums, first, second, range, two, output, j.output_pitch);
    } else {
      dot_2x1(j.weights[0], j.weights[1], input, j.values, sums);
      mps_finish_2x1(sums, first, second, range, two, output);
    }
    input += 2 * j.input_pitch;
    output += 2 * j.output_pitch;
  }
}
