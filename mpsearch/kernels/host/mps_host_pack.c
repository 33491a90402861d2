/* SPDX-License-Identifier: Apache-2.0 */
/* H16x32, there and back. Plain loops: a layer is packed once. */
#include <string.h>

#include "mps/mps_host.h"

enum { ROW = 64, QUADS = MPS_HOST_VALUES / 4 };

/* Widths of the planes, low bits first. */
static const unsigned char planes[9][3] = {
    [2] = {2}, [3] = {2, 1}, [4] = {4}, [5] = {4, 1}, [6] = {4, 2}, [7] = {4, 2, 1}, [8] = {8},
};

size_t mps_host_packed_bytes(size_t output_c, size_t input_c, unsigned bits) {
  const size_t tiles = (output_c + MPS_HOST_CHANNELS - 1) / MPS_HOST_CHANNELS, blocks = (input_c + MPS_HOST_VALUES - 1) / MPS_HOST_VALUES;
  return tiles * blocks * ROW * bits;
}

/* [in] plain  [quad][channel][4] stored values u */
static void pack_block(const uint8_t plain[QUADS][ROW], unsigned bits, uint8_t *block) {
  memset(block, 0, (size_t)ROW * bits);
  unsigned low = 0;
  for (int p = 0; p < 3 && planes[bits][p] != 0; p++) {
    const unsigned plane = planes[bits][p], per = 8 / plane;
    for (unsigned quad = 0; quad < QUADS; quad++) {
      uint8_t *row = block + (size_t)(quad / per) * ROW;
      for (unsigned i = 0; i < ROW; i++) {
        const unsigned field = (plain[quad][i] >> low) & ((1u << plane) - 1);
        row[i] = (uint8_t)(row[i] | field << (quad % per * plane));
      }
    }
    block += ROW * plane;
    low += plane;
  }
}

static void unpack_block(const uint8_t *block, unsigned bits, uint8_t plain[QUADS][ROW]) {
  memset(plain, 0, QUADS * ROW);
  unsigned low = 0;
  for (int p = 0; p < 3 && planes[bits][p] != 0; p++) {
    const unsigned plane = planes[bits][p], per = 8 / plane;
    for (unsigned quad = 0; quad < QUADS; quad++) {
      const uint8_t *row = block + (size_t)(quad / per) * ROW;
      for (unsigned i = 0; i < ROW; i++) {
        const unsigned field = ((unsigned)row[i] >> (quad % per * plane)) & ((1u << plane) - 1);
        plain[quad][i] = (uint8_t)(plain[quad][i] | field << low);
      }
    }
    block += ROW * plane;
    low += plane;
  }
}

mps_host_status mps_host_pack(size_t output_c, size_t input_c, unsigned bits, const int8_t *weights, uint8_t *packed, int32_t *sums) {
  if (bits < 2 || bits > 8 || output_c == 0 || input_c == 0) return MPS_HOST_BAD_ARGUMENT;
  const int half = 1 << (bits - 1);
  for (size_t channel = 0; channel < output_c; channel += MPS_HOST_CHANNELS) {
    for (size_t c = channel; c < channel + MPS_HOST_CHANNELS; c++) {
      sums[c] = 0;
      for (size_t k = 0; c < output_c && k < input_c; k++) {
        const int weight = weights[c * input_c + k];
        if (weight < -half || weight >= half) return MPS_HOST_BAD_ARGUMENT;
        sums[c] += weight;
      }
    }
    for (size_t value = 0; value < input_c; value += MPS_HOST_VALUES, packed += (size_t)ROW * bits) {
      uint8_t plain[QUADS][ROW];
      for (size_t i = 0; i < QUADS * ROW; i++) {
        const size_t c = channel + i % ROW / 4, k = value + i / ROW * 4 + i % 4;
        plain[i / ROW][i % ROW] = (uint8_t)(half + (c < output_c && k < input_c ? weights[c * input_c + k] : 0));
      }
      pack_block((const uint8_t(*)[ROW])plain, bits, packed);
    }
  }
  return MPS_HOST_OK;
}

mps_host_status mps_host_unpack(size_t output_c, size_t input_c, unsigned bits, const uint8_t *packed, int8_t *weights) {
  if (bits < 2 || bits > 8 || output_c == 0 || input_c == 0) return MPS_HOST_BAD_ARGUMENT;
  const int half = 1 << (bits - 1);
  for (size_t channel = 0; channel < output_c; channel += MPS_HOST_CHANNELS) {
    for (size_t value = 0; value < input_c; value += MPS_HOST_VALUES, packed += (size_t)ROW * bits) {
      uint8_t plain[QUADS][ROW];
      unpack_block(packed, bits, plain);
      for (size_t i = 0; i < QUADS * ROW; i++) {
        const size_t c = channel + i % ROW / 4, k = value + i / ROW * 4 + i % 4;
        if (c < output_c && k < input_c) weights[c * input_c + k] = (int8_t)(plain[i / ROW][i % ROW] - half);
      }
    }
  }
  return MPS_HOST_OK;
}
