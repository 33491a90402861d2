/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps.h"
#include "mps/mps_grid.h"
#include "mps/mps_requantize.h"
#include "mps/mps_window.h"

static int8_t largest(const int8_t *first, const mps_grid *grid, const mps_max_pool2d_params *params) {
  int32_t best = INT8_MIN;
  for (size_t row = 0; row < grid->rows; row++, first += grid->row_step) {
    const int8_t *x = first;
    for (size_t left = grid->columns; left > 0; left--, x += grid->column_step) best = *x > best ? *x : best;
  }
  return mps_clamp(best, params->lowest, params->highest);
}

/* Four channels. */
static inline void largest_of_four(const int8_t *first, const mps_grid *grid, const mps_max_pool2d_params *params, int8_t *output) {
#if MPS_SIMD
  const uint32_t lowest = (uint8_t)params->lowest * 0x01010101u, highest = (uint8_t)params->highest * 0x01010101u;
  const uint32_t best = mps_larger_bytes(mps_largest_of_grid(first, grid), lowest);
  mps_store_word(output, ~mps_larger_bytes(~best, ~highest)); /* ~x = -1 - x: the smaller of two */
#else
  int32_t a = params->lowest, b = a, c = a, d = a;
  for (size_t row = 0; row < grid->rows; row++, first += grid->row_step) {
    const int8_t *x = first;
    for (size_t left = grid->columns; left > 0; left--, x += grid->column_step) {
      if (x[0] > a) a = x[0];
      if (x[1] > b) b = x[1];
      if (x[2] > c) c = x[2];
      if (x[3] > d) d = x[3];
    }
  }
  const int32_t highest = params->highest;
  output[0] = (int8_t)(a < highest ? a : highest);
  output[1] = (int8_t)(b < highest ? b : highest);
  output[2] = (int8_t)(c < highest ? c : highest);
  output[3] = (int8_t)(d < highest ? d : highest);
#endif
}

mps_status mps_max_pool2d(const mps_max_pool2d_params *params, const int8_t *input, int8_t *output) {
  const mps_window *w = &params->window;
  for (int32_t y = 0; y < w->output_h; y++) {
    for (int32_t x = 0; x < w->output_w; x++) {
      const mps_region region = mps_clip_window(w, y, x);
      const mps_grid grid = mps_grid_of(w, &region);
      const int8_t *first = mps_first_of(w, &region, input);
      size_t left = w->channels;
      for (; left >= MPS_GRID_CHANNELS; left -= MPS_GRID_CHANNELS, first += MPS_GRID_CHANNELS, output += MPS_GRID_CHANNELS)
        largest_of_four(first, &grid, params, output);
      for (; left > 0; left--) *output++ = largest(first++, &grid, params);
    }
  }
  return MPS_OK;
}
