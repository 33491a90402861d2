/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps_tile.h"

#include <string.h>

#include "mps/mps_finish.h"
#include "mps/mps_unpack.h"

#if MPS_MVE
#include "mps_tile_mve.inc"
#elif MPS_SIMD
#include "mps_tile_armv7em.inc"
#else
#include "mps_tile_portable.inc"
#endif
