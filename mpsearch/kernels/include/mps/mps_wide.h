/* SPDX-License-Identifier: Apache-2.0 */
/* The matrix product of layers whose input or output has 16 bits: a few pixels at a time, all output channels, sums of 64 bits. */
#ifndef MPS_WIDE_H
#define MPS_WIDE_H

#include "mps/mps.h"

enum { MPS_WIDE_PIXELS = 2 };

/* values    weights of one output channel
   pixels    1 .. MPS_WIDE_PIXELS
   windows   their activations, mps_wide_stride(values) apart, 4-byte aligned
   row       mps_wide_stride(values), 4-byte aligned: a row of weights while it is unpacked; 8 bits are read where they lie
   output_c  channels of an output pixel */
typedef struct {
  const mps_channels *channels;
  size_t values, pixels, output_c;
  unsigned weight_bits, output_bits, left_shift;
  int32_t zero_point, lowest, highest;
  int16_t *windows;
  int8_t *row;
} mps_wide;

static inline size_t mps_wide_stride(size_t values) { return (values + 3) & ~(size_t)3; }

/* Windows for that many pixels of the output, and a row. */
static inline size_t mps_wide_bytes(size_t values, size_t pixels, unsigned weight_bits) {
  return mps_wide_stride(values) * ((pixels > 1 ? 2u * MPS_WIDE_PIXELS : 2u) + (weight_bits < 8 ? 1u : 0u));
}

static inline int mps_wide_holds(unsigned weight_bits, unsigned input_bits, unsigned output_bits) {
  return weight_bits >= 2 && weight_bits <= 8 && (input_bits == 4 || input_bits == 8 || input_bits == 16) &&
         (output_bits == 4 || output_bits == 8 || output_bits == 16);
}

/* Activations of any width as int16, from channel `first` of a pixel on; `channels` each. */
void mps_wide_load(const void *input, unsigned bits, size_t pixel, size_t channels, size_t first, size_t count, int16_t *values);

/* Channels first .. end - 1 of the pixels in the windows, which are spent afterwards. [in] pixel  the first one of them, in the output */
void mps_wide_channels(const mps_wide *wide, size_t first, size_t end, size_t pixel, void *output);

#endif
