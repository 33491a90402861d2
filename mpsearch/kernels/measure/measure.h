/* SPDX-License-Identifier: Apache-2.0 */
/* Measures one layer at a time: its parameters are set up from its shape, its weights and inputs are pseudo-random, its kernel runs between
   count_begin and count_end of the port, and its output is compared with that of kernels/ref. measure.c asks for layers as docs/measure-protocol.md
   says. */
#ifndef MEASURE_H
#define MEASURE_H

#include <stddef.h>
#include <stdint.h>

#include "mps/mps.h"

/* A layer as a request names it. Heights and widths come before channels, down before across; padding is above, below, left and right.
   weight_bits is 0 without weights; inputs and outputs have activation_bits. */
typedef struct {
  uint32_t input[3], output[3], kernel[2], stride[2], dilation[2], padding[4];
  uint32_t groups, operands, weight_bits, activation_bits;
} measure_layer;

typedef enum {
  MEASURE_OK,
  MEASURE_REQUEST,     /* the request cannot be read */
  MEASURE_UNSUPPORTED, /* no kernel computes such a layer */
  MEASURE_MEMORY,      /* its weights, inputs, outputs and scratch do not fit MEASURE_ARENA_BYTES */
  MEASURE_REFUSED,     /* the kernel says MPS_BAD_ARGUMENT */
  MEASURE_DIFFERS,     /* the output is not the reference's */
} measure_status;

/* Runs a call as often as the port wants, each time between count_begin and count_end. [in] call  an expression of type mps_status */
#define MEASURE_CALL(status, call)                             \
  for (measure_restart(); measure_again();) {                  \
    count_begin();                                             \
    const mps_status measured_status = (call);                 \
    measure_add(count_end());                                  \
    if (measured_status != MPS_OK) (status) = measured_status; \
  }

/* The counts of one layer. */
void measure_restart(void);
int measure_again(void);
void measure_add(uint64_t count);
uint64_t measure_median(void);

/* The arena: everything that a layer needs, given back all at once. [out] NULL where it is full; 16-byte aligned */
void measure_release(void);
void *measure_take(uint64_t bytes);

/* Pseudo-random bytes, the same in every run. */
void measure_fill(void *bytes, size_t count);

/* Pseudo-random weights, [rows, values], one a byte, and the same ones packed as mpsearch/quant/bitpack.py says. */
void measure_weights(int8_t *plain, uint8_t *packed, size_t rows, size_t values, unsigned bits);
uint64_t measure_packed_bytes(uint64_t rows, uint64_t values, unsigned bits);

/* floor(log2(value)); 0 of 0. */
unsigned measure_log2(uint64_t value);

/* Whether two outputs are equal. */
measure_status measure_compare(mps_status status, const void *output, const void *wanted, size_t bytes);

measure_status measure_conv2d(const measure_layer *layer);
measure_status measure_depthwise(const measure_layer *layer);
measure_status measure_dense(const measure_layer *layer);
measure_status measure_add_layer(const measure_layer *layer);
measure_status measure_mul(const measure_layer *layer);
measure_status measure_max_pool(const measure_layer *layer);
measure_status measure_avg_pool(const measure_layer *layer);
measure_status measure_mean(const measure_layer *layer);
measure_status measure_copy(const measure_layer *layer);
measure_status measure_lookup(const measure_layer *layer);

#endif
