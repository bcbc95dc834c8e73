/* SPDX-License-Identifier: Apache-2.0 */
#include <attn/verify.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/size.h"
#include "verify/roof.h"
#include "verify/trial.h"

#define CHECKED_ROWS 64
#define MAX_COPIES 256u
#define MAX_COPY_BYTES (2048ull << 20)
#define MAX_CACHES 2
#define LEAST_SAMPLES 5u
#define MOST_SAMPLES 100000u
#define WARM_UP 2u
#define SLICES 12u /* more than LEAST_SAMPLES */
#define READ_SECONDS 6e-3
#define PARAMS_SIZE_1_0 ATTN_UP_TO(attn_bench_params, is_turned)
#define RESULT_SIZE_1_0 ATTN_UP_TO(attn_bench_result, stream_bytes)

/* One problem with several copies of its caches, taken in turn. */
struct attn_bench {
    attn_trial *trial;
    attn_verdict verdict;
    attn_cost cost;
    uint32_t copies, wanted, use_graph, num_caches;
    uint32_t where[MAX_CACHES]; /* index of the buffer */
    attn_buffer *caches[MAX_COPIES][MAX_CACHES];
    uint64_t graphs[MAX_COPIES];
    uint32_t num_graphs;
    double cache_bytes, llc;
    uint64_t from, to; /* events */
    uint32_t has_events;
    attn_roof_reader *reader;
};

/* Times in the order of the steps; how many; reads beside each slice. */
typedef struct samples {
    double *build, *forward;
    uint32_t count, num_slices;
    double rate[SLICES], moved[SLICES];
} samples;

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Refuses a result outside the rule; its verdict is kept. */
static attn_status
check_result(attn_bench *b, const attn_call *call, attn_error *err)
{
    attn_reference *ref = NULL;
    attn_call *result = NULL;
    attn_verdict v[4];
    uint32_t pass = 0;
    attn_status s = attn_trial_run(b->trial, err);
    if (!s)
        s = attn_trial_collect(b->trial, &result, err);
    if (!s)
        s = attn_reference_create(call, CHECKED_ROWS, 0, &ref, err);
    if (!s)
        s = attn_compare(ref, result, v, &pass, err);
    for (size_t i = 0; !s && i < attn_reference_count(ref); i++)
        if (i == 0 || !v[i].pass)
            b->verdict = v[i];
    if (!s && !pass)
        s = attn_error_set(err, ATTN_E_INTERNAL, "result",
                           "wrong result, not timed: %s", b->verdict.reason);
    attn_reference_free(ref);
    attn_call_free(result);
    return s;
}

static int
is_cache(const char *name)
{
    return !strcmp(name, "k_cache") || !strcmp(name, "v_cache") ||
           !strcmp(name, "kv_cache") || !strcmp(name, "ssm_state") ||
           !strcmp(name, "conv_state");
}

/* Of a copy's caches, what a step reads. */
static double
bytes_read(const attn_bench *b)
{
    return b->cost.bytes < b->cache_bytes ? b->cost.bytes : b->cache_bytes;
}

static uint32_t
copies_for(const attn_bench *b)
{
    if (b->wanted == ATTN_CACHE_WARM || b->cache_bytes <= 0)
        return 1;
    double n = (double)attn_roof_cold() / bytes_read(b) + 1;
    const double room = (double)MAX_COPY_BYTES / b->cache_bytes;
    n = n > room ? room : n;
    return n < 1 ? 1 : n > MAX_COPIES ? MAX_COPIES : (uint32_t)n;
}

