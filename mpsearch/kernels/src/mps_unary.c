/* SPDX-License-Identifier: Apache-2.0 */
#include "mps/mps.h"

mps_status mps_unary(const mps_unary_params *params, const int8_t *table, const int8_t *input, int8_t *output) {
  for (uint32_t i = 0; i < params->size; i++) output[i] = table[input[i] + 128];
  return MPS_OK;
}
