/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_HOST_POOL_H
#define MPS_HOST_POOL_H

#include <stddef.h>

enum { MPS_HOST_MOST_THREADS = 64 };

/* Run task(context, 0 .. tasks - 1), in any order, on this thread and up to threads - 1 others; returns when all are done.
   The others live on: they wait awake for a moment, then sleep. A call while the pool is busy runs on its own thread alone. */
void mps_host_parallel(unsigned threads, size_t tasks, void (*task)(void *context, size_t index), void *context);

#endif
