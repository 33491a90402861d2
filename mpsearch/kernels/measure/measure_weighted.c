/* SPDX-License-Identifier: Apache-2.0 */
/* Layers with weights. */
#include "measure.h"
#include "measure_port.h"
#include "mps_ref.h"

enum { INPUT_ZERO_POINT = -3, OUTPUT_ZERO_POINT = 5, LARGEST = 65535 };

/* Everything that a layer with weights reads and writes. */
typedef struct {
  mps_channels channels;
  mps_ref_channels unpacked;
  void *input, *output, *wanted;
  int8_t *scratch;
  size_t output_bytes;
} buffers;

static int takes(const measure_layer *layer) {
  const unsigned bits = layer->activation_bits;
  if (layer->weight_bits < 2 || layer->weight_bits > 8 || (bits != 4 && bits != 8 && bits != 16) || layer->operands != 1) return 0;
  const uint32_t *sizes = layer->input;
  for (size_t i = 0; i < sizeof *layer / sizeof *sizes; i++) {
    if (sizes[i] > LARGEST) return 0;
  }
  return layer->groups > 0 && layer->input[2] % layer->groups == 0;
}

static uint64_t activation_bytes(const uint32_t shape[3], unsigned bits) {
  return (uint64_t)shape[0] * shape[1] * (((uint64_t)shape[2] * bits + 7) / 8);
}

/* The right shift that spreads the outputs over their range: the sum of `count` products deviates by about 74 * 2^bits / sqrt(12) * sqrt(count), the
   outputs of 8 bits shall by 40, and the multipliers are a quarter and more; all of it squared. */
static uint8_t spreading_shift(uint64_t count, unsigned bits) {
  const unsigned shift = measure_log2((count << (2 * (bits - 1))) * 73 / 512) / 2;
  return (uint8_t)(shift < 1 ? 1 : shift);
}

/* [in] rows, values       of the weights as they are packed
   [in] by_column          whether an output channel is a column of them, not a row
   [in] products_per_sum  of each output */
static measure_status lay_out(const measure_layer *layer, uint64_t rows, uint64_t values, int by_column, uint64_t products_per_sum,
                              size_t scratch_bytes, buffers *b) {
  const size_t outputs = layer->output[2];
  const uint64_t input_bytes = activation_bytes(layer->input, layer->activation_bits);
  const uint64_t output_bytes = activation_bytes(layer->output, layer->activation_bits);
  int8_t *plain = measure_take(rows * values);
  uint8_t *packed = measure_take(measure_packed_bytes(rows, values, layer->weight_bits));
  int32_t *bias = measure_take(outputs * 4), *folded = measure_take(outputs * 4), *multiplier = measure_take(outputs * 4);
  uint8_t *right_shift = measure_take(outputs);
  b->input = measure_take(input_bytes), b->output = measure_take(output_bytes), b->wanted = measure_take(output_bytes);
  b->scratch = measure_take(scratch_bytes);
  if (!plain || !packed || !bias || !folded || !multiplier || !right_shift || !b->input || !b->output || !b->wanted || !b->scratch)
    return MEASURE_MEMORY;
  b->output_bytes = (size_t)output_bytes;
  measure_fill(b->input, (size_t)input_bytes);
  measure_weights(plain, packed, (size_t)rows, (size_t)values, layer->weight_bits);
  const size_t length = (size_t)(by_column ? rows : values);
  for (size_t i = 0; i < outputs; i++) {
    int32_t sum = 0;
    for (size_t k = 0; k < length; k++) sum += by_column ? plain[k * (size_t)values + i] : plain[i * length + k];
    bias[i] = (int32_t)(17 * i % 601) - 300;
    folded[i] = bias[i] - INPUT_ZERO_POINT * sum;
    multiplier[i] = (int32_t)(((uint32_t)1 << 30) + ((uint32_t)(i & 0x3FFF) << 16));
    right_shift[i] = spreading_shift(products_per_sum, layer->weight_bits);
  }
  b->channels = (mps_channels){folded, multiplier, right_shift, packed};
  b->unpacked = (mps_ref_channels){bias, multiplier, right_shift, plain};
  return MEASURE_OK;
}

static int16_t lowest_of(unsigned bits) { return (int16_t)(-(1 << (bits - 1))); }

static int16_t highest_of(unsigned bits) { return (int16_t)((1 << (bits - 1)) - 1); }

