/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_metadata.h"

#include "bench_steps.h"
#include "output.h"
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLES 2000u
#define SAMPLE_NS 4000.0 /* of a sample, so that the clock does not count */

static const out_column columns[] = {
    {.path = "batch"},
    {.path = "transform"},
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
    "8q1s1k", "256q1s1k", "2q2k_32q1s4k", "64q1ks8k", "256q1536", "975q7s1k",
};

/* What this project has promised itself, on one core, block size 16. */
static const struct target {
    const char *spec, *step;
    double us;
} targets[] = {
    {"256q1s1k", "validate+split+slot_mapping", 3},
    {"64q1ks8k", "local_attention_virtual_batches", 10},
    {"256q1536", "mamba2_chunks", 8},
    {"975q7s1k", "causal_conv1d_programs", 2},
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

static double
run_many(const bench_step *step, bench_steps *s, uint32_t times)
{
    const double start = now_ns();

    for (uint32_t i = 0; i < times; i++)
        step->run(s, NULL);
    return now_ns() - start;
}

/* Microseconds a call, in ascending order. */
static void
measure(const bench_step *step, bench_steps *s, double *us)
{
    uint32_t times = 1;

    while (run_many(step, s, times) < SAMPLE_NS && times < 1u << 16)
        times *= 2;
    run_many(step, s, 64 * times);
    for (uint32_t i = 0; i < SAMPLES; i++)
        us[i] = run_many(step, s, times) / times / 1000;
    qsort(us, SAMPLES, sizeof *us, ascending);
}

static json_t *
target_of(const char *spec, const char *step)
{
    for (size_t i = 0; i < CLI_COUNT(targets); i++)
        if (!strcmp(targets[i].spec, spec) && !strcmp(targets[i].step, step))
            return out_real(targets[i].us);
    return json_null();
}

static void
time_step(const char *spec, const bench_step *step, bench_steps *s,
          out_writer *out)
{
    static double us[SAMPLES];
    attn_error err = CLI_ERROR_INIT;
    const attn_batch *b = &s->made.batch;

    /* apply_order consumes what reorder_batch wrote; anything else that an
     * earlier step changed is only where its result goes. */
    if (step->run(s, &err)) {
        cli_warn("%s %s: not timed: %s", spec, step->name, err.message);
        return;
    }
    measure(step, s, us);
    out_row(out,
            json_pack("{s:o, s:s, s:{s:f, s:f, s:f}, s:o, s:o, s:o, s:o}",
                      "batch", out_text(spec), "transform", step->name, "us",
                      "p50", us[SAMPLES / 2], "p90", us[SAMPLES * 9 / 10],
                      "p99", us[SAMPLES * 99 / 100], "target_us",
                      target_of(spec, step->name), "reqs", out_int(b->num_reqs),
                      "tokens", out_int(b->num_tokens), "samples",
                      out_int(SAMPLES)));
}

static int
time_spec(const char *spec, uint32_t block_size, out_writer *out)
{
    bench_steps s;
    int rc = bench_steps_make(spec, block_size, &s);

    for (size_t i = 0; rc == CLI_OK && i < bench_num_steps; i++) {
        cli_progress("%s %s", spec, bench_step_list[i].name);
        time_step(spec, &bench_step_list[i], &s, out);
    }
    cli_progress(NULL);
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
time_list(const char *list, uint32_t block_size, out_writer *out)
{
    char **specs;
    size_t count;
    int rc = cli_split("--batch", list, &specs, &count);

    if (rc != CLI_OK)
        return rc;
    for (size_t i = 0; rc == CLI_OK && i < count; i++)
        rc = time_spec(specs[i], block_size, out);
    free(specs);
    return rc;
}

int
bench_metadata(const cli_args *args)
{
    const char *list = cli_get(args, "batch");
    uint64_t block_size = 16;
    out_writer out;
    int rc = cli_get_u64(args, "block-size", 1, 1 << 20, &block_size);

    if (rc == CLI_OK)
        rc = out_open(&out, args, columns, CLI_COUNT(columns), OUT_STREAM);
    if (rc != CLI_OK)
        return rc;
    out_set(&out, "cpu", json_integer(pin()));
    out_set(&out, "block_size", out_int(block_size));
    if (list)
        rc = time_list(list, (uint32_t)block_size, &out);
    for (size_t i = 0; !list && rc == CLI_OK && i < CLI_COUNT(default_specs);
         i++)
        rc = time_spec(default_specs[i], (uint32_t)block_size, &out);
    return rc == CLI_OK ? out_close(&out, rc) : out_abort(&out, rc);
}
