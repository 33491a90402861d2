/* SPDX-License-Identifier: Apache-2.0 */
/* Runs packed host layers that arrive on the standard input and writes their outputs: for sanitizers and for emulated processors, where there is no
   Python. Every array gets memory of exactly its own size, so that a sanitizer sees any access beside it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mps/mps_host.h"

enum { DENSE_FLOAT, DENSE_INTEGERS, CONV_FLOAT, CONV_INTEGERS, DEPTHWISE_FLOAT, DEPTHWISE_INTEGERS };
enum { WEIGHTS, SCALE, INPUT, BIAS, MULTIPLIER, RIGHT_SHIFT, ARRAYS };

typedef struct {
  uint32_t kind, bits, group, rows, output_c, input_c, threads, output_bytes;
  mps_host_conv2d shape;
  uint32_t left_shift;
  int32_t input_zero_point, output_zero_point, lowest, highest;
} header;

static void stop(const char *what) {
  fprintf(stderr, "host_driver: %s\n", what);
  exit(1);
}

static void *take(size_t bytes) {
  void *memory = malloc(bytes);
  if (bytes > 0 && (memory == NULL || fread(memory, 1, bytes, stdin) != bytes)) stop("the input ends early");
  return memory;
}

/* What lies between these two is what the counting plugin of QEMU counts. */
__attribute__((noinline)) void count_begin(void);
__attribute__((noinline)) void count_end(void);
void count_begin(void) { __asm__ volatile(""); }
void count_end(void) { __asm__ volatile(""); }

/* One entry a channel group; the arrays of a group stand one behind the other. */
static mps_host_weights *pack_groups(const header *h, uint32_t groups, const int8_t *plain, const float *scale) {
  mps_host_weights *packed = calloc(groups, sizeof(*packed));
  const size_t padded = (size_t)(h->output_c + 15) / 16 * 16, values = h->group == 0 ? h->input_c : h->group;
  const size_t scales = padded * ((h->input_c + values - 1) / values);
  for (uint32_t g = 0; g < groups; g++) {
    uint8_t *weights = malloc(mps_host_packed_bytes(h->output_c, h->input_c, h->bits));
    int32_t *sums = malloc(padded * sizeof(*sums));
    const int8_t *from = plain + (size_t)g * h->output_c * h->input_c;
    if (mps_host_pack(h->output_c, h->input_c, h->bits, from, weights, sums) != MPS_HOST_OK) stop("packing failed");
    packed[g] = (mps_host_weights){h->output_c, h->input_c, h->bits, h->group, weights, sums, scale == NULL ? NULL : scale + g * scales};
  }
  return packed;
}

static mps_host_status run(const header *h, void *const *arrays, void *output) {
  const mps_host_requantize requantize = {.bias = arrays[BIAS],
                                          .multiplier = arrays[MULTIPLIER],
                                          .right_shift = arrays[RIGHT_SHIFT],
                                          .left_shift = h->left_shift,
                                          .input_zero_point = h->input_zero_point,
                                          .output_zero_point = h->output_zero_point,
                                          .lowest = h->lowest,
                                          .highest = h->highest};
  const void *input = arrays[INPUT], *bias = arrays[BIAS];
  if (h->kind == DEPTHWISE_FLOAT) {
    return mps_host_depthwise2d_float(&h->shape, h->bits, arrays[WEIGHTS], arrays[SCALE], input, bias, output, h->threads);
  }
  if (h->kind == DEPTHWISE_INTEGERS) {
    return mps_host_depthwise2d_integers(&h->shape, h->bits, arrays[WEIGHTS], input, &requantize, output, h->threads);
  }
  const uint32_t groups = h->kind == CONV_FLOAT || h->kind == CONV_INTEGERS ? h->shape.groups : 1;
  mps_host_weights *weights = pack_groups(h, groups, arrays[WEIGHTS], arrays[SCALE]);
  mps_host_status status = MPS_HOST_BAD_ARGUMENT;
  count_begin();
  if (h->kind == DENSE_FLOAT) status = mps_host_dense_float(weights, h->rows, input, bias, output, h->threads);
  if (h->kind == DENSE_INTEGERS) status = mps_host_dense_integers(weights, h->rows, input, &requantize, output, h->threads);
  if (h->kind == CONV_FLOAT) status = mps_host_conv2d_float(&h->shape, weights, input, bias, output, h->threads);
  if (h->kind == CONV_INTEGERS) status = mps_host_conv2d_integers(&h->shape, weights, input, &requantize, output, h->threads);
  count_end();
  for (uint32_t g = 0; g < groups; g++) {
    free((void *)(uintptr_t)weights[g].weights);
    free((void *)(uintptr_t)weights[g].sums);
  }
  free(weights);
  return status;
}

/* [in] arguments  the instruction set */
int main(int count, char **arguments) {
  if (count != 2 || mps_host_use_isa(arguments[1]) != MPS_HOST_OK) stop("no such instruction set");
  header h;
  while (fread(&h, sizeof(h), 1, stdin) == 1) {
    uint32_t bytes[ARRAYS];
    void *arrays[ARRAYS] = {NULL};
    if (fread(bytes, sizeof(bytes), 1, stdin) != 1) stop("the input ends early");
    for (int i = 0; i < ARRAYS; i++) {
      if (bytes[i] > 0) arrays[i] = take(bytes[i]);
    }
    void *output = malloc(h.output_bytes);
    if (run(&h, arrays, output) != MPS_HOST_OK) stop("a layer failed");
    if (fwrite(output, 1, h.output_bytes, stdout) != h.output_bytes) stop("the output cannot be written");
    free(output);
    for (int i = 0; i < ARRAYS; i++) free(arrays[i]);
  }
  return 0;
}
