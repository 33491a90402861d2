/* SPDX-License-Identifier: Apache-2.0 */
/* Layers without weights, copies excepted; int8 throughout. */
#include "measure.h"
#include "measure_port.h"
#include "mps_ref.h"

enum { QUARTER = 1 << 30, LARGEST = 65535, AXES = 3, MOST_DIVISORS = 65535, AVERAGE_LEFT_SHIFT = 3 };

static uint64_t size_of(const uint32_t shape[3]) { return (uint64_t)shape[0] * shape[1] * shape[2]; }

static int is_plain(const measure_layer *layer, uint32_t operands) {
  return layer->weight_bits == 0 && layer->activation_bits == 8 && layer->operands == operands;
}

/* Inputs and outputs; `inputs` values are filled in. */
typedef struct {
  int8_t *input, *second, *output, *wanted;
} buffers;

static int take_buffers(uint64_t inputs, uint64_t seconds, uint64_t outputs, buffers *b) {
  *b = (buffers){measure_take(inputs), measure_take(seconds), measure_take(outputs), measure_take(outputs)};
  if (!b->input || !b->second || !b->output || !b->wanted) return 0;
  measure_fill(b->input, (size_t)inputs);
  measure_fill(b->second, (size_t)seconds);
  return 1;
}

/* Shape of an elementwise output, and where its first operand is broadcast; the second is as large as the output. Neighbouring axes that behave alike
   are joined, as the exporter joins them. [out] whether the first operand fits */
static int join_axes(const measure_layer *layer, uint32_t shape[MPS_RANK], uint8_t *broadcast) {
  uint32_t sizes[AXES];
  int alike[AXES], count = 0;
  for (int axis = 0; axis < AXES; axis++) {
    const uint32_t size = layer->output[axis], own = layer->input[axis];
    if (own != size && own != 1) return 0;
    if (size == 1) continue;
    if (count > 0 && alike[count - 1] == (own == 1)) {
      sizes[count - 1] *= size;
    } else {
      sizes[count] = size;
      alike[count++] = own == 1;
    }
  }
  *broadcast = 0;
  for (int axis = 0; axis < MPS_RANK; axis++) {
    const int from = axis - (MPS_RANK - count);
    shape[axis] = from < 0 ? 1 : sizes[from];
    if (from >= 0 && alike[from]) *broadcast |= (uint8_t)(1u << axis);
  }
  return 1;
}

measure_status measure_add_layer(const measure_layer *layer) {
  mps_add_params params = {.multiplier = {QUARTER, QUARTER, QUARTER}, .right_shift = {1, 1, 17}, .lowest = -128, .highest = 127};
  if (!is_plain(layer, 2) || !join_axes(layer, params.shape, &params.broadcast[0])) return MEASURE_UNSUPPORTED;
  buffers b;
  if (!take_buffers(size_of(layer->input), size_of(layer->output), size_of(layer->output), &b)) return MEASURE_MEMORY;
  mps_status status = MPS_OK;
  MEASURE_CALL(status, mps_add(&params, b.input, b.second, b.output));
  mps_add_ref(&params, b.input, b.second, b.wanted);
  return measure_compare(status, b.output, b.wanted, (size_t)size_of(layer->output));
}

measure_status measure_mul(const measure_layer *layer) {
  mps_mul_params params = {.multiplier = QUARTER, .right_shift = 5, .input_zero_point = {-3, 2}, .lowest = -128, .highest = 127};
  if (!is_plain(layer, 2) || !join_axes(layer, params.shape, &params.broadcast[0])) return MEASURE_UNSUPPORTED;
  buffers b;
  if (!take_buffers(size_of(layer->input), size_of(layer->output), size_of(layer->output), &b)) return MEASURE_MEMORY;
  mps_status status = MPS_OK;
  MEASURE_CALL(status, mps_mul(&params, b.input, b.second, b.output));
  mps_mul_ref(&params, b.input, b.second, b.wanted);
  return measure_compare(status, b.output, b.wanted, (size_t)size_of(layer->output));
}

