/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mps_host_kernels.h"
#include "mps_host_product.h"
#include "mps_host_quantize.h"
#include "mps_host_scratch.h"

typedef struct {
  size_t values, padded;
  const float *floats;
  const int8_t *bytes;
  float *row_scale;
} source;

static const int8_t *quantized_row(void *context, size_t index, int8_t *buffer) {
  const source *s = context;
  const float *values = s->floats + index * s->values;
  const float inverse = mps_host_find_scale(values, s->values, &s->row_scale[index]);
  mps_host_current()->quantize(values, s->values, inverse, buffer);
  memset(buffer + s->values, 0, s->padded - s->values);
  return buffer;
}

static const int8_t *plain_row(void *context, size_t index, int8_t *buffer) {
  const source *s = context;
  const int8_t *row = s->bytes + index * s->values;
  if (s->values == s->padded) return row;
  memcpy(buffer, row, s->values);
  memset(buffer + s->values, 0, s->padded - s->values);
  return buffer;
}

static size_t padded(size_t values) { return (values + MPS_HOST_VALUES - 1) / MPS_HOST_VALUES * MPS_HOST_VALUES; }

mps_host_status mps_host_dense_float(const mps_host_weights *weights, size_t rows, const float *input, const float *bias, float *output,
                                     unsigned threads) {
  float *row_scale = mps_host_scratch(MPS_SCRATCH_LAYER, (rows + 1) * sizeof(*row_scale));
  if (row_scale == NULL) return MPS_HOST_NO_MEMORY;
  source s = {.values = weights->input_c, .padded = padded(weights->input_c), .floats = input, .row_scale = row_scale};
  const mps_host_product product = {.weights = weights,
                                    .rows = rows,
                                    .output_pitch = weights->output_c,
                                    .row = quantized_row,
                                    .source = &s,
                                    .row_scale = row_scale,
                                    .bias = bias,
                                    .floats = output,
                                    .threads = threads};
  return mps_host_multiply(&product);
}

mps_host_status mps_host_dense_integers(const mps_host_weights *weights, size_t rows, const int8_t *input, const mps_host_requantize *requantize,
                                        int8_t *output, unsigned threads) {
  source s = {.values = weights->input_c, .padded = padded(weights->input_c), .bytes = input};
  const mps_host_product product = {.weights = weights,
                                    .rows = rows,
                                    .output_pitch = weights->output_c,
                                    .row = plain_row,
                                    .source = &s,
                                    .requantize = requantize,
                                    .bytes = output,
                                    .threads = threads};
  return mps_host_multiply(&product);
}
