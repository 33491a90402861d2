/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_wide.h"

size_t mps_linear_wide_scratch_bytes(const mps_linear_params *params) { return mps_wide_bytes(params->input_c, params->rows, params->weight_bits); }

mps_status mps_linear_wide(const mps_linear_params *params, const mps_channels *channels, const void *input, void *output, int8_t *scratch) {
  if (!mps_wide_holds(params->weight_bits, params->input_bits, params->output_bits)) return MPS_BAD_ARGUMENT;
  const size_t values = params->input_c, rows = params->rows, stride = mps_wide_stride(values);
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
                   .row = scratch + mps_wide_bytes(values, rows, 8)};
  for (size_t row = 0; row < rows; row += wide.pixels) {
    wide.pixels = rows - row < MPS_WIDE_PIXELS ? rows - row : MPS_WIDE_PIXELS;
    for (size_t i = 0; i < wide.pixels; i++) mps_wide_load(input, params->input_bits, row + i, values, 0, values, wide.windows + i * stride);
    mps_wide_channels(&wide, 0, params->output_c, row, output);
  }
  return MPS_OK;
}
