/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mps/mps_gather.h"
#include "mps/mps_nibbles.h"
#include "mps/mps_tile.h"

/* 1x1 kernels read bytes where they lie, provided no window reaches outside. */
static int is_read_in_place(const mps_conv2d_params *p) {
  return p->input_bits == 8 && p->kernel_h == 1 && p->kernel_w == 1 && p->pad_top == 0 && p->pad_left == 0 &&
         (p->output_h - 1) * p->stride_h < p->input_h && (p->output_w - 1) * p->stride_w < p->input_w;
}

static size_t window_bytes(const mps_conv2d_params *p) { return is_read_in_place(p) ? 0 : (mps_values_per_channel(p) + 3) & ~(size_t)3; }

size_t mps_conv2d_scratch_bytes(const mps_conv2d_params *params) {
  return mps_tile_bytes(mps_values_per_channel(params), (size_t)params->output_h * params->output_w, params->weight_bits) + window_bytes(params);
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

MPS_INLINE void fetch_bytes(const mps_conv2d_params *p, const void *input, size_t pixel, size_t first, size_t count, void *window) {
  copy(window, (const int8_t *)input + pixel * p->input_c + first, count);
}

MPS_INLINE void fetch_nibbles(const mps_conv2d_params *p, const void *input, size_t pixel, size_t first, size_t count, void *window) {
  mps_load_nibbles((const uint8_t *)input + pixel * mps_nibble_bytes(p->input_c), first, count, window);
}

MPS_INLINE void fill(const mps_conv2d_params *p, size_t count, void *window) { memset(window, p->input_zero_point, count); }

static void gather_bytes(const mps_conv2d_params *p, const void *input, size_t first, size_t y, size_t x, int8_t *window) {
  mps_gather(p, input, first, y, x, (uint8_t *)window, 1, 1, fetch_bytes, fill);
}

static void gather_nibbles(const mps_conv2d_params *p, const void *input, size_t first, size_t y, size_t x, int8_t *window) {
  mps_gather(p, input, first, y, x, (uint8_t *)window, 1, p->input_c % 2 == 0, fetch_nibbles, fill);
}

/* Where the next output pixel lies. */
typedef struct {
  size_t y, x;
} position;

static inline position next_to(position at, size_t width) { return at.x + 1 < width ? (position){at.y, at.x + 1} : (position){at.y + 1, 0}; }

static void run_group(const mps_conv2d_params *p, mps_tile *tile, const mps_tile_target *target, size_t group, const void *input, void *output) {
  const size_t pixels = (size_t)p->output_h * p->output_w, per_group = p->output_c / p->groups;
  const size_t first = group * per_group, first_input = group * (p->input_c / p->groups);
  const int in_place = is_read_in_place(p);
  position at = {0, 0};
  for (size_t done = 0; done < pixels; done += tile->pixels) {
    tile->pixels = mps_tile_pixels(pixels - done, tile->bits);
    for (size_t i = 0; i < tile->pixels; i++, at = next_to(at, p->output_w)) {
      const int8_t *values = tile->window;
      if (in_place)
        values = (const int8_t *)input + (at.y * p->stride_h * p->input_w + at.x * p->stride_w) * p->input_c + first_input;
      else if (p->input_bits == 8)
        gather_bytes(p, input, first_input, at.y, at.x, tile->window);
      else
        gather_nibbles(p, input, first_input, at.y, at.x, tile->window);
      mps_tile_lay(tile, i, values);
    }
    if (p->output_bits == 8)
      mps_tile_channels(tile, target, first, first + per_group, (int8_t *)output + done * p->output_c + first, p->output_c);
    else
      mps_tile_nibbles(tile, target, first, first + per_group, (uint8_t *)output + done * mps_nibble_bytes(p->output_c), p->output_c);
  }
}

mps_status mps_conv2d(const mps_conv2d_params *params, const mps_channels *channels, const void *input, void *output, int8_t *scratch) {
  if (params->weight_bits < 2 || params->weight_bits > 8 || !mps_has_groups(params)) return MPS_BAD_ARGUMENT;
  if ((params->input_bits != 4 && params->input_bits != 8) || (params->output_bits != 4 && params->output_bits != 8)) return MPS_BAD_ARGUMENT;
  const size_t values = mps_values_per_channel(params);
  const mps_tile_target target = {.channels = channels,
                                  .zero_point = params->output_zero_point,
                                  .lowest = params->lowest,
                                  .highest = params->highest,
                                  .left_shift = params->left_shift};
  mps_tile tile = {.values = values,
                   .bits = params->weight_bits,
                   .data = scratch,
                   .window = scratch + mps_tile_bytes(values, (size_t)params->output_h * params->output_w, params->weight_bits)};
  for (size_t group = 0; group < params->groups; group++) run_group(params, &tile, &target, group, input, output);
  return MPS_OK;
}
