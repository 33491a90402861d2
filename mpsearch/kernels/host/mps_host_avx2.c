/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2: u8 x s8 products are added in pairs to int16, which saturates. Widths up to 7 bits cannot reach that, and narrow ones leave room to add up
   several pairs before they are widened to int32; 8-bit weights are multiplied as int16. */
#include "mps_host_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define MPS_TARGET __attribute__((target("avx2,fma")))
#define MPS_INLINE static inline __attribute__((always_inline)) MPS_TARGET

#include "mps_host_loops.inc"
#include "mps_host_x86.inc"

enum { ROWS = 4 };

/* 16 channels x 4 values: channels 0-7, 8-15. */
typedef struct {
  __m256i half[2];
} quad_rows;

MPS_INLINE __m256i load(const void *from) { return _mm256_loadu_si256((const __m256i *)from); }

/* Half `half` of quad `quad` of a plane of a block, moved to bit `low` of every byte. */
MPS_INLINE __m256i take_plane(const uint8_t *rows, unsigned plane, unsigned quad, unsigned low, unsigned half) {
  const unsigned per = 8 / plane, at = quad % per * plane;
  const uint8_t down = (uint8_t)(at > low ? at - low : 0), up = (uint8_t)(at < low ? low - at : 0);
  const __m256i row = load(rows + (size_t)(quad / per) * 64 + half * 32);
  const __m256i moved = down > 0 ? _mm256_srli_epi16(row, down) : up > 0 ? _mm256_slli_epi16(row, up) : row;
  return _mm256_and_si256(moved, _mm256_set1_epi8((char)(((1u << plane) - 1) << low)));
}

/* A quad of a block: stored values u up to 7 bits, weights q of 8 bits. `bits` and `quad` are constants. */
MPS_INLINE quad_rows take_quad(const uint8_t *block, unsigned bits, unsigned quad) {
  quad_rows rows;
  MPS_UNROLL for (unsigned half = 0; half < 2; half++) {
    __m256i values = _mm256_setzero_si256();
    unsigned low = 0;
    if (bits == 8) values = _mm256_xor_si256(load(block + (size_t)quad * 64 + half * 32), _mm256_set1_epi8((char)0x80));
    if (bits & 4) {
      values = take_plane(block, 4, quad, 0, half);
      low = 4;
    }
    if (bits & 2) {
      values = _mm256_or_si256(values, take_plane(block + low * 64, 2, quad, low, half));
      low += 2;
    }
    if (bits & 1) values = _mm256_or_si256(values, take_plane(block + low * 64, 1, quad, low, half));
    rows.half[half] = values;
  }
  return rows;
}

/* Bytes 0, 2 and bytes 1, 3 of every word as int16. */
MPS_INLINE __m256i even_bytes(__m256i bytes) { return _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8); }
MPS_INLINE __m256i odd_bytes(__m256i bytes) { return _mm256_srai_epi16(bytes, 8); }

/* How many quads can be added in int16: 2 * 128 * (2^bits - 1) * n < 2^15. Narrow widths could take eight, but compilers then run out of registers.
 */
MPS_INLINE unsigned quads_in_16_bits(unsigned bits) { return bits <= 5 ? 4 : bits == 6 ? 2 : 1; }

MPS_INLINE __m256i broadcast(const int32_t *word) { return _mm256_set1_epi32(*word); }

MPS_INLINE __m256i widen(__m256i pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }

/* sum[half] += a panel's quads [0, quads_in_16_bits) times a row's words, `step` words apart. */
MPS_INLINE void add_quads(__m256i sum[2], const uint8_t *panel, const int32_t *words, size_t step, unsigned bits) {
  if (bits == 8) {
    const __m256i word = broadcast(words), even = even_bytes(word), odd = odd_bytes(word);
    MPS_UNROLL for (unsigned half = 0; half < 2; half++) {
      sum[half] = _mm256_add_epi32(sum[half], _mm256_madd_epi16(load(panel + half * 32), even));
      sum[half] = _mm256_add_epi32(sum[half], _mm256_madd_epi16(load(panel + 64 + half * 32), odd));
    }
    return;
  }
  const __m256i first = broadcast(words);
  __m256i low = _mm256_maddubs_epi16(load(panel), first), high = _mm256_maddubs_epi16(load(panel + 32), first);
  MPS_UNROLL for (unsigned quad = 1; quad < quads_in_16_bits(bits); quad++) {
    const __m256i word = broadcast(words + quad * step);
    low = _mm256_add_epi16(low, _mm256_maddubs_epi16(load(panel + (size_t)quad * 64), word));
    high = _mm256_add_epi16(high, _mm256_maddubs_epi16(load(panel + (size_t)quad * 64 + 32), word));
  }
  sum[0] = _mm256_add_epi32(sum[0], widen(low));
  sum[1] = _mm256_add_epi32(sum[1], widen(high));
}

/* The sums of a group become integers or, times their scale, part of the floats. */
MPS_INLINE void add_group(const __m256i sum[2], const float *scale, size_t group, int32_t *integers, float *floats) {
  MPS_UNROLL for (unsigned half = 0; half < 2; half++) {
    if (scale == NULL) {
      _mm256_storeu_si256((__m256i *)(void *)(integers + half * 8), sum[half]);
    } else {
      const __m256 total = group == 0 ? _mm256_setzero_ps() : _mm256_loadu_ps(floats + half * 8);
      const __m256 factor = _mm256_loadu_ps(scale + group * MPS_HOST_CHANNELS + half * 8);
      _mm256_storeu_ps(floats + half * 8, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[half]), factor, total));
    }
  }
}

