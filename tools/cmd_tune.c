/* SPDX-License-Identifier: Apache-2.0 */
#include "batch_make.h"
#include "bench_cell.h"
#include "commands.h"
#include "profile.h"
#include "rows.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CANDIDATES 64

static const out_column columns[] = {
    {.path = "family"},
    {.path = "phase"},
    {.path = "shape"},
    {.path = "dtype"},
    {.path = "batch"},
    {.path = "threads", .flags = OUT_RIGHT},
    {.path = "backend"},
    {.path = "priority", .flags = OUT_RIGHT},
    {.path = "forward_us",
     .title = "forward us",
     .flags = OUT_RIGHT,
     .precision = 6},
    {.path = "verdict"},
    {.path = "reason", .flags = OUT_BELOW},
};

static const cli_option options[] = {
    {"backend", "NAME", "only these candidates [all that auto may take]",
     CLI_LIST},
    {"batch", "SPEC", "steps to measure [8q1s2k,q1k]", CLI_LIST},
    {"threads", "N", "to use [all]", 0},
    {"seconds", "S", "of measuring, for each candidate and batch [1]", 0},
    {"seed", "N", "of the problems [1]", 0},
    {"name", "NAME", "of the profile [tune]", 0},
    {"out", "FILE", "to write [the configuration's drop-in NAME.ini]", 0},
};

typedef struct step {
    const char *spec;
    attn_spec_request *requests;
    uint32_t num_reqs, phase;
} step;

typedef struct run_state {
    const cli_args *args;
    host h;
    grid g;
    char **specs, **only; /* blocks of cli_split */
    step *steps;
    size_t num_steps, num_only;
    uint32_t threads;
    bench_how how;
    profile profile;
    out_writer out;
    size_t timed;
    int rc; /* worst so far */
} run_state;

/* One layer and phase on each of its candidates. */
typedef struct contest {
    attn_any_layer layer;
    uint32_t phase;
    char *batch; /* specs of the phase, joined by commas */
    struct contestant {
        const attn_entry *entry;
        attn_any_layer layer; /* with the pages that it prefers */
        uint32_t is_turned;
        double time; /* infinity: not timed */
        char reason[320];
    } of[MAX_CANDIDATES];
    size_t count, best;
} contest;

static const char *const phases[] = {"any", "prefill", "decode"};

/* As a session parts steps: one new token is a decode. */
static uint32_t
phase_of(const attn_spec_request *requests, uint32_t count)
{
    uint32_t decodes = 0;
    for (uint32_t i = 0; i < count; i++)
        decodes += requests[i].query_len == 1;
    return decodes == count ? ATTN_PHASE_DECODE
           : decodes        ? ATTN_PHASE_ANY
                            : ATTN_PHASE_PREFILL;
}

static int
parse_steps(run_state *s)
{
    const char *text = cli_get(s->args, "batch");
    int rc = cli_split("--batch", text ? text : "8q1s2k,q1k", &s->specs,
                       &s->num_steps);
    if (rc != CLI_OK)
        return rc;
    s->steps = calloc(s->num_steps, sizeof *s->steps);
    if (!s->steps)
        return cli_fail(CLI_INTERNAL, "out of memory");
    for (size_t i = 0; i < s->num_steps && rc == CLI_OK; i++) {
        step *t = &s->steps[i];
        t->spec = s->specs[i];
        rc = batch_requests(t->spec, &t->requests, &t->num_reqs);
        if (rc == CLI_OK)
            t->phase = phase_of(t->requests, t->num_reqs);
    }
    return rc;
}

