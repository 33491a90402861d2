/* SPDX-License-Identifier: Apache-2.0 */
/* What measuring needs of a board: functions for bytes and for a counter, and what it says about itself. port_host.c and port_qemu.c are two
   ports; docs/measure-protocol.md shows a third. */
#ifndef MEASURE_PORT_H
#define MEASURE_PORT_H

#include <stdint.h>

/* unit         "cycles", "nanoseconds" or "instructions": what count_end returns; "nothing" where something else counts
   clock_hz     of the core; 0 where it is not known
   description  board, compiler and options, on one line
   warm_up      runs of a layer that do not count
   least        runs that do; of all of them the median is answered
   enough       counts in all after which there are no more runs than that */
typedef struct {
  const char *unit;
  uint32_t clock_hz;
  const char *description;
  uint32_t warm_up, least;
  uint64_t enough;
} measure_port;
extern const measure_port port;

/* Called once, before anything else: clocks, pins, the counter. */
void port_start(void);

/* The next byte of a request; negative where no more will come. */
int port_read(void);

void port_write(char byte);

/* Just before and just after a kernel runs; the latter returns what was counted in between. */
void count_begin(void);
uint64_t count_end(void);

#endif