static mps_conv2d_params conv2d_params(const measure_layer *layer) {
  return (mps_conv2d_params){.input_h = (uint16_t)layer->input[0],
                             .input_w = (uint16_t)layer->input[1],
                             .input_c = (uint16_t)layer->input[2],
                             .output_h = (uint16_t)layer->output[0],
                             .output_w = (uint16_t)layer->output[1],
                             .output_c = (uint16_t)layer->output[2],
                             .kernel_h = (uint16_t)layer->kernel[0],
                             .kernel_w = (uint16_t)layer->kernel[1],
                             .stride_h = (uint16_t)layer->stride[0],
                             .stride_w = (uint16_t)layer->stride[1],
                             .dilation_h = (uint16_t)layer->dilation[0],
                             .dilation_w = (uint16_t)layer->dilation[1],
                             .pad_top = (uint16_t)layer->padding[0],
                             .pad_left = (uint16_t)layer->padding[2],
                             .groups = (uint16_t)layer->groups,
                             .input_zero_point = INPUT_ZERO_POINT,
                             .output_zero_point = OUTPUT_ZERO_POINT,
                             .lowest = lowest_of(layer->activation_bits),
                             .highest = highest_of(layer->activation_bits),
                             .weight_bits = (uint8_t)layer->weight_bits,
                             .input_bits = (uint8_t)layer->activation_bits,
                             .output_bits = (uint8_t)layer->activation_bits};
}

measure_status measure_conv2d(const measure_layer *layer) {
  if (!takes(layer)) return MEASURE_UNSUPPORTED;
  const mps_conv2d_params params = conv2d_params(layer);
  const int wide = layer->activation_bits == 16;
  const size_t scratch = wide ? mps_conv2d_wide_scratch_bytes(&params) : mps_conv2d_scratch_bytes(&params);
  const uint64_t values = (uint64_t)layer->kernel[0] * layer->kernel[1] * (layer->input[2] / layer->groups);
  buffers b;
  const measure_status laid = lay_out(layer, layer->output[2], values, 0, values, scratch, &b);
  if (laid != MEASURE_OK) return laid;
  mps_status status = MPS_OK;
  if (wide) {
    MEASURE_CALL(status, mps_conv2d_wide(&params, &b.channels, b.input, b.output, b.scratch));
  } else {
    MEASURE_CALL(status, mps_conv2d(&params, &b.channels, b.input, b.output, b.scratch));
  }
  mps_conv2d_ref(&params, &b.unpacked, b.input, b.wanted);
  return measure_compare(status, b.output, b.wanted, b.output_bytes);
}

measure_status measure_depthwise(const measure_layer *layer) {
  if (!takes(layer) || layer->activation_bits != 8 || layer->groups != layer->input[2] || layer->output[2] % layer->input[2] != 0)
    return MEASURE_UNSUPPORTED;
  const mps_conv2d_params params = conv2d_params(layer);
  const uint64_t taps = (uint64_t)layer->kernel[0] * layer->kernel[1];
  buffers b;
  const measure_status laid = lay_out(layer, taps, layer->output[2], 1, taps, mps_depthwise2d_scratch_bytes(&params), &b);
  if (laid != MEASURE_OK) return laid;
  mps_status status = MPS_OK;
  MEASURE_CALL(status, mps_depthwise2d(&params, &b.channels, b.input, b.output, b.scratch));
  mps_depthwise2d_ref(&params, &b.unpacked, b.input, b.wanted);
  return measure_compare(status, b.output, b.wanted, b.output_bytes);
}

/* Every pixel of the input is a row. */
measure_status measure_dense(const measure_layer *layer) {
  if (!takes(layer) || (uint64_t)layer->input[0] * layer->input[1] != (uint64_t)layer->output[0] * layer->output[1]) return MEASURE_UNSUPPORTED;
  const mps_linear_params params = {.rows = layer->input[0] * layer->input[1],
                                    .input_c = layer->input[2],
                                    .output_c = layer->output[2],
                                    .input_zero_point = INPUT_ZERO_POINT,
                                    .output_zero_point = OUTPUT_ZERO_POINT,
                                    .lowest = lowest_of(layer->activation_bits),
                                    .highest = highest_of(layer->activation_bits),
                                    .weight_bits = (uint8_t)layer->weight_bits,
                                    .input_bits = (uint8_t)layer->activation_bits,
                                    .output_bits = (uint8_t)layer->activation_bits};
  const int wide = layer->activation_bits == 16;
  const size_t scratch = wide ? mps_linear_wide_scratch_bytes(&params) : mps_linear_scratch_bytes(&params);
  buffers b;
  const measure_status laid = lay_out(layer, layer->output[2], layer->input[2], 0, layer->input[2], scratch, &b);
  if (laid != MEASURE_OK) return laid;
  mps_status status = MPS_OK;
  if (wide) {
    MEASURE_CALL(status, mps_linear_wide(&params, &b.channels, b.input, b.output, b.scratch));
  } else {
    MEASURE_CALL(status, mps_linear(&params, &b.channels, b.input, b.output, b.scratch));
  }
  mps_linear_ref(&params, &b.unpacked, b.input, b.wanted);
  return measure_compare(status, b.output, b.wanted, b.output_bytes);
}
