/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_ref.h"

void mps_pad_ref(const mps_pad_params *p, const int8_t *input, int8_t *output) {
  for (uint32_t i = 0; i < p->output_size; i++) output[i] = p->value;
  mps_copy_ref(&p->copy, input, output);
}
