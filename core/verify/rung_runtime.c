/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "verify/hooks.h"
#include "verify/ladder.h"

#define STEPS 4 /* of one builder */
#define WARM_CYCLES 6
#define LOOKS 4
#define THREADS 2
#define FEW_CASES 40

/* The n-th random case and its call; NULL when there is none. */
static attn_call *
nth_call(attn_climb *c, uint64_t salt, uint32_t n, attn_ladder_case *k,
         char *reason, size_t size)
{
    if (!attn_ladder_case_make(
            c, attn_ladder_random_id(c->seed * 31 + salt * 977 + n), k))
        return NULL;
    return attn_ladder_case_call(c, k, reason, size);
}

static attn_trial_params
params_of(const attn_climb *c, const attn_ladder_case *k)
{
    return (attn_trial_params){.registry = c->registry,
                               .entry = c->entry,
                               .num_threads = c->params->num_threads,
                               .flags = attn_trial_flags(k->run_flags)};
}

static void
describe(const attn_ladder_case *k, const attn_error *err, char *reason,
         size_t size)
{
    snprintf(reason, size, "%s: %s: %s", k->label, err->where, err->message);
}

/* ------------------------------------------------------------------- memory */

static attn_status
no_calls(attn_error *err)
{
    const char *first;
    const uint32_t n = attn_hooks_count(&first);
    return n ? attn_error_set(err, ATTN_E_INTERNAL, "hot path",
                              "%u calls like %s in build, update_cache or "
                              "forward",
                              n, first)
             : ATTN_OK;
}

/* Several steps of one builder, watched. */
static attn_status
watched(attn_climb *c, const attn_ladder_case *k, const attn_call *call,
        attn_error *err)
{
    const attn_trial_params in = params_of(c, k);
    attn_trial *t = NULL;
    attn_status s = attn_trial_create(&in, call, &t, err);
    for (int i = 0; !s && i < STEPS; i++) {
        s = attn_trial_load(t, call, err);
        attn_hooks_reset();
        if (!s)
            s = attn_trial_build(t, err);
        if (!s)
            s = attn_trial_update(t, err);
        if (!s)
            s = attn_trial_forward(t, err);
        if (!s)
            s = no_calls(err);
        if (!s)
            s = attn_trial_sync(t, err);
        if (!s)
            s = attn_trial_check(t, err);
    }
    attn_trial_destroy(t);
    return s;
}

/* A batch of padding only, which must do nothing and say so. */
static attn_status
empty_batch(attn_climb *c, const attn_ladder_case *k, attn_error *err)
{
    attn_ladder_case none = *k;
    char text[ATTN_REASON] = "";
    none.num_reqs = 1;
    none.requests[0] = (attn_spec_request){0, 0};
    none.flags &= ~(uint32_t)ATTN_CASE_PADDING;
    attn_call *call = attn_ladder_case_call(c, &none, text, sizeof text);
    if (!call)
        return attn_error_set(err, ATTN_E_INTERNAL, "empty batch", "%s", text);
    attn_status s = watched(c, &none, call, err);
    attn_call_free(call);
    return s;
}

uint32_t
attn_rung_memory(attn_climb *c, char *reason, size_t size)
{
    /* In a debugger's process nothing is patched; a device's runtime inside
     * the plugin, or an emulation, may allocate. */
    const int hooked = c->fd >= 0 && c->entry->device_type == ATTN_DEVICE_CPU &&
                       attn_hooks_install(c->entry->backend->op);
    for (uint32_t i = 0; i < FEW_CASES && attn_climb_now() < c->end; i++) {
        attn_ladder_case k;
        attn_error err = ATTN_ERROR_INIT;
        attn_climb_progress(c, i, FEW_CASES);
        attn_call *call = nth_call(c, 1, i, &k, reason, size);
        if (!call)
            continue;
        c->num_cases++;
        attn_status s = watched(c, &k, call, &err);
        attn_call_free(call);
        if (!s)
            s = empty_batch(c, &k, &err);
        if (s) {
            describe(&k, &err, reason, size);
            return ATTN_RUNG_FAIL;
        }
    }
    snprintf(reason, size, "%u builders, %d steps each%s", c->num_cases, STEPS,
             hooked ? ", no allocation in them" : "; allocations not counted");
    return c->num_cases ? ATTN_RUNG_PASS : ATTN_RUNG_SKIP;
}

/* ------------------------------------------------------------------ threads */

typedef struct side {
    attn_trial *trial;
    const attn_call *call;
    attn_call *want;
    pthread_t thread;
    attn_error err;
    attn_status status;
    double end;
    uint32_t steps, exact;
} side;

