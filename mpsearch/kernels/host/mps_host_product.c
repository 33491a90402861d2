/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_host_product.h"

#include <stdatomic.h>
#include <string.h>

#include "mps_host_channels.h"
#include "mps_host_pool.h"
#include "mps_host_scratch.h"

/* Activations that stay in the second-level cache while panel after panel of weights passes by. */
enum { CHUNK_BYTES = 768 * 1024, TASKS_PER_THREAD = 4, LEAST_BLOCKS_OF_A_TASK = 4 };

typedef struct {
  const mps_host_product *product;
  const mps_host_kernels *kernels;
  size_t tiles, panels, blocks, quads, groups, group_quads, tile_bytes;
  int32_t offset; /* what the panels hold is q + offset */
  size_t first_row, rows, row_blocks, parts;
  int32_t *activations, *start; /* [row block][quads][rows], [row block][groups][rows] */
  int8_t *plain;                /* [rows][quads * 4] instead, when rows are few */
  const float *bias;
  mps_host_channels channels;
  atomic_int failed;
} work;

static size_t ceiling(size_t count, size_t step) { return (count + step - 1) / step; }

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* How many rows a block of activations holds, filled up to a whole step. */
static unsigned rows_of(const work *w, size_t row_block) {
  const size_t rows = smaller(w->rows - row_block * w->kernels->rows, w->kernels->rows);
  return (unsigned)(ceiling(rows, MPS_HOST_ROW_STEP) * MPS_HOST_ROW_STEP);
}

static void pack_rows(void *context, size_t row_block) {
  work *w = context;
  const size_t values = w->quads * 4, first = row_block * w->kernels->rows, given = smaller(w->rows - first, w->kernels->rows);
  const unsigned rows = rows_of(w, row_block);
  int8_t *buffer = mps_host_scratch(MPS_SCRATCH_TASK, given * values + MPS_HOST_ROOM);
  if (buffer == NULL) {
    atomic_store(&w->failed, 1);
    return;
  }
  const int8_t *row[MPS_HOST_MOST_ROWS];
  w->product->take(w->product->source, w->first_row + first, given, values, buffer, row);
  int32_t *activations = w->activations + first * w->quads, *start = w->start + first * w->groups;
  w->kernels->interleave(row, (unsigned)given, rows, w->quads, activations);
  for (size_t group = 0; group < w->groups; group++, start += rows) {
    const size_t quad = group * w->group_quads;
    w->kernels->row_sums(activations + quad * rows, smaller(w->quads - quad, w->group_quads), rows, start);
    for (unsigned i = 0; i < rows; i++) start[i] *= -w->offset;
  }
}

static const float *scale_of(const work *w, size_t tile) {
  return w->product->floats == NULL ? NULL : w->product->weights->scale + tile * w->groups * MPS_HOST_CHANNELS;
}

static void finish(const work *w, const mps_host_sums *sums, size_t row, unsigned rows, size_t channel, size_t channels) {
  const mps_host_product *p = w->product;
  const size_t at = row * p->output_pitch + channel;
  if (channels > p->weights->output_c - channel) channels = p->weights->output_c - channel;
  if (p->floats != NULL) {
    w->kernels->finish_float(sums, rows, channels, p->row_scale + row, w->bias + channel, p->floats + at, p->output_pitch);
    return;
  }
  mps_host_channels scales = w->channels;
  scales.bias += channel;
  scales.multiplier += channel;
  scales.right_shift += channel;
  w->kernels->finish_integers(sums, rows, channels, &scales, p->bytes + at, p->output_pitch);
}

