/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "measure.h"

#ifndef MEASURE_ARENA_BYTES
#define MEASURE_ARENA_BYTES (128 * 1024)
#endif

static _Alignas(16) uint8_t arena[MEASURE_ARENA_BYTES];
static size_t taken;
static uint32_t state;

void measure_release(void) { taken = 0, state = 1; }

void *measure_take(uint64_t bytes) {
  if (bytes > sizeof arena - taken) return NULL;
  uint8_t *from = arena + taken;
  const uint64_t rounded = (bytes + 15) & ~(uint64_t)15;
  taken = rounded > sizeof arena - taken ? sizeof arena : taken + (size_t)rounded;
  return from;
}

static uint32_t draw(void) {
  state = state * 1664525u + 1013904223u;
  return state;
}

void measure_fill(void *bytes, size_t count) {
  uint8_t *to = bytes;
  for (size_t i = 0; i < count; i++) to[i] = (uint8_t)(draw() >> 24);
}

/* The planes that a width is split into, low bits first. */
static const uint8_t PLANES[9][3] = {[2] = {2}, [3] = {2, 1}, [4] = {4}, [5] = {4, 1}, [6] = {4, 2}, [7] = {4, 2, 1}, [8] = {8}};

uint64_t measure_packed_bytes(uint64_t rows, uint64_t values, unsigned bits) {
  uint64_t row = 0;
  for (int i = 0; i < 3; i++) row += (values * PLANES[bits][i] + 7) / 8;
  return rows * row;
}

void measure_weights(int8_t *plain, uint8_t *packed, size_t rows, size_t values, unsigned bits) {
  const int32_t half = (int32_t)1 << (bits - 1);
  memset(packed, 0, (size_t)measure_packed_bytes(rows, values, bits));
  for (size_t row = 0; row < rows; row++, plain += values) {
    for (size_t i = 0; i < values; i++) plain[i] = (int8_t)((int32_t)(draw() >> (32 - bits)) - half);
    for (unsigned plane = 0, low = 0; plane < 3 && PLANES[bits][plane] != 0; low += PLANES[bits][plane++]) {
      const unsigned width = PLANES[bits][plane], mask = (1u << width) - 1;
      for (size_t i = 0; i < values; i++) {
        const unsigned stored = (unsigned)(bits == 8 ? plain[i] : plain[i] + half) >> low & mask;
        packed[i * width / 8] |= (uint8_t)(stored << (i * width % 8));
      }
      packed += (values * width + 7) / 8;
    }
  }
}

unsigned measure_log2(uint64_t value) {
  unsigned exponent = 0;
  while (value >>= 1) exponent++;
  return exponent;
}

measure_status measure_compare(mps_status status, const void *output, const void *wanted, size_t bytes) {
  if (status != MPS_OK) return MEASURE_REFUSED;
  return memcmp(output, wanted, bytes) == 0 ? MEASURE_OK : MEASURE_DIFFERS;
}
