/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_unpack.h"

#include <string.h>

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

typedef void (*unpacker)(const uint8_t *, const uint8_t *, const uint8_t *, size_t, int8_t *);

typedef struct {
  uint8_t width[3];
  unpacker unpack;
} planes;

static const planes PLANES[] = {
    [2] = {{2, 0, 0}, unpack_2},
    [3] = {{2, 1, 0}, unpack_3},
    [4] = {{4, 0, 0}, unpack_4},
    [5] = {{4, 1, 0}, unpack_5},
    [6] = {{4, 2, 0}, unpack_6},
    [7] = {{4, 2, 1}, unpack_7},
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
