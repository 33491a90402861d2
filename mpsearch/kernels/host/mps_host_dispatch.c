/* SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "mps_host_kernels.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

typedef struct {
  const mps_host_kernels *kernels;
  int (*runs_here)(void);
} candidate;

static int always(void) { return 1; }

#if defined(__x86_64__)
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static int has_avx512vnni(void) {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
}
#elif defined(__aarch64__)
static int has_dot_product(void) {
#if defined(__linux__)
  enum { DOT_PRODUCT = 1 << 20 }; /* HWCAP_ASIMDDP */
  return (getauxval(AT_HWCAP) & DOT_PRODUCT) != 0;
#else
  return 1; /* every Apple chip that runs 64-bit code on a desktop has it */
#endif
}
#endif

/* Best first. */
static const candidate candidates[] = {
#if defined(__x86_64__)
    {&mps_host_avx512vnni, has_avx512vnni},
    {&mps_host_avx2, has_avx2},
#elif defined(__aarch64__)
    {&mps_host_neon, has_dot_product},
#endif
    {&mps_host_scalar, always},
};

static _Atomic(const mps_host_kernels *) current;

static const mps_host_kernels *find(const char *name) {
  for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++) {
    const candidate *c = &candidates[i];
    if ((name == NULL || strcmp(name, c->kernels->name) == 0) && c->runs_here()) return c->kernels;
  }
  return NULL;
}

static const mps_host_kernels *wanted(void) {
  const char *name = getenv("MPS_ISA");
  return find(name != NULL && name[0] != '\0' ? name : NULL);
}

const mps_host_kernels *mps_host_current(void) {
  const mps_host_kernels *kernels = atomic_load_explicit(&current, memory_order_acquire);
  if (kernels == NULL) {
    kernels = wanted();
    atomic_store_explicit(&current, kernels, memory_order_release);
  }
  return kernels;
}

const char *mps_host_isa(void) {
  const mps_host_kernels *kernels = mps_host_current();
  return kernels == NULL ? NULL : kernels->name;
}

mps_host_status mps_host_use_isa(const char *name) {
  const mps_host_kernels *kernels = name == NULL ? wanted() : find(name);
  if (kernels == NULL) return MPS_HOST_NO_SUCH_ISA;
  atomic_store_explicit(&current, kernels, memory_order_release);
  return MPS_HOST_OK;
}
