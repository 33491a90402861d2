/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mps_host_image.h"
#include "mps_host_product.h"

/* The windows of one channel group as rows of a product. */
typedef struct {
  const mps_host_conv2d *shape;
  mps_host_image image;
  size_t group_c, first_c;
  int in_place; /* windows of one pixel that fill whole blocks */
} windows;

/* Whole pieces of 16 bytes: what is copied too much lies in the image's slack and is overwritten by what comes next. */
static inline int8_t *copy_run(int8_t *output, const int8_t *from, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 16) memcpy(output + i, from + i, 16);
  return output + bytes;
}

static void gather_window(const windows *w, const int8_t *window, int8_t *output) {
  const mps_host_conv2d *s = w->shape;
  const size_t pixel = w->image.channels, down = s->dilation_h * w->image.width * pixel, across = s->dilation_w * pixel;
  const int together = s->groups == 1 && s->dilation_w == 1;
  const size_t runs = together ? 1 : s->kernel_w, run = together ? s->kernel_w * w->group_c : w->group_c;
  for (uint32_t ky = 0; ky < s->kernel_h; ky++, window += down) {
    for (size_t kx = 0; kx < runs; kx++) output = copy_run(output, window + kx * across, run);
  }
  memset(output, 0, MPS_HOST_VALUES); /* padding, and the start of the next row, which comes later */
}

static void take_windows(void *context, size_t first, size_t count, size_t padded, int8_t *buffer, const int8_t **row) {
  const windows *w = context;
  const mps_host_conv2d *s = w->shape;
  const size_t pixels = (size_t)s->output_h * s->output_w, pixel = w->image.channels, line = w->image.width * pixel;
  size_t sample = first / pixels, y = first % pixels / s->output_w, x = first % s->output_w;
  for (size_t i = 0; i < count; i++, buffer += padded) {
    row[i] = w->image.pixels + (sample * w->image.height + y * s->stride_h) * line + x * s->stride_w * pixel + w->first_c;
    if (!w->in_place) {
      gather_window(w, row[i], buffer);
      row[i] = buffer;
    }
    if (++x < s->output_w) continue;
    x = 0;
    if (++y < s->output_h) continue;
    y = 0;
    sample++;
  }
}

static int is_sound(const mps_host_conv2d *s) {
  return s->groups > 0 && s->input_c % s->groups == 0 && s->output_c % s->groups == 0 && s->kernel_h > 0 && s->kernel_w > 0;
}

static mps_host_status convolve(const mps_host_conv2d *shape, const mps_host_weights *weights, mps_host_product *product, const float *floats,
                                const int8_t *bytes, const mps_host_requantize *requantize, unsigned threads) {
  if (!is_sound(shape)) return MPS_HOST_BAD_ARGUMENT;
  if (shape->batch == 0 || shape->output_h == 0 || shape->output_w == 0) return MPS_HOST_OK;
  windows w = {.shape = shape, .group_c = shape->input_c / shape->groups};
  const size_t values = w.group_c * shape->kernel_h * shape->kernel_w, group_output = shape->output_c / shape->groups;
  w.in_place = shape->kernel_h == 1 && shape->kernel_w == 1 && values % MPS_HOST_VALUES == 0;
  mps_host_status status = mps_host_make_image(shape, floats, bytes, requantize == NULL ? 0 : requantize->input_zero_point, 1, threads, &w.image);
  product->rows = (size_t)shape->batch * shape->output_h * shape->output_w;
  product->output_pitch = shape->output_c;
  product->take = take_windows;
  product->source = &w;
  product->row_scale = w.image.row_scale;
  product->threads = threads;
  mps_host_requantize of_group;
  for (uint32_t group = 0; group < shape->groups && status == MPS_HOST_OK; group++) {
    if (weights[group].input_c != values || weights[group].output_c != group_output) return MPS_HOST_BAD_ARGUMENT;
    product->weights = weights + group;
    w.first_c = group * w.group_c;
    if (requantize != NULL) {
      of_group = *requantize;
      of_group.bias = requantize->bias == NULL ? NULL : requantize->bias + group * group_output;
      of_group.multiplier += group * group_output;
      of_group.right_shift += group * group_output;
      product->requantize = &of_group;
    }
    status = mps_host_multiply(product);
    if (product->floats != NULL) product->floats += group_output;
    if (product->bytes != NULL) product->bytes += group_output;
    if (product->bias != NULL) product->bias += group_output;
  }
  return status;
}

mps_host_status mps_host_conv2d_float(const mps_host_conv2d *shape, const mps_host_weights *weights, const float *input, const float *bias,
                                      float *output, unsigned threads) {
  mps_host_product product = {.bias = bias, .floats = output};
  return convolve(shape, weights, &product, input, NULL, NULL, threads);
}

mps_host_status mps_host_conv2d_integers(const mps_host_conv2d *shape, const mps_host_weights *weights, const int8_t *input,
                                         const mps_host_requantize *requantize, int8_t *output, unsigned threads) {
  mps_host_product product = {.bytes = output};
  return convolve(shape, weights, &product, NULL, input, requantize, threads);
}
