/* SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>
#include <string.h>

#include "mps/mps_unpack.h"
#include "mps_host_channels.h"
#include "mps_host_image.h"
#include "mps_host_pool.h"
#include "mps_host_scratch.h"

typedef struct {
  const mps_host_conv2d *shape;
  const mps_host_kernels *kernels;
  mps_host_image image;
  size_t taps, padded; /* taps: rounded up to fours */
  const int8_t *weights;
  const int32_t *start;
  const float *scale, *bias;
  mps_host_channels channels;
  float *floats;
  int8_t *bytes;
  atomic_int failed;
} work;

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static void finish(const work *w, mps_host_sums *sums, size_t row, unsigned pixels, size_t channel) {
  const size_t pitch = w->shape->output_c, at = row * pitch + channel, channels = smaller(pitch - channel, MPS_HOST_PANEL_CHANNELS);
  if (w->floats != NULL) {
    w->kernels->scale(sums, pixels, w->scale + channel);
    w->kernels->finish_float(sums, pixels, channels, w->image.row_scale + row, w->bias + channel, w->floats + at, pitch);
    return;
  }
  mps_host_channels scales = w->channels;
  scales.bias += channel;
  scales.multiplier += channel;
  scales.right_shift += channel;
  w->kernels->finish_integers(sums, pixels, channels, &scales, w->bytes + at, pitch);
}

static void convolve_line(void *context, size_t index) {
  work *w = context;
  const mps_host_conv2d *s = w->shape;
  const size_t sample = index / s->output_h, y = index % s->output_h, pixel_bytes = w->image.channels, line = w->image.width * pixel_bytes;
  const int8_t **input = mps_host_scratch(MPS_SCRATCH_TASK, 2 * w->taps * sizeof(*input)), **under = input + w->taps;
  if (input == NULL) {
    atomic_store(&w->failed, 1);
    return;
  }
  for (size_t tap = 0; tap < w->taps; tap++) {
    const size_t real = tap < (size_t)s->kernel_h * s->kernel_w ? tap : 0, ky = real / s->kernel_w, kx = real % s->kernel_w;
    input[tap] = w->image.pixels + (sample * w->image.height + y * s->stride_h + ky * s->dilation_h) * line + kx * s->dilation_w * pixel_bytes;
  }
  for (size_t x = 0; x < s->output_w; x += MPS_HOST_MOST_ROWS) {
    const unsigned pixels = (unsigned)smaller(s->output_w - x, MPS_HOST_MOST_ROWS);
    for (size_t channel = 0; channel < s->output_c; channel += MPS_HOST_PANEL_CHANNELS) {
      for (size_t tap = 0; tap < w->taps; tap++) under[tap] = input[tap] + x * s->stride_w * pixel_bytes + channel;
      const mps_host_depthwise job = {.weights = w->weights + (w->kernels->arrange == NULL ? channel : channel * w->taps),
                                      .start = w->start + channel,
                                      .input = under,
                                      .taps = w->taps,
                                      .pitch = w->padded,
                                      .step = s->stride_w * pixel_bytes,
                                      .pixels = pixels};
      mps_host_sums sums;
      w->kernels->depthwise(&job, &sums);
      finish(w, &sums, index * s->output_w + x, pixels, channel);
    }
  }
}

/* Unpacked weights, with zeros up to fours of taps and whole panels, and the sum of each channel's. */
static void unpack_weights(const work *w, const uint8_t *packed, unsigned bits, int8_t *weights, int32_t *sums) {
  const size_t channels = w->shape->output_c, bytes = mps_row_bytes(channels, bits);
  memset(weights, 0, w->taps * w->padded);
  memset(sums, 0, channels * sizeof(*sums));
  const size_t taps = (size_t)w->shape->kernel_h * w->shape->kernel_w;
  for (size_t tap = 0; tap < taps; tap++, packed += bytes, weights += w->padded) {
    if (bits == 8)
      memcpy(weights, packed, channels);
    else
      mps_unpack(packed, channels, 0, channels, bits, weights);
    for (size_t c = 0; c < channels; c++) sums[c] += weights[c];
  }
}

static mps_host_status convolve(work *w, unsigned bits, const uint8_t *packed, const float *scale, const float *input, const int8_t *bytes,
                                const float *bias, const mps_host_requantize *requantize, unsigned threads) {
  const mps_host_conv2d *s = w->shape;
  if (bits < 2 || bits > 8 || s->groups != s->input_c || s->groups == 0 || s->output_c % s->groups != 0) return MPS_HOST_BAD_ARGUMENT;
  if (s->batch == 0 || s->output_h == 0 || s->output_w == 0) return MPS_HOST_OK;
  w->kernels = mps_host_current();
  if (w->kernels == NULL) return MPS_HOST_NO_SUCH_ISA;
  w->taps = ((size_t)s->kernel_h * s->kernel_w + 3) / 4 * 4;
  w->padded = (s->output_c + MPS_HOST_PANEL_CHANNELS - 1) / MPS_HOST_PANEL_CHANNELS * MPS_HOST_PANEL_CHANNELS;
  const size_t weight_bytes = w->taps * w->padded;
  int32_t *words = mps_host_scratch(MPS_SCRATCH_CALL, 5 * 4 * w->padded + 2 * weight_bytes);
  if (words == NULL) return MPS_HOST_NO_MEMORY;
  int32_t *sums = words + 3 * w->padded, *start = words + 4 * w->padded;
  int8_t *weights = (int8_t *)(words + 5 * w->padded), *arranged = weights + weight_bytes;
  unpack_weights(w, packed, bits, weights, sums);
  if (w->kernels->arrange != NULL) w->kernels->arrange(weights, w->taps, w->padded, arranged, start);
  w->weights = w->kernels->arrange != NULL ? arranged : weights;
  w->start = start;
  if (requantize != NULL) {
    w->channels = mps_host_pad_channels(requantize, sums, s->output_c, w->padded, words);
  } else {
    float *floats = (float *)(void *)words;
    mps_host_pad_floats(scale, s->output_c, w->padded, floats);
    mps_host_pad_floats(bias, s->output_c, w->padded, floats + w->padded);
    w->scale = floats;
    w->bias = floats + w->padded;
  }
  const int32_t zero_point = requantize == NULL ? 0 : requantize->input_zero_point;
  const mps_host_status status = mps_host_make_image(s, input, bytes, zero_point, s->output_c / s->groups, threads, &w->image);
  if (status != MPS_HOST_OK) return status;
  mps_host_parallel(threads, (size_t)s->batch * s->output_h, convolve_line, w);
  return atomic_load(&w->failed) ? MPS_HOST_NO_MEMORY : MPS_HOST_OK;
}

mps_host_status mps_host_depthwise2d_float(const mps_host_conv2d *shape, unsigned bits, const uint8_t *weights, const float *scale,
                                           const float *input, const float *bias, float *output, unsigned threads) {
  work w = {.shape = shape, .floats = output};
  return convolve(&w, bits, weights, scale, input, NULL, bias, NULL, threads);
}

mps_host_status mps_host_depthwise2d_integers(const mps_host_conv2d *shape, unsigned bits, const uint8_t *weights, const int8_t *input,
                                              const mps_host_requantize *requantize, int8_t *output, unsigned threads) {
  work w = {.shape = shape, .bytes = output};
  return convolve(&w, bits, weights, NULL, NULL, input, NULL, requantize, threads);
}
