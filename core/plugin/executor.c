/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <attn/executor.h>

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

#define LINE 64
#define MAX_THREADS 4096u
#define SPIN_NS 50000

/* One loop at a time. The caller fills the loop while the gate is closed,
 * opens it, works through the tasks itself as worker 0, closes it and waits
 * for those that came in: a worker that sleeps through a short loop is not
 * waited for. The gate holds in one word the loop's number (high half), how
 * many workers may still come in, and how many came. */
#define GATE_SLOT (1ull << 16)
#define GATE_SLOTS (0xFFFFull << 16)
#define GATE_ENTERED 0xFFFFull

struct pool {
    attn_executor public;
    uint32_t num_threads;
    pthread_t *threads; /* num_threads - 1 */
    pthread_mutex_t callers;
    /* The loop. */
    uint32_t num_tasks;
    attn_task task;
    void *task_arg;
    _Alignas(LINE) _Atomic uint64_t gate;
    _Atomic uint32_t epoch; /* futex: changes when a gate opens */
    _Atomic uint32_t sleepers;
    _Atomic uint32_t stop;
    _Alignas(LINE) _Atomic uint64_t next;
    _Alignas(LINE) _Atomic uint32_t left; /* futex: workers that are done */
    _Atomic uint32_t caller_sleeps;
};

static _Thread_local int inside_task;

static void
futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void
futex_wake(_Atomic uint32_t *word, uint32_t count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static void
relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static int64_t
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Spins until *word differs from value; 0 when the time is up. */
static int
spin_while_equal(_Atomic uint32_t *word, uint32_t value)
{
    for (int64_t end = 0;;) {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != value)
                return 1;
            relax();
        }
        int64_t now = now_ns();
        if (end == 0)
            end = now + SPIN_NS;
        else if (now > end)
            return 0;
    }
}

static void
run_tasks(struct pool *pool, uint32_t worker)
{
    const uint32_t num_tasks = pool->num_tasks;
    const attn_task task = pool->task;
    void *const arg = pool->task_arg;
    inside_task++;
    for (;;) {
        uint64_t i =
            atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (i >= num_tasks)
            break;
        task(arg, (uint32_t)i, worker);
    }
    inside_task--;
}

static void
run_alone(uint32_t num_tasks, attn_task task, void *arg)
{
    inside_task++;
    for (uint32_t i = 0; i < num_tasks; i++)
        task(arg, i, 0);
    inside_task--;
}

/* The worker's number in the open loop, or 0 when there is no place. */
static uint32_t
enter(struct pool *pool)
{
    uint64_t gate = atomic_load_explicit(&pool->gate, memory_order_relaxed);
    do {
        if (!(gate & GATE_SLOTS))
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(
        &pool->gate, &gate, gate - GATE_SLOT + 1, memory_order_acquire,
        memory_order_relaxed));
    return (uint32_t)(gate & GATE_ENTERED) + 1;
}

static void
leave(struct pool *pool)
{
    atomic_fetch_add(&pool->left, 1);
    if (atomic_load(&pool->caller_sleeps))
        futex_wake(&pool->left, 1);
}

static uint32_t
await_epoch(struct pool *pool, uint32_t seen)
{
    if (!spin_while_equal(&pool->epoch, seen)) {
        atomic_fetch_add(&pool->sleepers, 1);
        while (atomic_load(&pool->epoch) == seen)
            futex_wait(&pool->epoch, seen);
        atomic_fetch_sub(&pool->sleepers, 1);
    }
    return atomic_load(&pool->epoch);
}

static void *
worker_main(void *arg)
{
    struct pool *pool = arg;
    for (uint32_t seen = 0;;) {
        seen = await_epoch(pool, seen);
        if (atomic_load(&pool->stop))
            return NULL;
        uint32_t worker = enter(pool);
        if (worker) {
            run_tasks(pool, worker);
            leave(pool);
        }
    }
}

static void
open_gate(struct pool *pool, uint32_t helpers)
{
    uint64_t epoch = atomic_load_explicit(&pool->epoch, memory_order_relaxed);
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->left, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->gate, epoch << 32 | helpers * GATE_SLOT,
                          memory_order_release);
    atomic_fetch_add(&pool->epoch, 1);
    if (atomic_load(&pool->sleepers))
        futex_wake(&pool->epoch, helpers);
}

