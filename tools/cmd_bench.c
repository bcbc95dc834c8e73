/* SPDX-License-Identifier: Apache-2.0 */
#include "batch_make.h"
#include "bench_cell.h"
#include "bench_metadata.h"
#include "commands.h"
#include "rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const out_column columns[] = {
    {.path = "backend"},
    {.path = "batch"},
    {.path = "dtype"},
    {.path = "shape"},
    {.path = "block_size", .title = "block", .flags = OUT_RIGHT},
    {.path = "threads", .flags = OUT_RIGHT},
    {.path = "build_us.p50",
     .title = "build us",
     .flags = OUT_RIGHT,
     .precision = 4},
    {.path = "build_us.p90", .flags = OUT_MACHINE},
    {.path = "build_us.p99",
     .title = "p99",
     .flags = OUT_RIGHT,
     .precision = 4},
    {.path = "forward_us.p50",
     .title = "forward us",
     .flags = OUT_RIGHT,
     .precision = 6},
    {.path = "forward_us.p90",
     .title = "p90",
     .flags = OUT_RIGHT,
     .precision = 6},
    {.path = "forward_us.p99",
     .title = "p99",
     .flags = OUT_RIGHT,
     .precision = 6},
    {.path = "roof"},
    {.path = "roof_value",
     .title = "roof /s",
     .flags = OUT_RIGHT,
     .precision = 4},
    {.path = "share", .flags = OUT_RIGHT, .precision = 3},
    {.path = "cache"},
    {.path = "layout", .flags = OUT_MACHINE},
    {.path = "graph", .flags = OUT_MACHINE},
    {.path = "ratio", .title = "vs old", .flags = OUT_RIGHT, .precision = 3},
};

static const cli_option options[] = {
    {"backend", "NAME", "to time [as configured]", CLI_LIST},
    {"device", "DEVICE", "number or name of the backend's device [0]", 0},
    {"batch", "SPEC", "what a step looks like [8q1s1k]", CLI_LIST},
    {"threads", "N", "to use [all]", CLI_LIST},
    {"cache", "STATE", "KV cache cold or warm [cold]", CLI_LIST},
    {"layout", "ORDER",
     "of a block of K or V: nhd, token by token, or hnd, head by head [as the "
     "backend prefers]",
     CLI_LIST},
    {"metadata", NULL, "time the transforms of metadata and builders instead",
     0},
    {"seconds", "S", "of measuring, for each row [1]", 0},
    {"seed", "N", "of the problem [1]", 0},
    {"graph", NULL, "on a device: time the launch of a graph", 0},
    {"compare", "FILE", "an older --json output to compare with", 0},
    {"fail-below", "RATIO", "fail when a row's old/new time is below", 0},
    {"roof-flops", "RATE", "of a device: its operations per second", 0},
    {"roof-bytes", "RATE", "of a device: bytes read per second", 0},
    {"arithmetic", "TYPE", "f32, f64 or bf16: whose roof binds [the inputs']",
     0},
    {"option", "KEY=VALUE", "set an option of the backend's plugin", CLI_MULTI},
};

typedef struct run_state {
    const cli_args *args;
    host h;
    grid g;
    bench_roofs roofs;
    out_writer out;
    json_t *old; /* rows to compare with, or NULL */
    bench_how how;
    double fail_below; /* 0: never */
    size_t shown, matched;
    int rc; /* worst so far */
} run_state;

static void
worse(run_state *s, int rc)
{
    if (rc == CLI_FAILED || s->rc == CLI_OK)
        s->rc = rc;
}

static void
compare(run_state *s, const bench_cell *c, json_t *row)
{
    json_t *old = bench_match(s->old, row);
    if (!old) {
        cli_warn("%s %s %s: no such row to compare with", c->entry->name,
                 c->batch, c->dtype);
        return;
    }
    const double before = json_number_value(
        json_object_get(json_object_get(old, "forward_us"), "p50"));
    const double now = json_number_value(
        json_object_get(json_object_get(row, "forward_us"), "p50"));
    const double ratio = before / now;
    s->matched++;
    json_object_set_new(row, "ratio", out_real(ratio));
    if (ratio >= s->fail_below)
        return;
    worse(s, cli_fail(CLI_FAILED,
                      "%s %s %s threads %u: %.3g us was %.3g us, ratio %.3g "
                      "is below %.3g",
                      c->entry->name, c->batch, c->dtype, c->threads, now,
                      before, ratio, s->fail_below));
}

/* The backend of one cell: the one named, or what selection says. */
static int
pick(run_state *s, const char *name, bench_cell *c)
{
    const char *device = cli_get(s->args, "device");
    if (!name)
        return host_select(&s->h, &c->layer.head, device, &c->entry);
    const int rc = host_backend(&s->h, name, device, &c->entry);
    if (rc != CLI_OK || !strcmp(c->entry->family, c->layer.head.family))
        return rc;
    return cli_fail(CLI_UNUSABLE, "%s runs layers of %s, not of %s", name,
                    row_family(c->entry->family),
                    row_family(c->layer.head.family));
}