static attn_status
add_copies(attn_bench *b, const attn_call *call, attn_error *err)
{
    attn_trial *t = b->trial;
    for (uint32_t i = 0; i < t->num_buffers; i++)
        if (is_cache(t->buffers[i]->name) && b->num_caches < MAX_CACHES) {
            b->cache_bytes += (double)t->buffers[i]->bytes;
            b->where[b->num_caches++] = i;
        }
    const uint32_t copies = copies_for(b);
    attn_status s = ATTN_OK;
    for (uint32_t k = 0; !s && k < copies; k++)
        for (uint32_t c = 0; !s && c < b->num_caches; c++) {
            attn_buffer *first = t->buffers[b->where[c]];
            if (k == 0) {
                b->caches[0][c] = first;
                continue;
            }
            s = attn_buffer_create(&t->place, first->name, first->role,
                                   first->tensor.dtype,
                                   (uint32_t)first->tensor.ndim, first->shape,
                                   0, &b->caches[k][c], err);
            if (!s && attn_buffer_is_turned(first))
                attn_buffer_turn(b->caches[k][c]);
            if (!s)
                s = attn_buffer_upload(&t->place, b->caches[k][c],
                                       attn_call_find(call, first->name), 0xFF,
                                       err);
        }
    b->copies = copies;
    return s;
}

static void
take_copy(attn_bench *b, uint32_t k)
{
    for (uint32_t c = 0; c < b->num_caches; c++)
        b->trial->buffers[b->where[c]] = b->caches[k][c];
}

static uint32_t
cache_reached(const attn_bench *b)
{
    return b->copies * bytes_read(b) >= 2 * b->llc ? ATTN_CACHE_COLD
                                                   : ATTN_CACHE_WARM;
}

static attn_status
make_graphs(attn_bench *b, attn_error *err)
{
    attn_status s = attn_trial_build(b->trial, err);
    for (uint32_t k = 0; !s && k < b->copies; k++) {
        take_copy(b, k);
        s = attn_trial_capture(b->trial, err);
        if (!s)
            b->graphs[b->num_graphs++] = b->trial->graph;
        b->trial->has_graph = 0;
    }
    return s;
}

static attn_status
set_up(attn_bench *b, attn_registry *registry, const attn_entry *entry,
       const attn_bench_params *params, const attn_call *call, attn_error *err)
{
    const attn_trial_params in = {
        .registry = registry,
        .entry = entry,
        .num_threads = params->num_threads,
        .flags = params->is_turned ? ATTN_TRIAL_TURNED : 0,
        .capture = params->use_graph ? ATTN_CAPTURE_ALWAYS : ATTN_CAPTURE_NEVER,
    };
    attn_status s = attn_eligible_check(registry, entry, params->layer, err);
    if (!s)
        s = attn_trial_create(&in, call, &b->trial, err);
    if (!s && !params->skip_check)
        s = check_result(b, call, err);
    if (!s)
        s = attn_trial_load(b->trial, call, err);
    if (!s)
        s = add_copies(b, call, err);
    if (s)
        return s;
    if (!b->trial->place.service)
        return params->num_readers && cache_reached(b) == ATTN_CACHE_COLD
                   ? attn_roof_reader_create(params->num_readers, &b->reader,
                                             err)
                   : ATTN_OK;
    const attn_device_service *d = b->trial->place.service;
    s = d->event_create(b->trial->place.device, &b->from, err);
    if (!s)
        s = d->event_create(b->trial->place.device, &b->to, err);
    b->has_events = !s;
    return !s && params->use_graph ? make_graphs(b, err) : s;
}

static attn_status
check_graph(const attn_entry *entry, attn_error *err)
{
    if (entry->device_type == ATTN_DEVICE_CPU)
        return attn_error_set(err, ATTN_E_UNSUPPORTED, "use_graph",
                              "graph: %s runs on the host, where nothing is "
                              "captured",
                              entry->name);
    if (entry->backend->caps[0]->capture == ATTN_CAPTURE_NEVER)
        return attn_error_set(err, ATTN_E_UNSUPPORTED, "use_graph",
                              "graph: %s claims no capture", entry->name);
    return ATTN_OK;
}

