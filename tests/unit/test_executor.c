/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/executor.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "alloc_fail.h"
#include "unit.h"

#define MAX_TASKS 5000

static attn_error err;

struct loop {
    _Atomic uint32_t runs[MAX_TASKS];
    _Atomic uint32_t in_worker[64]; /* 1 while a thread holds the number */
    _Atomic uint32_t bad;
    uint32_t plain[MAX_TASKS]; /* not atomic: the end of the loop orders it */
    uint32_t max_workers;
    _Atomic uint32_t workers_seen;
};

static void
count_task(void *arg, uint32_t task, uint32_t worker)
{
    struct loop *l = arg;
    if (worker >= l->max_workers || atomic_exchange(&l->in_worker[worker], 1))
        l->bad++;
    atomic_fetch_or(&l->workers_seen, 1u << worker);
    l->runs[task]++;
    l->plain[task] = task + 1;
    l->in_worker[worker] = 0;
}

static void
check_loop(const attn_executor *e, uint32_t num_tasks, uint32_t max_workers)
{
    struct loop *l = calloc(1, sizeof *l);
    l->max_workers = max_workers;
    e->parallel_for(e->arg, num_tasks, max_workers, count_task, l);
    ck_assert_uint_eq(l->bad, 0);
    for (uint32_t i = 0; i < MAX_TASKS; i++) {
        ck_assert_uint_eq(l->runs[i], i < num_tasks);
        ck_assert_uint_eq(l->plain[i], i < num_tasks ? i + 1 : 0);
    }
    free(l);
}

START_TEST(each_task_once)
{
    for (uint32_t threads = 1; threads <= 5; threads++) {
        attn_executor *e;
        ck_assert_good(attn_executor_create(threads, &e, &err), err);
        ck_assert_uint_eq(e->num_threads, threads);
        for (uint32_t max = 1; max <= 6; max++) {
            check_loop(e, 0, max);
            check_loop(e, 1, max);
            check_loop(e, 7, max);
            check_loop(e, MAX_TASKS, max);
        }
        attn_executor_destroy(e);
    }
}
END_TEST

static void
short_task(void *arg, uint32_t task, uint32_t worker)
{
    (void)worker;
    atomic_fetch_add((_Atomic uint64_t *)arg, task + 1);
}

START_TEST(many_short_loops)
{
    attn_executor *e;
    ck_assert_good(attn_executor_create(3, &e, &err), err);
    for (uint32_t i = 0; i < 20000; i++) {
        _Atomic uint64_t sum = 0;
        e->parallel_for(e->arg, 4, 3, short_task, &sum);
        ck_assert_uint_eq(sum, 10);
    }
    for (uint32_t i = 0; i < 50; i++) {
        _Atomic uint64_t sum = 0;
        usleep(200); /* longer than workers spin: they sleep */
        e->parallel_for(e->arg, 4, 3, short_task, &sum);
        ck_assert_uint_eq(sum, 10);
    }
    attn_executor_destroy(e);
}
END_TEST

struct meeting {
    _Atomic uint32_t present;
};

static void
meet(void *arg, uint32_t task, uint32_t worker)
{
    struct meeting *m = arg;
    (void)task;
    (void)worker;
    m->present++;
    while (m->present < 3)
        sched_yield();
}

/* Ends only when three threads are inside at once, asleep before or not. */
START_TEST(workers_do_take_part)
{
    attn_executor *e;
    ck_assert_good(attn_executor_create(3, &e, &err), err);
    for (int i = 0; i < 20; i++) {
        struct meeting m = {0};
        usleep(i % 2 ? 1000 : 0);
        e->parallel_for(e->arg, 3, 3, meet, &m);
        ck_assert_uint_eq(m.present, 3);
    }
    attn_executor_destroy(e);
}
END_TEST

struct order {
    _Atomic uint32_t started;
    _Atomic uint32_t late;
    uint32_t slack;
};

/* A task starts at most as many places late as there are workers. */
static void
ordered_task(void *arg, uint32_t task, uint32_t worker)
{
    struct order *o = arg;
    (void)worker;
    uint32_t place = atomic_fetch_add(&o->started, 1);
    if (task > place + o->slack)
        o->late++;
}

START_TEST(tasks_start_in_order)
{
    attn_executor *e;
    ck_assert_good(attn_executor_create(4, &e, &err), err);
    struct order o = {.slack = 4};
    e->parallel_for(e->arg, 100000, 4, ordered_task, &o);
    ck_assert_uint_eq(o.started, 100000);
    ck_assert_uint_eq(o.late, 0);
    attn_executor_destroy(e);
}
END_TEST

static attn_executor *shared_pool;

static void *
call_from_thread(void *arg)
{
    (void)arg;
    for (int i = 0; i < 500; i++) {
        _Atomic uint64_t sum = 0;
        shared_pool->parallel_for(shared_pool->arg, 20, 3, short_task, &sum);
        if (sum != 210)
            return (void *)1;
    }
    return NULL;
}

START_TEST(callers_take_turns)
{
    ck_assert_good(attn_executor_create(3, &shared_pool, &err), err);
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, call_from_thread, NULL);
    for (int i = 0; i < 4; i++) {
        void *bad;
        pthread_join(t[i], &bad);
        ck_assert_ptr_null(bad);
    }
    attn_executor_destroy(shared_pool);
}
END_TEST

static void
nest(void *arg, uint32_t task, uint32_t worker)
{
    (void)task;
    (void)worker;
    shared_pool->parallel_for(shared_pool->arg, 10, 3, short_task, arg);
}

START_TEST(a_loop_inside_a_task_runs_there)
{
    ck_assert_good(attn_executor_create(3, &shared_pool, &err), err);
    _Atomic uint64_t sum = 0;
    shared_pool->parallel_for(shared_pool->arg, 8, 3, nest, &sum);
    ck_assert_uint_eq(sum, 8 * 55);
    attn_executor_destroy(shared_pool);
}
END_TEST

START_TEST(creation_fails_cleanly)
{
    attn_executor *e = NULL;
    ck_assert_error(attn_executor_create(5000, &e, &err), err, ATTN_E_ARG,
                    "num_threads 5000: at most 4096");
    for (size_t i = 0; i < 2; i++) {
        alloc_fail_start(i);
        attn_status s = attn_executor_create(2, &e, NULL);
        alloc_fail_stop();
        ck_assert_int_eq(s, ATTN_E_NOMEM);
        ck_assert_ptr_null(e);
    }
    ck_assert_good(attn_executor_create(0, &e, &err), err);
    ck_assert_uint_ge(e->num_threads, 1);
    attn_executor_destroy(e);
    attn_executor_destroy(NULL);
}
END_TEST

UNIT_MAIN("executor", 60, each_task_once, many_short_loops,
          workers_do_take_part, tasks_start_in_order, callers_take_turns,
          a_loop_inside_a_task_runs_there, creation_fails_cleanly)
