/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_ref.h"

void mps_unary_ref(const mps_unary_params *p, const int8_t *table, const int8_t *input, int8_t *output) {
  for (uint32_t i = 0; i < p->size; i++) output[i] = table[input[i] - INT8_MIN];
}
