/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_metadata.h"

#include "bench_builders.h"
#include "bench_steps.h"
#include "output.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLES 2000u
#define SAMPLE_NS 4000.0 /* of a sample, so that the clock does not count */

static const out_column columns[] = {
    {.path = "batch", .width = 12},
    {.path = "work", .width = 34},
    {.path = "us.p50", .title = "us", .flags = OUT_RIGHT, .precision = 3},
    {.path = "us.p90", .title = "p90", .flags = OUT_RIGHT, .precision = 3},
    {.path = "us.p99", .title = "p99", .flags = OUT_RIGHT, .precision = 3},
    {.path = "target_us",
     .title = "target",
     .flags = OUT_RIGHT,
     .precision = 3},
    {.path = "reqs", .flags = OUT_MACHINE},
    {.path = "tokens", .flags = OUT_MACHINE},
};

static const char *const default_specs[] = {
    "8q1s1k",       "64q1s1k",  "256q1s1k", "1024q1s1k",
    "2q2k_32q1s4k", "64q1ks8k", "256q1536", "975q7s1k",
};

/* What this project has promised itself, on one core, block size 16. */
static const struct target {
    const char *spec, *work;
    double us;
} targets[] = {
    {"256q1s1k", "validate+split+slot_mapping", 3},
    {"64q1ks8k", "local_attention_virtual_batches", 10},
    {"256q1536", "mamba2_chunks", 8},
    {"975q7s1k", "causal_conv1d_programs", 2},
    {"64q1s1k", "build flash.cpu", 2},
    {"1024q1s1k", "build flash.cpu", 20},
};

static double
now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static int
ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* One thing to time: a transform, or a backend's build. */
typedef struct work {
    char name[64];
    attn_status (*run)(const struct work *w, attn_error *err);
    const bench_step *step;
    bench_steps *steps;
    bench_builder *builder;
} work;

static attn_status
run_step(const work *w, attn_error *err)
{
    return w->step->run(w->steps, err);
}

static attn_status
run_build(const work *w, attn_error *err)
{
    return bench_builder_run(w->builder, err);
}

static double
run_many(const work *w, uint32_t times)
{
    const double start = now_ns();

    for (uint32_t i = 0; i < times; i++)
        w->run(w, NULL);
    return now_ns() - start;
}

/* Microseconds a call, in ascending order. */
static void
measure(const work *w, double *us)
{
    uint32_t times = 1;

    while (run_many(w, times) < SAMPLE_NS && times < 1u << 16)
        times *= 2;
    for (uint32_t i = 0; i < SAMPLES / 10; i++)
        run_many(w, times);
    for (uint32_t i = 0; i < SAMPLES; i++)
        us[i] = run_many(w, times) / times / 1000;
    qsort(us, SAMPLES, sizeof *us, ascending);
}

static json_t *
target_of(const char *spec, const char *name)
{
    for (size_t i = 0; i < CLI_COUNT(targets); i++)
        if (!strcmp(targets[i].spec, spec) && !strcmp(targets[i].work, name))
            return out_real(targets[i].us);
    return json_null();
}

/* The order of the steps matters: apply_order takes what reorder_batch left.
 * Nothing else depends on what was timed before it. */
static void
time_work(const char *spec, const batch_made *m, const work *w, out_writer *out)
{
    static double us[SAMPLES];
    attn_error err = CLI_ERROR_INIT;

    cli_progress("%s %s", spec, w->name);
    if (w->run(w, &err)) {
        cli_warn("%s %s: not timed: %s", spec, w->name, err.message);
        return;
    }
    measure(w, us);
    cli_progress(NULL);
    out_row(out, json_pack("{s:o, s:s, s:{s:f, s:f, s:f}, s:o, s:o, s:o, s:o}",
                           "batch", out_text(spec), "work", w->name, "us",
                           "p50", us[SAMPLES / 2], "p90", us[SAMPLES * 9 / 10],
                           "p99", us[SAMPLES * 99 / 100], "target_us",
                           target_of(spec, w->name), "reqs",
                           out_int(m->batch.num_reqs), "tokens",
                           out_int(m->batch.num_tokens), "samples",
                           out_int(SAMPLES)));
}

