/* SPDX-License-Identifier: Apache-2.0 */
/* A bare core under QEMU: requests are compiled in, answers are printed, and what is executed between count_begin and count_end the plugin counts. */
#include <stdio.h>

#include "measure_port.h"

extern const char measure_requests[];

const measure_port port = {.unit = "nothing", .clock_hz = 0, .description = "QEMU", .warm_up = 0, .least = 1, .enough = 0};

static const char *at = measure_requests;

void port_start(void) {}

int port_read(void) { return *at ? (unsigned char)*at++ : -1; }

void port_write(char byte) {
  putchar(byte);
  if (byte == '\n') fflush(stdout);
}

__attribute__((noinline, used)) void count_begin(void) { __asm__ volatile("nop"); }

__attribute__((noinline, used)) uint64_t count_end(void) {
  __asm__ volatile("nop");
  return 0;
}
