/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_DOT_H
#define MPS_DOT_H

#include <stddef.h>
#include <stdint.h>

#include "mps/mps.h"

/* Two output channels over a run of pixels: the one dot product that convolutions and dense layers of all widths share.
   weights       rows of `values` int8 weights; the second repeats the first when `channels` is 1
   first         index of the first of the two channels in the arrays of a layer
   input_pitch   values from one pixel to the next
   output_pitch  likewise */
typedef struct {
  const int8_t *weights[2];
  size_t values, channels, first;
  const int8_t *input;
  size_t input_pitch, pixels;
  int8_t *output;
  size_t output_pitch;
} mps_dot_job;

/* Where the results of a layer go. */
typedef struct {
  const mps_channels *channels;
  int8_t zero_point, lowest, highest;
  uint8_t left_shift;
} mps_dot_target;

void mps_dot_pixels(const mps_dot_job *job, const mps_dot_target *target);

#endif
