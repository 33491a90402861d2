/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_unpack.h"

#include <string.h>

#include "mps/mps_simd.h"

static size_t mps_plane_bytes(size_t values, unsigned plane) { return (values * plane + 7) / 8; }

static inline uint32_t mps_load(const uint8_t *bytes, size_t count) {
  uint32_t word = 0;
  for (size_t i = 0; i < count; i++) word |= (uint32_t)bytes[i] << (8 * i);
  return word;
}

/* The top bit of every field of that width in a word. */
static inline uint32_t mps_sign_bits(unsigned plane) { return plane == 4 ? 0x88888888u : 0xAAAAAAAAu; }

/* Little-endian words of fixed length; compilers turn them into one load where the target allows it. */
#define MPS_WORD_0(bytes) 0u
#define MPS_WORD_1(bytes) (uint32_t)(bytes)[0]
#define MPS_WORD_2(bytes) (MPS_WORD_1(bytes) | (uint32_t)(bytes)[1] << 8)
#define MPS_WORD_4(bytes) (MPS_WORD_2(bytes) | (uint32_t)(bytes)[2] << 16 | (uint32_t)(bytes)[3] << 24)
#define MPS_JOIN(name, count) name##count
#define MPS_WORD_OF(bytes, count) MPS_JOIN(MPS_WORD_, count)(bytes)
#define MPS_WORD(bytes, count) MPS_WORD_OF(bytes, count)

#define MPS_NAME unpack_2
#define MPS_LOW 2
#define MPS_MIDDLE 0
#define MPS_HIGH 0
#include "mps_unpack_width.inc"

#define MPS_NAME unpack_3
#define MPS_LOW 2
#define MPS_MIDDLE 1
#define MPS_HIGH 0
#include "mps_unpack_width.inc"

#define MPS_NAME unpack_4
#define MPS_LOW 4
#define MPS_MIDDLE 0
#define MPS_HIGH 0
#include "mps_unpack_width.inc"

#define MPS_NAME unpack_5
#define MPS_LOW 4
#define MPS_MIDDLE 1
#define MPS_HIGH 0
#include "mps_unpack_width.inc"

#define MPS_NAME unpack_6
#define MPS_LOW 4
#define MPS_MIDDLE 2
#define MPS_HIGH 0
#include "mps_unpack_width.inc"

#define MPS_NAME unpack_7
#define MPS_LOW 4
#define MPS_MIDDLE 2
#define MPS_HIGH 1
#include "mps_unpack_width.inc"

#if MPS_SIMD
/* Whole words: four values at a time are spread over the bytes of a word, plane over plane, and 2^(bits - 1) is taken from each. */

static inline uint32_t spread_twos(uint32_t byte) {
  const uint32_t halves = (byte | byte << 12) & 0x000F000Fu;
  return (halves | halves << 6) & 0x03030303u;
}

static inline uint32_t spread_ones(uint32_t nibble) { return nibble * 0x00204081u & 0x01010101u; }

/* Value i, i < 4, of a plane that is one or two bits wide. */
static inline uint32_t spread(unsigned width, uint32_t plane) { return width == 2 ? spread_twos(plane & 0xFFu) : spread_ones(plane & 0xFu); }

/* Eight values, plane by plane; the widths are constants. */
static inline void unpack_eight(unsigned low, unsigned middle, unsigned high, const uint8_t *const planes[3], int8_t *output) {
  uint32_t near, far;
  if (low == 4) {
    const uint32_t word = mps_load_word(planes[0]), even = word & 0x00FF00FFu, odd = word >> 8 & 0x00FF00FFu;
    const uint32_t a = (even | even << 4) & 0x0F0F0F0Fu, b = (odd | odd << 4) & 0x0F0F0F0Fu;
    near = mps_low_halves(a, b), far = mps_high_halves(a, b);
  } else {
    near = spread_twos(planes[0][0]), far = spread_twos(planes[0][1]);
  }
  if (middle != 0) {
    const uint32_t bits = middle == 2 ? (uint32_t)planes[1][0] | (uint32_t)planes[1][1] << 8 : (uint32_t)planes[1][0];
    near |= spread(middle, bits) << low, far |= spread(middle, bits >> (4 * middle)) << low;
  }
  if (high != 0) {
    const uint32_t bits = planes[2][0];
    near |= spread(high, bits) << (low + middle), far |= spread(high, bits >> 4) << (low + middle);
  }
  const uint32_t half = (1u << (low + middle + high - 1)) * 0x01010101u;
  mps_store_word(output, mps_subtract_bytes(near, half));
  mps_store_word(output + 4, mps_subtract_bytes(far, half));
}

#define MPS_UNPACK_WORDS(bits, low, middle, high)                                                                                   \
  static void unpack_##bits##_words(const uint8_t *low_plane, const uint8_t *middle_plane, const uint8_t *high_plane, size_t count, \
                                    int8_t *output) {                                                                               \
    for (; count >= 8; count -= 8, output += 8, low_plane += (low), middle_plane += (middle), high_plane += (high)) {               \
      const uint8_t *const planes[3] = {low_plane, middle_plane, high_plane};                                                       \
      unpack_eight(low, middle, high, planes, output);                                                                              \
    }                                                                                                                               \
    unpack_##bits(low_plane, middle_plane, high_plane, count, output);                                                              \
  }

MPS_UNPACK_WORDS(2, 2, 0, 0)
MPS_UNPACK_WORDS(3, 2, 1, 0)
MPS_UNPACK_WORDS(4, 4, 0, 0)
MPS_UNPACK_WORDS(5, 4, 1, 0)
MPS_UNPACK_WORDS(6, 4, 2, 0)
MPS_UNPACK_WORDS(7, 4, 2, 1)
#else
#define unpack_2_words unpack_2
#define unpack_3_words unpack_3
#define unpack_4_words unpack_4
#define unpack_5_words unpack_5
#define unpack_6_words unpack_6
#define unpack_7_words unpack_7
#endif

typedef void (*unpacker)(const uint8_t *, const uint8_t *, const uint8_t *, size_t, int8_t *);

typedef struct {
  uint8_t width[3];
  unpacker unpack;
} planes;

static const planes PLANES[] = {
    [2] = {{2, 0, 0}, unpack_2_words}, [3] = {{2, 1, 0}, unpack_3_words}, [4] = {{4, 0, 0}, unpack_4_words},
    [5] = {{4, 1, 0}, unpack_5_words}, [6] = {{4, 2, 0}, unpack_6_words}, [7] = {{4, 2, 1}, unpack_7_words},
};

size_t mps_row_bytes(size_t values, unsigned bits) {
  if (bits == 8) return values;
  const uint8_t *width = PLANES[bits].width;
  return mps_plane_bytes(values, width[0]) + mps_plane_bytes(values, width[1]) + mps_plane_bytes(values, width[2]);
}

void mps_unpack(const uint8_t *row, size_t values, size_t first, size_t count, unsigned bits, int8_t *output) {
  if (bits == 8) {
    memcpy(output, row + first, count);
    return;
  }
  const uint8_t *width = PLANES[bits].width;
  const uint8_t *middle = row + mps_plane_bytes(values, width[0]);
  const uint8_t *high = middle + mps_plane_bytes(values, width[1]);
  const size_t eighth = first / 8;
  PLANES[bits].unpack(row + eighth * width[0], middle + eighth * width[1], high + eighth * width[2], count, output);
}
