/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MPS_HOST_SCRATCH_H
#define MPS_HOST_SCRATCH_H

#include <stddef.h>

/* A call's buffers and those of one task of it live side by side on the thread that does both. */
typedef enum { MPS_SCRATCH_CALL, MPS_SCRATCH_LAYER, MPS_SCRATCH_TASK, MPS_SCRATCH_SLOTS } mps_scratch_slot;

/* At least `bytes` bytes, 64-byte aligned, kept until this thread asks for the same slot again or ends; NULL when there is no memory.
   Fresh memory costs a page fault every 4 KiB, more than a small layer takes: hence kept. */
void *mps_host_scratch(mps_scratch_slot slot, size_t bytes);

#endif
