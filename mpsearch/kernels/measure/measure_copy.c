/* SPDX-License-Identifier: Apache-2.0 */
/* Copies: which of them a layer is, its shape tells. Several operands are joined along the axis in which the first differs from the output, the
   others sharing what is left. One operand is padded if the output is larger along some axes and smaller along none, before and after alike; sliced
   if it is smaller, from the first value on; transposed if its axes come in another order. */
#include <string.h>

#include "measure.h"
#include "measure_port.h"
#include "mps_ref.h"

enum { AXES = 3, MOST_OPERANDS = 64 };

typedef struct {
  size_t count, input_at[MOST_OPERANDS];
  mps_copy_params each[MOST_OPERANDS];
} copies;

static uint64_t size_of(const uint32_t shape[AXES]) { return (uint64_t)shape[0] * shape[1] * shape[2]; }

static void strides_of(const uint32_t shape[AXES], uint32_t strides[AXES]) {
  strides[0] = shape[1] * shape[2], strides[1] = shape[2], strides[2] = 1;
}

/* A copy of `shape` values; axes of length 1 are dropped, and neighbours that run on into each other joined, as the exporter does. */
static mps_copy_params copy_of(const uint32_t shape[AXES], const uint32_t from[AXES], const uint32_t to[AXES]) {
  uint32_t sizes[AXES], sources[AXES], targets[AXES];
  int count = 0;
  for (int axis = 0; axis < AXES; axis++) {
    if (shape[axis] == 1) continue;
    if (count > 0 && sources[count - 1] == from[axis] * shape[axis] && targets[count - 1] == to[axis] * shape[axis]) {
      sizes[count - 1] *= shape[axis], sources[count - 1] = from[axis], targets[count - 1] = to[axis];
    } else {
      sizes[count] = shape[axis], sources[count] = from[axis], targets[count++] = to[axis];
    }
  }
  mps_copy_params copy;
  memset(&copy, 0, sizeof copy);
  for (int axis = 0; axis < MPS_COPY_RANK; axis++) {
    const int own = axis - (MPS_COPY_RANK - count);
    copy.shape[axis] = own < 0 ? 1 : sizes[own];
    copy.input_stride[axis] = own < 0 ? 0 : (int32_t)sources[own];
    copy.output_stride[axis] = own < 0 ? 0 : (int32_t)targets[own];
  }
  return copy;
}

static mps_status run_copies(const copies *all, const int8_t *input, int8_t *output) {
  for (size_t i = 0; i < all->count; i++) (void)mps_copy(&all->each[i], input + all->input_at[i], output);
  return MPS_OK;
}

static int join(const measure_layer *layer, copies *all) {
  uint32_t to[AXES], from[AXES], part[AXES];
  int joined = -1;
  for (int axis = 0; axis < AXES; axis++) {
    if (layer->input[axis] == layer->output[axis]) continue;
    if (joined >= 0 || layer->input[axis] > layer->output[axis]) return 0;
    joined = axis;
  }
  if (joined < 0 || layer->operands > MOST_OPERANDS) return 0;
  const uint32_t left = layer->output[joined] - layer->input[joined], others = layer->operands - 1;
  strides_of(layer->output, to);
  uint32_t at = 0, input_at = 0;
  for (uint32_t i = 0; i <= others; i++) {
    memcpy(part, layer->input, sizeof part);
    if (i > 0) part[joined] = left / others + (i <= left % others ? 1 : 0);
    strides_of(part, from);
    all->each[i] = copy_of(part, from, to);
    all->each[i].output_offset = at * to[joined];
    all->input_at[i] = input_at;
    at += part[joined], input_at += (uint32_t)size_of(part);
  }
  all->count = layer->operands;
  return 1;
}

/* The first order of axes, other than the given one, that makes the output's shape; the given one if no other does. */
static int transpose(const measure_layer *layer, copies *all) {
  static const uint8_t ORDERS[][AXES] = {{1, 0, 2}, {0, 2, 1}, {2, 0, 1}, {1, 2, 0}, {2, 1, 0}, {0, 1, 2}};
  uint32_t strides[AXES], from[AXES], to[AXES];
  strides_of(layer->input, strides);
  strides_of(layer->output, to);
  for (size_t i = 0; i < sizeof ORDERS / sizeof *ORDERS; i++) {
    int fits = 1, moves = i + 1 == sizeof ORDERS / sizeof *ORDERS;
    for (int axis = 0; axis < AXES; axis++) {
      fits &= layer->input[ORDERS[i][axis]] == layer->output[axis];
      moves |= ORDERS[i][axis] != axis && layer->output[axis] > 1;
      from[axis] = strides[ORDERS[i][axis]];
    }
    if (!fits || !moves) continue;
    all->each[0] = copy_of(layer->output, from, to);
    return 1;
  }
  return 0;
}

static void slice(const measure_layer *layer, copies *all) {
  uint32_t from[AXES], to[AXES];
  strides_of(layer->input, from);
  strides_of(layer->output, to);
  all->each[0] = copy_of(layer->output, from, to);
}

static mps_pad_params pad_of(const measure_layer *layer) {
  uint32_t from[AXES], to[AXES], offset = 0;
  strides_of(layer->input, from);
  strides_of(layer->output, to);
  for (int axis = 0; axis < AXES; axis++) offset += (layer->output[axis] - layer->input[axis]) / 2 * to[axis];
  mps_pad_params params = {.copy = copy_of(layer->input, from, to), .output_size = (uint32_t)size_of(layer->output), .value = -3};
  params.copy.output_offset = offset;
  return params;
}

measure_status measure_copy(const measure_layer *layer) {
  static copies all;
  memset(&all, 0, sizeof all);
  all.count = 1;
  const uint64_t outputs = size_of(layer->output), inputs = layer->operands > 1 ? outputs : size_of(layer->input);
  if (layer->weight_bits != 0 || layer->activation_bits != 8 || layer->operands == 0 || outputs > INT32_MAX || inputs > INT32_MAX)
    return MEASURE_UNSUPPORTED;
  int larger = 0, smaller = 0, pads = 0;
  for (int axis = 0; axis < AXES; axis++) larger |= layer->output[axis] > layer->input[axis], smaller |= layer->output[axis] < layer->input[axis];
  if (layer->operands > 1) {
    if (!join(layer, &all)) return MEASURE_UNSUPPORTED;
  } else if (larger == smaller) {
    if (!transpose(layer, &all)) return MEASURE_UNSUPPORTED;
  } else if (smaller) {
    slice(layer, &all);
  } else {
    pads = 1;
  }
  int8_t *input = measure_take(inputs), *output = measure_take(outputs), *wanted = measure_take(outputs);
  if (!input || !output || !wanted) return MEASURE_MEMORY;
  measure_fill(input, (size_t)inputs);
  memset(output, 0, (size_t)outputs);
  memset(wanted, 0, (size_t)outputs);
  mps_status status = MPS_OK;
  if (pads) {
    const mps_pad_params params = pad_of(layer);
    MEASURE_CALL(status, mps_pad(&params, input, output));
    mps_pad_ref(&params, input, wanted);
  } else {
    MEASURE_CALL(status, run_copies(&all, input, output));
    for (size_t i = 0; i < all.count; i++) mps_copy_ref(&all.each[i], input + all.input_at[i], wanted);
  }
  return measure_compare(status, output, wanted, (size_t)outputs);
}
