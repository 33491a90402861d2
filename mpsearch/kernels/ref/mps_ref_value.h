/* SPDX-License-Identifier: Apache-2.0 */
/* What all references share: how an activation is stored, and how an accumulator becomes one. */
#ifndef MPS_REF_VALUE_H
#define MPS_REF_VALUE_H

#include <stddef.h>
#include <stdint.h>

/* Channel `channel` of pixel `pixel` of an activation tensor [pixels, channels]. A dense layer's rows are its pixels.
   [in] bits  8: int8. 16: int16, the tensor 2-byte aligned. 4: two values a byte in two's complement, the even channel in the low nibble,
              every pixel starting at a new byte. */
static inline int32_t mps_ref_load(const void *values, size_t pixel, size_t channels, size_t channel, unsigned bits) {
  if (bits == 16) return ((const int16_t *)values)[pixel * channels + channel];
  if (bits == 8) return ((const int8_t *)values)[pixel * channels + channel];
  const uint8_t byte = ((const uint8_t *)values)[pixel * ((channels + 1) / 2) + channel / 2];
  const int32_t nibble = channel % 2 == 0 ? byte & 15 : byte >> 4;
  return nibble < 8 ? nibble : nibble - 16;
}

/* Likewise; an odd last channel leaves zeros in the high nibble, provided channels are stored in order. */
static inline void mps_ref_store(void *values, size_t pixel, size_t channels, size_t channel, unsigned bits, int32_t value) {
  if (bits == 16) {
    ((int16_t *)values)[pixel * channels + channel] = (int16_t)value;
  } else if (bits == 8) {
    ((int8_t *)values)[pixel * channels + channel] = (int8_t)value;
  } else {
    uint8_t *byte = (uint8_t *)values + pixel * ((channels + 1) / 2) + channel / 2;
    *byte = (uint8_t)(channel % 2 == 0 ? value & 15 : *byte | (value & 15) << 4);
  }
}

/* floor(value * multiplier / 2^16), value within 48 bits, multiplier > 0. The product itself may take 78 bits. Its lowest 16 decide no rounding,
   since floor((floor(a / b) + c) / d) = floor((a + b c) / (b d)) for integers. >> of a negative number floors, with every compiler that we build
   with. */
static inline int64_t mps_ref_product(int64_t value, int32_t multiplier) {
  return value * (multiplier >> 16) + (value * (multiplier & 0xFFFF) >> 16);
}

/* round(accumulator * multiplier * 2^-(32 + right_shift - left_shift)), half up: one product, one floor.
   [in] accumulator  times 2^left_shift within 48 bits; within int32 where no activation has 16 bits */
static inline int64_t mps_ref_rescale_once(int64_t accumulator, int32_t multiplier, unsigned left_shift, unsigned right_shift) {
  const int64_t product = mps_ref_product(accumulator * ((int64_t)1 << left_shift), multiplier), half = (int64_t)1 << (15 + right_shift);
  return (product + half) >> (16 + right_shift);
}

/* The same scale as multiplier * 2^-31 * 2^exponent, rounded after each factor but a 2^exponent above 1, which comes first: the product half up, the
   quotient half away from zero. */
static inline int64_t mps_ref_rescale_twice(int64_t accumulator, int32_t multiplier, unsigned left_shift, unsigned right_shift) {
  const int exponent = (int)left_shift - 1 - (int)right_shift;
  const int64_t raised = exponent > 0 ? accumulator * ((int64_t)1 << exponent) : accumulator;
  const int64_t high = (mps_ref_product(raised, multiplier) + ((int64_t)1 << 14)) >> 15, divisor = exponent < 0 ? (int64_t)1 << -exponent : 1;
  return high < 0 ? -((-high + divisor / 2) / divisor) : (high + divisor / 2) / divisor;
}

static inline int64_t mps_ref_rescale(int64_t accumulator, int32_t multiplier, unsigned left_shift, unsigned right_shift) {
#ifdef MPS_DOUBLE_ROUNDING
  return mps_ref_rescale_twice(accumulator, multiplier, left_shift, right_shift);
#else
  return mps_ref_rescale_once(accumulator, multiplier, left_shift, right_shift);
#endif
}

/* The stored integer: zero point added, then clamped, the fused activation included. */
static inline int32_t mps_ref_clamp(int64_t value, int32_t zero_point, int32_t lowest, int32_t highest) {
  const int64_t moved = value + zero_point;
  return (int32_t)(moved < lowest ? lowest : moved > highest ? highest : moved);
}

#endif
