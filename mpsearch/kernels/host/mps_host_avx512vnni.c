/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 with VNNI: one instruction multiplies 16 channels x 4 values, u8 by s8, into int32 sums that never saturate. */
#include "mps_host_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define MPS_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")))
#define MPS_INLINE static inline __attribute__((always_inline)) MPS_TARGET

#include "mps_host_x86.inc"

/* sum += row * the word broadcast. In C the compiler loads the broadcast into a register of its own, runs out of them in a large tile and spills. */
#define MPS_ADD_PRODUCTS(sum, row, word) __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(row), "m"(word))

/* Quad `quad` of a plane of a block, moved to bit `low` of every byte. */
MPS_INLINE __m512i take_plane(const uint8_t *rows, unsigned plane, unsigned quad, unsigned low) {
  const unsigned per = 8 / plane, at = quad % per * plane;
  const __m512i row = _mm512_loadu_si512(rows + (size_t)(quad / per) * 64);
  const uint8_t down = (uint8_t)(at > low ? at - low : 0), up = (uint8_t)(at < low ? low - at : 0);
  const __m512i moved = down > 0 ? _mm512_srli_epi16(row, down) : up > 0 ? _mm512_slli_epi16(row, up) : row;
  return _mm512_and_si512(moved, _mm512_set1_epi8((char)(((1u << plane) - 1) << low)));
}

/* A quad of a block as stored values u; bits and quad are constants. */
MPS_INLINE __m512i take_quad(const uint8_t *block, unsigned bits, unsigned quad) {
  if (bits == 8) return _mm512_loadu_si512(block + (size_t)quad * 64);
  __m512i values = _mm512_setzero_si512();
  unsigned low = 0;
  if (bits & 4) {
    values = take_plane(block, 4, quad, 0);
    low = 4;
  }
  if (bits & 2) {
    values = _mm512_or_si512(values, take_plane(block + low * 64, 2, quad, low));
    low += 2;
  }
  if (bits & 1) values = _mm512_or_si512(values, take_plane(block + low * 64, 1, quad, low));
  return values;
}

/* Quad `quad` of a plane, left where it stands in the bytes. */
MPS_INLINE __m512i take_field(const uint8_t *rows, unsigned plane, unsigned quad) {
  const unsigned per = 8 / plane;
  return take_plane(rows, plane, quad, quad % per * plane);
}

/* Sums of values that stood at bit 0, b, c and d of their bytes; each is a multiple of what it is shifted by. */
MPS_INLINE __m512i add_places(const __m512i sum[4], uint8_t b, uint8_t c, uint8_t d) {
  const __m512i low = _mm512_add_epi32(sum[0], _mm512_srai_epi32(sum[1], b));
  return _mm512_add_epi32(low, _mm512_add_epi32(_mm512_srai_epi32(sum[2], c), _mm512_srai_epi32(sum[3], d)));
}

MPS_INLINE __m512 add_group(__m512 total, __m512i group, const float *scale) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(group), _mm512_loadu_ps(scale), total);
}

/* Widths from this on are limited by memory, which delivers one stream faster than two; unpacking limits the others. */
#define MPS_ONE_STREAM 8

#define MPS_BITS 2
#include "mps_host_width_avx512vnni.inc"
#define MPS_BITS 3
#include "mps_host_width_avx512vnni.inc"
#define MPS_BITS 4
#include "mps_host_width_avx512vnni.inc"
#define MPS_BITS 5
#include "mps_host_width_avx512vnni.inc"
#define MPS_BITS 6
#include "mps_host_width_avx512vnni.inc"
#define MPS_BITS 7
#include "mps_host_width_avx512vnni.inc"
#define MPS_BITS 8
#include "mps_host_width_avx512vnni.inc"

