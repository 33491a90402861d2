/* SPDX-License-Identifier: Apache-2.0 */
/* Integer requantisation: the C twin of mpsearch/quant/requantize.py, equal to it bit for bit. */
#ifndef MPS_REQUANTIZE_H
#define MPS_REQUANTIZE_H

#include <stdint.h>

/* Scale an accumulator by multiplier * 2^-(32 + right_shift - left_shift), rounding half up.
   [in] accumulator  shifted left by left_shift it must stay within int32 (the exporter proves it)
   [in] multiplier   in [2^30, 2^31)
   [in] left_shift   in [0, 30]
   [in] right_shift  in [1, 31]
   Nested floors: rounding the high word equals rounding the whole product. */
static inline int32_t mps_requantize(int32_t accumulator, int32_t multiplier, unsigned left_shift, unsigned right_shift) {
  const int32_t shifted = (int32_t)((uint32_t)accumulator << left_shift);
  const int32_t high = (int32_t)(((int64_t)shifted * multiplier) >> 32);
  return (high + ((int32_t)1 << (right_shift - 1))) >> right_shift;
}

static inline int8_t mps_clamp(int32_t value, int32_t lowest, int32_t highest) {
  return (int8_t)(value < lowest ? lowest : value > highest ? highest : value);
}

#endif
