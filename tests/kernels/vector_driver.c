/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the cases that vectors.py wrote and reports every output value that differs and every guard that was written over.
   With MPS_HEAP each buffer is a heap block of its own, exactly as long as it must be, for AddressSanitizer to watch. Without, constants and inputs
   stay where they lie and outputs and scratch are taken from one array, between guards. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mps/mps.h"

enum { NAME_BYTES = 32, MOST_BUFFERS = 8, MOST_REPORTS = 10, GUARD_BYTES = 32, GUARD = 0x5D, SCRATCH = 0xA5, NOT_RUN = 2 };

/* Written by vectors.py: uint32 number of cases, and for each: its kernel's name, uint32 number of buffers, and for each buffer uint32 bytes and
   uint32 skew, which says how far beyond a multiple of 4 the bytes start that follow. The last two are the output before and after the call. */
extern const uint8_t mps_vectors[];

typedef struct {
  const void *in[MOST_BUFFERS];
  mps_channels channels;
  int8_t *output, *scratch;
} call;

typedef struct {
  const char *name;
  mps_status (*run)(const call *c);
  size_t (*scratch_bytes)(const call *c); /* NULL for a kernel without weights */
} kernel;

#define WITH_WEIGHTS(name)                                                                                                    \
  static mps_status run_##name(const call *c) { return mps_##name(c->in[0], &c->channels, c->in[5], c->output, c->scratch); } \
  static size_t scratch_of_##name(const call *c) { return mps_##name##_scratch_bytes(c->in[0]); }

WITH_WEIGHTS(conv2d)
WITH_WEIGHTS(depthwise2d)
WITH_WEIGHTS(linear)
static mps_status run_add(const call *c) { return mps_add(c->in[0], c->in[1], c->in[2], c->output); }
static mps_status run_mul(const call *c) { return mps_mul(c->in[0], c->in[1], c->in[2], c->output); }
static mps_status run_unary(const call *c) { return mps_unary(c->in[0], c->in[1], c->in[2], c->output); }
static mps_status run_mean(const call *c) { return mps_mean(c->in[0], c->in[1], c->output); }
static mps_status run_max_pool2d(const call *c) { return mps_max_pool2d(c->in[0], c->in[1], c->output); }
static mps_status run_avg_pool2d(const call *c) { return mps_avg_pool2d(c->in[0], c->in[1], c->in[2], c->in[3], c->output); }
static mps_status run_copy(const call *c) { return mps_copy(c->in[0], c->in[1], c->output); }
static mps_status run_pad(const call *c) { return mps_pad(c->in[0], c->in[1], c->output); }

static const kernel kernels[] = {
    {"mps_conv2d", run_conv2d, scratch_of_conv2d},
    {"mps_depthwise2d", run_depthwise2d, scratch_of_depthwise2d},
    {"mps_linear", run_linear, scratch_of_linear},
    {"mps_add", run_add, NULL},
    {"mps_mul", run_mul, NULL},
    {"mps_unary", run_unary, NULL},
    {"mps_mean", run_mean, NULL},
    {"mps_max_pool2d", run_max_pool2d, NULL},
    {"mps_avg_pool2d", run_avg_pool2d, NULL},
    {"mps_copy", run_copy, NULL},
    {"mps_pad", run_pad, NULL},
};

static unsigned long mismatches;

#ifdef MPS_HEAP
static void *blocks[MOST_BUFFERS + 2];
static size_t taken;

static uint8_t *take(size_t size, size_t skew) {
  uint8_t *block = malloc(size + skew); /* glibc gives a block for no bytes too */
  if (block == NULL) return NULL;
  blocks[taken++] = block;
  return block + skew;
}

static const uint8_t *place(const uint8_t *bytes, size_t size, size_t skew) {
  uint8_t *block = take(size, skew);
  if (block != NULL && size > 0) memcpy(block, bytes, size);
  return block;
}

static void release(const char *name, unsigned number) {
  (void)name, (void)number;
  while (taken > 0) free(blocks[--taken]);
}
#else
static _Alignas(8) uint8_t memory[1 << 18];
static size_t used;
static const uint8_t *outsides[4]; /* what lies between the buffers, all of it guards: start, end, start, end */
static size_t outside_count;

