/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_tile.h"

#include <string.h>

#include "mps/mps_finish.h"
#include "mps/mps_nibbles.h"
#include "mps/mps_unpack.h"

#if MPS_MVE
#include "mps_tile_mve.inc"
#elif MPS_SIMD
#include "mps_tile_armv7em.inc"
#else
#include "mps_tile_portable.inc"
#endif

enum { AT_ONCE = 32 };

void mps_tile_nibbles(const mps_tile *tile, const mps_tile_target *target, size_t first, size_t end, uint8_t *output, size_t pitch) {
  int8_t results[MPS_TILE_PIXELS * AT_ONCE];
  for (size_t count; first < end; first += count) {
    count = end - first < AT_ONCE ? end - first : AT_ONCE;
    mps_tile_channels(tile, target, first, first + count, results, AT_ONCE);
    for (size_t i = 0; i < tile->pixels; i++) mps_store_nibbles(results + i * AT_ONCE, first, count, output + i * mps_nibble_bytes(pitch));
  }
}
