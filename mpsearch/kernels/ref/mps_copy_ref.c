/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_ref.h"

void mps_copy_ref(const mps_copy_params *p, const int8_t *input, int8_t *output) {
  int64_t values = 1;
  for (int axis = 0; axis < MPS_COPY_RANK; axis++) values *= p->shape[axis];
  for (int64_t value = 0; value < values; value++) {
    int64_t from = p->input_offset, to = p->output_offset, rest = value;
    for (int axis = MPS_COPY_RANK - 1; axis >= 0; axis--) {
      const int64_t coordinate = rest % p->shape[axis];
      rest /= p->shape[axis];
      from += coordinate * p->input_stride[axis];
      to += coordinate * p->output_stride[axis];
    }
    output[to] = input[from];
  }
}
