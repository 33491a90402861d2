/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_finish.h"
#include "mps/mps_grid.h"

/* The values that one output averages: `times` grids, `step` apart along the first two axes. Averaged extents are 1 along axes that are kept. */
typedef struct {
  mps_grid grid;
  uint32_t times[2];
  size_t step[2];
} averaged;

static void sum_four(const averaged *a, const int8_t *first, int32_t sums[MPS_GRID_CHANNELS]) {
  for (uint32_t i = 0; i < a->times[0]; i++) {
    for (uint32_t j = 0; j < a->times[1]; j++) mps_add_grid(first + i * a->step[0] + j * a->step[1], &a->grid, sums);
  }
}

static int32_t sum_one(const averaged *a, const int8_t *first) {
  int32_t sum = 0;
  for (uint32_t i = 0; i < a->times[0]; i++) {
    for (uint32_t j = 0; j < a->times[1]; j++) sum += mps_sum_of_grid(first + i * a->step[0] + j * a->step[1], &a->grid);
  }
  return sum;
}

mps_status mps_mean(const mps_mean_params *params, const int8_t *input, int8_t *output) {
  uint32_t reduced[MPS_RANK], kept[MPS_RANK];
  size_t stride[MPS_RANK], step = 1;
  int32_t offset = params->input_zero_point;
  for (int axis = MPS_RANK - 1; axis >= 0; axis--) {
    const int averaged_axis = (params->reduced >> axis & 1) != 0;
    reduced[axis] = averaged_axis ? params->shape[axis] : 1;
    kept[axis] = averaged_axis ? 1 : params->shape[axis];
    stride[axis] = step;
    step *= params->shape[axis];
    offset *= (int32_t)reduced[axis];
  }
  /* The grid lies along the last two axes; along the two before where the last one is kept, so that channels are summed together. Two averaged
     axes that are neighbours are one. */
  const size_t row = kept[MPS_RANK - 1] > 1 ? 1 : 2;
  const size_t points = (size_t)reduced[row] * reduced[row + 1], apart = stride[reduced[row + 1] > 1 ? row + 1 : row];
  const averaged a = {
      .grid = {.rows = 1, .columns = points, .column_step = apart}, .times = {reduced[0], row == 1 ? 1 : reduced[1]}, .step = {stride[0], stride[1]}};
  const mps_range range = mps_range_of(params->output_zero_point, params->lowest, params->highest, params->left_shift);
  const mps_scale scale = {.multiplier = params->multiplier, .half = (int32_t)1 << (params->right_shift - 1), .right_shift = params->right_shift};
  for (uint32_t i = 0; i < kept[0]; i++) {
    for (uint32_t j = 0; j < kept[1]; j++) {
      for (uint32_t k = 0; k < kept[2]; k++) {
        const int8_t *first = input + i * stride[0] + j * stride[1] + k * stride[2];
        uint32_t left = kept[3];
        for (; left >= MPS_GRID_CHANNELS; left -= MPS_GRID_CHANNELS, first += MPS_GRID_CHANNELS) {
          int32_t sums[MPS_GRID_CHANNELS] = {-offset, -offset, -offset, -offset};
          sum_four(&a, first, sums);
          for (int c = 0; c < MPS_GRID_CHANNELS; c++) *output++ = mps_finish(sums[c], scale, range);
        }
        for (; left > 0; left--, first++) *output++ = mps_finish(sum_one(&a, first) - offset, scale, range);
      }
    }
  }
  return MPS_OK;
}
