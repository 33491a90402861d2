/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mps/mps_tile.h"

static size_t values_per_channel(const mps_conv2d_params *p) { return (size_t)p->kernel_h * p->kernel_w * (p->input_c / p->groups); }

/* 1x1 kernels read the input where it lies, provided no window reaches outside. */
static int is_pointwise(const mps_conv2d_params *p) {
  return p->kernel_h == 1 && p->kernel_w == 1 && p->pad_top == 0 && p->pad_left == 0 && (p->output_h - 1) * p->stride_h < p->input_h &&
         (p->output_w - 1) * p->stride_w < p->input_w;
}

/* A gathered window and unpacked rows of weights are never needed at once. */
static size_t line_bytes(const mps_conv2d_params *p) {
  const size_t values = values_per_channel(p), window = is_pointwise(p) ? 0 : (values + 3) & ~(size_t)3;
  const size_t rows = mps_tile_row_bytes(values, p->weight_bits);
  return window > rows ? window : rows;
}

size_t mps_conv2d_scratch_bytes(const mps_conv2d_params *params) {
  return mps_tile_bytes(values_per_channel(params), (size_t)params->output_h * params->output_w, params->weight_bits) + line_bytes(params);
}

/* A pixel's worth of values; short runs are not worth a call. */
static inline void copy(int8_t *to, const int8_t *from, size_t count) {
#if MPS_MVE
  __asm__ volatile("wlstp.8 lr, %[count], 2f\n1:\n\tvldrb.u8 q0, [%[from]], #16\n\tvstrb.8 q0, [%[to]], #16\n\tletp lr, 1b\n2:"
                   : [from] "+r"(from), [to] "+r"(to)
                   : [count] "r"(count)
                   : "lr", "q0", "cc", "memory");
#else
  for (; count >= 4; count -= 4, from += 4, to += 4) memcpy(to, from, 4);
  for (; count > 0; count--) *to++ = *from++;
#endif
}

/* The values that output pixel (y, x) of a group sees, in the order of its weights; padding feeds the zero point. */
static void gather(const mps_conv2d_params *p, const int8_t *input, size_t y, size_t x, int8_t *window) {
  const size_t count = p->input_c / p->groups;
  const int32_t top = (int32_t)(y * p->stride_h) - p->pad_top, left = (int32_t)(x * p->stride_w) - p->pad_left;
  const int joined = p->groups == 1 && p->dilation_w == 1 && left >= 0 && left + p->kernel_w <= p->input_w;
  for (int32_t ky = 0; ky < p->kernel_h; ky++) {
    const int32_t row = top + ky * p->dilation_h;
    if (row < 0 || row >= p->input_h) {
      memset(window, p->input_zero_point, p->kernel_w * count);
      window += p->kernel_w * count;
    } else if (joined) {
      copy(window, input + ((size_t)row * p->input_w + (size_t)left) * p->input_c, p->kernel_w * count);
      window += p->kernel_w * count;
    } else {
      for (int32_t kx = 0; kx < p->kernel_w; kx++, window += count) {
        const int32_t at = left + kx * p->dilation_w;
        if (at < 0 || at >= p->input_w)
          memset(window, p->input_zero_point, count);
        else
          copy(window, input + ((size_t)row * p->input_w + (size_t)at) * p->input_c, count);
      }
    }
  }
}

/* Where the next output pixel lies. */
typedef struct {
  size_t y, x;
} position;

static inline position next_to(position at, size_t width) { return at.x + 1 < width ? (position){at.y, at.x + 1} : (position){at.y + 1, 0}; }

/* One group of channels. [in] input, output  first channel of the group */
static void run_group(const mps_conv2d_params *p, mps_tile *tile, const mps_tile_target *target, size_t first, const int8_t *input, int8_t *output) {
  const size_t pixels = (size_t)p->output_h * p->output_w, per_group = p->output_c / p->groups;
  const int direct = is_pointwise(p);
  position at = {0, 0};
  for (size_t done = 0; done < pixels; done += tile->pixels) {
    tile->pixels = mps_tile_pixels(pixels - done, tile->bits);
    for (size_t i = 0; i < tile->pixels; i++, at = next_to(at, p->output_w)) {
      if (direct) {
        mps_tile_lay(tile, i, input + (at.y * p->stride_h * p->input_w + at.x * p->stride_w) * p->input_c);
      } else {
        gather(p, input, at.y, at.x, tile->row);
        mps_tile_lay(tile, i, tile->row);
      }
    }
    mps_tile_channels(tile, target, first, first + per_group, output + done * p->output_c, p->output_c);
  }
}

mps_status mps_conv2d(const mps_conv2d_params *params, const mps_channels *channels, const int8_t *input, int8_t *output, int8_t *scratch) {
  if (params->weight_bits < 2 || params->weight_bits > 8 || params->groups == 0) return MPS_BAD_ARGUMENT;
  const size_t values = values_per_channel(params), per_group = params->output_c / params->groups;
  const mps_tile_target target = {.channels = channels,
                                  .zero_point = params->output_zero_point,
                                  .lowest = params->lowest,
                                  .highest = params->highest,
                                  .left_shift = params->left_shift};
  mps_tile tile = {.values = values,
                   .bits = params->weight_bits,
                   .data = scratch,
                   .row = scratch + mps_tile_bytes(values, (size_t)params->output_h * params->output_w, params->weight_bits)};
  for (size_t group = 0; group < params->groups; group++)
    run_group(params, &tile, &target, group * per_group, input + group * (params->input_c / params->groups), output + group * per_group);
  return MPS_OK;
}
