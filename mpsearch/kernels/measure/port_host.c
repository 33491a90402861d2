/* SPDX-License-Identifier: Apache-2.0 */
/* This machine: requests come from standard input, answers go to standard output, and a monotonic clock counts nanoseconds. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>

#include "measure_port.h"

#ifndef MEASURE_DESCRIPTION
#define MEASURE_DESCRIPTION "host"
#endif

const measure_port port = {.unit = "nanoseconds", .clock_hz = 0, .description = MEASURE_DESCRIPTION, .warm_up = 2, .least = 5, .enough = 50000000};

static uint64_t started;

static uint64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void port_start(void) {}

int port_read(void) { return getchar(); }

void port_write(char byte) {
  putchar(byte);
  if (byte == '\n') fflush(stdout);
}

void count_begin(void) { started = nanoseconds(); }

uint64_t count_end(void) { return nanoseconds() - started; }