MPS_INLINE void multiply_half_panel(const mps_host_tile *tile, unsigned i, unsigned row, unsigned bits, mps_host_sums *sums) {
  const unsigned step = quads_in_16_bits(bits), rows = tile->rows;
  const uint8_t *panel = tile->panel[i];
  const int32_t *words = tile->activations + row;
  for (size_t first = 0, group = 0; first < tile->quads; first += tile->group_quads, group++) {
    const size_t rest = tile->quads - first, quads = rest < tile->group_quads ? rest : tile->group_quads;
    const int32_t *start = tile->start + group * rows + row;
    __m256i sum0[2] = {broadcast(start), broadcast(start)}, sum1[2] = {broadcast(start + 1), broadcast(start + 1)};
    __m256i sum2[2] = {broadcast(start + 2), broadcast(start + 2)}, sum3[2] = {broadcast(start + 3), broadcast(start + 3)};
    for (size_t quad = 0; quad < quads; quad += step, words += step * rows, panel += step * (bits == 8 ? 128 : 64)) {
      add_quads(sum0, panel, words, rows, bits);
      add_quads(sum1, panel, words + 1, rows, bits);
      add_quads(sum2, panel, words + 2, rows, bits);
      add_quads(sum3, panel, words + 3, rows, bits);
    }
    const unsigned column = i * MPS_HOST_CHANNELS;
    add_group(sum0, tile->scale[i], group, sums->integers[row] + column, sums->floats[row] + column);
    add_group(sum1, tile->scale[i], group, sums->integers[row + 1] + column, sums->floats[row + 1] + column);
    add_group(sum2, tile->scale[i], group, sums->integers[row + 2] + column, sums->floats[row + 2] + column);
    add_group(sum3, tile->scale[i], group, sums->integers[row + 3] + column, sums->floats[row + 3] + column);
  }
}

#define MPS_BITS 2
#include "mps_host_width_avx2.inc"
#define MPS_BITS 3
#include "mps_host_width_avx2.inc"
#define MPS_BITS 4
#include "mps_host_width_avx2.inc"
#define MPS_BITS 5
#include "mps_host_width_avx2.inc"
#define MPS_BITS 6
#include "mps_host_width_avx2.inc"
#define MPS_BITS 7
#include "mps_host_width_avx2.inc"
#define MPS_BITS 8
#include "mps_host_width_avx2.inc"

static void multiply_tile(const mps_host_tile *tile, mps_host_sums *sums) {
  static void (*const functions[9])(const mps_host_tile *, mps_host_sums *) = {
      [2] = tile_2, [3] = tile_3, [4] = tile_4, [5] = tile_5, [6] = tile_6, [7] = tile_7, [8] = tile_8};
  functions[tile->bits](tile, sums);
}

/* Bytes times one, in pairs of 16 bits and then of 32. */
MPS_INLINE __m128i add_bytes(__m128i total, __m128i bytes) {
  const __m128i pairs = _mm_maddubs_epi16(_mm_set1_epi8(1), bytes);
  return _mm_add_epi32(total, _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
}

MPS_TARGET static void row_sums(const int32_t *activations, size_t quads, unsigned rows, int32_t *sums) {
  __m128i total = _mm_setzero_si128();
  for (size_t word = 0; word < quads * rows; word += 4) { /* rows is 1 or 4 */
    total = add_bytes(total, _mm_loadu_si128((const __m128i *)(const void *)(activations + word)));
  }
  int32_t four[4];
  _mm_storeu_si128((__m128i *)(void *)four, total);
  if (rows == 1)
    sums[0] = four[0] + four[1] + four[2] + four[3];
  else
    memcpy(sums, four, sizeof(four));
}

/* mps_requantize on 8 channels: the high words of 64-bit products, even lanes and odd ones. */
MPS_TARGET static void finish_integers(const mps_host_sums *sums, unsigned rows, size_t channels, const mps_host_channels *scales, int8_t *output,
                                       size_t pitch) {
  const __m256i zero_point = _mm256_set1_epi32(scales->zero_point), lowest = _mm256_set1_epi32(scales->lowest);
  const __m256i highest = _mm256_set1_epi32(scales->highest), one = _mm256_set1_epi32(1);
  const __m128i left_shift = _mm_cvtsi32_si128((int)scales->left_shift);
  for (size_t first = 0; first < channels; first += 8) {
    const size_t count = channels - first < 8 ? channels - first : 8;
    const __m256i bias = load(scales->bias + first), multiplier = load(scales->multiplier + first), right_shift = load(scales->right_shift + first);
    const __m256i odd_multiplier = _mm256_srli_epi64(multiplier, 32), half = _mm256_sllv_epi32(one, _mm256_sub_epi32(right_shift, one));
    for (unsigned r = 0; r < rows; r++) {
      const __m256i sum = _mm256_sll_epi32(_mm256_add_epi32(load(sums->integers[r] + first), bias), left_shift);
      const __m256i even = _mm256_srli_epi64(_mm256_mul_epi32(sum, multiplier), 32);
      const __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(sum, 32), odd_multiplier);
      const __m256i scaled = _mm256_srav_epi32(_mm256_add_epi32(_mm256_blend_epi32(even, odd, 0xAA), half), right_shift);
      const __m256i clamped = _mm256_min_epi32(_mm256_max_epi32(_mm256_add_epi32(scaled, zero_point), lowest), highest);
      const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(clamped), _mm256_extracti128_si256(clamped, 1));
      int64_t bytes = _mm_cvtsi128_si64(_mm_packs_epi16(words, words));
      memcpy(output + r * pitch + first, &bytes, count);
    }
  }
}

const mps_host_kernels mps_host_avx2 = {
    .name = "avx2",
    .rows = ROWS,
    .few = 2,
    .bytes_of_eight = 2,
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