#define MPS_BITS 0
#include "mps_host_tiles_avx512vnni.inc"
#define MPS_BITS 2
#include "mps_host_tiles_avx512vnni.inc"
#define MPS_BITS 3
#include "mps_host_tiles_avx512vnni.inc"
#define MPS_BITS 4
#include "mps_host_tiles_avx512vnni.inc"
#define MPS_BITS 5
#include "mps_host_tiles_avx512vnni.inc"
#define MPS_BITS 6
#include "mps_host_tiles_avx512vnni.inc"
#define MPS_BITS 7
#include "mps_host_tiles_avx512vnni.inc"

#define MPS_TILES(bits)                                                                                                      \
  {                                                                                                                          \
    {tile_##bits##_4x1, tile_##bits##_8x1, tile_##bits##_12x1}, { tile_##bits##_4x2, tile_##bits##_8x2, tile_##bits##_12x2 } \
  }

/* 8-bit tiles are panels as they lie. */
static void multiply_tile(const mps_host_tile *tile, mps_host_sums *sums) {
  static void (*const functions[9][2][3])(const mps_host_tile *, mps_host_sums *) = {
      [0] = MPS_TILES(0), [2] = MPS_TILES(2), [3] = MPS_TILES(3), [4] = MPS_TILES(4),
      [5] = MPS_TILES(5), [6] = MPS_TILES(6), [7] = MPS_TILES(7), [8] = MPS_TILES(0)};
  functions[tile->packed[0] == NULL ? 0 : tile->bits][tile->tiles - 1][tile->rows / 4 - 1](tile, sums);
}

MPS_TARGET static void row_sums(const int32_t *activations, size_t quads, unsigned rows, int32_t *sums) {
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i total = _mm512_setzero_si512(), others = total;
  if (rows == 1) {
    for (; quads >= 16; quads -= 16, activations += 16) total = _mm512_dpbusd_epi32(total, ones, _mm512_loadu_si512(activations));
    const __mmask16 rest = (__mmask16)((1u << quads) - 1);
    total = _mm512_dpbusd_epi32(total, ones, _mm512_maskz_loadu_epi32(rest, activations));
    sums[0] = _mm512_reduce_add_epi32(total);
    return;
  }
  const __mmask16 mask = (__mmask16)((1u << rows) - 1);
  for (size_t quad = 0; quad < quads; quad += 2, activations += 2 * rows) { /* quads come in eights */
    total = _mm512_dpbusd_epi32(total, ones, _mm512_maskz_loadu_epi32(mask, activations));
    others = _mm512_dpbusd_epi32(others, ones, _mm512_maskz_loadu_epi32(mask, activations + rows));
  }
  _mm512_mask_storeu_epi32(sums, mask, _mm512_add_epi32(total, others));
}

MPS_TARGET static uint32_t largest(const float *values, size_t count) {
  const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
  __m512i most[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  size_t i = 0;
  for (; i + 32 <= count; i += 32) {
    most[0] = _mm512_max_epu32(most[0], _mm512_and_si512(magnitude, _mm512_loadu_si512(values + i)));
    most[1] = _mm512_max_epu32(most[1], _mm512_and_si512(magnitude, _mm512_loadu_si512(values + i + 16)));
  }
  for (; i < count; i += 16) {
    const __mmask16 mask = (__mmask16)(count - i < 16 ? (1u << (count - i)) - 1 : 0xFFFFu);
    most[0] = _mm512_max_epu32(most[0], _mm512_and_si512(magnitude, _mm512_maskz_loadu_epi32(mask, values + i)));
  }
  return _mm512_reduce_max_epu32(_mm512_max_epu32(most[0], most[1]));
}

MPS_TARGET static void quantize(const float *values, size_t count, float inverse, int8_t *output) {
  const __m512 factor = _mm512_set1_ps(inverse);
  for (size_t i = 0; i < count; i += 16) {
    const __mmask16 mask = (__mmask16)(count - i < 16 ? (1u << (count - i)) - 1 : 0xFFFFu);
    const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, values + i), factor));
    _mm_mask_storeu_epi8(output + i, mask, _mm512_cvtsepi32_epi8(rounded));
  }
}