static attn_status
make_call(const attn_bench_params *params, attn_call **call, attn_error *err)
{
    const attn_case_params in = {.struct_size = sizeof in,
                                 .num_reqs = params->num_reqs,
                                 .layer = params->layer,
                                 .requests = params->requests,
                                 .seed = params->seed ? params->seed : 1,
                                 .flags = ATTN_CASE_NO_POISON};
    return attn_case_make(&in, call, err);
}

attn_status
attn_bench_create(attn_registry *registry, const attn_entry *entry,
                  const attn_bench_params *given, attn_bench **bench,
                  attn_error *err)
{
    attn_bench_params params;
    attn_call *call = NULL;
    if (given->struct_size < PARAMS_SIZE_1_0)
        return attn_error_params(err, given->struct_size, PARAMS_SIZE_1_0);
    attn_take(&params, sizeof params, given);
    if (!entry->backend)
        return attn_error_set(err, ATTN_E_ARG, "entry", "'%s' is %s: %s",
                              entry->name, attn_state_str(entry->state),
                              entry->reason);
    attn_status s = params.use_graph ? check_graph(entry, err) : ATTN_OK;
    if (!s)
        s = make_call(&params, &call, err);
    if (s)
        return s;
    attn_bench *b = calloc(1, sizeof *b);
    if (b) {
        b->wanted = params.cache;
        b->llc = (double)attn_roof_cache();
        b->use_graph = params.use_graph;
        attn_call_cost(call, &b->cost);
        s = set_up(b, registry, entry, &params, call, err);
    } else
        s = attn_error_nomem(err, "bench", sizeof *b);
    attn_call_free(call);
    if (s)
        attn_bench_destroy(b);
    else
        *bench = b;
    return s;
}

void
attn_bench_destroy(attn_bench *b)
{
    if (!b)
        return;
    const attn_device_service *d = b->trial ? b->trial->place.service : NULL;
    for (uint32_t k = 0; d && k < b->num_graphs; k++)
        d->graph_destroy(b->graphs[k]);
    if (d && b->has_events) {
        d->event_destroy(b->from);
        d->event_destroy(b->to);
    }
    for (uint32_t k = 1; b->trial && k < MAX_COPIES; k++)
        for (uint32_t c = 0; c < MAX_CACHES; c++)
            attn_buffer_destroy(&b->trial->place, b->caches[k][c]);
    if (b->trial && b->copies)
        take_copy(b, 0);
    attn_trial_destroy(b->trial);
    attn_roof_reader_destroy(b->reader);
    free(b);
}

static attn_status
forward_device(attn_bench *b, uint32_t k, double *seconds, attn_error *err)
{
    attn_trial *t = b->trial;
    const attn_device_service *d = t->place.service;
    double ms = 0;
    attn_status s = d->event_record(b->from, &t->place.stream, err);
    if (!s)
        s = b->num_graphs ? d->graph_launch(b->graphs[k], &t->place.stream, err)
                          : attn_trial_forward(t, err);
    if (!s)
        s = d->event_record(b->to, &t->place.stream, err);
    if (!s)
        s = attn_trial_sync(t, err);
    if (!s)
        s = d->event_elapsed(b->from, b->to, &ms, err);
    *seconds = ms * 1e-3;
    return s;
}

/* One step on the next copy, its two times in seconds. */
static attn_status
step(attn_bench *b, uint32_t i, double *build, double *forward, attn_error *err)
{
    take_copy(b, i % b->copies);
    const double t0 = now();
    attn_status s = attn_trial_build(b->trial, err);
    const double t1 = now();
    *build = t1 - t0;
    if (s)
        return s;
    if (b->trial->place.service)
        return forward_device(b, i % b->copies, forward, err);
    s = attn_trial_forward(b->trial, err);
    *forward = now() - t1;
    return s;
}

