/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_nibbles.h"

#include "mps/mps_simd.h"

static inline int8_t signed_nibble(uint32_t nibble) { return (int8_t)((int32_t)((nibble & 15u) ^ 8u) - 8); }

/* Four nibbles, in bytes 0 and 2 of a word, one in each byte. */
static inline uint32_t spread(uint32_t bytes) {
  bytes &= 0x00FF00FFu;
  return (bytes | bytes << 4) & 0x0F0F0F0Fu;
}

void mps_load_nibbles(const uint8_t *pixel, size_t first, size_t count, int8_t *values) {
  const uint8_t *from = pixel + first / 2;
  if (first % 2 != 0 && count > 0) *values++ = signed_nibble((uint32_t)*from++ >> 4), count--;
  for (; count >= 8; count -= 8, from += 4, values += 8) {
    const uint32_t word = mps_load_word(from) ^ 0x88888888u, even = spread(word), odd = spread(word >> 8);
    mps_store_word(values, mps_subtract_bytes(mps_low_halves(even, odd), 0x08080808u));
    mps_store_word(values + 4, mps_subtract_bytes(mps_high_halves(even, odd), 0x08080808u));
  }
  for (size_t i = 0; i < count; i++) values[i] = signed_nibble((uint32_t)from[i / 2] >> (i % 2 * 4));
}

void mps_store_nibbles(const int8_t *values, size_t first, size_t count, uint8_t *pixel) {
  uint8_t *to = pixel + first / 2;
  if (first % 2 != 0 && count > 0) {
    *to = (uint8_t)((*to & 15) | (*values++ & 15) << 4);
    to++, count--;
  }
  for (; count >= 4; count -= 4, values += 4, to += 2) {
    const uint32_t word = mps_load_word(values) & 0x0F0F0F0Fu, joined = word | word >> 4;
    to[0] = (uint8_t)joined, to[1] = (uint8_t)(joined >> 16);
  }
  for (; count >= 2; count -= 2, values += 2) *to++ = (uint8_t)((values[0] & 15) | (values[1] & 15) << 4);
  if (count > 0) *to = (uint8_t)(*values & 15);
}
