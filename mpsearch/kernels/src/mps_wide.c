/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_wide.h"

#include <string.h>

#include "mps/mps_nibbles.h"
#include "mps/mps_requantize_wide.h"
#include "mps/mps_simd.h"
#include "mps/mps_unpack.h"

enum { BLOCK = 256 /* products that int32 holds: 2^15 * 2^7 * 2^8 = 2^30 */ };

void mps_wide_load(const void *input, unsigned bits, size_t pixel, size_t channels, size_t first, size_t count, int16_t *values) {
  if (bits == 16) {
    memcpy(values, (const int16_t *)input + pixel * channels + first, count * sizeof *values);
    return;
  }
  const int8_t *from = (const int8_t *)input + pixel * channels + first;
  if (bits == 4) { /* into the upper half of where they belong: what is widened lies behind what is not, until the two meet */
    int8_t *unpacked = (int8_t *)values + count;
    mps_load_nibbles((const uint8_t *)input + pixel * mps_nibble_bytes(channels), first, count, unpacked);
    from = unpacked;
  }
  for (size_t i = 0; i < count; i++) values[i] = from[i];
}

#if MPS_SIMD
/* One SXTB16 takes the weights 0 and 2 out of four, another 1 and 3. */
static void order(int16_t *window, size_t count) {
  for (; count >= 4; count -= 4, window += 4) {
    const int16_t second = window[1];
    window[1] = window[2], window[2] = second;
  }
}
#else
static void order(int16_t *window, size_t count) { (void)window, (void)count; }
#endif

/* At most BLOCK values of a row, with one window or two. */
MPS_INLINE void add_block(const int8_t *row, const int16_t *near, const int16_t *far, size_t count, size_t pixels, int64_t sums[2]) {
  int32_t a = 0, b = 0;
#if MPS_SIMD
  for (; count >= 4; count -= 4, row += 4, near += 4, far += 4) {
    const uint32_t word = mps_load_word(row), even = mps_even_bytes(word), odd = mps_odd_bytes(word);
    a = mps_dual_product(even, mps_load_word(near), a);
    a = mps_dual_product(odd, mps_load_word(near + 2), a);
    if (pixels > 1) {
      b = mps_dual_product(even, mps_load_word(far), b);
      b = mps_dual_product(odd, mps_load_word(far + 2), b);
    }
  }
#endif
  for (size_t i = 0; i < count; i++) {
    a += row[i] * near[i];
    if (pixels > 1) b += row[i] * far[i];
  }
  sums[0] += a, sums[1] += b;
}

MPS_INLINE void add_row(const int8_t *row, const int16_t *near, const int16_t *far, size_t count, size_t pixels, int64_t sums[2]) {
  for (size_t block; count > 0; count -= block, row += block, near += block, far += block) {
    block = count < BLOCK ? count : BLOCK;
    add_block(row, near, far, block, pixels, sums);
  }
}

static void add_row_once(const int8_t *row, const int16_t *window, size_t count, int64_t sums[2]) { add_row(row, window, window, count, 1, sums); }

static void add_row_twice(const int8_t *row, const int16_t *near, const int16_t *far, size_t count, int64_t sums[2]) {
  add_row(row, near, far, count, 2, sums);
}

/* One value; channels of a pixel are stored in order. */
static void store(const mps_wide *wide, size_t pixel, size_t channel, int64_t scaled, void *output) {
  const int64_t moved = scaled + wide->zero_point;
  const int32_t value = moved < wide->lowest ? wide->lowest : moved > wide->highest ? wide->highest : (int32_t)moved;
  const int8_t byte = (int8_t)value;
  if (wide->output_bits == 16)
    ((int16_t *)output)[pixel * wide->output_c + channel] = (int16_t)value;
  else if (wide->output_bits == 8)
    ((int8_t *)output)[pixel * wide->output_c + channel] = byte;
  else
    mps_store_nibbles(&byte, channel, 1, (uint8_t *)output + pixel * mps_nibble_bytes(wide->output_c));
}

void mps_wide_channels(const mps_wide *wide, size_t first, size_t end, size_t pixel, void *output) {
  const mps_channels *channels = wide->channels;
  const size_t values = wide->values, row_bytes = mps_row_bytes(values, wide->weight_bits);
  const int16_t *near = wide->windows, *far = near + mps_wide_stride(values);
  for (size_t i = 0; i < wide->pixels; i++) order(wide->windows + i * mps_wide_stride(values), values);
  for (size_t c = first; c < end; c++) {
    const int8_t *row = (const int8_t *)channels->weights + c * row_bytes;
    if (wide->weight_bits < 8) {
      mps_unpack(channels->weights + c * row_bytes, values, 0, values, wide->weight_bits, wide->row);
      row = wide->row;
    }
    int64_t sums[MPS_WIDE_PIXELS] = {channels->bias[c], channels->bias[c]};
    if (wide->pixels == 1)
      add_row_once(row, near, values, sums);
    else
      add_row_twice(row, near, far, values, sums);
    for (size_t i = 0; i < wide->pixels; i++)
      store(wide, pixel + i, c, mps_requantize_wide(sums[i], channels->multiplier[c], wide->left_shift, channels->right_shift[c]), output);
  }
}
