/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "mps/mps.h"

mps_status mps_pad(const mps_pad_params *params, const int8_t *input, int8_t *output) {
  memset(output, params->value, params->output_size);
  return mps_copy(&params->copy, input, output);
}
