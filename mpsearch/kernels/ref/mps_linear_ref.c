/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_ref.h"
#include "mps_ref_value.h"

enum { INPUT_BITS = 8, OUTPUT_BITS = 8 };

void mps_linear_ref(const mps_linear_params *p, const mps_ref_channels *channels, const void *input, void *output) {
  for (size_t row = 0; row < p->rows; row++) {
    for (size_t c = 0; c < p->output_c; c++) {
      int64_t sum = channels->bias[c];
      for (size_t k = 0; k < p->input_c; k++) {
        const int64_t value = mps_ref_load(input, row, p->input_c, k, INPUT_BITS);
        sum += (value - p->input_zero_point) * channels->weights[c * p->input_c + k];
      }
      const int64_t scaled = mps_ref_rescale(sum, channels->multiplier[c], p->left_shift, channels->right_shift[c]);
      mps_ref_store(output, row, p->output_c, c, OUTPUT_BITS, mps_ref_clamp(scaled, p->output_zero_point, p->lowest, p->highest));
    }
  }
}
