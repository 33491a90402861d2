/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_host_quantize.h"

#include <math.h>
#include <string.h>

#include "mps_host_kernels.h"

float mps_host_find_scale(const float *values, size_t count, float *scale) {
  const uint32_t bits = mps_host_current()->largest(values, count);
  float largest;
  memcpy(&largest, &bits, sizeof(largest));
  *scale = isfinite(largest) ? 0.0f : NAN;
  if (!isfinite(largest) || largest < 0x1p-100f) return 0.0f;
  *scale = largest / 127.0f;
  return 127.0f / largest;
}
