/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mps/mps_finish.h"
#include "mps/mps_unpack.h"

enum { CHANNELS = 64, BLOCK = 4 };

/* A block of output channels of one pixel: tap (ky, kx) of channel c reads input[ky * row_step + kx * tap_step + c]. */
typedef struct {
  const int8_t *weights;
  size_t weight_step, first, count;
  size_t row_step, tap_step;
} tap_block;

static size_t taps_of(const mps_conv2d_params *p) { return (size_t)p->kernel_h * p->kernel_w; }

static size_t block_channels(const mps_conv2d_params *p) { return p->output_c < CHANNELS ? p->output_c : CHANNELS; }

size_t mps_depthwise2d_scratch_bytes(const mps_conv2d_params *params) {
  return taps_of(params) * block_channels(params) * (params->weight_bits < 8 ? 2u : 1u);
}

static inline int32_t scaled(const mps_channels *channels, mps_range range, size_t channel, int32_t sum) {
  return mps_rescale(sum + channels->bias[channel], range.left_shift, mps_scale_of(channels, channel));
}

/* One tap of four channels. */
static inline void add_tap(const int8_t *w, const int8_t *x, int32_t sums[BLOCK]) {
#if MPS_SIMD
  const uint32_t a = mps_load_word(w), b = mps_load_word(x);
  const uint32_t a_even = mps_even_bytes(a), b_even = mps_even_bytes(b);
  sums[0] = mps_low_product(a_even, b_even, sums[0]);
  sums[2] = mps_high_product(a_even, b_even, sums[2]);
  const uint32_t a_odd = mps_odd_bytes(a), b_odd = mps_odd_bytes(b);
  sums[1] = mps_low_product(a_odd, b_odd, sums[1]);
  sums[3] = mps_high_product(a_odd, b_odd, sums[3]);
#else
  sums[0] += w[0] * x[0];
  sums[1] += w[1] * x[1];
  sums[2] += w[2] * x[2];
  sums[3] += w[3] * x[3];
#endif
}

static void run_pixel(const mps_conv2d_params *p, const mps_channels *arrays, const tap_block *taps, const int8_t *restrict input,
                      int8_t *restrict output) {
  const mps_channels channels = *arrays;
  const tap_block block = *taps;
  const mps_range range = mps_range_of(p->output_zero_point, p->lowest, p->highest, p->left_shift);
  const size_t kernel_h = p->kernel_h, kernel_w = p->kernel_w;
  size_t c = 0;
  for (; c + BLOCK <= block.count; c += BLOCK) {
    int32_t sums[BLOCK] = {0};
    const int8_t *w = block.weights + c, *row = input + c;
    for (size_t ky = 0; ky < kernel_h; ky++, row += block.row_step) {
      const int8_t *x = row;
      size_t kx = 0;
      if (kernel_w == 3) { /* the usual width, without counting */
        add_tap(w, x, sums);
        add_tap(w + block.weight_step, x + block.tap_step, sums);
        add_tap(w + 2 * block.weight_step, x + 2 * block.tap_step, sums);
        w += 3 * block.weight_step;
        kx = 3;
      }
      for (; kx < kernel_w; kx++, x += block.tap_step, w += block.weight_step) add_tap(w, x, sums);
    }
    const size_t channel = block.first + c;
    int32_t v0 = scaled(&channels, range, channel, sums[0]), v1 = scaled(&channels, range, channel + 1, sums[1]);
    int32_t v2 = scaled(&channels, range, channel + 2, sums[2]), v3 = scaled(&channels, range, channel + 3, sums[3]);
    MPS_HOLD_4(v0, v1, v2, v3);
    output[c] = mps_into_range(v0, range);
    output[c + 1] = mps_into_range(v1, range);
    output[c + 2] = mps_into_range(v2, range);
    output[c + 3] = mps_into_range(v3, range);
  }
  for (; c < block.count; c++) {
    int32_t sum = 0;
    for (size_t ky = 0; ky < kernel_h; ky++) {
      for (size_t kx = 0; kx < kernel_w; kx++)
        sum += block.weights[(ky * kernel_w + kx) * block.weight_step + c] * input[ky * block.row_step + kx * block.tap_step + c];
    }
    output[c] = mps_into_range(scaled(&channels, range, block.first + c, sum), range);
  }
}

