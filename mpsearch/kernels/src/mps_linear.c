/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_packed.h"
#include "mps/mps_rows.h"
#include "mps/mps_simd.h"

/* A row of weights that serves one row of inputs is not worth unpacking. */
static int is_packed(const mps_linear_params *p) { return p->rows == 1 && mps_has_packed_dot(p->weight_bits); }

size_t mps_linear_scratch_bytes(const mps_linear_params *params) {
  if (is_packed(params)) return mps_pairs_bytes(params->input_c, 1);
  return params->weight_bits < 8 ? 2 * (size_t)params->input_c : 0;
}

mps_status mps_linear(const mps_linear_params *params, const mps_channels *channels, const int8_t *input, int8_t *output, int8_t *scratch) {
  if (params->weight_bits < 2 || params->weight_bits > 8) return MPS_BAD_ARGUMENT;
  const mps_dot_target target = {.channels = channels,
                                 .zero_point = params->output_zero_point,
                                 .lowest = params->lowest,
                                 .highest = params->highest,
                                 .left_shift = params->left_shift};
#if MPS_SIMD
  if (is_packed(params)) {
    mps_packed_input packed = {.pairs = (uint32_t *)(void *)scratch, .values = params->input_c, .pixels = 1};
    mps_pack_pixels(&packed, input, input, params->weight_bits);
    mps_packed_channels(&packed, &target, params->weight_bits, 0, params->output_c, output, 0);
    return MPS_OK;
  }
#endif
  mps_dot_job job = {.values = params->input_c,
                     .input = input,
                     .input_pitch = params->input_c,
                     .pixels = params->rows,
                     .output_pitch = params->output_c};
  for (size_t channel = 0; channel < params->output_c; channel += 2) {
    mps_take_rows(&job, channels->weights, channel, params->output_c, params->weight_bits, scratch);
    job.output = output + channel;
    mps_dot_pixels(&job, &target);
  }
  return MPS_OK;
}
