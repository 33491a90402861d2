/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mps/mps_finish.h"
#include "mps/mps_unpack.h"

/* A strip of the input is laid out once for a block of channels, padding included, and then serves every window that touches it: no window is
   gathered and none meets a border. The strip is a ring of lines; a line holds LINE_ROWS rows of the input in the order that the instruction set
   likes. The file of the instruction set defines

   BLOCK, LINE_ROWS  channels of a block; rows of a line
   mps_block         what the kernel keeps of the block's weights and constants; prepare_block fills it
   rows_together     how many output rows share the products of a line, where there is no stride
   start_strip       lays out the columns outside the input, fill_line the others of one line
   run_lines         computes output rows from the lines they need; run_whole_strip all rows, for kernels that have their own walk */

enum {
  TILE = 32,         /* output columns that share a strip */
  UNPACKED = 16,     /* channels whose weights are unpacked at a time; a multiple of 8 and of BLOCK */
  COLUMN_BYTES = 16, /* of a line, for each column of the input */
};

/* Columns of the strip before, inside and after the input. */
typedef struct {
  size_t before, inside, after;
} mps_columns;

/* The strip of one block of channels. */
typedef struct {
  const mps_conv2d_params *params;
  const int8_t *input;
  size_t first, count; /* channels */
  size_t width;        /* output columns that it serves */
  size_t columns;      /* its own */
  int32_t left;        /* column of the input that is its first; may be outside */
  mps_columns split;
  size_t multiplicity; /* outputs of each input channel */
  int whole;           /* a full block whose channels lie side by side in the input */
  uint32_t zeros;      /* four input zero points */
  int8_t *lines;
  size_t line_bytes, slots;
} mps_strip;

/* Lines first .. first + count - 1 serve `rows` output rows; the first window begins at row `offset` of the first line. */
typedef struct {
  int32_t first;
  size_t count, rows, offset;
} mps_need;

/* Weights of a block: tap t of its channel i is values[t * step + i]. */
typedef struct {
  const int8_t *values;
  size_t step;
} mps_taps;

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static size_t columns_for(const mps_conv2d_params *p, size_t width) {
  return (width - 1) * p->stride_w + (size_t)(p->kernel_w - 1) * p->dilation_w + 1;
}

static mps_columns split_of(const mps_strip *strip) {
  const int32_t end = strip->left + (int32_t)strip->columns, width = strip->params->input_w;
  const int32_t from = strip->left < 0 ? 0 : strip->left, to = end < width ? end : width;
  if (to <= from) return (mps_columns){.before = strip->columns};
  return (mps_columns){.before = (size_t)(from - strip->left), .inside = (size_t)(to - from), .after = (size_t)(end - to)};
}

/* The input at a row and the first column of the strip that is inside; NULL outside. */
static const int8_t *row_of(const mps_strip *strip, int32_t row) {
  const mps_conv2d_params *p = strip->params;
  if (row < 0 || row >= p->input_h) return NULL;
  return strip->input + ((size_t)row * p->input_w + (size_t)(strip->left < 0 ? 0 : strip->left)) * p->input_c;
}

/* Lines and pairs of weights that a kernel may touch when its first row is either of a pair: the sizes of scratch are the same on every target. */
static size_t pairs_of(const mps_conv2d_params *p) { return p->kernel_h / 2u + 1; }

#if MPS_MVE
#include "mps_depthwise2d_mve.inc"
#elif MPS_SIMD
#include "mps_depthwise2d_armv7em.inc"
#else
#include "mps_depthwise2d_portable.inc"
#endif

static size_t taps_of(const mps_conv2d_params *p) { return (size_t)p->kernel_h * p->kernel_w; }

static size_t prepared_bytes(const mps_conv2d_params *p) { return pairs_of(p) * p->kernel_w * 32u; }

static size_t strip_bytes(const mps_conv2d_params *p) { return p->kernel_h * COLUMN_BYTES * columns_for(p, smaller(p->output_w, TILE)); }

size_t mps_depthwise2d_scratch_bytes(const mps_conv2d_params *params) {
  return prepared_bytes(params) + strip_bytes(params) + (params->weight_bits < 8 ? taps_of(params) * UNPACKED : 0);
}