MPS_INLINE __mmask16 lanes(size_t channels, unsigned first) {
  return (__mmask16)(channels <= first ? 0 : channels - first >= 16 ? 0xFFFFu : (1u << (channels - first)) - 1);
}

MPS_TARGET static void finish_float(const mps_host_sums *sums, unsigned rows, size_t channels, const float *row_scale, const float *bias,
                                    float *output, size_t pitch) {
  for (unsigned first = 0; first < MPS_HOST_PANEL_CHANNELS; first += 16) {
    const __mmask16 mask = lanes(channels, first);
    const __m512 offset = _mm512_loadu_ps(bias + first);
    for (unsigned r = 0; r < rows && mask != 0; r++) {
      const __m512 value = _mm512_fmadd_ps(_mm512_loadu_ps(sums->floats[r] + first), _mm512_set1_ps(row_scale[r]), offset);
      _mm512_mask_storeu_ps(output + r * pitch + first, mask, value);
    }
  }
}

/* mps_requantize on 16 channels: the high words of 64-bit products, even lanes and odd ones. */
MPS_TARGET static void finish_integers(const mps_host_sums *sums, unsigned rows, size_t channels, const mps_host_channels *scales, int8_t *output,
                                       size_t pitch) {
  const __m512i zero_point = _mm512_set1_epi32(scales->zero_point), lowest = _mm512_set1_epi32(scales->lowest);
  const __m512i highest = _mm512_set1_epi32(scales->highest);
  const __m128i left_shift = _mm_cvtsi32_si128((int)scales->left_shift);
  for (unsigned first = 0; first < MPS_HOST_PANEL_CHANNELS; first += 16) {
    const __mmask16 mask = lanes(channels, first);
    const __m512i bias = _mm512_loadu_si512(scales->bias + first), multiplier = _mm512_loadu_si512(scales->multiplier + first);
    const __m512i odd_multiplier = _mm512_srli_epi64(multiplier, 32), right_shift = _mm512_loadu_si512(scales->right_shift + first);
    const __m512i half = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_sub_epi32(right_shift, _mm512_set1_epi32(1)));
    for (unsigned r = 0; r < rows && mask != 0; r++) {
      const __m512i sum = _mm512_sll_epi32(_mm512_add_epi32(_mm512_loadu_si512(sums->integers[r] + first), bias), left_shift);
      const __m512i even = _mm512_srli_epi64(_mm512_mul_epi32(sum, multiplier), 32);
      const __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64(sum, 32), odd_multiplier);
      const __m512i high = _mm512_mask_mov_epi32(even, 0xAAAA, odd);
      const __m512i scaled = _mm512_srav_epi32(_mm512_add_epi32(high, half), right_shift);
      const __m512i clamped = _mm512_min_epi32(_mm512_max_epi32(_mm512_add_epi32(scaled, zero_point), lowest), highest);
      _mm512_mask_cvtepi32_storeu_epi8(output + r * pitch + first, mask, clamped);
    }
  }
}

MPS_TARGET static void scale(mps_host_sums *sums, unsigned rows, const float *factor) {
  for (unsigned r = 0; r < rows; r++) {
    for (unsigned c = 0; c < MPS_HOST_PANEL_CHANNELS; c += 16) {
      const __m512i whole = _mm512_loadu_si512(sums->integers[r] + c);
      _mm512_storeu_ps(sums->floats[r] + c, _mm512_mul_ps(_mm512_cvtepi32_ps(whole), _mm512_loadu_ps(factor + c)));
    }
  }
}

/* Four taps of 32 channels as 32 words: channels 0-3 and 16-19 in the first vector, 4-7 and 20-23 in the next, and so on. */
MPS_INLINE void gather_taps(const int8_t *const tap[4], size_t at, __m256i words[4]) {
  __m256i values[4];
  MPS_UNROLL for (unsigned i = 0; i < 4; i++) values[i] = _mm256_loadu_si256((const __m256i *)(const void *)(tap[i] + at));
  const __m256i low_01 = _mm256_unpacklo_epi8(values[0], values[1]), low_23 = _mm256_unpacklo_epi8(values[2], values[3]);
  const __m256i high_01 = _mm256_unpackhi_epi8(values[0], values[1]), high_23 = _mm256_unpackhi_epi8(values[2], values[3]);
  words[0] = _mm256_unpacklo_epi16(low_01, low_23);
  words[1] = _mm256_unpackhi_epi16(low_01, low_23);
  words[2] = _mm256_unpacklo_epi16(high_01, high_23);
  words[3] = _mm256_unpackhi_epi16(high_01, high_23);
}

