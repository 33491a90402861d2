/* SPDX-License-Identifier: Apache-2.0 */
/* Integer requantisation: the C twin of mpsearch/quant/requantize.py, equal to it bit for bit.
   -DMPS_DOUBLE_ROUNDING rounds as TensorFlow Lite does by default; without it every kernel rounds once. */
#ifndef MPS_REQUANTIZE_H
#define MPS_REQUANTIZE_H

#include <stdint.h>

/* Scale an accumulator by multiplier * 2^-(32 + right_shift - left_shift), rounding half up.
   [in] accumulator  shifted left by left_shift it must stay within int32 (the exporter proves it)
   [in] multiplier   in [2^30, 2^31)
   [in] left_shift   in [0, 30]
   [in] right_shift  in [1, 31]
   Nested floors: rounding the high word equals rounding the whole product. */
static inline int32_t mps_requantize_once(int32_t accumulator, int32_t multiplier, unsigned left_shift, unsigned right_shift) {
  const int32_t shifted = (int32_t)((uint32_t)accumulator << left_shift);
  const int32_t high = (int32_t)(((int64_t)shifted * multiplier) >> 32);
  return (high + ((int32_t)1 << (right_shift - 1))) >> right_shift;
}

/* The same scale, rounded twice: the product to 31 fractional bits, half up, then the power of two, half away from zero.
   A left shift enters only as far as it exceeds the right one, because it comes before the first rounding. */
static inline int32_t mps_requantize_twice(int32_t accumulator, int32_t multiplier, unsigned left_shift, unsigned right_shift) {
  const unsigned down = right_shift + 1; /* scale = multiplier * 2^-31 * 2^(left_shift - down) */
  const int32_t shifted = left_shift > down ? (int32_t)((uint32_t)accumulator << (left_shift - down)) : accumulator;
  const int32_t high = (int32_t)(((int64_t)shifted * multiplier + ((int64_t)1 << 30)) >> 31);
  if (left_shift >= down) return high;
  const unsigned shift = down - left_shift;
  if (shift > 31) return 0;
  return (((high - (high < 0)) >> (shift - 1)) + 1) >> 1;
}

static inline int32_t mps_requantize(int32_t accumulator, int32_t multiplier, unsigned left_shift, unsigned right_shift) {
#ifdef MPS_DOUBLE_ROUNDING
  return mps_requantize_twice(accumulator, multiplier, left_shift, right_shift);
#else
  return mps_requantize_once(accumulator, multiplier, left_shift, right_shift);
#endif
}

static inline int8_t mps_clamp(int32_t value, int32_t lowest, int32_t highest) {
  return (int8_t)(value < lowest ? lowest : value > highest ? highest : value);
}

#endif