static uint8_t *take(size_t size, size_t skew) {
  const size_t start = used + GUARD_BYTES + skew, end = start + size + GUARD_BYTES;
  if (end > sizeof memory) return NULL;
  memset(memory + used, GUARD, end - used);
  used = (end + 3) & ~(size_t)3;
  outsides[outside_count++] = memory + start;
  outsides[outside_count++] = memory + start + size;
  return memory + start;
}

static const uint8_t *place(const uint8_t *bytes, size_t size, size_t skew) {
  (void)size, (void)skew;
  return bytes;
}

static void release(const char *name, unsigned number) {
  for (size_t i = 0; i < outside_count; i += 2) {
    for (size_t k = 0; k < GUARD_BYTES; k++) {
      if (outsides[i][-1 - (ptrdiff_t)k] == GUARD && outsides[i + 1][k] == GUARD) continue;
      if (mismatches++ < MOST_REPORTS) printf("case %u, %s: wrote outside its %s\n", number, name, i == 0 ? "output" : "scratch");
      break;
    }
  }
  used = outside_count = 0;
}
#endif

static uint32_t next_word(const uint8_t **at) {
  uint32_t word;
  memcpy(&word, *at, sizeof word);
  *at += sizeof word;
  return word;
}

static const kernel *find(const char *name) {
  for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
    if (strcmp(kernels[i].name, name) == 0) return &kernels[i];
  }
  return NULL;
}

typedef struct {
  const char *kernel;
  uint32_t buffers, sizes[MOST_BUFFERS], skews[MOST_BUFFERS];
  const uint8_t *bytes[MOST_BUFFERS];
} record;

static record next_record(const uint8_t **at) {
  record r = {.kernel = (const char *)*at};
  *at += NAME_BYTES;
  r.buffers = next_word(at);
  for (uint32_t i = 0; i < r.buffers; i++) {
    r.sizes[i] = next_word(at), r.skews[i] = next_word(at);
    r.bytes[i] = *at + r.skews[i];
    *at += (r.skews[i] + r.sizes[i] + 3) & ~3u;
  }
  return r;
}

/* Puts every buffer in its place; returns whether there is memory for all. */
static int prepare(const record *r, const kernel *chosen, call *c) {
  const uint32_t inputs = r->buffers - 2;
  for (uint32_t i = 0; i < inputs; i++) {
    c->in[i] = place(r->bytes[i], r->sizes[i], r->skews[i]);
    if (c->in[i] == NULL) return 0;
  }
  c->output = (int8_t *)take(r->sizes[inputs], r->skews[inputs]);
  if (c->output == NULL) return 0;
  memcpy(c->output, r->bytes[inputs], r->sizes[inputs]);
  if (chosen->scratch_bytes == NULL) return 1;
  c->channels = (mps_channels){.bias = c->in[1], .multiplier = c->in[2], .right_shift = c->in[3], .weights = c->in[4]};
  const size_t bytes = chosen->scratch_bytes(c);
  c->scratch = (int8_t *)take(bytes, 0);
  if (c->scratch == NULL) return 0;
  memset(c->scratch, SCRATCH, bytes);
  return 1;
}

static void compare(const record *r, const int8_t *output, unsigned number) {
  const int8_t *expected = (const int8_t *)r->bytes[r->buffers - 1];
  for (uint32_t i = 0; i < r->sizes[r->buffers - 1]; i++) {
    if (output[i] != expected[i] && mismatches++ < MOST_REPORTS)
      printf("case %u, %s, output %u: got %d, wanted %d\n", number, r->kernel, (unsigned)i, output[i], expected[i]);
  }
}

int main(void) {
  const uint8_t *at = mps_vectors;
  const uint32_t cases = next_word(&at);
  for (uint32_t number = 0; number < cases; number++) {
    const record r = next_record(&at);
    const kernel *chosen = find(r.kernel);
    call c = {{NULL}, {NULL, NULL, NULL, NULL}, NULL, NULL};
    if (chosen == NULL || !prepare(&r, chosen, &c)) {
      printf("case %u, %s: no such kernel, or too little memory\n", (unsigned)number, r.kernel);
      return NOT_RUN;
    }
    const mps_status status = chosen->run(&c);
    if (status != MPS_OK && mismatches++ < MOST_REPORTS) printf("case %u, %s: status %d\n", (unsigned)number, r.kernel, (int)status);
    compare(&r, c.output, (unsigned)number);
    release(r.kernel, (unsigned)number);
  }
  printf("%lu cases, %lu mismatches\n", (unsigned long)cases, mismatches);
  return mismatches == 0 ? 0 : 1;
}