/* A panel of weights, unpacked once, times some of the blocks of activations. */
static void multiply_panel(void *context, size_t index) {
  work *w = context;
  const mps_host_product *p = w->product;
  const mps_host_kernels *kernels = w->kernels;
  const unsigned bits = p->weights->bits;
  const size_t panel = index / w->parts, part = index % w->parts, first = panel * 2;
  const size_t panel_bytes = w->quads * MPS_HOST_CHANNELS * 4 * (bits == 8 ? kernels->bytes_of_eight : 1);
  mps_host_tile tile = {.quads = w->quads, .group_quads = w->group_quads, .tiles = w->tiles - first < 2 ? 1 : 2, .bits = bits};
  uint8_t *unpacked = mps_host_scratch(MPS_SCRATCH_TASK, 2 * panel_bytes);
  if (unpacked == NULL) {
    atomic_store(&w->failed, 1);
    return;
  }
  for (unsigned i = 0; i < tile.tiles; i++) {
    const uint8_t *packed = p->weights->weights + (first + i) * w->tile_bytes;
    tile.scale[i] = scale_of(w, first + i);
    tile.panel[i] = tile.unpacked[i] = unpacked + i * panel_bytes;
    if (bits == 8 && kernels->direct_eight)
      tile.panel[i] = packed;
    else if (kernels->unpacking_tile)
      tile.packed[i] = packed;
    else
      kernels->unpack[bits](packed, w->blocks, tile.unpacked[i]);
  }
  const size_t begin = w->row_blocks * part / w->parts, end = w->row_blocks * (part + 1) / w->parts;
  const size_t following = (first + 2 * (p->threads > 1 ? p->threads : 1)) * w->tile_bytes, all = w->tiles * w->tile_bytes;
  const size_t soon_bytes = following < all ? smaller(all - following, 2 * w->tile_bytes) : 0;
  for (size_t block = begin; block < end; block++) {
    const size_t row = block * kernels->rows;
    tile.rows = rows_of(w, block);
    tile.activations = w->activations + row * w->quads;
    tile.start = w->start + row * w->groups;
    const size_t from = soon_bytes * (block - begin) / (end - begin), to = soon_bytes * (block - begin + 1) / (end - begin);
    tile.soon = p->weights->weights + (soon_bytes > 0 ? following + from : 0);
    tile.soon_bytes = to - from;
    mps_host_sums sums;
    kernels->tile(&tile, &sums);
    tile.packed[0] = tile.packed[1] = NULL;
    finish(w, &sums, w->first_row + row, (unsigned)smaller(w->rows - row, kernels->rows), panel * MPS_HOST_PANEL_CHANNELS, MPS_HOST_PANEL_CHANNELS);
  }
}

/* Panels share the weights' traffic; where there are few of them, the rows are divided as well. */
static size_t parts_of(const work *w) {
  const unsigned threads = w->product->threads;
  if (threads <= 1) return 1;
  const size_t wanted = ceiling((size_t)threads * TASKS_PER_THREAD, w->panels), most = w->row_blocks / LEAST_BLOCKS_OF_A_TASK;
  return wanted < most ? wanted : most > 0 ? most : 1;
}

static mps_host_status multiply_chunks(work *w) {
  const mps_host_product *p = w->product;
  const size_t step = w->kernels->rows;
  const size_t fitting = CHUNK_BYTES / (w->quads * 4 * step), blocks_at_once = fitting > 4 ? fitting : 4;
  for (w->first_row = 0; w->first_row < p->rows; w->first_row += w->rows) {
    w->rows = smaller(p->rows - w->first_row, blocks_at_once * step);
    w->row_blocks = ceiling(w->rows, step);
    w->parts = parts_of(w);
    mps_host_parallel(p->threads, w->row_blocks, pack_rows, w);
    if (atomic_load(&w->failed)) break;
    mps_host_parallel(p->threads, w->panels * w->parts, multiply_panel, w);
  }
  return atomic_load(&w->failed) ? MPS_HOST_NO_MEMORY : MPS_HOST_OK;
}

/* Some tiles of packed weights times every row, two at a time: neighbours, or one of each half. */
static void multiply_strips(void *context, size_t index) {
  work *w = context;
  const mps_host_weights *weights = w->product->weights;
  const size_t from = w->tiles * index / w->parts, to = w->tiles * (index + 1) / w->parts, pairs = (to - from + 1) / 2;
  const size_t step = weights->bits >= w->kernels->one_stream ? 2 : 1, apart = step == 2 ? 1 : pairs;
  for (size_t pair = 0; pair < pairs; pair++) {
    const size_t tiles[2] = {from + pair * step, from + pair * step + apart};
    mps_host_strip strip = {.blocks = w->blocks, .group_blocks = w->group_quads / 8, .tiles = tiles[1] < to ? 2 : 1};
    for (unsigned i = 0; i < strip.tiles; i++) {
      strip.packed[i] = weights->weights + tiles[i] * w->tile_bytes;
      strip.scale[i] = scale_of(w, tiles[i]);
    }
    for (size_t row = 0; row < w->product->rows; row++) {
      mps_host_sums sums[2];
      strip.activations = w->plain + row * w->quads * 4;
      strip.start = w->start + row * w->groups;
      w->kernels->strip[weights->bits](&strip, sums);
      for (unsigned i = 0; i < strip.tiles; i++) finish(w, &sums[i], row, 1, tiles[i] * MPS_HOST_CHANNELS, MPS_HOST_CHANNELS);
    }
  }
}