static int
same_out(const attn_call *a, const attn_call *b)
{
    const attn_call_tensor *x = attn_call_find(a, "out"),
                           *y = attn_call_find(b, "out");
    return x && y && x->bytes == y->bytes &&
           !memcmp(x->data, y->data, x->bytes);
}

static attn_status
compare_side(side *w, const attn_call *got)
{
    char text[ATTN_REASON] = "";
    if (w->exact ? same_out(w->want, got)
                 : attn_ladder_judge(w->call, got, text, sizeof text) ==
                       ATTN_RUNG_PASS)
        return ATTN_OK;
    return attn_error_set(&w->err, ATTN_E_INTERNAL, "out",
                          "step %u beside another builder differs from the "
                          "same step alone%s%s",
                          w->steps, text[0] ? ": " : "", text);
}

static void *
run_side(void *arg)
{
    side *w = arg;
    w->err = ATTN_ERROR_INIT;
    while (!w->status && attn_climb_now() < w->end) {
        attn_call *got = NULL;
        w->status = attn_trial_load(w->trial, w->call, &w->err);
        if (!w->status)
            w->status = attn_trial_run(w->trial, &w->err);
        if (!w->status)
            w->status = attn_trial_collect(w->trial, &got, &w->err);
        if (!w->status)
            w->status = compare_side(w, got);
        attn_call_free(got);
        w->steps++;
    }
    return NULL;
}

static attn_status
open_side(attn_climb *c, const attn_ladder_case *k, side *w, attn_error *err)
{
    const attn_trial_params in = params_of(c, k);
    attn_status s = attn_trial_create(&in, w->call, &w->trial, err);
    if (!s)
        s = attn_trial_run(w->trial, err);
    return s ? s : attn_trial_collect(w->trial, &w->want, err);
}

static attn_status
side_by_side(attn_climb *c, const attn_ladder_case *k, side *w, double seconds,
             attn_error *err)
{
    attn_status s = ATTN_OK;
    uint32_t n = 0;
    for (uint32_t i = 0; !s && i < THREADS; i++)
        s = open_side(c, &k[i], &w[i], err);
    for (; !s && n < THREADS; n++) {
        w[n].end = attn_climb_now() + seconds;
        w[n].exact = (c->entry->backend->caps[0]->properties &
                      ATTN_P_DETERMINISTIC) != 0;
        if (pthread_create(&w[n].thread, NULL, run_side, &w[n]))
            break;
    }
    for (uint32_t i = 0; i < n; i++)
        pthread_join(w[i].thread, NULL);
    for (uint32_t i = 0; i < THREADS; i++) {
        if (!s && w[i].status) {
            s = w[i].status;
            *err = w[i].err;
        }
        attn_trial_destroy(w[i].trial);
        attn_call_free(w[i].want);
    }
    return s;
}

uint32_t
attn_rung_threads(attn_climb *c, char *reason, size_t size)
{
    uint32_t steps = 0, pairs = 0;
    const double each = c->params->quick ? 0.1 : 0.7;
    for (uint32_t i = 0; i < FEW_CASES && attn_climb_now() < c->end; i++) {
        attn_ladder_case k[THREADS];
        side w[THREADS] = {0};
        attn_error err = ATTN_ERROR_INIT;
        attn_status s = ATTN_OK;
        attn_climb_progress(c, i, FEW_CASES);
        for (uint32_t t = 0; t < THREADS; t++)
            w[t].call = nth_call(c, 2 + t, i, &k[t], reason, size);
        c->loops->mode = ATTN_LOOP_INLINE;
        if (w[0].call && w[1].call) {
            s = side_by_side(c, k, w, each, &err);
            pairs++;
        }
        c->loops->mode = ATTN_LOOP_POOL;
        for (uint32_t t = 0; t < THREADS; t++) {
            attn_call_free((attn_call *)(uintptr_t)w[t].call);
            steps += w[t].steps;
        }
        c->num_cases = pairs;
        if (s) {
            describe(&k[0], &err, reason, size);
            return ATTN_RUNG_FAIL;
        }
    }
    snprintf(reason, size, "%u pairs of builders, %u steps", pairs, steps);
    return pairs ? ATTN_RUNG_PASS : ATTN_RUNG_SKIP;
}

/* -------------------------------------------------------------------- leaks */

typedef struct level {
    size_t heap, files, threads;
    uint64_t device_free;
} level;

