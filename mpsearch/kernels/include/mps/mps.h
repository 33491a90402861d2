/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel library: C11 without malloc, float, stdio or globals. The caller owns every buffer.
   Activations are int8 in [H, W, C] order, real = scale * (q - zero_point). Weights are packed as mpsearch/quant/bitpack.py describes. */
#ifndef MPS_H
#define MPS_H

#include <stddef.h>
#include <stdint.h>

#include "mps/mps_params.h"

typedef enum { MPS_OK = 0, MPS_BAD_ARGUMENT = 1 } mps_status;

/* The arrays of a layer with weights.
   bias         [output_c], with -input_zero_point * sum(weights) folded in: padding must feed the zero point
   multiplier   [output_c], in [2^30, 2^31)
   right_shift  [output_c], in [1, 31]
   weights      packed rows; 8-bit weights are plain int8 */
typedef struct {
  const int32_t *bias;
  const int32_t *multiplier;
  const uint8_t *right_shift;
  const uint8_t *weights;
} mps_channels;

/* Convolution; depthwise convolution has its own kernel. [in] scratch  at least *_scratch_bytes(params), 4-byte aligned. */
size_t mps_conv2d_scratch_bytes(const mps_conv2d_params *params);
mps_status mps_conv2d(const mps_conv2d_params *params, const mps_channels *channels, const int8_t *input, int8_t *output, int8_t *scratch);

/* groups == input_c; output_c is a multiple of input_c. Weights are packed as [kernel_h * kernel_w] rows of output_c values. */
size_t mps_depthwise2d_scratch_bytes(const mps_conv2d_params *params);
mps_status mps_depthwise2d(const mps_conv2d_params *params, const mps_channels *channels, const int8_t *input, int8_t *output, int8_t *scratch);

/* Dense layer over the last axis of [rows, input_c]. */
size_t mps_linear_scratch_bytes(const mps_linear_params *params);
mps_status mps_linear(const mps_linear_params *params, const mps_channels *channels, const int8_t *input, int8_t *output, int8_t *scratch);

/* Elementwise; the output may be an operand that is not broadcast. */
mps_status mps_add(const mps_add_params *params, const int8_t *first, const int8_t *second, int8_t *output);
mps_status mps_mul(const mps_mul_params *params, const int8_t *first, const int8_t *second, int8_t *output);

/* [in] table  the output for input q stands at q + 128. The output may be the input. */
mps_status mps_unary(const mps_unary_params *params, const int8_t *table, const int8_t *input, int8_t *output);

mps_status mps_mean(const mps_mean_params *params, const int8_t *input, int8_t *output);
mps_status mps_max_pool2d(const mps_max_pool2d_params *params, const int8_t *input, int8_t *output);

/* [in] multiplier, right_shift  [divisors]; entry n - 1 serves windows that count n values, entry 0 every window when divisors is 1. */
mps_status mps_avg_pool2d(const mps_avg_pool2d_params *params, const int32_t *multiplier, const uint8_t *right_shift, const int8_t *input,
                          int8_t *output);

mps_status mps_copy(const mps_copy_params *params, const int8_t *input, int8_t *output);
mps_status mps_pad(const mps_pad_params *params, const int8_t *input, int8_t *output);

#endif
