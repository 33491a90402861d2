/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_ref.h"
#include "mps_ref_value.h"

enum { INPUT_BITS = 8, OUTPUT_BITS = 8 };

/* The sum of (input - zero point) * weight over the window of output pixel (y, x); what lies outside the input contributes nothing. */
static int64_t sum_window(const mps_conv2d_params *p, const int8_t *weights, const void *input, int32_t y, int32_t x, int32_t channel) {
  const int32_t per_group = p->input_c / p->groups, group = channel / (p->output_c / p->groups);
  int64_t sum = 0;
  for (int32_t ky = 0; ky < p->kernel_h; ky++) {
    for (int32_t kx = 0; kx < p->kernel_w; kx++) {
      const int32_t row = y * p->stride_h - p->pad_top + ky * p->dilation_h, column = x * p->stride_w - p->pad_left + kx * p->dilation_w;
      if (row < 0 || row >= p->input_h || column < 0 || column >= p->input_w) continue;
      const size_t pixel = (size_t)row * p->input_w + (size_t)column;
      for (int32_t c = 0; c < per_group; c++) {
        const int64_t value = mps_ref_load(input, pixel, p->input_c, (size_t)(group * per_group + c), INPUT_BITS);
        sum += (value - p->input_zero_point) * weights[((channel * p->kernel_h + ky) * p->kernel_w + kx) * per_group + c];
      }
    }
  }
  return sum;
}

void mps_conv2d_ref(const mps_conv2d_params *p, const mps_ref_channels *channels, const void *input, void *output) {
  for (int32_t y = 0; y < p->output_h; y++) {
    for (int32_t x = 0; x < p->output_w; x++) {
      for (int32_t c = 0; c < p->output_c; c++) {
        const int64_t sum = channels->bias[c] + sum_window(p, channels->weights, input, y, x, c);
        const int64_t scaled = mps_ref_rescale(sum, channels->multiplier[c], p->left_shift, channels->right_shift[c]);
        const int32_t value = mps_ref_clamp(scaled, p->output_zero_point, p->lowest, p->highest);
        mps_ref_store(output, (size_t)(y * p->output_w + x), p->output_c, (size_t)c, OUTPUT_BITS, value);
      }
    }
  }
}