static int
check_name(const char *name)
{
    static const char bytes[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    const size_t n = strspn(name, bytes);
    if (n >= 1 && n <= 24 && !name[n])
        return CLI_OK;
    return cli_fail(CLI_USAGE,
                    "--name: '%s' is no name: 1 to 24 of a-z, 0-9, _, -", name);
}

static int
parse(run_state *s)
{
    const cli_args *args = s->args;
    const char *only = cli_get(args, "backend");
    uint64_t threads = 0;
    int rc = cli_get_double(args, "seconds", 0.01, 3600, &s->how.seconds);
    if (rc == CLI_OK)
        rc = cli_get_u64(args, "seed", 1, UINT64_MAX, &s->how.seed);
    if (rc == CLI_OK)
        rc = cli_get_u64(args, "threads", 1, 4096, &threads);
    if (rc == CLI_OK && only)
        rc = cli_split("--backend", only, &s->only, &s->num_only);
    for (size_t i = 0; i < args->num_layer && rc == CLI_OK; i++)
        if (strcmp(args->layer[i].name, "feature"))
            rc = grid_add(&s->g, args->layer[i].name, args->layer[i].value);
    s->threads = (uint32_t)threads;
    return rc == CLI_OK ? parse_steps(s) : rc;
}

static int
is_wanted(const run_state *s, const attn_candidate *c)
{
    if (!c->eligible)
        return 0;
    for (size_t i = 0; i < s->num_only; i++)
        if (!strcmp(s->only[i], c->entry->name))
            return 1;
    return !s->num_only && !c->entry->emulated;
}

static int
find_contestants(run_state *s, contest *c)
{
    attn_error err = CLI_ERROR_INIT;
    attn_selection *sel = NULL;
    const attn_select_params params = {.struct_size = sizeof params,
                                       .phase = c->phase,
                                       .layer_index = ATTN_LAYER_INDEX_NONE};
    int rc = CLI_OK;
    /* A name in [select] that cannot run the layer is no trouble here. */
    (void)attn_select(s->h.registry, &c->layer.head, &params, &sel, &err);
    if (!sel)
        return cli_fail_error(&err);
    for (size_t i = 0;
         i < attn_selection_count(sel) && c->count < MAX_CANDIDATES; i++) {
        const attn_candidate *a = attn_selection_at(sel, i);
        if (!is_wanted(s, a))
            continue;
        struct contestant *k = &c->of[c->count++];
        *k = (struct contestant){.entry = a->entry, .layer = c->layer};
        if (rc == CLI_OK)
            rc = bench_cell_pages(&s->g, k->entry, &k->layer, &k->is_turned);
    }
    attn_selection_free(sel);
    return rc;
}

static void
not_timed(run_state *s, struct contestant *k, const attn_error *err)
{
    const int rc = cli_exit_code(err->status);
    k->time = INFINITY;
    snprintf(k->reason, sizeof k->reason, "%s",
             err->message[0] ? err->message : attn_status_str(err->status));
    if (rc != CLI_UNUSABLE && rc != CLI_SKIPPED)
        s->rc = CLI_FAILED;
}

static void
time_contestant(run_state *s, contest *c, struct contestant *k)
{
    for (size_t i = 0; i < s->num_steps && isfinite(k->time); i++) {
        const step *t = &s->steps[i];
        attn_error err = CLI_ERROR_INIT;
        attn_bench_result r;
        const bench_cell cell = {.entry = k->entry,
                                 .layer = k->layer,
                                 .batch = t->spec,
                                 .dtype = layer_dtype(&c->layer.head),
                                 .requests = t->requests,
                                 .num_reqs = t->num_reqs,
                                 .threads = s->threads,
                                 .is_turned = k->is_turned};
        if (t->phase != c->phase)
            continue;
        if (bench_cell_time(s->h.registry, &cell, &s->how, &r, &err))
            not_timed(s, k, &err);
        else
            k->time += r.forward.p50;
    }
}

/* 1 when a goes before b where auto decides, timed or not. */
static int
is_before(const struct contestant *a, const struct contestant *b)
{
    if (a->entry->priority != b->entry->priority)
        return a->entry->priority > b->entry->priority;
    return a->time < b->time;
}

static json_t *
row_of(const run_state *s, const contest *c, const struct contestant *k)
{
    const struct contestant *best = &c->of[c->best];
    json_t *row = json_object();
    json_object_set_new(row, "family",
                        out_text(row_family(c->layer.head.family)));
    json_object_set_new(row, "phase", out_text(phases[c->phase]));
    json_object_set_new(row, "shape", bench_shape(&c->layer));
    json_object_set_new(row, "dtype", out_text(layer_dtype(&c->layer.head)));
    json_object_set_new(row, "batch", out_text(c->batch));
    json_object_set_new(row, "threads", out_int(s->threads));
    json_object_set_new(row, "backend", out_text(k->entry->name));
    json_object_set_new(row, "priority", json_integer(k->entry->priority));
    json_object_set_new(row, "forward_us", out_real(k->time));
    json_object_set_new(row, "verdict",
                        out_text(!isfinite(k->time) ? "not timed"
                                 : k == best        ? "first"
                                 : k->entry->priority != best->entry->priority
                                     ? "outranked"
                                     : "slower"));
    json_object_set_new(row, "reason",
                        out_text(k->reason[0] ? k->reason : NULL));
    json_object_set_new(row, "layer", row_layer(&k->layer.head));
    return row;
}

static void
record(run_state *s, contest *c)
{
    const profile_case about = {&c->layer, phases[c->phase], c->batch,
                                s->threads,
                                grid_value(&s->g, 0, "block_size") == NULL};
    int has_section = 0;
    for (size_t i = 1; i < c->count; i++)
        if (is_before(&c->of[i], &c->of[c->best]))
            c->best = i;
    for (size_t i = 0; i < c->count; i++) {
        const struct contestant *k = &c->of[i];
        out_row(&s->out, row_of(s, c, k));
        if (!isfinite(k->time))
            continue;
        if (!has_section++)
            profile_section(&s->profile, &about);
        profile_time(&s->profile, k->entry->name, k->time);
        s->timed++;
    }
}

/* The specs of a phase joined by commas; NULL: it has none, or no memory. */
static char *
join_specs(const run_state *s, uint32_t phase)
{
    size_t bytes = 1;
    for (size_t i = 0; i < s->num_steps; i++)
        bytes += strlen(s->steps[i].spec) + 1;
    char *text = malloc(bytes), *end = text;
    for (size_t i = 0; text && i < s->num_steps; i++) {
        if (s->steps[i].phase != phase)
            continue;
        if (end > text)
            *end++ = ',';
        end = stpcpy(end, s->steps[i].spec);
    }
    if (text && end == text) {
        free(text);
        return NULL;
    }
    return text;
}

static int
tune_phase(run_state *s, const attn_any_layer *layer, uint32_t phase)
{
    contest *c = calloc(1, sizeof *c);
    if (!c)
        return cli_fail(CLI_INTERNAL, "out of memory");
    *c = (contest){
        .layer = *layer, .phase = phase, .batch = join_specs(s, phase)};
    int rc = c->batch ? find_contestants(s, c) : CLI_OK;
    for (size_t i = 0; i < c->count && rc == CLI_OK; i++)
        time_contestant(s, c, &c->of[i]);
    if (rc == CLI_OK && c->batch && !c->count)
        cli_warn("no backend for %s of this %s layer", phases[phase],
                 row_family(layer->head.family));
    if (rc == CLI_OK)
        record(s, c);
    free(c->batch);
    free(c);
    return rc;
}

static int
tune_family(run_state *s, const char *family)
{
    const size_t cells = s->g.num_axes ? s->g.num_cells : 1;
    int rc = CLI_OK;
    for (size_t i = 0; i < cells && rc == CLI_OK; i++) {
        attn_any_layer layer;
        rc = bench_cell_layer(s->args, &s->g, i, family, &layer);
        for (uint32_t p = 0; p < CLI_COUNT(phases) && rc == CLI_OK; p++)
            rc = tune_phase(s, &layer, p);
    }
    return rc;
}

/* Without a word on the layer: one of each family. */
static int
tune_all(run_state *s)
{
    const attn_family *f;
    int rc = CLI_OK;
    for (size_t i = 0; i < s->args->num_layer; i++)
        if (strcmp(s->args->layer[i].name, "dtype"))
            return tune_family(s, NULL);
    for (size_t i = 0; (f = attn_family_at(i)) && rc == CLI_OK; i++)
        rc = tune_family(s, f->key);
    return rc;
}

static int
tune(run_state *s, const char *name)
{
    int rc = out_open(&s->out, s->args, columns, CLI_COUNT(columns), 0);
    if (rc != CLI_OK)
        return rc;
    rc = profile_open(s->h.config, cli_get(s->args, "out"), name, &s->profile);
    if (rc == CLI_OK)
        rc = tune_all(s);
    cli_progress(NULL);
    if (rc == CLI_OK && !s->timed)
        rc = s->rc != CLI_OK ? s->rc
                             : cli_fail(CLI_UNUSABLE, "nothing to measure");
    if (rc == CLI_OK)
        rc = profile_keep(&s->profile);
    if (rc != CLI_OK)
        return out_abort(&s->out, rc);
    out_set(&s->out, "profile", out_text(s->profile.path));
    out_set(&s->out, "sections", out_int(s->profile.sections));
    return out_close(&s->out, s->rc);
}

static void
release(run_state *s)
{
    for (size_t i = 0; s->steps && i < s->num_steps; i++)
        free(s->steps[i].requests);
    free(s->steps);
    free(s->specs);
    free(s->only);
    grid_free(&s->g);
    profile_free(&s->profile);
}

static int
check_only(const run_state *s)
{
    const attn_entry *entry;
    int rc = CLI_OK;
    for (size_t i = 0; i < s->num_only && rc == CLI_OK; i++)
        rc = host_backend(&s->h, s->only[i], NULL, &entry);
    return rc;
}

static int
run(const cli_args *args)
{
    run_state s = {.args = args, .how = {.seconds = 1, .seed = 1}};
    const char *given = cli_get(args, "name");
    const char *name = given ? given : "tune";
    int rc = check_name(name);
    if (rc == CLI_OK)
        rc = parse(&s);
    if (rc == CLI_OK)
        rc = host_open(args, NULL, NULL, s.threads, &s.h);
    if (rc == CLI_OK) {
        if (!s.threads)
            s.threads = attn_registry_executor(s.h.registry)->num_threads;
        rc = check_only(&s);
        if (rc == CLI_OK)
            rc = tune(&s, name);
        host_close(&s.h);
    }
    release(&s);
    return rc;
}

const cli_command cmd_tune = {
    .name = "tune",
    .operands = "",
    .summary = "measure the candidates; write what auto then goes by",
    .options = options,
    .num_options = CLI_COUNT(options),
    .flags = CLI_LAYER,
    .run = run,
};
