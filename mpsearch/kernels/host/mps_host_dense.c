/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mps_host_kernels.h"
#include "mps_host_product.h"
#include "mps_host_quantize.h"
#include "mps_host_scratch.h"

typedef struct {
  size_t values;
  const float *floats;
  const int8_t *bytes;
  float *row_scale;
} source;

static void take_quantized(void *context, size_t first, size_t count, size_t padded, int8_t *buffer, const int8_t **row) {
  const source *s = context;
  for (size_t i = 0; i < count; i++, buffer += padded) {
    const float *values = s->floats + (first + i) * s->values;
    const float inverse = mps_host_find_scale(values, s->values, &s->row_scale[first + i]);
    mps_host_current()->quantize(values, s->values, inverse, buffer);
    memset(buffer + s->values, 0, padded - s->values);
    row[i] = buffer;
  }
}

static void take_plain(void *context, size_t first, size_t count, size_t padded, int8_t *buffer, const int8_t **row) {
  const source *s = context;
  for (size_t i = 0; i < count; i++, buffer += padded) {
    row[i] = s->bytes + (first + i) * s->values;
    if (s->values == padded) continue;
    memcpy(buffer, row[i], s->values);
    memset(buffer + s->values, 0, padded - s->values);
    row[i] = buffer;
  }
}

mps_host_status mps_host_dense_float(const mps_host_weights *weights, size_t rows, const float *input, const float *bias, float *output,
                                     unsigned threads) {
  float *row_scale = mps_host_scratch(MPS_SCRATCH_LAYER, (rows + 1) * sizeof(*row_scale));
  if (row_scale == NULL) return MPS_HOST_NO_MEMORY;
  source s = {.values = weights->input_c, .floats = input, .row_scale = row_scale};
  const mps_host_product product = {.weights = weights,
                                    .rows = rows,
                                    .output_pitch = weights->output_c,
                                    .take = take_quantized,
                                    .source = &s,
                                    .row_scale = row_scale,
                                    .bias = bias,
                                    .floats = output,
                                    .threads = threads};
  return mps_host_multiply(&product);
}

mps_host_status mps_host_dense_integers(const mps_host_weights *weights, size_t rows, const int8_t *input, const mps_host_requantize *requantize,
                                        int8_t *output, unsigned threads) {
  source s = {.values = weights->input_c, .bytes = input};
  const mps_host_product product = {.weights = weights,
                                    .rows = rows,
                                    .output_pitch = weights->output_c,
                                    .take = take_plain,
                                    .source = &s,
                                    .requantize = requantize,
                                    .bytes = output,
                                    .threads = threads};
  return mps_host_multiply(&product);
}
