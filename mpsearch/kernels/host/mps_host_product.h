/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_HOST_PRODUCT_H
#define MPS_HOST_PRODUCT_H

#include "mps/mps_host.h"

/* rows x weights, the product behind dense layers and convolutions.
   row            gives a row of input_c int8 values and zeros up to a whole block, in `buffer` or wherever they lie; called once a row
   row_scale      [rows], read after `row` was called; float output only
   floats, bytes  the output, one of them; its rows lie output_pitch values apart
   bias           [output_c] or NULL; float output only, `requantize` has its own */
typedef struct {
  const mps_host_weights *weights;
  size_t rows, output_pitch;
  const int8_t *(*row)(void *source, size_t index, int8_t *buffer);
  void *source;
  const float *row_scale, *bias;
  const mps_host_requantize *requantize;
  float *floats;
  int8_t *bytes;
  unsigned threads;
} mps_host_product;

mps_host_status mps_host_multiply(const mps_host_product *product);

#endif
