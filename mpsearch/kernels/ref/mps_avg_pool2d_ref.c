/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_ref.h"
#include "mps_ref_value.h"

void mps_avg_pool2d_ref(const mps_avg_pool2d_params *p, const int32_t *multiplier, const uint8_t *right_shift, const int8_t *input, int8_t *output) {
  const mps_window *w = &p->window;
  for (int32_t y = 0; y < w->output_h; y++) {
    for (int32_t x = 0; x < w->output_w; x++) {
      for (int32_t c = 0; c < w->channels; c++) {
        int64_t sum = 0;
        int32_t counted = 0;
        for (int32_t row = y * w->stride_h - w->pad_top; row < y * w->stride_h - w->pad_top + w->kernel_h; row++) {
          for (int32_t column = x * w->stride_w - w->pad_left; column < x * w->stride_w - w->pad_left + w->kernel_w; column++) {
            if (row < 0 || row >= w->input_h || column < 0 || column >= w->input_w) continue;
            sum += input[(row * w->input_w + column) * w->channels + c] - p->input_zero_point;
            counted++;
          }
        }
        const int32_t entry = p->divisors == 1 || counted == 0 ? 0 : counted - 1; /* where nothing is counted the sum is 0, whatever it is times */
        const int64_t scaled = mps_ref_rescale(sum, multiplier[entry], p->left_shift, right_shift[entry]);
        *output++ = (int8_t)mps_ref_clamp(scaled, p->output_zero_point, p->lowest, p->highest);
      }
    }
  }
}