static size_t
count_entries(const char *path)
{
    size_t n = 0;
    DIR *d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static level
measure(const attn_climb *c)
{
    level l = {.heap = mallinfo2().uordblks,
               .files = count_entries("/proc/self/fd"),
               .threads = count_entries("/proc/self/task")};
    const attn_entry *e = c->entry;
    const attn_device_service *d =
        e->device_type != ATTN_DEVICE_CPU && e->plugin->get_extension
            ? e->plugin->get_extension(ATTN_DEVICE_SERVICE)
            : NULL;
    uint64_t total;
    if (d)
        d->memory_info((attn_device){e->device_type, e->device_id},
                       &l.device_free, &total, NULL);
    return l;
}

static attn_status
cycle(attn_climb *c, const attn_ladder_case *k, const attn_call *call,
      attn_error *err)
{
    const attn_trial_params in = params_of(c, k);
    attn_trial *t = NULL;
    attn_status s = attn_trial_create(&in, call, &t, err);
    if (!s)
        s = attn_trial_run(t, err);
    attn_trial_destroy(t);
    return s;
}

/* Levels at the start, half way and at the end of some cycles. */
typedef struct levels {
    level a, b, c;
} levels;

/* What the C library keeps for later grows once; a leak grows in both halves.
 */
static int
heap_grows(const levels *l, uint32_t cycles)
{
    const size_t half = 16 * (size_t)(cycles / 2);
    return l->b.heap >= l->a.heap + half && l->c.heap >= l->b.heap + half;
}

static attn_status
compare_levels(const levels *l, uint32_t cycles, attn_error *err)
{
    const level *a = &l->a, *c = &l->c;
    if (c->files > a->files)
        return attn_error_set(err, ATTN_E_INTERNAL, "files",
                              "%zu files left open by %u cycles",
                              c->files - a->files, cycles);
    if (c->threads > a->threads)
        return attn_error_set(err, ATTN_E_INTERNAL, "threads",
                              "%zu threads left by %u cycles",
                              c->threads - a->threads, cycles);
    if (heap_grows(l, cycles))
        return attn_error_set(err, ATTN_E_INTERNAL, "heap",
                              "%zu bytes leaked in %u cycles of builder_create "
                              "to builder_destroy",
                              c->heap - a->heap, cycles);
    if (c->device_free + (4u << 20) < a->device_free)
        return attn_error_set(
            err, ATTN_E_INTERNAL, "device memory",
            "%llu bytes gone after %u cycles",
            (unsigned long long)(a->device_free - c->device_free), cycles);
    return ATTN_OK;
}

static attn_status
cycles(attn_climb *c, const attn_ladder_case *k, const attn_call *call,
       uint32_t n, attn_error *err)
{
    attn_status s = ATTN_OK;
    for (uint32_t i = 0; !s && i < n; i++) {
        attn_climb_progress(c, c->num_cases, 0);
        s = cycle(c, k, call, err);
        c->num_cases++;
    }
    return s;
}

/* mallinfo2() counts as used what a thread has freed and keeps for its next
 * call, and that may still grow by a few blocks in few cycles: a heap that
 * grows is looked at again. A leak grows each time. */
static attn_status
look(attn_climb *c, const attn_ladder_case *k, const attn_call *call,
     uint32_t n, attn_error *err)
{
    levels l = {0};
    attn_status s = ATTN_OK;
    for (int i = 0; i < LOOKS && !s && (i == 0 || heap_grows(&l, n)); i++) {
        l.a = measure(c);
        s = cycles(c, k, call, n / 2, err);
        l.b = measure(c);
        if (!s)
            s = cycles(c, k, call, n / 2, err);
        l.c = measure(c);
    }
    return s ? s : compare_levels(&l, n, err);
}

/* As many cycles as the time allows, an even number. */
static uint32_t
affordable(const attn_climb *c, double each)
{
    const double most = c->params->quick ? 24 : 100;
    const double n = (c->end - attn_climb_now()) / (each + 1e-6);
    return 2 * (uint32_t)((n < 8 ? 8 : n > most ? most : n) / 2);
}

uint32_t
attn_rung_leaks(attn_climb *c, char *reason, size_t size)
{
    attn_ladder_case k;
    attn_error err = ATTN_ERROR_INIT;
    attn_call *call = NULL;
    for (uint32_t i = 0; !call && i < FEW_CASES; i++)
        call = nth_call(c, 9, i, &k, reason, size);
    if (!call)
        return ATTN_RUNG_SKIP;
    measure(c);
    const double start = attn_climb_now();
    attn_status s = cycles(c, &k, call, WARM_CYCLES, &err);
    const uint32_t n = affordable(c, (attn_climb_now() - start) / WARM_CYCLES);
    if (!s)
        s = look(c, &k, call, n, &err);
    attn_call_free(call);
    if (s) {
        describe(&k, &err, reason, size);
        return ATTN_RUNG_FAIL;
    }
    snprintf(reason, size, "%u cycles of a builder", c->num_cases);
    return ATTN_RUNG_PASS;
}
