/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mps/mps.h"

static void copy_line(const mps_copy_params *p, const int8_t *input, int8_t *output) {
  const int32_t from = p->input_stride[MPS_COPY_RANK - 1], to = p->output_stride[MPS_COPY_RANK - 1];
  const uint32_t count = p->shape[MPS_COPY_RANK - 1];
  if (from == 1 && to == 1) {
    memcpy(output, input, count);
    return;
  }
  for (uint32_t i = 0; i < count; i++) output[(int32_t)i * to] = input[(int32_t)i * from];
}

mps_status mps_copy(const mps_copy_params *params, const int8_t *input, int8_t *output) {
  uint32_t at[MPS_COPY_RANK] = {0};
  int32_t from = (int32_t)params->input_offset, to = (int32_t)params->output_offset;
  for (;;) {
    copy_line(params, input + from, output + to);
    int axis = MPS_COPY_RANK - 2; /* the next line: an odometer over the outer axes */
    for (; axis >= 0; axis--) {
      from += params->input_stride[axis];
      to += params->output_stride[axis];
      if (++at[axis] < params->shape[axis]) break;
      from -= params->input_stride[axis] * (int32_t)params->shape[axis];
      to -= params->output_stride[axis] * (int32_t)params->shape[axis];
      at[axis] = 0;
    }
    if (axis < 0) return MPS_OK;
  }
}
