/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mps/mps_packed.h"
#include "mps/mps_rows.h"
#include "mps/mps_simd.h"

enum { FEW_WEIGHTS = 512 };

static size_t values_per_channel(const mps_conv2d_params *p) { return (size_t)p->kernel_h * p->kernel_w * (p->input_c / p->groups); }

/* 1x1 kernels read the input where it lies, provided no window reaches outside. */
static int is_pointwise(const mps_conv2d_params *p) {
  return p->kernel_h == 1 && p->kernel_w == 1 && p->pad_top == 0 && p->pad_left == 0 && (p->output_h - 1) * p->stride_h < p->input_h &&
         (p->output_w - 1) * p->stride_w < p->input_w;
}

static size_t column_count(const mps_conv2d_params *p) {
  const size_t pixels = (size_t)p->output_h * p->output_w;
  const size_t most = values_per_channel(p) <= FEW_WEIGHTS ? 8 : 4;
  return is_pointwise(p) ? 0 : pixels < most ? pixels : most;
}

/* A 1x1 kernel unpacks a row of weights once for all pixels; larger ones would once for a few columns. */
static int is_packed(const mps_conv2d_params *p) { return !is_pointwise(p) && mps_has_packed_dot(p->weight_bits); }

size_t mps_conv2d_scratch_bytes(const mps_conv2d_params *params) {
  const size_t values = values_per_channel(params), columns = column_count(params), paired = columns < 2 ? columns : 2;
  const size_t unpacked = (columns + (params->weight_bits < 8 ? 2u : 0u)) * values;
  const size_t packed = is_packed(params) ? mps_pairs_bytes(values, paired) + paired * values : 0;
  return packed > unpacked ? packed : unpacked;
}

/* A pixel's worth of values; short runs are not worth a call. */
static inline void copy(int8_t *to, const int8_t *from, size_t count) {
  for (; count >= 4; count -= 4, from += 4, to += 4) memcpy(to, from, 4);
  for (; count > 0; count--) *to++ = *from++;
}

/* The values that output pixel (y, x) of a group sees, in the order of its weights; padding feeds the zero point. */
static void gather(const mps_conv2d_params *p, const int8_t *input, size_t y, size_t x, int8_t *column) {
  const size_t count = p->input_c / p->groups;
  const int32_t top = (int32_t)(y * p->stride_h) - p->pad_top, left = (int32_t)(x * p->stride_w) - p->pad_left;
  const int joined = p->groups == 1 && p->dilation_w == 1 && left >= 0 && left + p->kernel_w <= p->input_w;
  for (int32_t ky = 0; ky < p->kernel_h; ky++) {
    const int32_t row = top + ky * p->dilation_h;
    if (row < 0 || row >= p->input_h) {
      memset(column, p->input_zero_point, p->kernel_w * count);
      column += p->kernel_w * count;
    } else if (joined) {
      copy(column, input + ((size_t)row * p->input_w + (size_t)left) * p->input_c, p->kernel_w * count);
      column += p->kernel_w * count;
    } else {
      for (int32_t kx = 0; kx < p->kernel_w; kx++, column += count) {
        const int32_t at = left + kx * p->dilation_w;
        if (at < 0 || at >= p->input_w)
          memset(column, p->input_zero_point, count);
        else
          copy(column, input + ((size_t)row * p->input_w + (size_t)at) * p->input_c, count);
      }
    }
  }
}

#if MPS_SIMD
/* Two pixels at a time, all output channels on the packed weights. */
static void packed(const mps_conv2d_params *p, const mps_dot_target *target, const int8_t *input, int8_t *output, int8_t *scratch) {
  const size_t values = values_per_channel(p), pixels = (size_t)p->output_h * p->output_w, per_group = p->output_c / p->groups;
  mps_packed_input pair = {.pairs = (uint32_t *)(void *)scratch, .values = values};
  int8_t *columns = scratch + mps_pairs_bytes(values, pixels < 2 ? pixels : 2);
  for (size_t group = 0; group < p->groups; group++, input += p->input_c / p->groups) {
    for (size_t first = 0; first < pixels; first += 2) {
      pair.pixels = first + 1 < pixels ? 2 : 1;
      for (size_t i = 0; i < pair.pixels; i++) gather(p, input, (first + i) / p->output_w, (first + i) % p->output_w, columns + i * values);
      mps_pack_pixels(&pair, columns, columns + values, p->weight_bits);
      mps_packed_channels(&pair, target, p->weight_bits, group * per_group, (group + 1) * per_group,
                          output + first * p->output_c + group * per_group, p->output_c);
    }
  }
}
#endif

static void pointwise(const mps_conv2d_params *p, mps_dot_job *job, const mps_dot_target *target, const int8_t *input, int8_t *output) {
  const int whole = p->stride_w == 1 && p->stride_h == 1 && p->output_w == p->input_w;
  job->input_pitch = (size_t)p->stride_w * p->input_c;
  job->pixels = whole ? (size_t)p->output_h * p->output_w : p->output_w;
  for (size_t y = 0; y < (whole ? 1u : p->output_h); y++) {
    job->input = input + y * p->stride_h * p->input_w * p->input_c;
    job->output = output + y * p->output_w * p->output_c;
    mps_dot_pixels(job, target);
  }
}

mps_status mps_conv2d(const mps_conv2d_params *params, const mps_channels *channels, const int8_t *input, int8_t *output, int8_t *scratch) {
  if (params->weight_bits < 2 || params->weight_bits > 8 || params->groups == 0) return MPS_BAD_ARGUMENT;
  const mps_dot_target target = {.channels = channels,
                                 .zero_point = params->output_zero_point,
                                 .lowest = params->lowest,
                                 .highest = params->highest,
                                 .left_shift = params->left_shift};
#if MPS_SIMD
  if (is_packed(params)) {
    packed(params, &target, input, output, scratch);
    return MPS_OK;
  }
#endif
  const size_t values = values_per_channel(params), columns = column_count(params), per_group = params->output_c / params->groups;
  const size_t pixels = (size_t)params->output_h * params->output_w, step = columns == 0 ? pixels : columns;
  int8_t *rows = scratch + columns * values;
  mps_dot_job job = {.values = values, .input = scratch, .input_pitch = values, .output_pitch = params->output_c};
  for (size_t group = 0; group < params->groups; group++) {
    const int8_t *group_input = input + group * (params->input_c / params->groups);
    for (size_t first = 0; first < pixels; first += step) {
      job.pixels = pixels - first < step ? pixels - first : step;
      for (size_t i = 0; i < job.pixels && columns != 0; i++) {
        gather(params, group_input, (first + i) / params->output_w, (first + i) % params->output_w, scratch + i * values);
      }
      for (size_t channel = group * per_group; channel < (group + 1) * per_group; channel += 2) {
        mps_take_rows(&job, channels->weights, channel, (group + 1) * per_group, params->weight_bits, rows);
        job.output = output + first * params->output_c + channel;
        if (columns == 0)
          pointwise(params, &job, &target, group_input, output + channel);
        else
          mps_dot_pixels(&job, &target);
      }
    }
  }
  return MPS_OK;
}