/* The lines for output row y and those below that share them. With dilation the rows of a window are no neighbours: its lines serve it alone. */
static mps_need lines_for(const mps_conv2d_params *p, const mps_block *block, int32_t y) {
  if (p->dilation_h > 1) return (mps_need){.count = (p->kernel_h + LINE_ROWS - 1u) / LINE_ROWS, .rows = 1};
  const size_t together = rows_together(block), rows = p->stride_h == 1 && (size_t)y + together <= p->output_h ? together : 1;
  const size_t top = (size_t)y * p->stride_h, bottom = top + p->kernel_h - 1u + (LINE_ROWS > 1 ? rows - 1 : 0);
  const size_t first = top / LINE_ROWS;
  return (mps_need){.first = (int32_t)first, .count = bottom / LINE_ROWS - first + 1, .rows = rows, .offset = top % LINE_ROWS};
}

static void fill(const mps_strip *strip, const mps_block *block, int32_t y, int32_t line) {
  const mps_conv2d_params *p = strip->params;
  const int32_t top = (p->dilation_h > 1 ? y * p->stride_h : 0) - p->pad_top + line * LINE_ROWS * p->dilation_h;
  int8_t *const at = strip->lines + (size_t)line % strip->slots * strip->line_bytes;
  fill_line(strip, block, row_of(strip, top), row_of(strip, top + p->dilation_h), at);
}

static void run_strip(const mps_strip *strip, const mps_block *block, int8_t *output) {
  const mps_conv2d_params *p = strip->params;
  int32_t filled = 0; /* lines before this one are in the ring or behind */
  for (int32_t y = 0; y < p->output_h;) {
    const mps_need need = lines_for(p, block, y);
    if (filled < need.first || p->dilation_h > 1) filled = need.first;
    for (; filled < need.first + (int32_t)need.count; filled++) fill(strip, block, y, filled);
    run_lines(strip, block, need, output);
    y += (int32_t)need.rows;
    output += need.rows * p->output_w * p->output_c;
  }
}

static void run_block(mps_strip *strip, const mps_block *block, int8_t *output) {
  const mps_conv2d_params *p = strip->params;
  for (size_t x = 0; x < p->output_w; x += TILE) {
    strip->width = smaller(TILE, p->output_w - x);
    strip->columns = columns_for(p, strip->width);
    strip->line_bytes = COLUMN_BYTES * strip->columns;
    strip->left = (int32_t)(x * p->stride_w) - p->pad_left;
    strip->split = split_of(strip);
    start_strip(strip, block);
    int8_t *const corner = output + x * p->output_c + strip->first;
    if (!run_whole_strip(strip, block, corner)) run_strip(strip, block, corner);
  }
}

mps_status mps_depthwise2d(const mps_conv2d_params *params, const mps_channels *channels, const int8_t *input, int8_t *output, int8_t *scratch) {
  const unsigned bits = params->weight_bits;
  if (bits < 2 || bits > 8 || params->groups == 0 || params->groups != params->input_c || params->output_c % params->input_c != 0)
    return MPS_BAD_ARGUMENT;
  if (params->input_bits != 8 || params->output_bits != 8) return MPS_BAD_ARGUMENT;
  const size_t taps = taps_of(params), row_bytes = mps_row_bytes(params->output_c, bits);
  int8_t *lines = scratch + prepared_bytes(params), *unpacked = lines + strip_bytes(params);
  mps_strip strip = {.params = params,
                     .input = input,
                     .lines = lines,
                     .slots = LINE_ROWS == 1 ? params->kernel_h : pairs_of(params),
                     .multiplicity = params->output_c / params->input_c,
                     .zeros = (uint8_t)params->input_zero_point * 0x01010101u};
  for (size_t first = 0; first < params->output_c; first += BLOCK) {
    mps_taps weights = {.values = (const int8_t *)channels->weights + first, .step = params->output_c};
    if (bits < 8) {
      const size_t start = first / UNPACKED * UNPACKED;
      if (first == start) {
        const size_t count = smaller(UNPACKED, params->output_c - start);
        for (size_t tap = 0; tap < taps; tap++)
          mps_unpack(channels->weights + tap * row_bytes, params->output_c, start, count, bits, unpacked + tap * UNPACKED);
      }
      weights = (mps_taps){.values = unpacked + (first - start), .step = UNPACKED};
    }
    strip.first = first;
    strip.count = smaller(BLOCK, params->output_c - first);
    strip.whole = strip.count == BLOCK && strip.multiplicity == 1;
    mps_block block;
    prepare_block(&block, &strip, channels, weights, scratch);
    run_block(&strip, &block, output);
  }
  return MPS_OK;
}
