/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_UNPACK_H
#define MPS_UNPACK_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of one packed row of `values` weights of `bits` bits. */
size_t mps_row_bytes(size_t values, unsigned bits);

/* Unpack weights first .. first + count of a packed row of `values` weights.
   [in] first  a multiple of 8
   [out] output  [count] */
void mps_unpack(const uint8_t *row, size_t values, size_t first, size_t count, unsigned bits, int8_t *output);

#endif
