/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_BROADCAST_H
#define MPS_BROADCAST_H

#include <stddef.h>
#include <stdint.h>

#include "mps/mps_params.h"

/* How far an operand moves along each axis of the output; 0 where it is broadcast. */
static inline void mps_broadcast_strides(const uint32_t shape[MPS_RANK], unsigned broadcast, size_t stride[MPS_RANK]) {
  size_t step = 1;
  for (int axis = MPS_RANK - 1; axis >= 0; axis--) {
    const int repeated = (broadcast >> axis & 1u) != 0;
    stride[axis] = repeated ? 0 : step;
    if (!repeated) step *= shape[axis];
  }
}

#endif
