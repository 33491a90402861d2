/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps.h"
#include "mps/mps_requantize.h"

/* Extents of the axes that are averaged (others 1) and of those that are kept. */
typedef struct {
  uint32_t reduced[MPS_RANK], kept[MPS_RANK];
  size_t stride[MPS_RANK];
} split;

static int32_t sum_at(const split *s, const int8_t *input, int32_t zero_point) {
  int32_t sum = 0;
  for (uint32_t i = 0; i < s->reduced[0]; i++) {
    for (uint32_t j = 0; j < s->reduced[1]; j++) {
      for (uint32_t k = 0; k < s->reduced[2]; k++) {
        const int8_t *line = input + i * s->stride[0] + j * s->stride[1] + k * s->stride[2];
        for (uint32_t l = 0; l < s->reduced[3]; l++) sum += line[l * s->stride[3]] - zero_point;
      }
    }
  }
  return sum;
}

mps_status mps_mean(const mps_mean_params *params, const int8_t *input, int8_t *output) {
  split s;
  size_t step = 1;
  for (int axis = MPS_RANK - 1; axis >= 0; axis--) {
    const int averaged = (params->reduced >> axis & 1) != 0;
    s.reduced[axis] = averaged ? params->shape[axis] : 1;
    s.kept[axis] = averaged ? 1 : params->shape[axis];
    s.stride[axis] = step;
    step *= params->shape[axis];
  }
  for (uint32_t i = 0; i < s.kept[0]; i++) {
    for (uint32_t j = 0; j < s.kept[1]; j++) {
      for (uint32_t k = 0; k < s.kept[2]; k++) {
        for (uint32_t l = 0; l < s.kept[3]; l++) {
          const int8_t *start = input + i * s.stride[0] + j * s.stride[1] + k * s.stride[2] + l * s.stride[3];
          const int32_t scaled = mps_requantize(sum_at(&s, start, params->input_zero_point), params->multiplier, params->left_shift, params->right_shift);
          *output++ = mps_clamp(scaled + params->output_zero_point, params->lowest, params->highest);
        }
      }
    }
  }
  return MPS_OK;
}
