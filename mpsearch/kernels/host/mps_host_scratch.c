/* SPDX-License-Identifier: Apache-2.0 */
#include "mps_host_scratch.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct {
  void *memory[MPS_SCRATCH_SLOTS];
  size_t bytes[MPS_SCRATCH_SLOTS];
} buffers;

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void release(void *value) {
  buffers *mine = value;
  for (int slot = 0; slot < MPS_SCRATCH_SLOTS; slot++) free(mine->memory[slot]);
  free(mine);
}

static void make_key(void) { pthread_key_create(&key, release); }

void *mps_host_scratch(mps_scratch_slot slot, size_t bytes) {
  pthread_once(&once, make_key);
  buffers *mine = pthread_getspecific(key);
  if (mine == NULL) {
    mine = calloc(1, sizeof(*mine));
    if (mine == NULL || pthread_setspecific(key, mine) != 0) {
      free(mine);
      return NULL;
    }
  }
  if (mine->bytes[slot] < bytes) {
    const size_t rounded = (bytes + bytes / 4 + 4095) / 4096 * 4096;
    free(mine->memory[slot]);
    mine->memory[slot] = aligned_alloc(64, rounded);
    mine->bytes[slot] = mine->memory[slot] == NULL ? 0 : rounded;
  }
  return mine->memory[slot];
}
