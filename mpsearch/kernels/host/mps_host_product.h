/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_HOST_PRODUCT_H
#define MPS_HOST_PRODUCT_H

#include "mps/mps_host.h"

enum { MPS_HOST_ROOM = 64 };

/* rows x weights, the product behind dense layers and convolutions.
   take           says where rows first .. first + count lie, each input_c int8 values and zeros up to a whole block (`padded` in all): in `buffer`,
                  row behind row, or wherever they are. The buffer has MPS_HOST_ROOM bytes more than the rows need.
   row_scale      [rows], read after `take` was called for them; float output only
   floats, bytes  the output, one of them; its rows lie output_pitch values apart
   bias           [output_c] or NULL; float output only, `requantize` has its own */
typedef struct {
  const mps_host_weights *weights;
  size_t rows, output_pitch;
  void (*take)(void *source, size_t first, size_t count, size_t padded, int8_t *buffer, const int8_t **row);
  void *source;
  const float *row_scale, *bias;
  const mps_host_requantize *requantize;
  float *floats;
  int8_t *bytes;
  unsigned threads;
} mps_host_product;

mps_host_status mps_host_multiply(const mps_host_product *product);

#endif