static void
time_builders(const char *spec, const batch_made *m, const host *h,
              out_writer *out)
{
    const attn_entry *entry;
    bench_builder builder;

    for (size_t i = 0; (entry = bench_builder_next(h, &i));) {
        work w = {.run = run_build, .builder = &builder};

        snprintf(w.name, sizeof w.name, "build %s", entry->name);
        if (bench_builder_open(h, entry, m, &builder) == CLI_OK)
            time_work(spec, m, &w, out);
        bench_builder_close(&builder);
    }
}

static int
time_spec(const char *spec, uint32_t block_size, const host *h, out_writer *out)
{
    bench_steps s;
    const int rc = bench_steps_make(spec, block_size, &s);

    for (size_t i = 0; rc == CLI_OK && i < bench_num_steps; i++) {
        work w = {.run = run_step, .step = &bench_step_list[i], .steps = &s};

        snprintf(w.name, sizeof w.name, "%s", bench_step_list[i].name);
        time_work(spec, &s.made, &w, out);
    }
    if (rc == CLI_OK)
        time_builders(spec, &s.made, h, out);
    bench_steps_free(&s);
    return rc;
}

/* Moving from core to core would show as a tail. */
static int
pin(void)
{
    const int cpu = sched_getcpu();
    cpu_set_t set;

    CPU_ZERO(&set);
    if (cpu < 0)
        return -1;
    CPU_SET((size_t)cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) ? -1 : cpu;
}

static int
time_list(const char *list, uint32_t block_size, const host *h, out_writer *out)
{
    char **specs;
    size_t count;
    int rc = cli_split("--batch", list, &specs, &count);

    if (rc != CLI_OK)
        return rc;
    for (size_t i = 0; rc == CLI_OK && i < count; i++)
        rc = time_spec(specs[i], block_size, h, out);
    free(specs);
    return rc;
}

/* --block-size is a field of the layer for the rest of bench. */
static int
block_size_of(const cli_args *args, uint64_t *size)
{
    *size = 16;
    for (size_t i = 0; i < args->num_layer; i++) {
        const cli_pair *p = &args->layer[i];

        if (strcmp(p->name, "block_size"))
            return cli_fail(CLI_USAGE,
                            "--metadata with %s=%s: of a layer only "
                            "--block-size counts",
                            p->name, p->value);
        if (cli_parse_u64("--block-size", p->value, 1, 1 << 20, size))
            return CLI_USAGE;
    }
    return CLI_OK;
}

/* Of the options of bench, those that count here. */
static int
check_options(const cli_args *args)
{
    static const char *const ours[] = {"metadata", "batch", "json", "csv",
                                       "config"};

    for (size_t i = 0; i < args->num_options; i++) {
        size_t k = 0;

        while (k < CLI_COUNT(ours) && strcmp(args->options[i].name, ours[k]))
            k++;
        if (k == CLI_COUNT(ours))
            return cli_fail(CLI_USAGE,
                            "--metadata with --%s: it times no "
                            "layer, so that --%s says nothing",
                            args->options[i].name, args->options[i].name);
    }
    return CLI_OK;
}

static int
time_all(const cli_args *args, uint32_t block_size, const host *h)
{
    const char *list = cli_get(args, "batch");
    out_writer out;
    int rc = out_open(&out, args, columns, CLI_COUNT(columns), OUT_STREAM);

    if (rc != CLI_OK)
        return rc;
    out_set(&out, "cpu", json_integer(pin()));
    out_set(&out, "block_size", out_int(block_size));
    if (list)
        rc = time_list(list, block_size, h, &out);
    for (size_t i = 0; !list && rc == CLI_OK && i < CLI_COUNT(default_specs);
         i++)
        rc = time_spec(default_specs[i], block_size, h, &out);
    return rc == CLI_OK ? out_close(&out, rc) : out_abort(&out, rc);
}

int
bench_metadata(const cli_args *args)
{
    uint64_t block_size;
    host h;
    int rc = check_options(args);

    if (rc == CLI_OK)
        rc = block_size_of(args, &block_size);
    if (rc == CLI_OK)
        rc = host_open(args, NULL, NULL, 1, &h);
    if (rc != CLI_OK)
        return rc;
    rc = time_all(args, (uint32_t)block_size, &h);
    host_close(&h);
    return rc;
}
