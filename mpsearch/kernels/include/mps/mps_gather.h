/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_GATHER_H
#define MPS_GATHER_H

#include <stddef.h>
#include <stdint.h>

#include "mps/mps_params.h"
#include "mps/mps_simd.h"

/* Whether the groups divide the channels: what every convolution checks first. */
static inline int mps_has_groups(const mps_conv2d_params *p) { return p->groups != 0 && p->input_c % p->groups == 0 && p->output_c % p->groups == 0; }

/* Weights of one output channel; 0 where there are no groups. */
static inline size_t mps_values_per_channel(const mps_conv2d_params *p) {
  return p->groups == 0 ? 0 : (size_t)p->kernel_h * p->kernel_w * (p->input_c / p->groups);
}

/* Copies `count` values to a window, from channel `first` of pixel `pixel` on, and on into the next pixels if there are so many. */
typedef void (*mps_fetch)(const mps_conv2d_params *params, const void *input, size_t pixel, size_t first, size_t count, void *window);

/* Writes `count` zero points to a window. */
typedef void (*mps_fill)(const mps_conv2d_params *params, size_t count, void *window);

/* The values that output pixel (y, x) of a group sees, in the order of its weights; padding feeds the zero point.
   [in] first        input channel of the group
   [in] runs_on      whether fetch can cross from one pixel to the next
   [in] value_bytes  of a value in the window */
MPS_INLINE void mps_gather(const mps_conv2d_params *p, const void *input, size_t first, size_t y, size_t x, uint8_t *window, size_t value_bytes,
                           int runs_on, mps_fetch fetch, mps_fill fill) {
  const size_t count = p->input_c / p->groups;
  const int32_t top = (int32_t)(y * p->stride_h) - p->pad_top, left = (int32_t)(x * p->stride_w) - p->pad_left;
  const int joined = runs_on && p->groups == 1 && p->dilation_w == 1 && left >= 0 && left + p->kernel_w <= p->input_w;
  for (int32_t ky = 0; ky < p->kernel_h; ky++) {
    const int32_t row = top + ky * p->dilation_h;
    if (row < 0 || row >= p->input_h) {
      fill(p, p->kernel_w * count, window);
      window += p->kernel_w * count * value_bytes;
    } else if (joined) {
      fetch(p, input, (size_t)row * p->input_w + (size_t)left, 0, p->kernel_w * count, window);
      window += p->kernel_w * count * value_bytes;
    } else {
      for (int32_t kx = 0; kx < p->kernel_w; kx++, window += count * value_bytes) {
        const int32_t at = left + kx * p->dilation_w;
        if (at < 0 || at >= p->input_w)
          fill(p, count, window);
        else
          fetch(p, input, (size_t)row * p->input_w + (size_t)at, first, count, window);
      }
    }
  }
}

#endif
