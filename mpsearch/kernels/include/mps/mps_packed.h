/* SPDX-License-Identifier: Apache-2.0 */
/* Dot products on packed 4-bit and 2-bit weights, without unpacking them. Needs mps_simd.h.

   A word holds 8 or 16 weights u = q + 2^(bits - 1); one AND takes those at i and i + half a word out of it, ready for a dual product. So the
   activations are laid out as the same pairs once, and serve all output channels: sum(q x) = sum(u x) - 2^(bits - 1) sum(x). */
#ifndef MPS_PACKED_H
#define MPS_PACKED_H

#include "mps/mps_dot.h"

static inline int mps_has_packed_dot(unsigned bits) { return bits == 2 || bits == 4; }

/* Bytes of `pixels` pixels as pairs. */
static inline size_t mps_pairs_bytes(size_t values, size_t pixels) { return ((values + 15) & ~(size_t)15) * 2 * pixels; }

/* One or two pixels as pairs: pairs[i] for one; pairs[2 i] and pairs[2 i + 1] for two. */
typedef struct {
  uint32_t *pairs;
  int32_t sums[2];
  size_t values, pixels;
} mps_packed_input;

/* Fill pairs and sums. [in] pixels  `values` int8 each */
void mps_pack_pixels(mps_packed_input *input, const int8_t *first, const int8_t *second, unsigned bits);

/* Channels first .. end - 1 of the pixels.
   [in] weights  packed rows of the whole layer
   [out] output  [pixels] at a distance of output_pitch, channel `first` of the first pixel */
void mps_packed_channels(const mps_packed_input *input, const mps_dot_target *target, unsigned bits, size_t first, size_t end, int8_t *output,
                         size_t output_pitch);

#endif
