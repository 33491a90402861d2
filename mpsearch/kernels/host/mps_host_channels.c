/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_host_channels.h"

#include <string.h>

mps_host_channels mps_host_pad_channels(const mps_host_requantize *requantize, const int32_t *sums, size_t channels, size_t padded, int32_t *copies) {
  int32_t *bias = copies, *multiplier = copies + padded, *right_shift = copies + 2 * padded;
  memset(copies, 0, 3 * padded * sizeof(*copies));
  for (size_t c = 0; c < channels; c++) {
    const int32_t given = requantize->bias == NULL ? 0 : requantize->bias[c];
    /* unsigned: parts of a sum that fits int32 may well leave it */
    bias[c] = (int32_t)((uint32_t)given - (uint32_t)requantize->input_zero_point * (uint32_t)sums[c]);
    multiplier[c] = requantize->multiplier[c];
    right_shift[c] = requantize->right_shift[c];
  }
  for (size_t c = channels; c < padded; c++) right_shift[c] = 1;
  return (mps_host_channels){.bias = bias,
                             .multiplier = multiplier,
                             .right_shift = right_shift,
                             .left_shift = requantize->left_shift,
                             .zero_point = requantize->output_zero_point,
                             .lowest = requantize->lowest,
                             .highest = requantize->highest};
}

void mps_host_pad_floats(const float *values, size_t channels, size_t padded, float *copy) {
  memset(copy, 0, padded * sizeof(*copy));
  if (values != NULL) memcpy(copy, values, channels * sizeof(*copy));
}