/* Copy what a block of channels sees of a pixel whose window leaves the input, or whose channels share inputs; padding feeds the zero point. */
static void gather(const mps_conv2d_params *p, const tap_block *block, const int8_t *input, int32_t top, int32_t left, int8_t *columns) {
  const size_t multiplicity = (size_t)p->output_c / p->input_c;
  for (int32_t ky = 0; ky < p->kernel_h; ky++) {
    const int32_t row = top + ky * p->dilation_h;
    for (int32_t kx = 0; kx < p->kernel_w; kx++, columns += block->count) {
      const int32_t at = left + kx * p->dilation_w;
      const int outside = row < 0 || row >= p->input_h || at < 0 || at >= p->input_w;
      const int8_t *pixel = outside ? input : input + ((size_t)row * p->input_w + (size_t)at) * p->input_c;
      if (outside)
        memset(columns, p->input_zero_point, block->count);
      else if (multiplicity == 1)
        memcpy(columns, pixel + block->first, block->count);
      else
        for (size_t c = 0; c < block->count; c++) columns[c] = pixel[(block->first + c) / multiplicity];
    }
  }
}

static void run_block(const mps_conv2d_params *p, const mps_channels *channels, const tap_block *block, const int8_t *input, int8_t *output,
                      int8_t *columns) {
  const int32_t reach_h = (p->kernel_h - 1) * p->dilation_h, reach_w = (p->kernel_w - 1) * p->dilation_w;
  tap_block gathered = *block, direct = *block;
  gathered.row_step = p->kernel_w * block->count;
  gathered.tap_step = block->count;
  direct.tap_step = (size_t)p->dilation_w * p->input_c;
  direct.row_step = (size_t)p->dilation_h * p->input_w * p->input_c;
  for (int32_t y = 0; y < p->output_h; y++) {
    const int32_t top = y * p->stride_h - p->pad_top;
    for (int32_t x = 0; x < p->output_w; x++, output += p->output_c) {
      const int32_t left = x * p->stride_w - p->pad_left;
      const int inside = top >= 0 && left >= 0 && top + reach_h < p->input_h && left + reach_w < p->input_w;
      if (inside && p->input_c == p->output_c) {
        run_pixel(p, channels, &direct, input + ((size_t)top * p->input_w + (size_t)left) * p->input_c + block->first, output);
      } else {
        gather(p, block, input, top, left, columns);
        run_pixel(p, channels, &gathered, columns, output);
      }
    }
  }
}

mps_status mps_depthwise2d(const mps_conv2d_params *params, const mps_channels *channels, const int8_t *input, int8_t *output, int8_t *scratch) {
  const unsigned bits = params->weight_bits;
  if (bits < 2 || bits > 8 || params->groups != params->input_c || params->output_c % params->input_c != 0) return MPS_BAD_ARGUMENT;
  const size_t taps = taps_of(params), row_bytes = mps_row_bytes(params->output_c, bits);
  int8_t *columns = scratch, *unpacked = scratch + taps * block_channels(params);
  for (size_t first = 0; first < params->output_c; first += CHANNELS) {
    tap_block block = {.first = first, .count = params->output_c - first < CHANNELS ? params->output_c - first : CHANNELS};
    if (bits == 8) {
      block.weights = (const int8_t *)channels->weights + first;
      block.weight_step = params->output_c;
    } else {
      for (size_t tap = 0; tap < taps; tap++)
        mps_unpack(channels->weights + tap * row_bytes, params->output_c, first, block.count, bits, unpacked + tap * block.count);
      block.weights = unpacked;
      block.weight_step = block.count;
    }
    run_block(params, channels, &block, input, output + first, columns);
  }
  return MPS_OK;
}
