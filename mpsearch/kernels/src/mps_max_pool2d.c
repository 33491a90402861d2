/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps.h"
#include "mps/mps_requantize.h"
#include "mps/mps_window.h"

static int32_t largest(const mps_window *w, const mps_region *region, const int8_t *input) {
  int32_t best = INT8_MIN;
  for (int32_t y = region->top; y < region->bottom; y++) {
    for (int32_t x = region->left; x < region->right; x++) {
      const int32_t value = input[((size_t)y * w->input_w + (size_t)x) * w->channels];
      if (value > best) best = value;
    }
  }
  return best;
}

mps_status mps_max_pool2d(const mps_max_pool2d_params *params, const int8_t *input, int8_t *output) {
  const mps_window *w = &params->window;
  for (int32_t y = 0; y < w->output_h; y++) {
    for (int32_t x = 0; x < w->output_w; x++) {
      const mps_region region = mps_clip_window(w, y, x);
      for (uint32_t c = 0; c < w->channels; c++) *output++ = mps_clamp(largest(w, &region, input + c), params->lowest, params->highest);
    }
  }
  return MPS_OK;
}