/* The backend and its pages, as an engine comes to them: it makes the layer's
 * pages as the backend selected prefers, and what then runs is selected for
 * this layer. */
static int
settle(run_state *s, const char *name, bench_cell *c)
{
    int rc = pick(s, name, c);
    if (rc == CLI_OK)
        rc = bench_cell_pages(&s->g, c->entry, &c->layer, &c->is_turned);
    return rc == CLI_OK ? pick(s, name, c) : rc;
}

/* One of two words; the first where none is given. */
static int
choose(const char *name, const char *text, const char *no, const char *yes,
       uint32_t *value)
{
    *value = text && !strcmp(text, yes);
    if (!text || *value || !strcmp(text, no))
        return CLI_OK;
    return cli_fail(CLI_USAGE, "--%s: '%s' is neither %s nor %s", name, text,
                    no, yes);
}

static int
make_cell(run_state *s, size_t index, bench_cell *c)
{
    const char *name = grid_value(&s->g, index, "backend");
    const char *threads = grid_value(&s->g, index, "threads");
    const char *layout = grid_value(&s->g, index, "layout");
    const attn_entry *named =
        name ? attn_registry_find(s->h.registry, name) : NULL;
    uint64_t n = attn_registry_executor(s->h.registry)->num_threads;
    uint32_t is_turned = 0;
    int rc = CLI_OK;
    *c = (bench_cell){.arithmetic = cli_get(s->args, "arithmetic"),
                      .use_graph = (uint32_t)cli_has(s->args, "graph"),
                      .batch = grid_value(&s->g, index, "batch"),
                      .dtype = grid_value(&s->g, index, "dtype")};
    rc = choose("cache", grid_value(&s->g, index, "cache"), "cold", "warm",
                &c->cache);
    if (rc == CLI_OK)
        rc = choose("layout", layout, "nhd", "hnd", &is_turned);
    if (rc != CLI_OK)
        return rc;
    if (threads)
        rc = cli_parse_u64("--threads", threads, 1, 4096, &n);
    c->threads = (uint32_t)n;
    if (rc == CLI_OK)
        rc = bench_cell_layer(s->args, &s->g, index,
                              named ? named->family : NULL, &c->layer);
    if (rc == CLI_OK)
        rc = settle(s, name, c);
    if (layout)
        c->is_turned = is_turned;
    if (rc == CLI_OK && !c->dtype)
        c->dtype = layer_dtype(&c->layer.head);
    if (rc == CLI_OK)
        rc = batch_requests(c->batch, &c->requests, &c->num_reqs);
    return rc;
}

/* A wrong result is a failure and has no row; a layer that the backend
 * refuses, or a batch beyond the machine's memory, leaves its cell out. */
static int
not_timed(const bench_cell *c, const attn_error *err)
{
    const int rc = cli_exit_code(err->status);
    return cli_fail(
        rc == CLI_INTERNAL || rc == CLI_USAGE ? CLI_FAILED : rc,
        "%s %s %s: not timed: %s", c->entry->name, c->batch, c->dtype,
        err->message[0] ? err->message : attn_status_str(err->status));
}

static int
measure(run_state *s, const bench_cell *c, attn_bench_result *r)
{
    attn_error err = CLI_ERROR_INIT;
    if (bench_cell_time(s->h.registry, c, &s->how, r, &err))
        return not_timed(c, &err);
    return CLI_OK;
}

/* CLI_USAGE and CLI_INTERNAL end the run; other trouble costs one row. */
static int
time_cell(run_state *s, size_t index)
{
    bench_cell c;
    attn_bench_result r;
    attn_roof roof;
    int rc = make_cell(s, index, &c);
    if (rc == CLI_OK)
        rc = bench_roof(&s->roofs, c.entry, c.threads, &roof);
    if (rc == CLI_OK)
        rc = measure(s, &c, &r);
    if (rc == CLI_OK) {
        json_t *row = bench_row(&c, &r, &roof);
        if (s->old)
            compare(s, &c, row);
        out_row(&s->out, row);
        s->shown++;
    } else {
        worse(s, rc);
    }
    free(c.requests);
    return rc == CLI_USAGE || rc == CLI_INTERNAL ? rc : CLI_OK;
}

