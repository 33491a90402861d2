/* SPDX-License-Identifier: Apache-2.0 */
#if !defined(_GNU_SOURCE) && defined(__linux__)
#define _GNU_SOURCE
#endif
#include "mps_host_pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

enum { SPINS = 4000, SPINS_BEFORE_YIELD = 20000 };

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* Every thread has a range of the tasks, the same one whenever a job comes again: what it read and wrote then is still in its cache. A thread that is
   done with its own takes what others have left. */
typedef struct {
  _Alignas(64) atomic_size_t next;
  size_t end;
} range;

/* What both sides write stands under `mutex`, but for the ranges. */
static struct {
  range ranges[MPS_HOST_MOST_THREADS];
  pthread_mutex_t owner, mutex;
  pthread_cond_t wake;
  unsigned workers, sleeping;
  unsigned threads, running; /* who may join the job, 0 when nobody may any more; how many workers are in it */
  void (*task)(void *, size_t);
  void *context;
  atomic_uint generation, busy; /* busy: running, readable without the mutex */
} pool = {.owner = PTHREAD_MUTEX_INITIALIZER, .mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void take_tasks(void (*task)(void *, size_t), void *context, unsigned thread, unsigned threads) {
  for (unsigned i = 0; i < threads; i++) {
    range *from = &pool.ranges[(thread + i) % threads];
    for (size_t index; (index = atomic_fetch_add_explicit(&from->next, 1, memory_order_relaxed)) < from->end;) task(context, index);
  }
}

static void *work(void *number) {
  const unsigned thread = (unsigned)(uintptr_t)number;
  unsigned seen = 0;
  for (;;) {
    for (int spin = 0; spin < SPINS && atomic_load_explicit(&pool.generation, memory_order_acquire) == seen; spin++) relax();
    pthread_mutex_lock(&pool.mutex);
    while (atomic_load_explicit(&pool.generation, memory_order_relaxed) == seen) {
      pool.sleeping++;
      pthread_cond_wait(&pool.wake, &pool.mutex);
      pool.sleeping--;
    }
    seen = atomic_load_explicit(&pool.generation, memory_order_relaxed);
    const unsigned threads = pool.threads;
    if (thread < threads) atomic_store_explicit(&pool.busy, ++pool.running, memory_order_relaxed);
    void (*const task)(void *, size_t) = pool.task;
    void *const context = pool.context;
    pthread_mutex_unlock(&pool.mutex);
    if (thread >= threads) continue;
    take_tasks(task, context, thread, threads);
    pthread_mutex_lock(&pool.mutex);
    atomic_store_explicit(&pool.busy, --pool.running, memory_order_release);
    pthread_mutex_unlock(&pool.mutex);
  }
  return NULL;
}

/* A forked child has none of its parent's threads. */
static void forget(void) {
  pthread_mutex_init(&pool.owner, NULL);
  pthread_mutex_init(&pool.mutex, NULL);
  pthread_cond_init(&pool.wake, NULL);
  pool.workers = pool.sleeping = pool.threads = pool.running = 0;
  atomic_store(&pool.busy, 0);
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, forget); }

/* A thread that cannot be had costs time, not answers. */
static void hire(unsigned workers) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_forks);
  while (pool.workers < workers) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, (void *)(uintptr_t)(pool.workers + 1)) != 0) return;
    pthread_detach(thread);
    pool.workers++;
  }
}

/* Nobody joins any more; wait for those who did. */
static void wait_for_workers(void) {
  pthread_mutex_lock(&pool.mutex);
  pool.threads = 0;
  pthread_mutex_unlock(&pool.mutex);
  for (int spin = 0; atomic_load_explicit(&pool.busy, memory_order_acquire) > 0; spin++) {
    if (spin < SPINS_BEFORE_YIELD)
      relax();
    else
      sched_yield();
  }
}

void mps_host_parallel(unsigned threads, size_t tasks, void (*task)(void *context, size_t index), void *context) {
  if (threads > MPS_HOST_MOST_THREADS) threads = MPS_HOST_MOST_THREADS;
  if (threads > tasks) threads = (unsigned)tasks;
  if (threads <= 1 || pthread_mutex_trylock(&pool.owner) != 0) {
    for (size_t index = 0; index < tasks; index++) task(context, index);
    return;
  }
  hire(threads - 1);
  pthread_mutex_lock(&pool.mutex);
  pool.task = task;
  pool.context = context;
  pool.threads = threads;
  for (unsigned thread = 0; thread < threads; thread++) {
    pool.ranges[thread].end = tasks * (thread + 1) / threads;
    atomic_store_explicit(&pool.ranges[thread].next, tasks * thread / threads, memory_order_relaxed);
  }
  atomic_fetch_add_explicit(&pool.generation, 1, memory_order_release);
  if (pool.sleeping > 0) pthread_cond_broadcast(&pool.wake);
  pthread_mutex_unlock(&pool.mutex);
  take_tasks(task, context, 0, threads);
  wait_for_workers();
  pthread_mutex_unlock(&pool.owner);
}
