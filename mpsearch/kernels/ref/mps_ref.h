/* SPDX-License-Identifier: Apache-2.0 */
/* One reference for each kernel (mps_conv2d_wide and mps_linear_wide share those of mps_conv2d and mps_linear): plain loops over unpacked values with
   64-bit sums, straight from the definition, slow. The oracle of the tests, and the place to read what an op means; part of neither the library nor a
   bundle.

   A reference takes the arguments of its kernel, without scratch, and weights and biases as the model has them (mps_ref_channels).
   Activations lie in [H, W, C] order, as mps_ref_value.h says. -DMPS_DOUBLE_ROUNDING selects the other rounding, as for the kernels. */
#ifndef MPS_REF_H
#define MPS_REF_H

#include <stdint.h>

#include "mps/mps_params.h"
#include "mps/mps_requantize_array.h"

/* The arrays of a layer with weights, before the exporter folds and packs them.
   [in] bias         [output_c], in units of input scale x weight scale, no zero point folded in
   [in] multiplier   [output_c], in [2^30, 2^31)
   [in] right_shift  [output_c], in [1, 31]
   [in] weights      int8 of any width, one a byte: [output_c, kernel_h, kernel_w, input_c / groups] for a convolution,
                     [kernel_h, kernel_w, output_c] for a depthwise one, [output_c, input_c] for a dense layer */
typedef struct {
  const int32_t *bias;
  const int32_t *multiplier;
  const uint8_t *right_shift;
  const int8_t *weights;
} mps_ref_channels;

/* [in] input    [input_h, input_w, input_c]
   [out] output  [output_h, output_w, output_c] */
void mps_conv2d_ref(const mps_conv2d_params *params, const mps_ref_channels *channels, const void *input, void *output);

/* Likewise; output channel c reads input channel c / (output_c / input_c). */
void mps_depthwise2d_ref(const mps_conv2d_params *params, const mps_ref_channels *channels, const void *input, void *output);

/* [in] input    [rows, input_c]
   [out] output  [rows, output_c] */
void mps_linear_ref(const mps_linear_params *params, const mps_ref_channels *channels, const void *input, void *output);

/* [in] first, second  params->shape, with length 1 along the axes where they are broadcast
   [out] output        params->shape */
void mps_add_ref(const mps_add_params *params, const int8_t *first, const int8_t *second, int8_t *output);
void mps_mul_ref(const mps_mul_params *params, const int8_t *first, const int8_t *second, int8_t *output);

/* [in] table  [256], the output for input q stands at q + 128 */
void mps_unary_ref(const mps_unary_params *params, const int8_t *table, const int8_t *input, int8_t *output);

/* [in] input    params->shape
   [out] output  params->shape, with length 1 along the averaged axes */
void mps_mean_ref(const mps_mean_params *params, const int8_t *input, int8_t *output);

/* [in] input    [input_h, input_w, channels]
   [out] output  [output_h, output_w, channels] */
void mps_max_pool2d_ref(const mps_max_pool2d_params *params, const int8_t *input, int8_t *output);

/* [in] multiplier, right_shift  [divisors]; entry n - 1 serves windows that count n values, entry 0 every window when divisors is 1 */
void mps_avg_pool2d_ref(const mps_avg_pool2d_params *params, const int32_t *multiplier, const uint8_t *right_shift, const int8_t *input,
                        int8_t *output);

/* [out] output  only the values that the strides reach are written */
void mps_copy_ref(const mps_copy_params *params, const int8_t *input, int8_t *output);

/* [out] output  [params->output_size] */
void mps_pad_ref(const mps_pad_params *params, const int8_t *input, int8_t *output);

/* [in] accumulator              [rows, columns]
   [in] multiplier, right_shift  [columns] when per_channel, else [1]
   [out] output                  [rows, columns] */
void mps_requantize_array_ref(const mps_requantize_job *job, const int32_t *multiplier, const uint8_t *right_shift, const int32_t *accumulator,
                              int8_t *output);

#endif
