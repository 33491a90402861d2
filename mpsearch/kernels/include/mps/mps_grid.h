/* SPDX-License-Identifier: Apache-2.0 */
/* What pools and means read: the values of neighbouring channels at the points of a grid. */
#ifndef MPS_GRID_H
#define MPS_GRID_H

#include <stddef.h>
#include <stdint.h>

#include "mps/mps_simd.h"

enum { MPS_GRID_CHANNELS = 4 };

typedef struct {
  size_t rows, columns, row_step, column_step;
} mps_grid;

#if MPS_SIMD
/* Sums of two channels in the halves of a word: so many values fit whatever they are. */
enum { MPS_GRID_SUMS = 255 };

/* Add the values of four channels at no more points than that. */
MPS_APART void mps_add_few(const int8_t *first, size_t rows, size_t columns, const mps_grid *grid, int32_t sums[4]) {
  const size_t step = grid->column_step;
  const ptrdiff_t to_next_row = (ptrdiff_t)grid->row_step - (ptrdiff_t)(columns * step);
  uint32_t even = 0, odd = 0;
  for (; rows > 0; rows--, first += to_next_row) {
    for (size_t left = columns; left > 0; left--, first += step) {
      const uint32_t word = mps_load_word(first);
      even = mps_add_even_bytes(even, word);
      odd = mps_add_odd_bytes(odd, word);
    }
  }
  sums[0] += (int16_t)(uint16_t)even;
  sums[1] += (int16_t)(uint16_t)odd;
  sums[2] += (int16_t)(uint16_t)(even >> 16);
  sums[3] += (int16_t)(uint16_t)(odd >> 16);
}

static inline void mps_add_grid(const int8_t *first, const mps_grid *grid, int32_t sums[4]) {
  if (grid->rows * grid->columns <= MPS_GRID_SUMS) {
    mps_add_few(first, grid->rows, grid->columns, grid, sums);
    return;
  }
  for (size_t row = 0; row < grid->rows; row++, first += grid->row_step) {
    for (size_t from = 0; from < grid->columns; from += MPS_GRID_SUMS) {
      const size_t left = grid->columns - from;
      mps_add_few(first + from * grid->column_step, 1, left < MPS_GRID_SUMS ? left : MPS_GRID_SUMS, grid, sums);
    }
  }
}

/* The largest value of each of four channels, in the bytes of a word. */
static inline uint32_t mps_largest_of_grid(const int8_t *first, const mps_grid *grid) {
  uint32_t best = 0x80808080u;
  for (size_t row = 0; row < grid->rows; row++, first += grid->row_step) {
    const int8_t *x = first;
    for (size_t left = grid->columns; left > 0; left--, x += grid->column_step) best = mps_larger_bytes(best, mps_load_word(x));
  }
  return best;
}
#else
static inline void mps_add_grid(const int8_t *first, const mps_grid *grid, int32_t sums[4]) {
  int32_t a = 0, b = 0, c = 0, d = 0;
  for (size_t row = 0; row < grid->rows; row++, first += grid->row_step) {
    const int8_t *x = first;
    for (size_t left = grid->columns; left > 0; left--, x += grid->column_step) a += x[0], b += x[1], c += x[2], d += x[3];
  }
  sums[0] += a, sums[1] += b, sums[2] += c, sums[3] += d;
}
#endif

/* The sum of one channel. */
static inline int32_t mps_sum_of_grid(const int8_t *first, const mps_grid *grid) {
  int32_t sum = 0;
  for (size_t row = 0; row < grid->rows; row++, first += grid->row_step) {
    const int8_t *x = first;
    for (size_t left = grid->columns; left > 0; left--, x += grid->column_step) sum += *x;
  }
  return sum;
}

#endif
