/* SPDX-License-Identifier: Apache-2.0 */
/* Portable C: every processor, and the readable form of the others. */
#include <string.h>

#include "mps_host_kernels.h"

#define MPS_TARGET
#include "mps_host_interleave.inc"
#include "mps_host_loops.inc"
#include "mps_host_loops_plain.inc"

/* One quad of a plane: 64 fields of `plane` bits, moved to bit `low`. */
static inline void take_plane(const uint8_t *rows, unsigned plane, unsigned quad, unsigned low, uint8_t *output) {
  const unsigned per = 8 / plane, shift = quad % per * plane, mask = (1u << plane) - 1;
  const uint8_t *row = rows + (size_t)(quad / per) * 64;
  for (unsigned i = 0; i < 64; i++) output[i] = (uint8_t)(output[i] | ((row[i] >> shift) & mask) << low);
}

/* One quad of a block as stored values u. */
static inline void take_quad(const uint8_t *block, unsigned bits, unsigned quad, uint8_t *output) {
  memset(output, 0, 64);
  unsigned low = 0;
  for (unsigned plane = 8; plane > 0; plane /= 2) {
    if ((bits & plane) == 0) continue;
    take_plane(block, plane, quad, low, output);
    block += 64 * plane;
    low += plane;
  }
}

static inline void add_products(const uint8_t *row, const int8_t *values, int32_t *total) {
  for (unsigned c = 0; c < MPS_HOST_CHANNELS; c++) {
    total[c] += row[4 * c] * values[0] + row[4 * c + 1] * values[1] + row[4 * c + 2] * values[2] + row[4 * c + 3] * values[3];
  }
}

static inline void add_group(const int32_t *total, const float *scale, size_t group, int32_t *integers, float *floats) {
  for (unsigned c = 0; c < MPS_HOST_CHANNELS; c++) {
    if (scale == NULL)
      integers[c] = total[c];
    else
      floats[c] = (group == 0 ? 0.0f : floats[c]) + (float)total[c] * scale[group * MPS_HOST_CHANNELS + c];
  }
}

#define MPS_BITS 2
#include "mps_host_width_scalar.inc"
#define MPS_BITS 3
#include "mps_host_width_scalar.inc"
#define MPS_BITS 4
#include "mps_host_width_scalar.inc"
#define MPS_BITS 5
#include "mps_host_width_scalar.inc"
#define MPS_BITS 6
#include "mps_host_width_scalar.inc"
#define MPS_BITS 7
#include "mps_host_width_scalar.inc"
#define MPS_BITS 8
#include "mps_host_width_scalar.inc"

static void multiply_tile(const mps_host_tile *tile, mps_host_sums *sums) {
  for (unsigned i = 0; i < tile->tiles; i++) {
    for (unsigned r = 0; r < tile->rows; r++) {
      for (size_t first = 0, group = 0; first < tile->quads; first += tile->group_quads, group++) {
        int32_t total[MPS_HOST_CHANNELS];
        for (unsigned c = 0; c < MPS_HOST_CHANNELS; c++) total[c] = tile->start[group * tile->rows + r];
        for (size_t quad = first; quad < tile->quads && quad < first + tile->group_quads; quad++) {
          int8_t values[4];
          memcpy(values, tile->activations + quad * tile->rows + r, 4);
          add_products(tile->panel[i] + quad * 64, values, total);
        }
        add_group(total, tile->scale[i], group, sums->integers[r] + i * MPS_HOST_CHANNELS, sums->floats[r] + i * MPS_HOST_CHANNELS);
      }
    }
  }
}

const mps_host_kernels mps_host_scalar = {
    .name = "scalar",
    .rows = 4,
    .few = 1,
    .bytes_of_eight = 1,
    .direct_eight = 1,
    .unpack = {[2] = unpack_2, [3] = unpack_3, [4] = unpack_4, [5] = unpack_5, [6] = unpack_6, [7] = unpack_7, [8] = unpack_8},
    .strip = {[2] = strip_2, [3] = strip_3, [4] = strip_4, [5] = strip_5, [6] = strip_6, [7] = strip_7, [8] = strip_8},
    .tile = multiply_tile,
    .interleave = interleave,
    .row_sums = row_sums,
    .largest = largest,
    .quantize = quantize,
    .finish_float = finish_float,
    .finish_integers = finish_integers,
    .depthwise = depthwise,
    .scale = scale,
};
