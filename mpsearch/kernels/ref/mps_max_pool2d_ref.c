/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_ref.h"
#include "mps_ref_value.h"

void mps_max_pool2d_ref(const mps_max_pool2d_params *p, const int8_t *input, int8_t *output) {
  const mps_window *w = &p->window;
  for (int32_t y = 0; y < w->output_h; y++) {
    for (int32_t x = 0; x < w->output_w; x++) {
      for (int32_t c = 0; c < w->channels; c++) {
        int32_t largest = INT8_MIN;
        for (int32_t row = y * w->stride_h - w->pad_top; row < y * w->stride_h - w->pad_top + w->kernel_h; row++) {
          for (int32_t column = x * w->stride_w - w->pad_left; column < x * w->stride_w - w->pad_left + w->kernel_w; column++) {
            if (row < 0 || row >= w->input_h || column < 0 || column >= w->input_w) continue;
            const int32_t value = input[(row * w->input_w + column) * w->channels + c];
            if (value > largest) largest = value;
          }
        }
        *output++ = (int8_t)mps_ref_clamp(largest, 0, p->lowest, p->highest);
      }
    }
  }
}
