/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps.h"
#include "mps/mps_requantize.h"
#include "mps/mps_window.h"

static int32_t sum_region(const mps_window *w, const mps_region *region, const int8_t *input, int32_t zero_point) {
  int32_t sum = 0;
  for (int32_t y = region->top; y < region->bottom; y++) {
    for (int32_t x = region->left; x < region->right; x++) sum += input[((size_t)y * w->input_w + (size_t)x) * w->channels] - zero_point;
  }
  return sum;
}

mps_status mps_avg_pool2d(const mps_avg_pool2d_params *params, const int32_t *multiplier, const uint8_t *right_shift, const int8_t *input,
                          int8_t *output) {
  const mps_window *w = &params->window;
  for (int32_t y = 0; y < w->output_h; y++) {
    for (int32_t x = 0; x < w->output_w; x++) {
      const mps_region region = mps_clip_window(w, y, x);
      const int32_t count = (region.bottom - region.top) * (region.right - region.left);
      const int32_t entry = params->divisors == 1 || count < 1 ? 0 : count - 1;
      for (uint32_t c = 0; c < w->channels; c++) {
        const int32_t sum = sum_region(w, &region, input + c, params->input_zero_point);
        const int32_t scaled = mps_requantize(sum, multiplier[entry], params->left_shift, right_shift[entry]);
        *output++ = mps_clamp(scaled + params->output_zero_point, params->lowest, params->highest);
      }
    }
  }
  return MPS_OK;
}
