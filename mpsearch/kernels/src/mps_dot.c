/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_dot.h"

#include "mps/mps_requantize.h"

enum { BLOCK = 2 };

/* What turns the sums of one channel into outputs: copied out of flash once for a run of pixels. */
typedef struct {
  int32_t bias, multiplier;
  uint32_t left_shift, right_shift;
  int32_t zero_point, lowest, highest;
} finisher;

static finisher finisher_of(const mps_dot_target *target, size_t channel) {
  const mps_channels *c = target->channels;
  return (finisher){.bias = c->bias[channel],
                    .multiplier = c->multiplier[channel],
                    .left_shift = target->left_shift,
                    .right_shift = c->right_shift[channel],
                    .zero_point = target->zero_point,
                    .lowest = target->lowest,
                    .highest = target->highest};
}

static inline int8_t finish(int32_t sum, finisher f) {
  return mps_clamp(mps_requantize(sum + f.bias, f.multiplier, f.left_shift, f.right_shift) + f.zero_point, f.lowest, f.highest);
}

/* Two weight rows times two pixels: four accumulators, which with four pointers and four values is what a Cortex-M holds in registers. */
static void dot_2x2(const int8_t *restrict w0, const int8_t *restrict w1, const int8_t *restrict x0, const int8_t *restrict x1, size_t values,
                    int32_t sums[2][BLOCK]) {
  int32_t s00 = 0, s01 = 0, s10 = 0, s11 = 0;
#pragma GCC unroll 4
  for (size_t k = 0; k < values; k++) {
    const int32_t a = w0[k], b = w1[k], c = x0[k], d = x1[k];
    s00 += a * c;
    s01 += a * d;
    s10 += b * c;
    s11 += b * d;
  }
  sums[0][0] = s00, sums[0][1] = s01, sums[1][0] = s10, sums[1][1] = s11;
}

static void dot_2x1(const int8_t *restrict w0, const int8_t *restrict w1, const int8_t *restrict x, size_t values, int32_t sums[2][BLOCK]) {
  int32_t s0 = 0, s1 = 0;
#pragma GCC unroll 4
  for (size_t k = 0; k < values; k++) {
    s0 += w0[k] * x[k];
    s1 += w1[k] * x[k];
  }
  sums[0][0] = s0, sums[1][0] = s1;
}

void mps_dot_pixels(const mps_dot_job *job, const mps_dot_target *target) {
  const mps_dot_job j = *job; /* a copy: bytes written to the output could alias the original */
  const int two = j.channels == 2;
  const finisher first = finisher_of(target, j.first), second = finisher_of(target, j.first + (two ? 1 : 0));
  const int8_t *input = j.input;
  int8_t *output = j.output;
  for (size_t pixel = 0; pixel < j.pixels; pixel += BLOCK) {
    int32_t sums[2][BLOCK];
    const int pair = pixel + 1 < j.pixels;
    if (pair)
      dot_2x2(j.weights[0], j.weights[1], input, input + j.input_pitch, j.values, sums);
    else
      dot_2x1(j.weights[0], j.weights[1], input, j.values, sums);
    output[0] = finish(sums[0][0], first);
    if (two) output[1] = finish(sums[1][0], second);
    if (pair) {
      output[j.output_pitch] = finish(sums[0][1], first);
      if (two) output[j.output_pitch + 1] = finish(sums[1][1], second);
    }
    input += BLOCK * j.input_pitch;
    output += BLOCK * j.output_pitch;
  }
}