static int
ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static attn_times
summary(double *x, uint32_t n)
{
    attn_times t = {.count = n};
    qsort(x, n, sizeof *x, ascending);
    for (uint32_t i = 0; i < n; i++)
        t.mean += x[i] * 1e6 / n;
    t.min = x[0] * 1e6;
    t.p50 = x[n / 2] * 1e6;
    t.p90 = x[(uint64_t)n * 90 / 100] * 1e6;
    t.p99 = x[(uint64_t)n * 99 / 100] * 1e6;
    return t;
}

static double
median(double *x, uint32_t n)
{
    qsort(x, n, sizeof *x, ascending);
    return n ? x[n / 2] : 0;
}

static attn_status
read_for_a_while(attn_bench *b, double *rate, attn_error *err)
{
    *rate = attn_roof_reader_rate(b->reader, READ_SECONDS);
    return *rate > 0 ? ATTN_OK
                     : attn_error_set(err, ATTN_E_NOMEM, "bench",
                                      "could not start the reading threads");
}

/* Steps for so long, at least one, between two looks at the rate of reads. */
static attn_status
time_slice(attn_bench *b, double seconds, double *rate, samples *t,
           attn_error *err)
{
    const uint32_t first = t->count;
    attn_status s = ATTN_OK;
    const double start = now();
    do {
        s = step(b, t->count, t->build + t->count, t->forward + t->count, err);
        t->count++;
    } while (!s && t->count < MOST_SAMPLES && now() - start < seconds);
    if (s || !b->reader)
        return s;
    const double before = *rate;
    if ((s = read_for_a_while(b, rate, err)))
        return s;
    const double typical = summary(t->forward + first, t->count - first).p50;
    t->rate[t->num_slices] = (before + *rate) / 2;
    t->moved[t->num_slices] = (before + *rate) / 2 * typical * 1e-6;
    t->num_slices++;
    return ATTN_OK;
}

static attn_status
time_slices(attn_bench *b, double seconds, samples *t, attn_error *err)
{
    const double each = b->reader ? seconds / SLICES : seconds;
    double rate = 0;
    attn_status s = ATTN_OK;
    for (uint32_t i = 0; !s && i < WARM_UP; i++)
        s = step(b, i, t->build, t->forward, err);
    if (!s && b->reader)
        s = read_for_a_while(b, &rate, err);
    const double start = now();
    while (!s && t->count < MOST_SAMPLES &&
           (t->count < LEAST_SAMPLES || now() - start < seconds))
        s = time_slice(b, each, &rate, t, err);
    return s;
}

static attn_bench_result
result_of(const attn_bench *b, samples *t)
{
    return (attn_bench_result){
        .cache = cache_reached(b),
        .build = summary(t->build, t->count),
        .forward = summary(t->forward, t->count),
        .cost = b->cost,
        .copies_bytes = b->copies * b->cache_bytes,
        .verdict = b->verdict,
        .read_bytes = median(t->rate, t->num_slices),
        .stream_bytes = median(t->moved, t->num_slices),
    };
}

attn_status
attn_bench_measure(attn_bench *b, double seconds, attn_bench_result *result,
                   attn_error *err)
{
    const uint32_t room = result->struct_size;
    if (room < RESULT_SIZE_1_0)
        return attn_error_set(err, ATTN_E_ARG, "result.struct_size",
                              "struct_size %u: at least %zu", room,
                              RESULT_SIZE_1_0);
    samples t = {.build = malloc(MOST_SAMPLES * sizeof *t.build),
                 .forward = malloc(MOST_SAMPLES * sizeof *t.forward)};
    attn_status s =
        t.build && t.forward
            ? time_slices(b, seconds, &t, err)
            : attn_error_nomem(err, "bench", MOST_SAMPLES * sizeof *t.build);
    if (!s) {
        const attn_bench_result r = result_of(b, &t);
        attn_give(result, room, &r, sizeof r);
    }
    free(t.build);
    free(t.forward);
    return s;
}
