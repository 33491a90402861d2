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

/* min(value + zero point, highest), then max(that, lowest): clearing a negative number takes one instruction, a comparison three. */
static inline int8_t mps_into_range(int32_t value, mps_range range) {
  int32_t below = value + range.from_highest;
  below &= below >> 31;
  below += range.span;
  below &= ~(below >> 31);
  return (int8_t)(below + range.lowest);
}

static inline int8_t mps_finish(int32_t sum, mps_scale scale, mps_range range) {
  return mps_into_range(mps_rescale(sum, range.left_shift, scale), range);
}

/* Two channels of two pixels: scale by scale, then all into the range, so that the constants of each are loaded once.
   [in] sums  first channel of both pixels, then second channel
   [in] two   whether there is a second channel */
static inline void mps_finish_2x2(const int32_t sums[4], mps_scale first, mps_scale second, mps_range range, int two, int8_t *output,
                                  size_t output_pitch) {
  int32_t near = mps_rescale(sums[0], range.left_shift, first), far = mps_rescale(sums[1], range.left_shift, first);
  int32_t near_next = mps_rescale(sums[2], range.left_shift, second), far_next = mps_rescale(sums[3], range.left_shift, second);
  MPS_HOLD_4(near, far, near_next, far_next);
  output[0] = mps_into_range(near, range);
  output[output_pitch] = mps_into_range(far, range);
  if (two) {
    output[1] = mps_into_range(near_next, range);
    output[output_pitch + 1] = mps_into_range(far_next, range);
  }
}

/* Two channels of one pixel. */
static inline void mps_finish_2x1(const int32_t sums[4], mps_scale first, mps_scale second, mps_range range, int two, int8_t *output) {
  output[0] = mps_finish(sums[0], first, range);
  if (two) output[1] = mps_finish(sums[2], second, range);
}

#endif
