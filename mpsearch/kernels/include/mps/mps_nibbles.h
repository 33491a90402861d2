/* SPDX-License-Identifier: Apache-2.0 */
/* 4-bit activations, as mps.h describes them. */
#ifndef MPS_NIBBLES_H
#define MPS_NIBBLES_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of one pixel. */
static inline size_t mps_nibble_bytes(size_t channels) { return (channels + 1) / 2; }

/* Channels first .. first + count - 1 of a pixel. Of an even number of channels, the next pixel follows at once. [out] values  [count] */
void mps_load_nibbles(const uint8_t *pixel, size_t first, size_t count, int8_t *values);

/* The opposite; the channels of a pixel must be stored in order, since an even one clears the odd one next to it. */
void mps_store_nibbles(const int8_t *values, size_t first, size_t count, uint8_t *pixel);

#endif
