/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_HOST_IMAGE_H
#define MPS_HOST_IMAGE_H

#include "mps/mps_host.h"

/* Activations of a convolution as int8 with their padding around them, so that every window lies whole.
   pixels     [batch][height][width][channels], readable MPS_HOST_SLACK bytes beyond the end
   row_scale  [batch][output_h * output_w], for float input */
typedef struct {
  const int8_t *pixels;
  size_t height, width, channels;
  float *row_scale;
} mps_host_image;

enum { MPS_HOST_SLACK = 64 };

/* Quantise `floats`, or copy `bytes`, into scratch of this thread's MPS_SCRATCH_LAYER slot. Channels are repeated `repeats` times each.
   `zero_point` fills the padding. */
mps_host_status mps_host_make_image(const mps_host_conv2d *shape, const float *floats, const int8_t *bytes, int32_t zero_point, size_t repeats,
                                    unsigned threads, mps_host_image *image);

#endif