static int
run_grid(run_state *s)
{
    int rc = out_open(&s->out, s->args, columns, CLI_COUNT(columns), 0);
    if (rc != CLI_OK)
        return rc;
    for (size_t i = 0; i < s->g.num_cells && rc == CLI_OK; i++)
        rc = time_cell(s, i);
    if (rc != CLI_OK || !s->shown)
        return out_abort(&s->out, rc != CLI_OK ? rc : s->rc);
    if (s->old && !s->matched)
        worse(s, cli_fail(CLI_CONFIG, "%s: no row to compare with",
                          cli_get(s->args, "compare")));
    out_set(&s->out, "machine", bench_machine(&s->roofs));
    out_set(&s->out, "measured", bench_measured(&s->roofs));
    return out_close(&s->out, s->rc);
}

static int
add_axes(run_state *s)
{
    static const char *const own[] = {"backend", "threads", "cache", "layout"};
    const cli_args *args = s->args;
    const char *batch = cli_get(args, "batch");
    int rc = CLI_OK;
    for (size_t i = 0; i < CLI_COUNT(own) && rc == CLI_OK; i++)
        rc = grid_add(&s->g, own[i], cli_get(args, own[i]));
    for (size_t i = 0; i < args->num_layer && rc == CLI_OK; i++)
        if (strcmp(args->layer[i].name, "feature"))
            rc = grid_add(&s->g, args->layer[i].name, args->layer[i].value);
    if (rc == CLI_OK)
        rc = grid_add(&s->g, "batch", batch ? batch : "8q1s1k");
    return rc;
}

/* The most threads any cell asks for; 0: none does. */
static int
most_threads(const cli_args *args, uint32_t *threads)
{
    char **parts;
    size_t count;
    uint64_t n, most = 0;
    const char *text = cli_get(args, "threads");
    *threads = 0;
    if (!text)
        return CLI_OK;
    int rc = cli_split("--threads", text, &parts, &count);
    if (rc != CLI_OK)
        return rc;
    for (size_t i = 0; i < count && rc == CLI_OK; i++) {
        rc = cli_parse_u64("--threads", parts[i], 1, 4096, &n);
        if (rc == CLI_OK && n > most)
            most = n;
    }
    free(parts);
    *threads = (uint32_t)most;
    return rc;
}

static int
check_arithmetic(const cli_args *args)
{
    static const char *const types[] = {"f32", "f64", "bf16"};
    const char *text = cli_get(args, "arithmetic");
    for (size_t i = 0; text && i < CLI_COUNT(types); i++)
        if (!strcmp(text, types[i]))
            return CLI_OK;
    return text ? cli_fail(CLI_USAGE,
                           "--arithmetic: '%s' is none of f32, f64, bf16", text)
                : CLI_OK;
}

static int
parse(run_state *s)
{
    const cli_args *args = s->args;
    const char *backend = cli_get(args, "backend");
    int rc = cli_get_double(args, "seconds", 0.01, 3600, &s->how.seconds);
    if (rc == CLI_OK)
        rc = cli_get_u64(args, "seed", 1, UINT64_MAX, &s->how.seed);
    if (rc == CLI_OK)
        rc = cli_get_double(args, "fail-below", 0, 1000, &s->fail_below);
    if (rc == CLI_OK)
        rc = cli_get_double(args, "roof-flops", 0, 1e20, &s->roofs.flops);
    if (rc == CLI_OK)
        rc = cli_get_double(args, "roof-bytes", 0, 1e20, &s->roofs.bytes);
    if (rc == CLI_OK && cli_has(args, "fail-below") &&
        !cli_has(args, "compare"))
        rc = cli_fail(CLI_USAGE, "--fail-below needs --compare");
    if (rc == CLI_OK)
        rc = check_arithmetic(args);
    if (rc == CLI_OK && backend && strchr(backend, ',') &&
        cli_has(args, "option"))
        rc = cli_fail(CLI_USAGE, "--option needs one --backend");
    if (rc == CLI_OK)
        rc = add_axes(s);
    if (rc == CLI_OK && cli_has(args, "compare"))
        rc = bench_load(cli_get(args, "compare"), &s->old);
    return rc;
}

static int
run(const cli_args *args)
{
    run_state s = {.args = args,
                   .how = {.seconds = 1, .seed = 1, .with_reads = 1}};
    uint32_t threads = 0;
    if (cli_has(args, "metadata"))
        return bench_metadata(args);
    int rc = parse(&s);
    if (rc == CLI_OK)
        rc = most_threads(args, &threads);
    if (rc == CLI_OK)
        rc = host_open(args, NULL, cli_get(args, "backend"), threads, &s.h);
    if (rc == CLI_OK) {
        rc = run_grid(&s);
        host_close(&s.h);
    }
    json_decref(s.old);
    bench_roofs_free(&s.roofs);
    grid_free(&s.g);
    return rc;
}

const cli_command cmd_bench = {
    .name = "bench",
    .operands = "",
    .summary = "how fast: build and forward, as a share of the roof",
    .options = options,
    .num_options = CLI_COUNT(options),
    .flags = CLI_LAYER,
    .run = run,
};
