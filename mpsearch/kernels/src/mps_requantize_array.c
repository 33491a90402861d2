/* SPDX-License-Identifier: Apache-2.0 */
/* Host only: the integer execution in Python requantises whole arrays through this. */
#include "mps/mps_requantize_array.h"

#include <stddef.h>
#include <stdint.h>

#include "mps/mps_requantize.h"

/* Variable shifts and widening products have vector forms from AVX2 on; the loader picks the clone that the machine has. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define MPS_CLONES __attribute__((target_clones("avx2", "default"), optimize("O3")))
#else
#define MPS_CLONES
#endif

/* The rarer mode, either kind of accumulator: one of the two pointers is null. */
static mps_status requantize_twice(const mps_requantize_job *job, const int32_t *multiplier, const uint8_t *right_shift, const int32_t *integers,
                                   const float *floats, int8_t *output) {
  const mps_requantize_job j = *job;
  for (size_t row = 0, i = 0; row < j.rows; row++) {
    for (size_t c = 0; c < j.columns; c++, i++) {
      const size_t entry = j.per_channel ? c : 0;
      const int32_t accumulator = integers ? integers[i] : (int32_t)floats[i];
      const int32_t scaled = mps_requantize_twice(accumulator, multiplier[entry], (unsigned)j.left_shift, right_shift[entry]);
      output[i] = mps_clamp(scaled + j.zero_point, j.lowest, j.highest);
    }
  }
  return MPS_OK;
}

MPS_CLONES mps_status mps_requantize_array(const mps_requantize_job *job, const int32_t *restrict multiplier, const uint8_t *restrict right_shift,
                                           const int32_t *restrict accumulator, int8_t *restrict output) {
  const mps_requantize_job j = *job; /* a copy: bytes written to the output could alias the original */
  if (j.rounded_twice) return requantize_twice(job, multiplier, right_shift, accumulator, NULL, output);
  if (!j.per_channel) {
    const int32_t factor = multiplier[0];
    const unsigned shift = right_shift[0];
    for (size_t i = 0; i < j.rows * j.columns; i++) {
      const int32_t scaled = mps_requantize_once(accumulator[i], factor, (unsigned)j.left_shift, shift);
      output[i] = mps_clamp(scaled + j.zero_point, j.lowest, j.highest);
    }
    return MPS_OK;
  }
  for (size_t row = 0; row < j.rows; row++, accumulator += j.columns, output += j.columns) {
    for (size_t c = 0; c < j.columns; c++) {
      const int32_t scaled = mps_requantize_once(accumulator[c], multiplier[c], (unsigned)j.left_shift, right_shift[c]);
      output[c] = mps_clamp(scaled + j.zero_point, j.lowest, j.highest);
    }
  }
  return MPS_OK;
}

MPS_CLONES mps_status mps_requantize_float_array(const mps_requantize_job *job, const int32_t *restrict multiplier,
                                                 const uint8_t *restrict right_shift, const float *restrict accumulator, int8_t *restrict output) {
  const mps_requantize_job j = *job; /* a copy: bytes written to the output could alias the original */
  if (j.rounded_twice) return requantize_twice(job, multiplier, right_shift, NULL, accumulator, output);
  if (!j.per_channel) {
    const int32_t factor = multiplier[0];
    const unsigned shift = right_shift[0];
    for (size_t i = 0; i < j.rows * j.columns; i++) {
      const int32_t scaled = mps_requantize_once((int32_t)accumulator[i], factor, (unsigned)j.left_shift, shift);
      output[i] = mps_clamp(scaled + j.zero_point, j.lowest, j.highest);
    }
    return MPS_OK;
  }
  for (size_t row = 0; row < j.rows; row++, accumulator += j.columns, output += j.columns) {
    for (size_t c = 0; c < j.columns; c++) {
      const int32_t scaled = mps_requantize_once((int32_t)accumulator[c], multiplier[c], (unsigned)j.left_shift, right_shift[c]);
      output[c] = mps_clamp(scaled + j.zero_point, j.lowest, j.highest);
    }
  }
  return MPS_OK;
}
