/* SPDX-License-Identifier: Apache-2.0 */
/* The parameters of every kernel, as they lie in flash: fixed-width fields, no pointers, the same layout on every target.
   Shapes are in memory order, [H, W, C]. quant/packed_size.py counts these bytes. */
#ifndef MPS_PARAMS_H
#define MPS_PARAMS_H

#include <stdint.h>

enum { MPS_RANK = 4, MPS_COPY_RANK = 6, MPS_TABLE_SIZE = 256 };

/* input_bits and output_bits say how activations are stored, see mps.h: 4, 8 or 16. Zero points and clamp are integers of that many bits. */
typedef struct {
  uint16_t input_h, input_w, input_c;
  uint16_t output_h, output_w, output_c;
  uint16_t kernel_h, kernel_w;
  uint16_t stride_h, stride_w;
  uint16_t dilation_h, dilation_w;
  uint16_t pad_top, pad_left;
  uint16_t groups;
  int16_t input_zero_point, output_zero_point, lowest, highest;
  uint8_t weight_bits, left_shift, input_bits, output_bits, reserved[2];
} mps_conv2d_params;

typedef struct {
  uint32_t rows, input_c, output_c;
  int16_t input_zero_point, output_zero_point, lowest, highest;
  uint8_t weight_bits, left_shift, input_bits, output_bits;
} mps_linear_params;

/* shape is that of the output; bit d of broadcast[i] says that operand i has length 1 along axis d. */
typedef struct {
  uint32_t shape[MPS_RANK];
  int32_t multiplier[3];
  uint8_t right_shift[3], left_shift[3], broadcast[2];
  int8_t input_zero_point[2], output_zero_point, lowest, highest;
  uint8_t reserved[3];
} mps_add_params;

typedef struct {
  uint32_t shape[MPS_RANK];
  int32_t multiplier;
  uint8_t right_shift, left_shift, broadcast[2];
  int8_t input_zero_point[2], output_zero_point, lowest, highest;
  uint8_t reserved[3];
} mps_mul_params;

/* shape is that of the input; bit d of reduced says that axis d is averaged. */
typedef struct {
  uint32_t shape[MPS_RANK];
  int32_t multiplier;
  uint8_t right_shift, left_shift, reduced;
  int8_t input_zero_point, output_zero_point, lowest, highest;
  uint8_t reserved;
} mps_mean_params;

typedef struct {
  uint16_t input_h, input_w, channels;
  uint16_t output_h, output_w;
  uint16_t kernel_h, kernel_w;
  uint16_t stride_h, stride_w;
  uint16_t pad_top, pad_left;
} mps_window;

typedef struct {
  mps_window window;
  int8_t lowest, highest;
} mps_max_pool2d_params;

/* divisors is 1, or kernel_h * kernel_w when the windows count differently many values. */
typedef struct {
  mps_window window;
  uint16_t divisors;
  int8_t input_zero_point, output_zero_point, lowest, highest;
  uint8_t left_shift, reserved[3];
} mps_avg_pool2d_params;

/* A strided copy: transpose, slice, and one for each input of a concat. Strides and offsets count values. */
typedef struct {
  uint32_t shape[MPS_COPY_RANK];
  int32_t input_stride[MPS_COPY_RANK];
  int32_t output_stride[MPS_COPY_RANK];
  uint32_t input_offset, output_offset;
} mps_copy_params;

typedef struct {
  mps_copy_params copy;
  uint32_t output_size;
  int8_t value;
  uint8_t reserved[3];
} mps_pad_params;

typedef struct {
  uint32_t size;
} mps_unary_params;

_Static_assert(sizeof(mps_conv2d_params) == 44, "counted in packed_size.py");
_Static_assert(sizeof(mps_linear_params) == 24, "counted in packed_size.py");
_Static_assert(sizeof(mps_add_params) == 44, "counted in packed_size.py");
_Static_assert(sizeof(mps_mul_params) == 32, "counted in packed_size.py");
_Static_assert(sizeof(mps_mean_params) == 28, "counted in packed_size.py");
_Static_assert(sizeof(mps_max_pool2d_params) == 24, "counted in packed_size.py");
_Static_assert(sizeof(mps_avg_pool2d_params) == 32, "counted in packed_size.py");
_Static_assert(sizeof(mps_copy_params) == 80, "counted in packed_size.py");
_Static_assert(sizeof(mps_pad_params) == 88, "counted in packed_size.py");
_Static_assert(sizeof(mps_unary_params) == 4, "counted in packed_size.py");

#endif
