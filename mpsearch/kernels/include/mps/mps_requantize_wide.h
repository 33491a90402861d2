/* SPDX-License-Identifier: Apache-2.0 */
/* mps_requantize for accumulators beyond int32: the same scale and the same rounding, see mps_requantize.h and mpsearch/quant/requantize.py. */
#ifndef MPS_REQUANTIZE_WIDE_H
#define MPS_REQUANTIZE_WIDE_H

#include <stdint.h>

/* floor(value * multiplier / 2^16), |value| <= 2^47: what is left out of the lower product adds nothing to the sum of the floors. */
static inline int64_t mps_wide_product(int64_t value, int32_t multiplier) {
  const int32_t upper = (int32_t)(value >> 16), lower = (int32_t)(value & 0xFFFF);
  return (int64_t)upper * multiplier + (((int64_t)lower * multiplier) >> 16);
}

static inline int64_t mps_wide_shift_left(int64_t value, unsigned shift) { return (int64_t)((uint64_t)value << shift); }

static inline int64_t mps_requantize_wide_once(int64_t accumulator, int32_t multiplier, unsigned left_shift, unsigned right_shift) {
  const int64_t product = mps_wide_product(mps_wide_shift_left(accumulator, left_shift), multiplier);
  return (product + ((int64_t)1 << (15 + right_shift))) >> (16 + right_shift);
}

static inline int64_t mps_requantize_wide_twice(int64_t accumulator, int32_t multiplier, unsigned left_shift, unsigned right_shift) {
  const unsigned down = right_shift + 1;
  const int64_t shifted = left_shift > down ? mps_wide_shift_left(accumulator, left_shift - down) : accumulator;
  const int64_t high = (mps_wide_product(shifted, multiplier) + (1 << 14)) >> 15;
  if (left_shift >= down) return high;
  return (((high - (high < 0)) >> (down - left_shift - 1)) + 1) >> 1;
}

/* [in] accumulator  shifted left by left_shift it must stay within 48 bits */
static inline int64_t mps_requantize_wide(int64_t accumulator, int32_t multiplier, unsigned left_shift, unsigned right_shift) {
#ifdef MPS_DOUBLE_ROUNDING
  return mps_requantize_wide_twice(accumulator, multiplier, left_shift, right_shift);
#else
  return mps_requantize_wide_once(accumulator, multiplier, left_shift, right_shift);
#endif
}

#endif