/* [panel][four taps][4 vectors]; the activations are multiplied as u8, 128 more than they are. */
MPS_TARGET static void arrange(const int8_t *weights, size_t taps, size_t pitch, int8_t *arranged, int32_t *start) {
  for (size_t channel = 0; channel < pitch; channel++) {
    int32_t sum = 0;
    for (size_t tap = 0; tap < taps; tap++) sum += weights[tap * pitch + channel];
    start[channel] = -128 * sum;
  }
  for (size_t channel = 0; channel < pitch; channel += MPS_HOST_PANEL_CHANNELS) {
    for (size_t tap = 0; tap < taps; tap += 4, arranged += 128) {
      const int8_t *const four[4] = {weights + tap * pitch, weights + (tap + 1) * pitch, weights + (tap + 2) * pitch, weights + (tap + 3) * pitch};
      __m256i words[4];
      gather_taps(four, channel, words);
      MPS_UNROLL for (unsigned i = 0; i < 4; i++) _mm256_storeu_si256((__m256i *)(void *)(arranged + i * 32), words[i]);
    }
  }
}

MPS_TARGET static void depthwise(const mps_host_depthwise *job, mps_host_sums *sums) {
  const __m256i offset = _mm256_set1_epi8((char)0x80);
  const __m512i low_start = _mm512_loadu_si512(job->start), high_start = _mm512_loadu_si512(job->start + 16);
  for (unsigned pixel = 0; pixel < job->pixels; pixel++) {
    const int8_t *weights = job->weights;
    __m256i total[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t tap = 0; tap < job->taps; tap += 4, weights += 128) {
      __m256i words[4];
      gather_taps(job->input + tap, pixel * job->step, words);
      MPS_UNROLL for (unsigned i = 0; i < 4; i++) {
        const __m256i factor = _mm256_loadu_si256((const __m256i *)(const void *)(weights + i * 32));
        total[i] = _mm256_dpbusd_epi32(total[i], _mm256_xor_si256(words[i], offset), factor);
      }
    }
    const __m512i first = _mm512_inserti64x4(_mm512_castsi256_si512(total[0]), total[1], 1); /* 0-3 16-19 4-7 20-23 */
    const __m512i second = _mm512_inserti64x4(_mm512_castsi256_si512(total[2]), total[3], 1);
    const __m512i low = _mm512_shuffle_i64x2(first, second, 0x88), high = _mm512_shuffle_i64x2(first, second, 0xDD);
    _mm512_storeu_si512(sums->integers[pixel], _mm512_add_epi32(low, low_start));
    _mm512_storeu_si512(sums->integers[pixel] + 16, _mm512_add_epi32(high, high_start));
  }
}

const mps_host_kernels mps_host_avx512vnni = {
    .name = "avx512vnni",
    .rows = 12,
    .few = 2,
    .bytes_of_eight = 1,
    .direct_eight = 1,
    .unpacking_tile = 1,
    .one_stream = MPS_ONE_STREAM,
    .strip = {[2] = strip_2, [3] = strip_3, [4] = strip_4, [5] = strip_5, [6] = strip_6, [7] = strip_7, [8] = strip_8},
    .tile = multiply_tile,
    .interleave = interleave,
    .row_sums = row_sums,
    .largest = largest,
    .quantize = quantize,
    .finish_float = finish_float,
    .finish_integers = finish_integers,
    .depthwise = depthwise,
    .arrange = arrange,
    .scale = scale,
};
#endif
