/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_gather.h"
#include "mps/mps_wide.h"

size_t mps_conv2d_wide_scratch_bytes(const mps_conv2d_params *params) {
  return mps_wide_bytes(mps_values_per_channel(params), (size_t)params->output_h * params->output_w, params->weight_bits);
}

MPS_INLINE void fetch(const mps_conv2d_params *p, const void *input, size_t pixel, size_t first, size_t count, void *window) {
  mps_wide_load(input, p->input_bits, pixel, p->input_c, first, count, window);
}

MPS_INLINE void fill(const mps_conv2d_params *p, size_t count, void *window) {
  int16_t *values = window;
  for (size_t i = 0; i < count; i++) values[i] = p->input_zero_point;
}

static void run_group(const mps_conv2d_params *p, mps_wide *wide, size_t group, const void *input, void *output) {
  const size_t pixels = (size_t)p->output_h * p->output_w, per_group = p->output_c / p->groups;
  const int runs_on = p->input_bits != 4 || p->input_c % 2 == 0;
  for (size_t done = 0; done < pixels; done += wide->pixels) {
    wide->pixels = pixels - done < MPS_WIDE_PIXELS ? pixels - done : MPS_WIDE_PIXELS;
    for (size_t i = 0; i < wide->pixels; i++) {
      uint8_t *window = (uint8_t *)(wide->windows + i * mps_wide_stride(wide->values));
      const size_t y = (done + i) / p->output_w, x = (done + i) % p->output_w;
      mps_gather(p, input, group * (p->input_c / p->groups), y, x, window, sizeof(int16_t), runs_on, fetch, fill);
    }
    mps_wide_channels(wide, group * per_group, (group + 1) * per_group, done, output);
  }
}

mps_status mps_conv2d_wide(const mps_conv2d_params *params, const mps_channels *channels, const void *input, void *output, int8_t *scratch) {
  if (!mps_has_groups(params) || !mps_wide_holds(params->weight_bits, params->input_bits, params->output_bits)) return MPS_BAD_ARGUMENT;
  const size_t values = mps_values_per_channel(params), pixels = (size_t)params->output_h * params->output_w;
  mps_wide wide = {.channels = channels,
                   .values = values,
                   .output_c = params->output_c,
                   .weight_bits = params->weight_bits,
                   .output_bits = params->output_bits,
                   .left_shift = params->left_shift,
                   .zero_point = params->output_zero_point,
                   .lowest = params->lowest,
                   .highest = params->highest,
                   .windows = (int16_t *)(void *)scratch,
                   .row = scratch + mps_wide_bytes(values, pixels, 8)};
  for (size_t group = 0; group < params->groups; group++) run_group(params, &wide, group, input, output);
  return MPS_OK;
}
