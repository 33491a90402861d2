/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_REF_INDEX_H
#define MPS_REF_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "mps/mps_params.h"

static inline size_t mps_ref_size(const uint32_t shape[MPS_RANK]) { return (size_t)shape[0] * shape[1] * shape[2] * shape[3]; }

/* Where element `index` of a tensor of that shape lies in one that has length 1 along the axes of `mask`: what an operand broadcast along them
   gives to it, or what a mean over them collects it into. */
static inline size_t mps_ref_without(const uint32_t shape[MPS_RANK], size_t index, unsigned mask) {
  size_t place = 0, stride = 1;
  for (int axis = MPS_RANK - 1; axis >= 0; axis--) {
    const size_t coordinate = index % shape[axis];
    index /= shape[axis];
    if ((mask >> axis & 1u) != 0) continue;
    place += coordinate * stride;
    stride *= shape[axis];
  }
  return place;
}

#endif
