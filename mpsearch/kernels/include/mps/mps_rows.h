/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_ROWS_H
#define MPS_ROWS_H

#include "mps/mps_dot.h"
#include "mps/mps_unpack.h"

/* Put the weight rows of one or two output channels into a job: 8-bit rows are read where they lie, others are unpacked.
   [in] packed   the rows of the whole layer
   [in] end      one past the last channel that may join the pair
   [out] scratch [2 * values], unused for 8 bits */
static inline void mps_take_rows(mps_dot_job *job, const uint8_t *packed, size_t first, size_t end, unsigned bits, int8_t *scratch) {
  const size_t bytes = mps_row_bytes(job->values, bits);
  job->first = first;
  job->channels = first + 1 < end ? 2 : 1;
  for (size_t c = 0; c < 2; c++) {
    const uint8_t *row = packed + (first + (c < job->channels ? c : 0)) * bytes;
    if (bits == 8) {
      job->weights[c] = (const int8_t *)row;
    } else if (c < job->channels) {
      mps_unpack(row, job->values, 0, job->values, bits, scratch + c * job->values);
      job->weights[c] = scratch + c * job->values;
    } else {
      job->weights[c] = job->weights[0];
    }
  }
}

#endif
