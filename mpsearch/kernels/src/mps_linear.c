/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_nibbles.h"
#include "mps/mps_tile.h"

/* Nibbles are unpacked before they are laid out. */
static size_t window_bytes(const mps_linear_params *p) { return p->input_bits == 8 ? 0 : (p->input_c + 3) & ~(size_t)3; }

size_t mps_linear_scratch_bytes(const mps_linear_params *params) {
  return mps_tile_bytes(params->input_c, params->rows, params->weight_bits) + window_bytes(params);
}

static void lay_nibbles(mps_tile *tile, size_t index, const uint8_t *values) {
  mps_load_nibbles(values, 0, tile->values, tile->window);
  mps_tile_lay(tile, index, tile->window);
}

mps_status mps_linear(const mps_linear_params *params, const mps_channels *channels, const void *input, void *output, int8_t *scratch) {
  if (params->weight_bits < 2 || params->weight_bits > 8) return MPS_BAD_ARGUMENT;
  if ((params->input_bits != 4 && params->input_bits != 8) || (params->output_bits != 4 && params->output_bits != 8)) return MPS_BAD_ARGUMENT;
  const size_t values = params->input_c, outputs = params->output_c, rows = params->rows;
  const mps_tile_target target = {.channels = channels,
                                  .zero_point = params->output_zero_point,
                                  .lowest = params->lowest,
                                  .highest = params->highest,
                                  .left_shift = params->left_shift};
  mps_tile tile = {
      .values = values, .bits = params->weight_bits, .data = scratch, .window = scratch + mps_tile_bytes(values, rows, params->weight_bits)};
  for (size_t row = 0; row < rows; row += tile.pixels) {
    tile.pixels = mps_tile_pixels(rows - row, tile.bits);
    for (size_t i = 0; i < tile.pixels; i++) {
      if (params->input_bits == 8)
        mps_tile_lay(&tile, i, (const int8_t *)input + (row + i) * values);
      else
        lay_nibbles(&tile, i, (const uint8_t *)input + (row + i) * mps_nibble_bytes(values));
    }
    if (params->output_bits == 8)
      mps_tile_channels(&tile, &target, 0, outputs, (int8_t *)output + row * outputs, outputs);
    else
      mps_tile_nibbles(&tile, &target, 0, outputs, (uint8_t *)output + row * mps_nibble_bytes(outputs), outputs);
  }
  return MPS_OK;
}
