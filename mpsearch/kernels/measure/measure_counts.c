/* SPDX-License-Identifier: Apache-2.0 */
#include "measure.h"
#include "measure_port.h"

#ifndef MEASURE_SAMPLES
#define MEASURE_SAMPLES 101
#endif

static uint64_t samples[MEASURE_SAMPLES], total;
static uint32_t runs;

void measure_restart(void) { runs = 0, total = 0; }

int measure_again(void) {
  if (runs < port.warm_up + port.least) return 1;
  return total < port.enough && runs < port.warm_up + MEASURE_SAMPLES;
}

/* Kept in rising order. */
void measure_add(uint64_t count) {
  if (runs++ < port.warm_up) return;
  total += count;
  uint32_t place = runs - port.warm_up - 1;
  if (place >= MEASURE_SAMPLES) return;
  for (; place > 0 && samples[place - 1] > count; place--) samples[place] = samples[place - 1];
  samples[place] = count;
}

uint64_t measure_median(void) {
  const uint32_t kept = runs - port.warm_up < MEASURE_SAMPLES ? runs - port.warm_up : MEASURE_SAMPLES;
  return kept == 0 ? 0 : samples[kept / 2];
}
