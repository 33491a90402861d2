/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle for every convolution kernel: plain loops over unpacked weights, easy to read and slow. Not part of the library. */
#ifndef MPS_CONV2D_REF_H
#define MPS_CONV2D_REF_H

#include "mps/mps_params.h"

/* [in] bias     [output_c], without the zero point folded in
   [in] weights  [output_c, kernel_h, kernel_w, input_c / groups] int8 of any width, not packed */
void mps_conv2d_ref(const mps_conv2d_params *params, const int32_t *bias, const int32_t *multiplier, const uint8_t *right_shift,
                    const int8_t *weights, const int8_t *input, int8_t *output);

#endif
