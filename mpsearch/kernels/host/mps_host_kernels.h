/* SPDX-License-Identifier: Apache-2.0 */
/* What an instruction set brings: the inner loops that mps_host_product.c arranges. */
#ifndef MPS_HOST_KERNELS_H
#define MPS_HOST_KERNELS_H

#include "mps/mps_host.h"

/* Before a loop of constant length whose sums should stay in registers: gcc 12 unrolls it at -O3 only. */
#if defined(__GNUC__) && !defined(__clang__)
#define MPS_UNROLL _Pragma("GCC unroll 8")
#else
#define MPS_UNROLL
#endif

/* Rows of activations that are multiplied together at most, and a step of their number. */
enum { MPS_HOST_MOST_ROWS = 12, MPS_HOST_ROW_STEP = 4, MPS_HOST_PANEL_CHANNELS = 2 * MPS_HOST_CHANNELS };

/* Where the sums of products go: integers as they are, or float, every group's integers times its scale, first group first. */
typedef union {
  int32_t integers[MPS_HOST_MOST_ROWS][MPS_HOST_PANEL_CHANNELS];
  float floats[MPS_HOST_MOST_ROWS][MPS_HOST_PANEL_CHANNELS];
} mps_host_sums;

/* A few rows of activations times one or two tiles of 16 channels.
   packed       NULL, or tiles to take instead of the panels, and to unpack into `unpacked` on the way
   panel        [quads][16 channels][4 values], a byte each unless the instruction set says otherwise
   activations  [quads][rows] words of 4 int8
   start        [groups][rows], where the sums of a group begin
   scale        [groups][16] for either tile; scale[0] is NULL for integers, and then there is one group */
typedef struct {
  const uint8_t *panel[2], *packed[2];
  uint8_t *unpacked[2];
  const int32_t *activations, *start;
  const float *scale[2];
  size_t quads, group_quads;
  unsigned rows, tiles, bits;
  const uint8_t *soon; /* weights of a later panel, worth fetching early */
  size_t soon_bytes;
} mps_host_tile;

/* One row of activations times one or two tiles of 16 channels as they lie packed; the fields mean the same. Each tile has sums of its own, 16 in
   row 0. */
typedef struct {
  const uint8_t *packed[2];
  const int8_t *activations;
  const int32_t *start;
  const float *scale[2];
  size_t blocks, group_blocks;
  unsigned tiles;
} mps_host_strip;

/* The same for all rows of a panel; arrays are padded to whole panels. */
typedef struct {
  const int32_t *bias, *multiplier, *right_shift;
  uint32_t left_shift;
  int32_t zero_point, lowest, highest;
} mps_host_channels;

/* Depthwise convolution of a few pixels in a row, 32 channels of them.
   weights  [taps][pitch]; where the instruction set arranges them, what it made of them for these channels
   start    [32], what it wants added to the sums
   input    for every tap, the first channel under it at the first pixel; the next pixel lies `step` bytes on
   Taps come in fours, with zeros for weights. */
typedef struct {
  const int8_t *weights;
  const int32_t *start;
  const int8_t *const *input;
  size_t taps, pitch, step;
  unsigned pixels;
} mps_host_depthwise;

typedef struct {
  const char *name;
  unsigned rows;           /* of a full block of activations */
  unsigned few;            /* up to so many rows the weights are unpacked anew for each row: strip, not tile */
  unsigned bytes_of_eight; /* bytes of a panel's 8-bit weight */
  unsigned signed_eight;   /* panels hold 8-bit weights as q, not as u */
  int direct_eight;        /* packed 8-bit tiles are panels already */
  int unpacking_tile;      /* tile unpacks on the way: there is no unpack */
  unsigned one_stream;     /* widths from this on want the two tiles of a strip side by side in memory, others far apart */
  void (*unpack[9])(const uint8_t *tile, size_t blocks, uint8_t *panel);
  void (*strip[9])(const mps_host_strip *strip, mps_host_sums sums[2]);
  void (*tile)(const mps_host_tile *tile, mps_host_sums *sums);
  /* [quads][rows] words of the rows; rows beyond `given` are zero. */
  void (*interleave)(const int8_t *const *row, unsigned given, unsigned rows, size_t quads, int32_t *activations);
  /* Sum of the values of each row, [quads][rows] words. */
  void (*row_sums)(const int32_t *activations, size_t quads, unsigned rows, int32_t *sums);
  /* The bits of the largest absolute value: integer order puts infinity and NaN on top. */
  uint32_t (*largest)(const float *values, size_t count);
  void (*quantize)(const float *values, size_t count, float inverse, int8_t *output);
  void (*finish_float)(const mps_host_sums *sums, unsigned rows, size_t channels, const float *row_scale, const float *bias, float *output,
                       size_t pitch);
  void (*finish_integers)(const mps_host_sums *sums, unsigned rows, size_t channels, const mps_host_channels *scales, int8_t *output, size_t pitch);
  void (*depthwise)(const mps_host_depthwise *job, mps_host_sums *sums);
  /* NULL, or: [taps][pitch] weights become [pitch / 32] x 32 * taps bytes, and start [pitch] for depthwise to add. */
  void (*arrange)(const int8_t *weights, size_t taps, size_t pitch, int8_t *arranged, int32_t *start);
  /* Integers become floats, times the scale of their channel, [32]. */
  void (*scale)(mps_host_sums *sums, unsigned rows, const float *scale);
} mps_host_kernels;

/* NULL: MPS_ISA asks for one that is not to be had. */
const mps_host_kernels *mps_host_current(void);

extern const mps_host_kernels mps_host_scalar;
#if defined(__x86_64__)
extern const mps_host_kernels mps_host_avx2, mps_host_avx512vnni;
#elif defined(__aarch64__)
extern const mps_host_kernels mps_host_neon;
#endif

#endif
