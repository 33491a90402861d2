/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_tile.h"

size_t mps_linear_scratch_bytes(const mps_linear_params *params) {
  return mps_tile_bytes(params->input_c, params->rows, params->weight_bits) + mps_tile_row_bytes(params->input_c, params->weight_bits);
}

mps_status mps_linear(const mps_linear_params *params, const mps_channels *channels, const int8_t *input, int8_t *output, int8_t *scratch) {
  if (params->weight_bits < 2 || params->weight_bits > 8) return MPS_BAD_ARGUMENT;
  const size_t values = params->input_c, rows = params->rows;
  const mps_tile_target target = {.channels = channels,
                                  .zero_point = params->output_zero_point,
                                  .lowest = params->lowest,
                                  .highest = params->highest,
                                  .left_shift = params->left_shift};
  mps_tile tile = {.values = values, .bits = params->weight_bits, .data = scratch, .row = scratch + mps_tile_bytes(values, rows, params->weight_bits)};
  for (size_t row = 0; row < rows; row += tile.pixels) {
    tile.pixels = mps_tile_pixels(rows - row, tile.bits);
    for (size_t i = 0; i < tile.pixels; i++) mps_tile_lay(&tile, i, input + (row + i) * values);
    mps_tile_channels(&tile, &target, 0, params->output_c, output + row * params->output_c, params->output_c);
  }
  return MPS_OK;
}