static int is_window(const measure_layer *layer) {
  const uint32_t *sizes = layer->input;
  for (size_t i = 0; i < sizeof *layer / sizeof *sizes; i++) {
    if (sizes[i] > LARGEST) return 0;
  }
  return is_plain(layer, 1) && layer->input[2] == layer->output[2] && layer->dilation[0] == 1 && layer->dilation[1] == 1;
}

static mps_window window_of(const measure_layer *layer) {
  return (mps_window){.input_h = (uint16_t)layer->input[0],
                      .input_w = (uint16_t)layer->input[1],
                      .channels = (uint16_t)layer->input[2],
                      .output_h = (uint16_t)layer->output[0],
                      .output_w = (uint16_t)layer->output[1],
                      .kernel_h = (uint16_t)layer->kernel[0],
                      .kernel_w = (uint16_t)layer->kernel[1],
                      .stride_h = (uint16_t)layer->stride[0],
                      .stride_w = (uint16_t)layer->stride[1],
                      .pad_top = (uint16_t)layer->padding[0],
                      .pad_left = (uint16_t)layer->padding[2]};
}

measure_status measure_max_pool(const measure_layer *layer) {
  if (!is_window(layer)) return MEASURE_UNSUPPORTED;
  const mps_max_pool2d_params params = {.window = window_of(layer), .lowest = -128, .highest = 127};
  buffers b;
  if (!take_buffers(size_of(layer->input), 1, size_of(layer->output), &b)) return MEASURE_MEMORY;
  mps_status status = MPS_OK;
  MEASURE_CALL(status, mps_max_pool2d(&params, b.input, b.output));
  mps_max_pool2d_ref(&params, b.input, b.wanted);
  return measure_compare(status, b.output, b.wanted, (size_t)size_of(layer->output));
}

/* Shifts that divide by 2^exponent, next to a multiplier of a quarter. */
static uint8_t right_shift_of(unsigned exponent) { return (uint8_t)(exponent > 2 ? exponent - 2 : 1); }
static uint8_t left_shift_of(unsigned exponent) { return (uint8_t)(exponent > 2 ? 0 : 3 - exponent); }

/* Whether a window reaches further than the padding below or on the right: it then counts fewer values than the others. */
static int overhangs(const measure_layer *layer) {
  for (int i = 0; i < 2; i++) {
    const uint64_t end = (uint64_t)(layer->output[i] - 1) * layer->stride[i] + layer->kernel[i];
    if (end > (uint64_t)layer->input[i] + layer->padding[2 * i] + layer->padding[2 * i + 1]) return 1;
  }
  return 0;
}

/* Padding counts in the divisor, as PyTorch has it unless told otherwise. */
measure_status measure_avg_pool(const measure_layer *layer) {
  const uint64_t taps = (uint64_t)layer->kernel[0] * layer->kernel[1];
  if (!is_window(layer) || taps == 0 || taps > MOST_DIVISORS || layer->output[0] == 0 || layer->output[1] == 0) return MEASURE_UNSUPPORTED;
  const uint16_t divisors = overhangs(layer) ? (uint16_t)taps : 1;
  int32_t *multiplier = measure_take((uint64_t)divisors * 4);
  uint8_t *right_shift = measure_take(divisors);
  buffers b;
  if (!multiplier || !right_shift || !take_buffers(size_of(layer->input), 1, size_of(layer->output), &b)) return MEASURE_MEMORY;
  for (unsigned i = 0; i < divisors; i++) {
    multiplier[i] = QUARTER;
    right_shift[i] = divisors == 1 ? right_shift_of(measure_log2(taps)) : (uint8_t)(measure_log2(i + 1) + AVERAGE_LEFT_SHIFT - 2);
  }
  const mps_avg_pool2d_params params = {.window = window_of(layer),
                                        .divisors = divisors,
                                        .left_shift = divisors == 1 ? left_shift_of(measure_log2(taps)) : AVERAGE_LEFT_SHIFT,
                                        .input_zero_point = -3,
                                        .output_zero_point = 5,
                                        .lowest = -128,
                                        .highest = 127};
  mps_status status = MPS_OK;
  MEASURE_CALL(status, mps_avg_pool2d(&params, multiplier, right_shift, b.input, b.output));
  mps_avg_pool2d_ref(&params, multiplier, right_shift, b.input, b.wanted);
  return measure_compare(status, b.output, b.wanted, (size_t)size_of(layer->output));
}

