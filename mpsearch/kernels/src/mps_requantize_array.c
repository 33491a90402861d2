/* SPDX-License-Identifier: Apache-2.0 */
/* Host only: the integer execution in Python requantises whole arrays through this. */
#include "mps/mps_requantize_array.h"

#include "mps/mps_requantize.h"

mps_status mps_requantize_array(const mps_requantize_job *job, const int32_t *multiplier, const uint8_t *right_shift, const int32_t *accumulator,
                                int8_t *output) {
  const size_t step = job->per_channel ? 1 : 0;
  for (size_t row = 0; row < job->rows; row++) {
    for (size_t c = 0; c < job->columns; c++) {
      const int32_t scaled = mps_requantize(accumulator[c], multiplier[c * step], (unsigned)job->left_shift, right_shift[c * step]);
      output[c] = mps_clamp(scaled + job->zero_point, job->lowest, job->highest);
    }
    accumulator += job->columns;
    output += job->columns;
  }
  return MPS_OK;
}

mps_status mps_requantize_float_array(const mps_requantize_job *job, const int32_t *multiplier, const uint8_t *right_shift, const float *accumulator,
                                      int8_t *output) {
  const size_t step = job->per_channel ? 1 : 0;
  for (size_t row = 0; row < job->rows; row++) {
    for (size_t c = 0; c < job->columns; c++) {
      const int32_t scaled = mps_requantize((int32_t)accumulator[c], multiplier[c * step], (unsigned)job->left_shift, right_shift[c * step]);
      output[c] = mps_clamp(scaled + job->zero_point, job->lowest, job->highest);
    }
    accumulator += job->columns;
    output += job->columns;
  }
  return MPS_OK;
}
