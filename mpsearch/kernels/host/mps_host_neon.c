/* SPDX-License-Identifier: Apache-2.0 */
/* NEON with dot product: one instruction multiplies 4 channels x 4 values, s8 by s8, into int32. Up to 7 bits the stored u is an s8 as it stands. */
#include "mps_host_kernels.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#if defined(__clang__)
#define MPS_TARGET __attribute__((target("dotprod")))
#else
#define MPS_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#define MPS_INLINE static inline __attribute__((always_inline)) MPS_TARGET

#include "mps_host_loops.inc"
#include "mps_host_loops_plain.inc"

enum { ROWS = 4 };

/* sum += weights * values[lane], a word of 4 values. Written out because older clangs have the intrinsic only where a whole file may use it. */
#define MPS_DOT(sum, weights, values, lane) __asm__("sdot %0.4s, %1.16b, %2.4b[" #lane "]" : "+w"(sum) : "w"(weights), "w"(values))

/* 16 channels x 4 values: channels 0-3, 4-7, 8-11, 12-15. */
typedef struct {
  uint8x16_t part[4];
} quad_rows;

/* A quarter of quad `quad` of a plane of a block, moved to bit `low` of every byte. */
MPS_INLINE uint8x16_t take_plane(const uint8_t *rows, unsigned plane, unsigned quad, unsigned low, unsigned part) {
  const unsigned per = 8 / plane;
  const int at = (int)(quad % per * plane), up = (int)low - at;
  const uint8x16_t row = vld1q_u8(rows + (size_t)(quad / per) * 64 + part * 16);
  return vandq_u8(vshlq_u8(row, vdupq_n_s8((int8_t)up)), vdupq_n_u8((uint8_t)(((1u << plane) - 1) << low)));
}

/* A quad of a block: stored values u up to 7 bits, weights q of 8 bits. `bits` and `quad` are constants. */
MPS_INLINE quad_rows take_quad(const uint8_t *block, unsigned bits, unsigned quad) {
  quad_rows rows;
  for (unsigned part = 0; part < 4; part++) {
    uint8x16_t values = vdupq_n_u8(0);
    unsigned low = 0;
    if (bits == 8) values = veorq_u8(vld1q_u8(block + (size_t)quad * 64 + part * 16), vdupq_n_u8(0x80));
    if (bits & 4) {
      values = take_plane(block, 4, quad, 0, part);
      low = 4;
    }
    if (bits & 2) {
      values = vorrq_u8(values, take_plane(block + low * 64, 2, quad, low, part));
      low += 2;
    }
    if (bits & 1) values = vorrq_u8(values, take_plane(block + low * 64, 1, quad, low, part));
    rows.part[part] = values;
  }
  return rows;
}

/* The sums of a group become integers or, times their scale, part of the floats. */
MPS_INLINE void add_group(const int32x4_t sum[4], const float *scale, size_t group, int32_t *integers, float *floats) {
  for (unsigned part = 0; part < 4; part++) {
    if (scale == NULL) {
      vst1q_s32(integers + part * 4, sum[part]);
    } else {
      const float32x4_t total = group == 0 ? vdupq_n_f32(0) : vld1q_f32(floats + part * 4);
      vst1q_f32(floats + part * 4, vfmaq_f32(total, vcvtq_f32_s32(sum[part]), vld1q_f32(scale + group * MPS_HOST_CHANNELS + part * 4)));
    }
  }
}

#define MPS_BITS 2
#include "mps_host_width_neon.inc"
#define MPS_BITS 3
#include "mps_host_width_neon.inc"
#define MPS_BITS 4
#include "mps_host_width_neon.inc"
#define MPS_BITS 5
#include "mps_host_width_neon.inc"
#define MPS_BITS 6
#include "mps_host_width_neon.inc"
#define MPS_BITS 7
#include "mps_host_width_neon.inc"
#define MPS_BITS 8
#include "mps_host_width_neon.inc"

/* 4 rows x 16 channels; the words of the rows lie side by side, one load for all four. */
MPS_TARGET static void multiply_half_panel(const mps_host_tile *tile, unsigned i, mps_host_sums *sums) {
  const uint8_t *panel = tile->panel[i];
  const int8_t *words = (const int8_t *)(const void *)tile->activations;
  for (size_t first = 0, group = 0; first < tile->quads; first += tile->group_quads, group++) {
    const size_t rest = tile->quads - first, quads = rest < tile->group_quads ? rest : tile->group_quads;
    int32x4_t sum[ROWS][4];
    for (unsigned row = 0; row < ROWS; row++) {
      for (unsigned part = 0; part < 4; part++) sum[row][part] = vdupq_n_s32(tile->start[group * ROWS + row]);
    }
    for (size_t quad = 0; quad < quads; quad++, words += 16, panel += 64) {
      const int8x16_t values = vld1q_s8(words);
      for (unsigned part = 0; part < 4; part++) {
        const uint8x16_t weights = vld1q_u8(panel + part * 16);
        MPS_DOT(sum[0][part], weights, values, 0);
        MPS_DOT(sum[1][part], weights, values, 1);
        MPS_DOT(sum[2][part], weights, values, 2);
        MPS_DOT(sum[3][part], weights, values, 3);
      }
    }
    for (unsigned row = 0; row < ROWS; row++) {
      const unsigned column = i * MPS_HOST_CHANNELS;
      add_group(sum[row], tile->scale[i], group, sums->integers[row] + column, sums->floats[row] + column);
    }
  }
}

MPS_TARGET static void multiply_tile(const mps_host_tile *tile, mps_host_sums *sums) {
  for (unsigned i = 0; i < tile->tiles; i++) multiply_half_panel(tile, i, sums);
}

const mps_host_kernels mps_host_neon = {
    .name = "neon",
    .rows = ROWS,
    .few = 2,
    .bytes_of_eight = 1,
    .signed_eight = 1,
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
#endif
