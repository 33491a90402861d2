/* SPDX-License-Identifier: Apache-2.0 */
/* Host only: the integer execution in Python requantises whole arrays through this. */
#include <stddef.h>
#include <stdint.h>

#include "mps/mps_requantize_array.h"

#include "mps/mps_requantize.h"

/* Variable shifts and widening products have vector forms from AVX2 on; the loader picks the clone that the machine has. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define MPS_CLONES __attribute__((target_clones("avx2", "default"), optimize("O3")))
#else
#define MPS_CLONES
#endif

MPS_CLONES mps_status mps_requantize_array(const mps_requantize_job *job, const int32_t *restrict multiplier, const uint8_t *restrict right_shift,
                                const int32_t *restrict accumulator, int8_t *restrict output) {
  const mps_requantize_job j = *job; /* a copy: bytes written to the output could alias the original */
  if (!j.per_channel) {
    const int32_t factor = multiplier[0];
    const unsigned shift = right_shift[0];
    for (size_t i = 0; i < j.rows * j.columns; i++) {
      const int32_t scaled = mps_requantize(accumulator[i], factor, (unsigned)j.left_shift, shift);
      output[i] = mps_clamp(scaled + j.zero_point, j.lowest, j.highest);
    }
    return MPS_OK;
  }
  for (size_t row = 0; row < j.rows; row++, accumulator += j.columns, output += j.columns) {
    for (size_t c = 0; c < j.columns; c++) {
      const int32_t scaled = mps_requantize(accumulator[c], multiplier[c], (unsigned)j.left_shift, right_shift[c]);
      output[c] = mps_clamp(scaled + j.zero_point, j.lowest, j.highest);
    }
  }
  return MPS_OK;
}

MPS_CLONES mps_status mps_requantize_float_array(const mps_requantize_job *job, const int32_t *restrict multiplier, const uint8_t *restrict right_shift,
                                      const float *restrict accumulator, int8_t *restrict output) {
  const mps_requantize_job j = *job; /* a copy: bytes written to the output could alias the original */
  if (!j.per_channel) {
    const int32_t factor = multiplier[0];
    const unsigned shift = right_shift[0];
    for (size_t i = 0; i < j.rows * j.columns; i++) {
      const int32_t scaled = mps_requantize((int32_t)accumulator[i], factor, (unsigned)j.left_shift, shift);
      output[i] = mps_clamp(scaled + j.zero_point, j.lowest, j.highest);
    }
    return MPS_OK;
  }
  for (size_t row = 0; row < j.rows; row++, accumulator += j.columns, output += j.columns) {
    for (size_t c = 0; c < j.columns; c++) {
      const int32_t scaled = mps_requantize((int32_t)accumulator[c], multiplier[c], (unsigned)j.left_shift, right_shift[c]);
      output[c] = mps_clamp(scaled + j.zero_point, j.lowest, j.highest);
    }
  }
  return MPS_OK;
}
