/* SPDX-License-Identifier: Apache-2.0 */
/* Dense layers of every width and of awkward shapes, with one of the arrays they read after the other up against the end of memory (MEMORY_END),
   where the load of a byte too many is a fault. With -DBEYOND it loads such a byte. */
#include <stdio.h>
#include <string.h>

#include "mps/mps.h"
#include "mps_ref.h"

enum { MOST_VALUES = 257, MOST_CHANNELS = 37, MOST_ROWS = 5, ARRAYS = 5 };

static int8_t plain[MOST_CHANNELS * MOST_VALUES], input[MOST_ROWS * MOST_VALUES];
static uint8_t packed[MOST_CHANNELS * MOST_VALUES], right_shift[MOST_CHANNELS];
static int32_t bias[MOST_CHANNELS], multiplier[MOST_CHANNELS];
static int8_t output[MOST_ROWS * MOST_CHANNELS], wanted[MOST_ROWS * MOST_CHANNELS];
static _Alignas(8) int8_t scratch[1 << 14];

static uint32_t state = 1;
static uint32_t next(void) { return state = state * 1664525u + 1013904223u, state >> 16; }

/* mpsearch/quant/bitpack.py: planes of `width` bits, the first value in the lowest bits. */
static uint8_t *pack_plane(const int8_t *row, size_t values, unsigned bits, unsigned lowest, unsigned width, uint8_t *to) {
  memset(to, 0, (values * width + 7) / 8);
  for (size_t k = 0; k < values; k++) {
    const unsigned u = bits == 8 ? (uint8_t)row[k] : (unsigned)(row[k] + (1 << (bits - 1)));
    to[k * width / 8] |= (uint8_t)((u >> lowest & ((1u << width) - 1u)) << k * width % 8);
  }
  return to + (values * width + 7) / 8;
}

static size_t pack(size_t values, size_t channels, unsigned bits) {
  uint8_t *to = packed;
  for (size_t c = 0; c < channels; c++) {
    for (unsigned lowest = 0; lowest < bits;) {
      const unsigned left = bits - lowest, width = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
      to = pack_plane(plain + c * values, values, bits, lowest, width, to);
      lowest += width;
    }
  }
  return (size_t)(to - packed);
}

static void fill(size_t values, size_t channels, size_t rows, unsigned bits) {
  const int32_t half = 1 << (bits - 1);
  for (size_t i = 0; i < values * channels; i++) plain[i] = (int8_t)(next() % 7 == 0 ? -half : (int32_t)(next() % (2u << (bits - 1))) - half);
  for (size_t i = 0; i < values * rows; i++) input[i] = (int8_t)(next() % 5 == 0 ? -128 : (int32_t)(next() & 255) - 128);
  for (size_t c = 0; c < channels; c++) {
    bias[c] = (int32_t)(next() & 1023) - 512, multiplier[c] = (int32_t)((1u << 30) + (next() << 14));
    right_shift[c] = (uint8_t)(1 + next() % (bits + 3));
  }
}

static const void *at_the_end(const void *array, size_t size) {
  uint8_t *to = (uint8_t *)MEMORY_END - size;
  return memcpy(to, array, size);
}

static unsigned long check(size_t values, size_t channels, size_t rows, unsigned bits) {
  fill(values, channels, rows, bits);
  const size_t size = pack(values, channels, bits);
  const mps_linear_params params = {.rows = (uint32_t)rows,
                                    .input_c = (uint32_t)values,
                                    .output_c = (uint32_t)channels,
                                    .output_zero_point = 3,
                                    .lowest = -100,
                                    .highest = 120,
                                    .weight_bits = (uint8_t)bits,
                                    .input_bits = 8,
                                    .output_bits = 8,
                                    .left_shift = (uint8_t)(channels % 3)};
  const mps_ref_channels unpacked = {bias, multiplier, right_shift, plain};
  unsigned long wrong = mps_linear_scratch_bytes(&params) > sizeof scratch;
  mps_linear_ref(&params, &unpacked, input, wanted);
  for (size_t array = 0; array < (values < 4 ? ARRAYS : 2); array++) {
    mps_channels used = {bias, multiplier, right_shift, packed};
    const int8_t *from = input;
    switch (array) {
    case 0: used.weights = at_the_end(packed, size); break;
    case 1: from = at_the_end(input, values * rows); break;
    case 2: used.bias = at_the_end(bias, channels * sizeof *bias); break;
    case 3: used.multiplier = at_the_end(multiplier, channels * sizeof *multiplier); break;
    default: used.right_shift = at_the_end(right_shift, channels);
    }
    memset(output, 0, sizeof output);
    wrong += mps_linear(&params, &used, from, output, scratch) != MPS_OK || memcmp(output, wanted, rows * channels) != 0;
    if (wrong > 0) {
      printf("%u bits, %u values, %u channels, %u rows: differs\n", bits, (unsigned)values, (unsigned)channels, (unsigned)rows);
      return wrong;
    }
  }
  return 0;
}

int main(void) {
  static const uint16_t values[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 128, 144, 257};
  static const uint8_t channels[] = {1, 2, 5, 35};
  unsigned long wrong = 0, cases = 0;
#ifdef BEYOND
  return *(volatile const uint8_t *)MEMORY_END == 0;
#endif
  for (unsigned bits = 2; bits <= 8; bits++) {
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
      for (size_t c = 0; c < sizeof channels; c++, cases++) wrong += check(values[v], channels[c], 1 + (v + c) % MOST_ROWS, bits);
    }
  }
  printf("%lu cases, %lu wrong\n", cases, wrong);
  return wrong > 0;
}
