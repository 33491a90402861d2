/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one kernel between count_begin and count_end on a bare Cortex-M; which one is chosen by -DLAYER_<NAME> and -DBITS. Nothing in .data. */
#include "mps/mps.h"

void start(void);
int main(void);
extern uint32_t stack_top;

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {&stack_top, (const void *)start};

__attribute__((noinline, used)) void count_begin(void) { __asm__ volatile("nop"); }
__attribute__((noinline, used)) void count_end(void) { __asm__ volatile("nop"); }

/* Semihosting SYS_EXIT_EXTENDED with the status in r1[1]. */
void start(void) {
  const uint32_t report[2] = {0x20026u, (uint32_t)main()};
  register uint32_t operation __asm__("r0") = 0x20;
  register const uint32_t *argument __asm__("r1") = report;
  __asm__ volatile("bkpt 0xAB" : "+r"(operation) : "r"(argument) : "memory");
  for (;;) {
  }
}

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
#define CONVOLUTION(h, w, c, o, k, p, g)                                                                                                     \
  {.input_h = h, .input_w = w, .input_c = c, .output_h = OUTPUT_OF(h, k, p), .output_w = OUTPUT_OF(w, k, p), .output_c = o, .kernel_h = k, \
   .kernel_w = k, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = p, .pad_left = p, .groups = g,                \
   .lowest = -128, .highest = 127, .weight_bits = BITS}

int main(void) {
  const mps_channels channels = {bias, multiplier, right_shift, weights};
  mps_status status = MPS_BAD_ARGUMENT;
  (void)channels;
  fill();
#if defined(LAYER_CONV3X3)
  static const mps_conv2d_params params = CONVOLUTION(32, 32, 16, 16, 3, 1, 1);
  count_begin();
  status = mps_conv2d(&params, &channels, input, output, scratch);
  count_end();
#elif defined(LAYER_CONV1X1)
  static const mps_conv2d_params params = CONVOLUTION(25, 5, 64, 64, 1, 0, 1);
  count_begin();
  status = mps_conv2d(&params, &channels, input, output, scratch);
  count_end();
#elif defined(LAYER_DEPTHWISE)
  static const mps_conv2d_params params = CONVOLUTION(25, 5, 64, 64, 3, 1, 64);
  count_begin();
  status = mps_depthwise2d(&params, &channels, input, output, scratch);
  count_end();
#elif defined(LAYER_DENSE) || defined(LAYER_REQUANTIZE)
#if defined(LAYER_DENSE)
  static const mps_linear_params params = {.rows = 1, .input_c = 640, .output_c = 128, .lowest = -128, .highest = 127, .weight_bits = BITS};
#else
  /* No products: bias, requantisation, clamp and store of every output, with the loops around them. */
  static const mps_linear_params params = {.rows = 64, .input_c = 0, .output_c = 64, .lowest = -128, .highest = 127, .weight_bits = 8};
#endif
  count_begin();
  status = mps_linear(&params, &channels, input, output, scratch);
  count_end();
#elif defined(LAYER_ADD)
  static const mps_add_params params = {.shape = {1, 1, 1, 16384},
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
