/* SPDX-License-Identifier: Apache-2.0 */
#if !defined(_GNU_SOURCE) && defined(__linux__)
#define _GNU_SOURCE
#endif
#include "mps_host_pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { SPINS = 4000, SPINS_BEFORE_YIELD = 20000 };

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* `next` hands out the tasks; everything else that both sides write stands under `mutex`. */
static struct {
  pthread_mutex_t owner, mutex;
  pthread_cond_t wake;
  unsigned workers, sleeping;
  unsigned wanted, running; /* how many more workers may join the job; how many are in it */
  void (*task)(void *, size_t);
  void *context;
  size_t tasks;
  atomic_size_t next;
  atomic_uint generation, busy; /* busy: running, readable without the mutex */
} pool = {.owner = PTHREAD_MUTEX_INITIALIZER, .mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void take_tasks(void (*task)(void *, size_t), void *context, size_t tasks) {
  for (size_t index; (index = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed)) < tasks;) task(context, index);
}

static void *work(void *unused) {
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
    const int joins = pool.wanted > 0;
    if (joins) {
      pool.wanted--;
      atomic_store_explicit(&pool.busy, ++pool.running, memory_order_relaxed);
    }
    void (*const task)(void *, size_t) = pool.task;
    void *const context = pool.context;
    const size_t tasks = pool.tasks;
    pthread_mutex_unlock(&pool.mutex);
    if (!joins) continue;
    take_tasks(task, context, tasks);
    pthread_mutex_lock(&pool.mutex);
    atomic_store_explicit(&pool.busy, --pool.running, memory_order_release);
    pthread_mutex_unlock(&pool.mutex);
  }
  return unused;
}

/* A forked child has none of its parent's threads. */
static void forget(void) {
  pthread_mutex_init(&pool.owner, NULL);
  pthread_mutex_init(&pool.mutex, NULL);
  pthread_cond_init(&pool.wake, NULL);
  pool.workers = pool.sleeping = pool.wanted = pool.running = 0;
  atomic_store(&pool.busy, 0);
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, forget); }

/* A thread that cannot be had costs time, not answers. */
static void hire(unsigned workers) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_forks);
  while (pool.workers < workers) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, NULL) != 0) return;
    pthread_detach(thread);
    pool.workers++;
  }
}

/* Nobody joins any more; wait for those who did. */
static void wait_for_workers(void) {
  pthread_mutex_lock(&pool.mutex);
  pool.wanted = 0;
  pthread_mutex_unlock(&pool.mutex);
  for (int spin = 0; atomic_load_explicit(&pool.busy, memory_order_acquire) > 0; spin++) {
    if (spin < SPINS_BEFORE_YIELD) relax();
    else sched_yield();
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
  pool.tasks = tasks;
  pool.wanted = threads - 1;
  atomic_store_explicit(&pool.next, 0, memory_order_relaxed);
  atomic_fetch_add_explicit(&pool.generation, 1, memory_order_release);
  if (pool.sleeping > 0) pthread_cond_broadcast(&pool.wake);
  pthread_mutex_unlock(&pool.mutex);
  take_tasks(task, context, tasks);
  wait_for_workers();
  pthread_mutex_unlock(&pool.owner);
}
