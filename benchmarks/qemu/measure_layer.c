/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one kernel between count_begin and count_end on a bare core, then its reference, and exits with 0 if both give the same bytes.
   Which kernel is chosen by -DLAYER_<KIND>, -DHEIGHT, -DWIDTH, -DIN, -DOUT (channels), -DKERNEL (its width, padded to keep the size), -DSTRIDE,
   -DGROUPS, -DBITS and -DSHIFT (right shift of the accumulators); its weights are the files packed.bin and plain.bin in the assembler's include path.
 */
#include <string.h>

#include "mps/mps.h"
#include "mps_ref.h"

__attribute__((noinline, used)) void count_begin(void) { __asm__ volatile("nop"); }
__attribute__((noinline, used)) void count_end(void) { __asm__ volatile("nop"); }

#define EMBED(name) __asm__(".section .rodata\n.balign 4\n.global " #name "\n" #name ": .incbin \"" #name ".bin\"\n.balign 4\n.previous")
EMBED(packed);
EMBED(plain);
extern const uint8_t packed[];
extern const int8_t plain[];

enum { PAD = KERNEL / 2, INPUT_ZERO_POINT = -3, OUTPUT_ZERO_POINT = 5, DIFFERS = 90 };
#if defined(LAYER_MEAN)
enum { OUTPUT_H = 1, OUTPUT_W = 1 };
#elif defined(LAYER_MAX_POOL) || defined(LAYER_AVG_POOL)
enum { OUTPUT_H = HEIGHT / KERNEL, OUTPUT_W = WIDTH / KERNEL };
#else
enum { OUTPUT_H = (HEIGHT + 2 * PAD - KERNEL) / STRIDE + 1, OUTPUT_W = (WIDTH + 2 * PAD - KERNEL) / STRIDE + 1 };
#endif
#if !defined(LAYER_CONV) && !defined(LAYER_DEPTHWISE) && !defined(LAYER_DENSE)
#define WITHOUT_WEIGHTS
#endif
enum { INPUTS = HEIGHT * WIDTH * IN, OUTPUTS = OUTPUT_H * OUTPUT_W * OUT, SCRATCH = 1 << 19, ROW = KERNEL * KERNEL * IN / GROUPS };

static _Alignas(4) int8_t input[INPUTS], second[INPUTS], output[OUTPUTS], wanted[OUTPUTS], scratch[SCRATCH];
static int32_t bias[OUT], folded_bias[OUT], multiplier[OUT];
static uint8_t right_shift[OUT];

/* Where tap `k` of an output channel lies among the unpacked weights. */
static int8_t weight(int channel, int k) {
#if defined(LAYER_DEPTHWISE)
  return plain[k * OUT + channel];
#else
  return plain[channel * ROW + k];
#endif
}

static void fill(void) {
  uint32_t state = 1;
  for (int i = 0; i < INPUTS; i++) {
    state = state * 1664525u + 1013904223u;
    input[i] = (int8_t)(state >> 24);
    second[i] = (int8_t)(state >> 16);
  }
  for (int i = 0; i < OUT; i++) {
    int32_t sum = 0;
#if !defined(WITHOUT_WEIGHTS)
    for (int k = 0; k < ROW; k++) sum += weight(i, k);
#endif
    bias[i] = 17 * i - 300;
    folded_bias[i] = bias[i] - INPUT_ZERO_POINT * sum;
    multiplier[i] = (1 << 30) + (i << 16);
    right_shift[i] = SHIFT;
  }
}

#if defined(LAYER_DENSE)
static const mps_linear_params params = {.rows = HEIGHT,
                                         .input_c = IN,
                                         .output_c = OUT,
                                         .input_zero_point = INPUT_ZERO_POINT,
                                         .output_zero_point = OUTPUT_ZERO_POINT,
                                         .lowest = -128,
                                         .highest = 127,
                                         .weight_bits = BITS,
                                         .input_bits = 8,
                                         .output_bits = 8};
#elif defined(LAYER_ADD)
static const mps_add_params params = {
    .shape = {1, HEIGHT, WIDTH, IN}, .multiplier = {1 << 30, 1 << 30, 1 << 30}, .right_shift = {1, 1, 17}, .lowest = -128, .highest = 127};
