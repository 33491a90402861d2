/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one kernel between count_begin and count_end on a bare Cortex-M; which one is chosen by -DLAYER_<KIND>,
   -DHEIGHT, -DWIDTH, -DIN, -DOUT (channels), -DKERNEL (its width, padded to keep the size), -DGROUPS and -DBITS. */
#include "mps/mps.h"

__attribute__((noinline, used)) void count_begin(void) { __asm__ volatile("nop"); }
__attribute__((noinline, used)) void count_end(void) { __asm__ volatile("nop"); }

enum { LARGEST = 1 << 19 };

static int8_t input[LARGEST], second[LARGEST], output[LARGEST];
static _Alignas(4) int8_t scratch[LARGEST];
static uint8_t weights[LARGEST];
static int32_t bias[1024], multiplier[1024];
static uint8_t right_shift[1024];

static void fill(void) {
  uint32_t state = 1;
  for (unsigned i = 0; i < LARGEST; i++) {
    state = state * 1664525u + 1013904223u;
    input[i] = (int8_t)(state >> 24);
    second[i] = (int8_t)(state >> 16);
    weights[i] = (uint8_t)(state >> 20);
  }
  for (unsigned i = 0; i < 1024; i++) {
    bias[i] = (int32_t)i;
    multiplier[i] = (1 << 30) + (int32_t)i;
    right_shift[i] = 8;
  }
}

#define OUTPUT_OF(extent, kernel, pad) ((extent) + 2 * (pad) - (kernel) + 1)

int main(void) {
  const mps_channels channels = {bias, multiplier, right_shift, weights};
  mps_status status = MPS_BAD_ARGUMENT;
  (void)channels;
  fill();
#if defined(LAYER_CONV) || defined(LAYER_DEPTHWISE)
  static const mps_conv2d_params params = {.input_h = HEIGHT, .input_w = WIDTH, .input_c = IN, .output_h = OUTPUT_OF(HEIGHT, KERNEL, KERNEL / 2),
                                           .output_w = OUTPUT_OF(WIDTH, KERNEL, KERNEL / 2), .output_c = OUT, .kernel_h = KERNEL,
                                           .kernel_w = KERNEL, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1,
                                           .pad_top = KERNEL / 2, .pad_left = KERNEL / 2, .groups = GROUPS, .lowest = -128, .highest = 127,
                                           .weight_bits = BITS};
  count_begin();
#if defined(LAYER_CONV)
  status = mps_conv2d(&params, &channels, input, output, scratch);
#else
  status = mps_depthwise2d(&params, &channels, input, output, scratch);
#endif
  count_end();
#elif defined(LAYER_DENSE)
  static const mps_linear_params params = {.rows = HEIGHT, .input_c = IN, .output_c = OUT, .lowest = -128, .highest = 127, .weight_bits = BITS};
  count_begin();
  status = mps_linear(&params, &channels, input, output, scratch);
  count_end();
#elif defined(LAYER_ADD)
  static const mps_add_params params = {.shape = {1, HEIGHT, WIDTH, IN},
                                        .multiplier = {1 << 30, 1 << 30, 1 << 30},
                                        .right_shift = {1, 1, 17},
                                        .lowest = -128,
                                        .highest = 127};
  count_begin();
  status = mps_add(&params, input, second, output);
  count_end();
#endif
  return (int)status;
}