/* Whether averaging the axes of a mask gives the output: they are kept with length 1, or left out, and then the first of two axes is the height. */
static int averages(const measure_layer *layer, unsigned reduced) {
  uint32_t kept[AXES] = {1, 1, 1}, left[AXES] = {1, 1, 1}, rest[AXES];
  int count = 0;
  for (int axis = 0; axis < AXES; axis++) {
    if (reduced >> axis & 1u) continue;
    kept[axis] = rest[count++] = layer->input[axis];
  }
  if (count > 0) left[2] = rest[count - 1];
  if (count == 2) left[0] = rest[0];
  const uint32_t *wanted = layer->output;
  return (kept[0] == wanted[0] && kept[1] == wanted[1] && kept[2] == wanted[2]) ||
         (left[0] == wanted[0] && left[1] == wanted[1] && left[2] == wanted[2]);
}

measure_status measure_mean(const measure_layer *layer) {
  static const uint8_t MASKS[] = {3, 1, 2, 4, 5, 6, 7}; /* whole images first */
  mps_mean_params params = {.multiplier = QUARTER, .input_zero_point = -3, .output_zero_point = 5, .lowest = -128, .highest = 127};
  unsigned reduced = 0;
  if (!is_plain(layer, 1)) return MEASURE_UNSUPPORTED;
  for (size_t i = 0; i < sizeof MASKS && reduced == 0; i++) reduced = averages(layer, MASKS[i]) ? MASKS[i] : 0;
  if (reduced == 0) return MEASURE_UNSUPPORTED;
  uint32_t shape[MPS_RANK];
  uint64_t times = 1;
  int axes[AXES], count = 0;
  for (int axis = 0; axis < AXES; axis++) {
    const int averaged = (int)(reduced >> axis & 1u);
    if (averaged) times *= layer->input[axis];
    if (layer->input[axis] == 1) continue;
    if (count > 0 && axes[count - 1] == averaged) {
      shape[count - 1] *= layer->input[axis];
    } else {
      shape[count] = layer->input[axis];
      axes[count++] = averaged;
    }
  }
  for (int axis = 0; axis < MPS_RANK; axis++) {
    const int from = axis - (MPS_RANK - count);
    params.shape[axis] = from < 0 ? 1 : shape[from];
    if (from >= 0 && axes[from]) params.reduced |= (uint8_t)(1u << axis);
  }
  params.right_shift = right_shift_of(measure_log2(times));
  params.left_shift = left_shift_of(measure_log2(times));
  buffers b;
  if (!take_buffers(size_of(layer->input), 1, size_of(layer->output), &b)) return MEASURE_MEMORY;
  mps_status status = MPS_OK;
  MEASURE_CALL(status, mps_mean(&params, b.input, b.output));
  mps_mean_ref(&params, b.input, b.wanted);
  return measure_compare(status, b.output, b.wanted, (size_t)size_of(layer->output));
}

measure_status measure_lookup(const measure_layer *layer) {
  if (!is_plain(layer, 1) || size_of(layer->input) != size_of(layer->output) || size_of(layer->input) > UINT32_MAX) return MEASURE_UNSUPPORTED;
  const mps_unary_params params = {.size = (uint32_t)size_of(layer->input)};
  buffers b;
  if (!take_buffers(size_of(layer->input), MPS_TABLE_SIZE, size_of(layer->output), &b)) return MEASURE_MEMORY;
  mps_status status = MPS_OK;
  MEASURE_CALL(status, mps_unary(&params, b.second, b.input, b.output));
  mps_unary_ref(&params, b.second, b.input, b.wanted);
  return measure_compare(status, b.output, b.wanted, (size_t)size_of(layer->output));
}
