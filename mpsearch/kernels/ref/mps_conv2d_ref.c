/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_conv2d_ref.h"

#include "mps/mps_requantize.h"

/* One output value, straight from the definition: the sum of (input - zero point) * weight over the window; padding contributes nothing. */
static int32_t accumulate(const mps_conv2d_params *p, const int8_t *weights, const int8_t *input, int32_t y, int32_t x, int32_t channel) {
  const int32_t per_group = p->input_c / p->groups, first = channel / (p->output_c / p->groups) * per_group;
  int32_t sum = 0;
  for (int32_t ky = 0; ky < p->kernel_h; ky++) {
    for (int32_t kx = 0; kx < p->kernel_w; kx++) {
      const int32_t row = y * p->stride_h - p->pad_top + ky * p->dilation_h, column = x * p->stride_w - p->pad_left + kx * p->dilation_w;
      if (row < 0 || row >= p->input_h || column < 0 || column >= p->input_w) continue;
      for (int32_t c = 0; c < per_group; c++) {
        const int32_t value = input[(row * p->input_w + column) * p->input_c + first + c] - p->input_zero_point;
        sum += value * weights[((channel * p->kernel_h + ky) * p->kernel_w + kx) * per_group + c];
      }
    }
  }
  return sum;
}

void mps_conv2d_ref(const mps_conv2d_params *p, const int32_t *bias, const int32_t *multiplier, const uint8_t *right_shift, const int8_t *weights,
                    const int8_t *input, int8_t *output) {
  for (int32_t y = 0; y < p->output_h; y++) {
    for (int32_t x = 0; x < p->output_w; x++) {
      for (int32_t c = 0; c < p->output_c; c++) {
        const int32_t sum = accumulate(p, weights, input, y, x, c) + bias[c];
        const int32_t scaled = mps_requantize(sum, multiplier[c], p->left_shift, right_shift[c]);
        *output++ = mps_clamp(scaled + p->output_zero_point, p->lowest, p->highest);
      }
    }
  }
}
