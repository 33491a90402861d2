/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_host_image.h"

#include <string.h>

#include "mps_host_kernels.h"
#include "mps_host_pool.h"
#include "mps_host_quantize.h"
#include "mps_host_scratch.h"

typedef struct {
  const mps_host_conv2d *shape;
  const mps_host_kernels *kernels;
  const mps_host_image *image;
  const float *floats;
  const int8_t *bytes;
  int8_t *pixels;
  float *inverse; /* [batch] */
  size_t repeats;
  int zero_point;
} work;

static void find_scale(void *context, size_t sample) {
  const work *w = context;
  const size_t values = (size_t)w->shape->input_h * w->shape->input_w * w->shape->input_c, rows = (size_t)w->shape->output_h * w->shape->output_w;
  float scale;
  w->inverse[sample] = mps_host_find_scale(w->floats + sample * values, values, &scale);
  for (size_t row = 0; row < rows; row++) w->image->row_scale[sample * rows + row] = scale;
}

/* In place, from the end: `count` values become count * repeats. */
static void repeat(int8_t *values, size_t count, size_t repeats) {
  for (size_t i = count; repeats > 1 && i-- > 0;) {
    const int8_t value = values[i];
    for (size_t r = 0; r < repeats; r++) values[i * repeats + r] = value;
  }
}

static void fill_row(void *context, size_t index) {
  const work *w = context;
  const mps_host_conv2d *s = w->shape;
  const size_t sample = index / w->image->height, y = index % w->image->height, bytes = w->image->width * w->image->channels;
  int8_t *row = w->pixels + index * bytes;
  memset(row, w->zero_point, bytes);
  if (y < s->pad_top || y - s->pad_top >= s->input_h || s->pad_left >= w->image->width) return;
  const size_t room = w->image->width - s->pad_left, columns = room < s->input_w ? room : s->input_w, values = columns * s->input_c;
  const size_t from = (sample * s->input_h + y - s->pad_top) * s->input_w * s->input_c;
  int8_t *inside = row + s->pad_left * w->image->channels;
  if (w->floats != NULL)
    w->kernels->quantize(w->floats + from, values, w->inverse[sample], inside);
  else
    memcpy(inside, w->bytes + from, values);
  repeat(inside, values, w->repeats);
}

mps_host_status mps_host_make_image(const mps_host_conv2d *shape, const float *floats, const int8_t *bytes, int32_t zero_point, size_t repeats,
                                    unsigned threads, mps_host_image *image) {
  const mps_host_kernels *kernels = mps_host_current();
  if (kernels == NULL) return MPS_HOST_NO_SUCH_ISA;
  image->height = (size_t)(shape->output_h - 1) * shape->stride_h + (size_t)(shape->kernel_h - 1) * shape->dilation_h + 1;
  image->width = (size_t)(shape->output_w - 1) * shape->stride_w + (size_t)(shape->kernel_w - 1) * shape->dilation_w + 1;
  image->channels = shape->input_c * repeats;
  const size_t pixel_bytes = shape->batch * image->height * image->width * image->channels;
  const size_t scales = floats == NULL ? 0 : shape->batch * ((size_t)shape->output_h * shape->output_w + 1);
  float *memory = mps_host_scratch(MPS_SCRATCH_LAYER, scales * sizeof(*memory) + pixel_bytes + MPS_HOST_SLACK);
  if (memory == NULL) return MPS_HOST_NO_MEMORY;
  work w = {.shape = shape, .kernels = kernels, .image = image, .floats = floats, .bytes = bytes, .repeats = repeats, .zero_point = zero_point};
  w.inverse = memory;
  w.pixels = (int8_t *)(memory + scales);
  image->row_scale = memory + shape->batch;
  image->pixels = w.pixels;
  memset(w.pixels + pixel_bytes, 0, MPS_HOST_SLACK);
  if (floats != NULL) mps_host_parallel(threads, shape->batch, find_scale, &w);
  mps_host_parallel(threads, shape->batch * image->height, fill_row, &w);
  return MPS_HOST_OK;
}
