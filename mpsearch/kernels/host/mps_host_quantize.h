/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_HOST_QUANTIZE_H
#define MPS_HOST_QUANTIZE_H

#include <stddef.h>

/* Symmetric int8 for these values: q = round(value * inverse), ties to even, value = scale * q. Returns inverse = 127 / largest; scale = largest /
   127. Values all too small for float to divide by (below 2^-100) get inverse and scale 0; where one is infinite or no number, the inverse is 0 and
   the scale NaN. */
float mps_host_find_scale(const float *values, size_t count, float *scale);

#endif