static mps_host_status multiply_few(work *w) {
  const mps_host_product *p = w->product;
  const size_t values = w->quads * 4;
  for (size_t row = 0; row < p->rows; row++) {
    int8_t *plain = w->plain + row * values;
    const int8_t *given;
    p->take(p->source, row, 1, values, plain, &given);
    if (given != plain) memcpy(plain, given, values);
    for (size_t group = 0; group < w->groups; group++) {
      const size_t quad = group * w->group_quads;
      int32_t *start = &w->start[row * w->groups + group];
      w->kernels->row_sums((const int32_t *)(const void *)plain + quad, smaller(w->quads - quad, w->group_quads), 1, start);
      *start *= -w->offset;
    }
  }
  w->parts = smaller(w->tiles, p->threads <= 1 ? 1 : (size_t)p->threads * TASKS_PER_THREAD);
  mps_host_parallel(p->threads, w->parts, multiply_strips, w);
  return MPS_HOST_OK;
}

static void pad_channels(work *w, int32_t *copies) {
  const mps_host_product *p = w->product;
  const size_t channels = p->weights->output_c, padded = w->panels * MPS_HOST_PANEL_CHANNELS;
  if (p->floats != NULL) {
    w->bias = (const float *)(const void *)copies;
    mps_host_pad_floats(p->bias, channels, padded, (float *)(void *)copies);
  } else {
    w->channels = mps_host_pad_channels(p->requantize, p->weights->sums, channels, padded, copies);
  }
}

mps_host_status mps_host_multiply(const mps_host_product *product) {
  const mps_host_weights *weights = product->weights;
  const mps_host_kernels *kernels = mps_host_current();
  if (kernels == NULL) return MPS_HOST_NO_SUCH_ISA;
  if (weights->bits < 2 || weights->bits > 8 || weights->group % MPS_HOST_VALUES != 0) return MPS_HOST_BAD_ARGUMENT;
  if (weights->input_c == 0 || weights->input_c > MPS_HOST_MOST_VALUES) return MPS_HOST_BAD_ARGUMENT;
  if (product->floats != NULL && weights->scale == NULL) return MPS_HOST_BAD_ARGUMENT;
  if (product->rows == 0 || weights->output_c == 0) return MPS_HOST_OK;
  work w = {.product = product, .kernels = kernels};
  w.tiles = ceiling(weights->output_c, MPS_HOST_CHANNELS);
  w.panels = ceiling(w.tiles, 2);
  w.blocks = ceiling(weights->input_c, MPS_HOST_VALUES);
  w.quads = w.blocks * (MPS_HOST_VALUES / 4);
  w.group_quads = product->floats != NULL && weights->group != 0 ? weights->group / 4 : w.quads;
  w.groups = ceiling(w.quads, w.group_quads);
  w.tile_bytes = w.blocks * 64 * weights->bits;
  w.offset = weights->bits == 8 && kernels->signed_eight ? 0 : 1 << (weights->bits - 1);

  const int few = product->rows <= kernels->few;
  const size_t chunk = CHUNK_BYTES / (w.quads * 4) + 5 * kernels->rows, at_once = smaller(product->rows, chunk);
  const size_t rows = few ? product->rows : ceiling(at_once, kernels->rows) * kernels->rows;
  const size_t activation_words = rows * w.quads + MPS_HOST_ROOM / 4, start_words = rows * w.groups,
               channel_words = 3 * w.panels * MPS_HOST_PANEL_CHANNELS;
  int32_t *words = mps_host_scratch(MPS_SCRATCH_CALL, 4 * (activation_words + channel_words + start_words));
  if (words == NULL) return MPS_HOST_NO_MEMORY;
  w.activations = words;
  w.plain = (int8_t *)words;
  pad_channels(&w, words + activation_words);
  w.start = words + activation_words + channel_words;
  return few ? multiply_few(&w) : multiply_chunks(&w);
}
