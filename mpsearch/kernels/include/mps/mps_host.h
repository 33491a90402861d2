/* SPDX-License-Identifier: Apache-2.0 */
/* Dense and convolution layers on packed weights, for machines with an operating system: threads, memory from the heap and float are at hand here.
   Never part of a bundle; mpsearch/quant/host_kernels.py calls it.

   Weights lie as H16x32, one form for every instruction set: [output_c / 16][input_c / 32] blocks of 16 channels x 32 values, both axes padded with
   the weight 0. A block is plane after plane (3 = 2 + 1, 5 = 4 + 1, 6 = 4 + 2, 7 = 4 + 2 + 1 bits, low bits first), a plane is rows of 64 bytes,
   a row is 16 channels x 4 consecutive values, 8 / plane such quads on top of each other, the first in the lowest bits. Stored is
   u = q + 2^(bits - 1). A block takes exactly 64 * bits bytes. */
#ifndef MPS_HOST_H
#define MPS_HOST_H

#include <stddef.h>
#include <stdint.h>

/* MPS_HOST_MOST_VALUES: of more values an output, the sum of products may leave int32. */
enum { MPS_HOST_CHANNELS = 16, MPS_HOST_VALUES = 32, MPS_HOST_MOST_VALUES = 65536 };

typedef enum {
  MPS_HOST_OK = 0,
  MPS_HOST_BAD_ARGUMENT = 1,
  MPS_HOST_NO_MEMORY = 2,
  MPS_HOST_NO_SUCH_ISA = 3, /* MPS_ISA names an instruction set that is unknown, or that this processor lacks */
} mps_host_status;

/* The instruction set in use: "scalar", "avx2", "avx512vnni" or "neon"; NULL when MPS_ISA asks for one that is not to be had. */
const char *mps_host_isa(void);

/* Take another instruction set from now on. [in] name  NULL: what MPS_ISA says, else the best */
mps_host_status mps_host_use_isa(const char *name);

/* Packed weights of a dense layer, or of one channel group of a convolution.
   group    values along input_c that share a scale: 32, 64 or 128; 0 stands for all of them
   weights  mps_host_packed_bytes, 64-byte aligned for speed
   sums     [output_c rounded up to 16], the sum of each channel's weights q
   scale    [output_c / 16][groups][16], rounded up; NULL where only integers are asked for */
typedef struct {
  uint32_t output_c, input_c, bits, group;
  const uint8_t *weights;
  const int32_t *sums;
  const float *scale;
} mps_host_weights;

size_t mps_host_packed_bytes(size_t output_c, size_t input_c, unsigned bits);

/* [in] weights  [output_c, input_c], each within `bits` signed bits */
mps_host_status mps_host_pack(size_t output_c, size_t input_c, unsigned bits, const int8_t *weights, uint8_t *packed, int32_t *sums);
mps_host_status mps_host_unpack(size_t output_c, size_t input_c, unsigned bits, const uint8_t *packed, int8_t *weights);

/* Integers out of accumulators, as mps_requantize and mps_clamp define it; a row of input is real = scale * (q - input_zero_point).
   bias, multiplier, right_shift  [output_c]; bias may be NULL. The accumulator with its bias must fit int32, shifted left too. */
typedef struct {
  const int32_t *bias, *multiplier;
  const uint8_t *right_shift;
  uint32_t left_shift;
  int32_t input_zero_point, output_zero_point, lowest, highest;
} mps_host_requantize;

/* Dense layer on float: every row is quantised to symmetric int8 on the way in (scale = largest / 127, ties to even).
   A row that holds an infinity or a NaN comes out as NaN. The answer does not depend on `threads`.
   [in] input   [rows, input_c]
   [in] bias    [output_c], or NULL
   [out] output [rows, output_c] */
mps_host_status mps_host_dense_float(const mps_host_weights *weights, size_t rows, const float *input, const float *bias, float *output,
                                     unsigned threads);

/* Dense layer on integers, equal to mps_linear bit for bit. */
mps_host_status mps_host_dense_integers(const mps_host_weights *weights, size_t rows, const int8_t *input, const mps_host_requantize *requantize,
                                        int8_t *output, unsigned threads);

/* Convolution over [batch, input_h, input_w, input_c]; kernels are [output_c, kernel_h, kernel_w, input_c / groups]. */
typedef struct {
  uint32_t batch, input_h, input_w, input_c, output_h, output_w, output_c;
  uint32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups;
} mps_host_conv2d;

/* [in] weights  one entry a group, each of output_c / groups channels of kernel_h * kernel_w * input_c / groups values and a scale a channel.
   On float every sample is quantised to symmetric int8; padding feeds the real zero. */
mps_host_status mps_host_conv2d_float(const mps_host_conv2d *shape, const mps_host_weights *weights, const float *input, const float *bias,
                                      float *output, unsigned threads);
mps_host_status mps_host_conv2d_integers(const mps_host_conv2d *shape, const mps_host_weights *weights, const int8_t *input,
                                         const mps_host_requantize *requantize, int8_t *output, unsigned threads);

/* Depthwise: groups == input_c, output_c a multiple of it.
   [in] weights  rows of output_c values, one a tap of the kernel, packed as mpsearch/quant/bitpack.py packs them
   [in] scale    [output_c] */
mps_host_status mps_host_depthwise2d_float(const mps_host_conv2d *shape, unsigned bits, const uint8_t *weights, const float *scale,
                                           const float *input, const float *bias, float *output, unsigned threads);
mps_host_status mps_host_depthwise2d_integers(const mps_host_conv2d *shape, unsigned bits, const uint8_t *weights, const int8_t *input,
                                              const mps_host_requantize *requantize, int8_t *output, unsigned threads);

#endif
