/* SPDX-License-Identifier: Apache-2.0 */
/* The one matrix product that convolutions and dense layers of every width share: a few pixels at a time, all output channels.

   A tile is laid out once, the way the instruction set multiplies, and serves all output channels; the weights stay packed and are read where they
   lie, as many rows at a time as registers allow. Each instruction set has its own layout in mps_tile_<isa>.inc; how many bytes a tile takes does not
   depend on it. */
#ifndef MPS_TILE_H
#define MPS_TILE_H

#include "mps/mps.h"
#include "mps/mps_simd.h"

enum { MPS_TILE_PIXELS = 4 }; /* the most that any instruction set multiplies at once */

/* Widths of one plane are multiplied as they lie; weights of several planes are put together first. */
static inline int mps_has_planes(unsigned bits) { return bits != 2 && bits != 4 && bits != 8; }

/* How many of the pixels that are left the next tile takes. */
static inline size_t mps_tile_pixels(size_t left, unsigned bits) {
#if MPS_MVE
  (void)bits;
  return left < 4 ? left : 4;
#elif MPS_SIMD
  if (mps_has_planes(bits)) return left >= 4 ? 4 : left < 2 ? left : 2;
  return left == 4 ? 2 : left < 3 ? left : 3;
#else
  (void)bits;
  return left < 2 ? left : 2;
#endif
}

/* values  weights of one output channel
   pixels  as mps_tile_pixels says
   bits    of a weight
   data    mps_tile_bytes(values, pixels of the layer, bits), 4-byte aligned
   window  [values] where the layer gathers or unpacks a pixel first, 4-byte aligned
   sums    of the values of each pixel, where the instruction set needs them */
typedef struct {
  size_t values, pixels;
  unsigned bits;
  void *data;
  int8_t *window;
  int32_t sums[MPS_TILE_PIXELS];
} mps_tile;

/* Where the results of a layer go. */
typedef struct {
  const mps_channels *channels;
  int16_t zero_point, lowest, highest;
  uint8_t left_shift;
} mps_tile_target;

/* The largest layout of all instruction sets: bytes a value for several pixels or a single one, whole vectors of packed weights.
   [in] pixels  of the layer */
static inline size_t mps_tile_bytes(size_t values, size_t pixels, unsigned bits) {
  const size_t several = mps_has_planes(bits) ? pixels >= 4 ? 8 : 4 : pixels >= 3 ? 6 : 4, each = pixels > 1 ? several : 2;
  return ((values + 63) & ~(size_t)63) * each;
}

/* Lay out pixel `index` of the tile, all from 0 in turn. [in] values  [tile->values], any alignment */
void mps_tile_lay(mps_tile *tile, size_t index, const int8_t *values);

/* Channels first .. end - 1 of the tile's pixels.
   [in] target   its weights are the packed rows of the whole layer
   [out] output  channel `first` of the first pixel; the next pixel lies `pitch` values further */
void mps_tile_channels(const mps_tile *tile, const mps_tile_target *target, size_t first, size_t end, int8_t *output, size_t pitch);

/* The same where the output has 4 bits. [out] output  the first pixel, all of its `pitch` channels */
void mps_tile_nibbles(const mps_tile *tile, const mps_tile_target *target, size_t first, size_t end, uint8_t *output, size_t pitch);

#endif
