/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_ref.h"
#include "mps_ref_value.h"

void mps_requantize_array_ref(const mps_requantize_job *job, const int32_t *multiplier, const uint8_t *right_shift, const int32_t *accumulator,
                              int8_t *output) {
  for (size_t row = 0; row < job->rows; row++) {
    for (size_t column = 0; column < job->columns; column++) {
      const size_t at = row * job->columns + column, entry = job->per_channel ? column : 0;
      const int64_t scaled = (job->rounded_twice ? mps_ref_rescale_twice : mps_ref_rescale_once)(accumulator[at], multiplier[entry],
                                                                                                 (unsigned)job->left_shift, right_shift[entry]);
      output[at] = (int8_t)mps_ref_clamp(scaled, job->zero_point, job->lowest, job->highest);
    }
  }
}