#elif defined(LAYER_MEAN)
static const mps_mean_params params = {.shape = {1, HEIGHT, WIDTH, IN},
                                       .multiplier = 1 << 30,
                                       .right_shift = 4,
                                       .left_shift = 1,
                                       .reduced = 6,
                                       .input_zero_point = INPUT_ZERO_POINT,
                                       .output_zero_point = OUTPUT_ZERO_POINT,
                                       .lowest = -128,
                                       .highest = 127};
#elif defined(LAYER_MAX_POOL) || defined(LAYER_AVG_POOL)
static const mps_window window = {.input_h = HEIGHT,
                                  .input_w = WIDTH,
                                  .channels = IN,
                                  .output_h = OUTPUT_H,
                                  .output_w = OUTPUT_W,
                                  .kernel_h = KERNEL,
                                  .kernel_w = KERNEL,
                                  .stride_h = KERNEL,
                                  .stride_w = KERNEL};
#else
static const mps_conv2d_params params = {.input_h = HEIGHT,
                                         .input_w = WIDTH,
                                         .input_c = IN,
                                         .output_h = OUTPUT_H,
                                         .output_w = OUTPUT_W,
                                         .output_c = OUT,
                                         .kernel_h = KERNEL,
                                         .kernel_w = KERNEL,
                                         .stride_h = STRIDE,
                                         .stride_w = STRIDE,
                                         .dilation_h = 1,
                                         .dilation_w = 1,
                                         .pad_top = PAD,
                                         .pad_left = PAD,
                                         .groups = GROUPS,
                                         .input_zero_point = INPUT_ZERO_POINT,
                                         .output_zero_point = OUTPUT_ZERO_POINT,
                                         .lowest = -128,
                                         .highest = 127,
                                         .weight_bits = BITS,
                                         .input_bits = 8,
                                         .output_bits = 8};
#endif

int main(void) {
  const mps_channels channels = {folded_bias, multiplier, right_shift, packed};
  const mps_ref_channels unpacked = {bias, multiplier, right_shift, plain};
  mps_status status = MPS_BAD_ARGUMENT;
  (void)channels, (void)unpacked;
  fill();
#if defined(LAYER_CONV)
  if (mps_conv2d_scratch_bytes(&params) > SCRATCH) return DIFFERS - 1;
  count_begin();
  status = mps_conv2d(&params, &channels, input, output, scratch);
  count_end();
  mps_conv2d_ref(&params, &unpacked, input, wanted);
#elif defined(LAYER_DEPTHWISE)
  if (mps_depthwise2d_scratch_bytes(&params) > SCRATCH) return DIFFERS - 1;
  count_begin();
  status = mps_depthwise2d(&params, &channels, input, output, scratch);
  count_end();
  mps_depthwise2d_ref(&params, &unpacked, input, wanted);
#elif defined(LAYER_DENSE)
  if (mps_linear_scratch_bytes(&params) > SCRATCH) return DIFFERS - 1;
  count_begin();
  status = mps_linear(&params, &channels, input, output, scratch);
  count_end();
  mps_linear_ref(&params, &unpacked, input, wanted);
#elif defined(LAYER_ADD)
  count_begin();
  status = mps_add(&params, input, second, output);
  count_end();
  mps_add_ref(&params, input, second, wanted);
#elif defined(LAYER_MEAN)
  count_begin();
  status = mps_mean(&params, input, output);
  count_end();
  mps_mean_ref(&params, input, wanted);
#elif defined(LAYER_MAX_POOL)
  const mps_max_pool2d_params params = {.window = window, .lowest = -128, .highest = 127};
  count_begin();
  status = mps_max_pool2d(&params, input, output);
  count_end();
  mps_max_pool2d_ref(&params, input, wanted);
#elif defined(LAYER_AVG_POOL)
  const mps_avg_pool2d_params params = {
      .window = window, .divisors = 1, .input_zero_point = INPUT_ZERO_POINT, .output_zero_point = OUTPUT_ZERO_POINT, .lowest = -128, .highest = 127};
  const int32_t whole_window[1] = {1 << 30};
  const uint8_t whole_shift[1] = {1};
  count_begin();
  status = mps_avg_pool2d(&params, whole_window, whole_shift, input, output);
  count_end();
  mps_avg_pool2d_ref(&params, whole_window, whole_shift, input, wanted);
#endif
  if (status != MPS_OK) return (int)status;
  return memcmp(output, wanted, OUTPUTS) == 0 ? 0 : DIFFERS;
}
