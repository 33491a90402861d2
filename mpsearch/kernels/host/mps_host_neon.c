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

/* A quarter of quad `quad` of a plane of a block, moved to bit `low` of every byte. Shifts clear what they shift out of, so the ends need no mask. */
MPS_INLINE uint8x16_t take_plane(const uint8_t *rows, unsigned plane, unsigned quad, unsigned low, unsigned part) {
  const unsigned per = 8 / plane;
  const int at = (int)(quad % per * plane), up = (int)low - at;
  uint8x16_t row = vld1q_u8(rows + (size_t)(quad / per) * 64 + part * 16);
  if (up != 0) row = vshlq_u8(row, vdupq_n_s8((int8_t)up));
  if (low == 0 && at + (int)plane == 8) return row;
  return vandq_u8(row, vdupq_n_u8((uint8_t)(((1u << plane) - 1) << low)));
}

/* A quad of a block: stored values u up to 7 bits, weights q of 8 bits. `bits` and `quad` are constants. */
MPS_INLINE quad_rows take_quad(const uint8_t *block, unsigned bits, unsigned quad) {
  quad_rows rows;
  MPS_UNROLL for (unsigned part = 0; part < 4; part++) {
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

/* Quad `quad` of a plane of 2 bits, left at its bit of the bytes; but the highest, which would be negative there, moves to bit 0. */
MPS_INLINE uint8x16_t take_field(const uint8_t *rows, unsigned quad, unsigned part) {
  return quad % 4 == 3 ? take_plane(rows, 2, quad, 0, part) : take_plane(rows, 2, quad, quad % 4 * 2, part);
}

/* The sums of a group become integers or, times their scale, part of the floats. */
MPS_INLINE void add_group(const int32x4_t sum[4], const float *scale, size_t group, int32_t *integers, float *floats) {
  MPS_UNROLL for (unsigned part = 0; part < 4; part++) {
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

/* Four words of four rows at a time, transposed. */
static void interleave(const int8_t *const *row, unsigned given, unsigned rows, size_t quads, int32_t *activations) {
  for (unsigned first = 0; first < rows; first += 4) {
    for (size_t quad = 0; quad < quads; quad += 4) {
      int32x4_t words[4];
      MPS_UNROLL for (unsigned i = 0; i < 4; i++) {
        words[i] = first + i < given ? vreinterpretq_s32_s8(vld1q_s8(row[first + i] + 4 * quad)) : vdupq_n_s32(0);
      }
      const int32x4_t low_02 = vzip1q_s32(words[0], words[2]), high_02 = vzip2q_s32(words[0], words[2]);
      const int32x4_t low_13 = vzip1q_s32(words[1], words[3]), high_13 = vzip2q_s32(words[1], words[3]);
      int32_t *output = activations + quad * rows + first;
      vst1q_s32(output, vzip1q_s32(low_02, low_13));
      vst1q_s32(output + rows, vzip2q_s32(low_02, low_13));
      vst1q_s32(output + 2 * rows, vzip1q_s32(high_02, high_13));
      vst1q_s32(output + 3 * rows, vzip2q_s32(high_02, high_13));
    }
  }
}

MPS_TARGET static void row_sums(const int32_t *activations, size_t quads, unsigned rows, int32_t *sums) {
  const int8x16_t ones = vdupq_n_s8(1);
  int32x4_t total = vdupq_n_s32(0);
  for (size_t word = 0; word < quads * rows; word += 4) { /* rows is 1 or 4 */
    const int8x16_t values = vreinterpretq_s8_s32(vld1q_s32(activations + word));
    MPS_DOT(total, values, ones, 0);
  }
  if (rows == 1)
    sums[0] = vaddvq_s32(total);
  else
    vst1q_s32(sums, total);
}

/* Eight at a time; what is left over is plain C. */
static void quantize_eights(const float *values, size_t count, float inverse, int8_t *output) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(values + i), inverse));
    const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(values + i + 4), inverse));
    vst1_s8(output + i, vqmovn_s16(vcombine_s16(vqmovn_s32(low), vqmovn_s32(high))));
  }
  quantize(values + i, count - i, inverse, output + i);
}

/* 4 rows x 16 channels; the words of the rows lie side by side, one load for all four. */
MPS_TARGET static void multiply_half_panel(const mps_host_tile *tile, unsigned i, mps_host_sums *sums) {
  const uint8_t *panel = tile->panel[i];
  const int8_t *words = (const int8_t *)(const void *)tile->activations;
  for (size_t first = 0, group = 0; first < tile->quads; first += tile->group_quads, group++) {
    const size_t rest = tile->quads - first, quads = rest < tile->group_quads ? rest : tile->group_quads;
    int32x4_t sum[ROWS][4];
    MPS_UNROLL for (unsigned row = 0; row < ROWS; row++) {
      MPS_UNROLL for (unsigned part = 0; part < 4; part++) sum[row][part] = vdupq_n_s32(tile->start[group * ROWS + row]);
    }
    for (size_t quad = 0; quad < quads; quad++, words += 16, panel += 64) {
      const int8x16_t values = vld1q_s8(words);
      MPS_UNROLL for (unsigned part = 0; part < 4; part++) {
        const uint8x16_t weights = vld1q_u8(panel + part * 16);
        MPS_DOT(sum[0][part], weights, values, 0);
        MPS_DOT(sum[1][part], weights, values, 1);
        MPS_DOT(sum[2][part], weights, values, 2);
        MPS_DOT(sum[3][part], weights, values, 3);
      }
    }
    MPS_UNROLL for (unsigned row = 0; row < ROWS; row++) {
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
    .quantize = quantize_eights,
    .finish_float = finish_float,
    .finish_integers = finish_integers,
    .depthwise = depthwise,
    .scale = scale,
};
#endif