static void
close_gate(struct pool *pool)
{
    uint64_t gate = atomic_fetch_and(&pool->gate, ~GATE_SLOTS);
    uint32_t entered = (uint32_t)(gate & GATE_ENTERED);
    for (;;) {
        uint32_t left = atomic_load_explicit(&pool->left, memory_order_acquire);
        if (left == entered)
            return;
        if (spin_while_equal(&pool->left, left))
            continue;
        atomic_store(&pool->caller_sleeps, 1);
        if (atomic_load(&pool->left) == left)
            futex_wait(&pool->left, left);
        atomic_store(&pool->caller_sleeps, 0);
    }
}

/* A loop inside a task runs on the thread that asks for it. */
static void
pool_parallel_for(void *arg, uint32_t num_tasks, uint32_t max_workers,
                  attn_task task, void *task_arg)
{
    struct pool *pool = arg;
    uint32_t workers = pool->num_threads;
    if (workers > max_workers)
        workers = max_workers;
    if (workers > num_tasks)
        workers = num_tasks;
    if (workers <= 1 || inside_task) {
        run_alone(num_tasks, task, task_arg);
        return;
    }
    pthread_mutex_lock(&pool->callers);
    pool->num_tasks = num_tasks;
    pool->task = task;
    pool->task_arg = task_arg;
    open_gate(pool, workers - 1);
    run_tasks(pool, 0);
    close_gate(pool);
    pthread_mutex_unlock(&pool->callers);
}

static uint32_t
usable_cpus(void)
{
    cpu_set_t set;
    long n = sched_getaffinity(0, sizeof set, &set) == 0
                 ? CPU_COUNT(&set)
                 : sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (uint32_t)n;
}

static void
stop_threads(struct pool *pool, uint32_t count)
{
    atomic_store(&pool->stop, 1);
    atomic_fetch_add(&pool->epoch, 1);
    futex_wake(&pool->epoch, MAX_THREADS);
    for (uint32_t i = 0; i < count; i++)
        pthread_join(pool->threads[i], NULL);
}

/* Signals belong to the application's threads. */
static attn_status
start_threads(struct pool *pool, attn_error *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    uint32_t i = 0;
    int failed = 0;
    for (; i + 1 < pool->num_threads && !failed; i += !failed)
        failed = pthread_create(&pool->threads[i], NULL, worker_main, pool);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!failed)
        return ATTN_OK;
    stop_threads(pool, i);
    attn_error_set(err, ATTN_E_NOMEM, "num_threads",
                   "cannot start thread %u of %u: %s", i + 2, pool->num_threads,
                   strerror(failed));
    if (err && err->struct_size >= sizeof *err)
        err->native = failed;
    return ATTN_E_NOMEM;
}

static void
pool_free(struct pool *pool)
{
    pthread_mutex_destroy(&pool->callers);
    free(pool->threads);
    free(pool);
}

attn_status
attn_executor_create(uint32_t num_threads, attn_executor **executor,
                     attn_error *err)
{
    if (num_threads > MAX_THREADS)
        return attn_error_set(err, ATTN_E_ARG, "num_threads",
                              "num_threads %u: at most %u", num_threads,
                              MAX_THREADS);
    if (num_threads == 0)
        num_threads = usable_cpus();
    struct pool *pool = aligned_alloc(LINE, sizeof *pool);
    if (!pool)
        return attn_error_nomem(err, "executor", sizeof *pool);
    memset(pool, 0, sizeof *pool);
    pthread_mutex_init(&pool->callers, NULL);
    pool->num_threads = num_threads;
    pool->public = (attn_executor){sizeof pool->public, num_threads, pool,
                                   pool_parallel_for};
    pool->threads = calloc(num_threads, sizeof *pool->threads);
    attn_status s = pool->threads ? start_threads(pool, err)
                                  : attn_error_nomem(err, "executor", 0);
    if (s != ATTN_OK)
        pool_free(pool);
    else
        *executor = &pool->public;
    return s;
}

void
attn_executor_destroy(attn_executor *executor)
{
    if (!executor)
        return;
    struct pool *pool = executor->arg;
    stop_threads(pool, pool->num_threads - 1);
    pool_free(pool);
}
