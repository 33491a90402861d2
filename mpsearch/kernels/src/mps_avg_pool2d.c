/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_finish.h"
#include "mps/mps_grid.h"
#include "mps/mps_window.h"

mps_status mps_avg_pool2d(const mps_avg_pool2d_params *params, const int32_t *multiplier, const uint8_t *right_shift, const int8_t *input,
                          int8_t *output) {
  const mps_window *w = &params->window;
  const mps_range range = mps_range_of(params->output_zero_point, params->lowest, params->highest, params->left_shift);
  for (int32_t y = 0; y < w->output_h; y++) {
    for (int32_t x = 0; x < w->output_w; x++) {
      const mps_region region = mps_clip_window(w, y, x);
      const mps_grid grid = mps_grid_of(w, &region);
      const int32_t count = (int32_t)(grid.rows * grid.columns), offset = count * params->input_zero_point;
      const int32_t entry = params->divisors == 1 || count < 1 ? 0 : count - 1;
      const mps_scale scale = {.multiplier = multiplier[entry], .half = (int32_t)1 << (right_shift[entry] - 1), .right_shift = right_shift[entry]};
      const int8_t *first = mps_first_of(w, &region, input);
      size_t left = w->channels;
      for (; left >= MPS_GRID_CHANNELS; left -= MPS_GRID_CHANNELS, first += MPS_GRID_CHANNELS) {
        int32_t sums[MPS_GRID_CHANNELS] = {-offset, -offset, -offset, -offset};
        mps_add_grid(first, &grid, sums);
        for (int i = 0; i < MPS_GRID_CHANNELS; i++) *output++ = mps_finish(sums[i], scale, range);
      }
      for (; left > 0; left--, first++) *output++ = mps_finish(mps_sum_of_grid(first, &grid) - offset, scale, range);
    }
  }
  return MPS_OK;
}
