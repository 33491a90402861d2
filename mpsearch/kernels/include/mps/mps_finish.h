/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_FINISH_H
#define MPS_FINISH_H

#include "mps/mps.h"
#include "mps/mps_requantize.h"
#include "mps/mps_simd.h"

/* From an accumulator to the stored byte: mps_requantize, zero point and clamp, in the form that takes the fewest instructions. */

/* What all channels of a layer share. */
typedef struct {
  uint32_t left_shift;
  int32_t from_highest; /* zero point - highest */
  int32_t span;         /* highest - lowest */
  int32_t lowest;
} mps_range;

/* What belongs to one channel. */
typedef struct {
  int32_t multiplier, half; /* half: 2^(right_shift - 1) */
  uint32_t right_shift;
} mps_scale;

static inline mps_range mps_range_of(int32_t zero_point, int32_t lowest, int32_t highest, uint32_t left_shift) {
  return (mps_range){.left_shift = left_shift, .from_highest = zero_point - highest, .span = highest - lowest, .lowest = lowest};
}

static inline mps_scale mps_scale_of(const mps_channels *channels, size_t channel) {
  const uint32_t shift = channels->right_shift[channel];
  return (mps_scale){.multiplier = channels->multiplier[channel], .half = (int32_t)1 << (shift - 1), .right_shift = shift};
}

static inline int32_t mps_rescale(int32_t sum, uint32_t left_shift, mps_scale scale) {
#ifdef MPS_DOUBLE_ROUNDING
  return mps_requantize(sum, scale.multiplier, left_shift, scale.right_shift);
#else
  return mps_high_word((int32_t)((uint32_t)sum << left_shift), scale.multiplier, scale.half) >> scale.right_shift;
#endif
}

/* mps_rescale of value * 2^fraction_bits; left_shift counts them too. Rounded once, both left shifts are one. */
static inline int32_t mps_rescale_fine(int32_t value, uint32_t fraction_bits, uint32_t left_shift, mps_scale scale) {
#ifdef MPS_DOUBLE_ROUNDING
  return mps_rescale((int32_t)((uint32_t)value << fraction_bits), left_shift - fraction_bits, scale);
#else
  (void)fraction_bits;
  return mps_rescale(value, left_shift, scale);
#endif
}

#if MPS_SIMD
/* min(value + zero point, highest), then max(that, lowest): clearing a negative number takes one instruction, a comparison three. */
static inline int8_t mps_into_range(int32_t value, mps_range range) {
  int32_t below = value + range.from_highest;
  below &= below >> 31;
  below += range.span;
  below &= ~(below >> 31);
  return (int8_t)(below + range.lowest);
}
#else
/* One comparison finds a value outside of either end. */
static inline int8_t mps_into_range(int32_t value, mps_range range) {
  int32_t above = value + (range.from_highest + range.span);
  if ((uint32_t)above > (uint32_t)range.span) above = above < 0 ? 0 : range.span;
  return (int8_t)(above + range.lowest);
}
#endif

static inline int8_t mps_finish(int32_t sum, mps_scale scale, mps_range range) {
  return mps_into_range(mps_rescale(sum, range.left_shift, scale), range);
}

/* Most layers need no left shift and use all of int8, fused activation or not: then one instruction clamps. */
static inline int mps_is_plain(mps_range range) { return range.left_shift == 0 && range.lowest == -128 && range.span == 255; }

static inline int8_t mps_finish_plain(int32_t sum, mps_scale scale, mps_range range) {
  return (int8_t)mps_saturate(mps_rescale(sum, 0, scale) + (range.from_highest + 127));
}

#endif
