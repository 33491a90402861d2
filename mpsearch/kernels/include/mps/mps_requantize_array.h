/* SPDX-License-Identifier: Apache-2.0 */
/* Host only: requantisation of whole arrays of accumulators. */
#ifndef MPS_REQUANTIZE_ARRAY_H
#define MPS_REQUANTIZE_ARRAY_H

#include "mps/mps.h"

typedef struct {
  size_t rows, columns;
  int32_t per_channel, left_shift, zero_point, lowest, highest, rounded_twice;
} mps_requantize_job;

/* [in] job          rounded_twice: mps_requantize_twice in place of mps_requantize_once, whatever the library was compiled for
   [in] accumulator  [rows, columns]; a float holds an integer exactly
   [in] multiplier, right_shift  [columns] when per_channel, else [1]
   [out] output  [rows, columns] */
mps_status mps_requantize_array(const mps_requantize_job *job, const int32_t *multiplier, const uint8_t *right_shift, const int32_t *accumulator,
                                int8_t *output);
mps_status mps_requantize_float_array(const mps_requantize_job *job, const int32_t *multiplier, const uint8_t *right_shift, const float *accumulator,
                                      int8_t *output);

#endif
