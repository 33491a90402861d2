/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_dot.h"

#include "mps/mps_requantize.h"

enum { BLOCK = 4 };

static int8_t finish(int32_t sum, size_t channel, const mps_dot_target *target) {
  const mps_channels *c = target->channels;
  const int32_t scaled = mps_requantize(sum + c->bias[channel], c->multiplier[channel], target->left_shift, c->right_shift[channel]);
  return mps_clamp(scaled + target->zero_point, target->lowest, target->highest);
}

/* sums[channel][pixel] over two weight rows and four pixels, eight accumulators in registers */
static void dot_2x4(const int8_t *restrict w0, const int8_t *restrict w1, const int8_t *restrict x, size_t pitch, size_t values, int32_t sums[2][BLOCK]) {
  const int8_t *x1 = x + pitch, *x2 = x1 + pitch, *x3 = x2 + pitch;
  int32_t s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
  for (size_t k = 0; k < values; k++) {
    const int32_t a = w0[k], b = w1[k];
    s00 += a * x[k];
    s10 += b * x[k];
    s01 += a * x1[k];
    s11 += b * x1[k];
    s02 += a * x2[k];
    s12 += b * x2[k];
    s03 += a * x3[k];
    s13 += b * x3[k];
  }
  sums[0][0] = s00, sums[0][1] = s01, sums[0][2] = s02, sums[0][3] = s03;
  sums[1][0] = s10, sums[1][1] = s11, sums[1][2] = s12, sums[1][3] = s13;
}

static void dot_2x1(const int8_t *restrict w0, const int8_t *restrict w1, const int8_t *restrict x, size_t values, int32_t sums[2][BLOCK]) {
  int32_t s0 = 0, s1 = 0;
  for (size_t k = 0; k < values; k++) {
    s0 += w0[k] * x[k];
    s1 += w1[k] * x[k];
  }
  sums[0][0] = s0, sums[1][0] = s1;
}

void mps_dot_pixels(const mps_dot_job *job, const mps_dot_target *target) {
  int32_t sums[2][BLOCK];
  const int8_t *input = job->input;
  int8_t *output = job->output;
  for (size_t left = job->pixels; left > 0;) {
    const size_t count = left >= BLOCK ? BLOCK : 1;
    if (count == BLOCK)
      dot_2x4(job->weights[0], job->weights[1], input, job->input_pitch, job->values, sums);
    else
      dot_2x1(job->weights[0], job->weights[1], input, job->values, sums);
    for (size_t p = 0; p < count; p++) {
      for (size_t c = 0; c < job->channels; c++) output[p * job->output_pitch + c] = finish(sums[c][p], job->first + c, target);
    }
    input += count * job->input_pitch;
    output += count * job->output_pitch;
    left -= count;
  }
}
