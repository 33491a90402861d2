/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel library: C11 without malloc, float, stdio or globals. The caller owns every buffer.
   Activations are integers in [H, W, C] order, real = scale * (q - zero_point). Weights are packed as mpsearch/quant/bitpack.py describes.

   Activations have 8 bits, int8, except where a `void` pointer is taken. There the parameters say how many:
   4   two values a byte in two's complement, the even channel in the low nibble; every pixel (every row of a dense layer) starts at a new byte
   8   int8
   16  int16, 2-byte aligned */
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
/* Input and output of 4 or 8 bits. */
mps_status mps_conv2d(const mps_conv2d_params *params, const mps_channels *channels, const void *input, void *output, int8_t *scratch);

/* Input or output of 16 bits. Sums are exact in 64 bits; shifted left by left_shift they must stay within 48 (the exporter proves it). */
size_t mps_conv2d_wide_scratch_bytes(const mps_conv2d_params *params);
mps_status mps_conv2d_wide(const mps_conv2d_params *params, const mps_channels *channels, const void *input, void *output, int8_t *scratch);

/* Activations of 8 bits; groups == input_c; output_c is a multiple of input_c. Weights are packed as [kernel_h * kernel_w] rows of output_c values.
 */
size_t mps_depthwise2d_scratch_bytes(const mps_conv2d_params *params);
mps_status mps_depthwise2d(const mps_conv2d_params *params, const mps_channels *channels, const int8_t *input, int8_t *output, int8_t *scratch);

/* Dense layer over the last axis of [rows, input_c]; widths as for convolutions. */
size_t mps_linear_scratch_bytes(const mps_linear_params *params);
mps_status mps_linear(const mps_linear_params *params, const mps_channels *channels, const void *input, void *output, int8_t *scratch);
size_t mps_linear_wide_scratch_bytes(const mps_linear_params *params);
mps_status mps_linear_wide(const mps_linear_params *params, const mps_channels *channels, const void *input, void *output, int8_t *scratch);

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
