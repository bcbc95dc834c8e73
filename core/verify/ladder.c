/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <attn/base.h>
#include <attn/plugin.h>

#include "base/error.h"
#include "base/size.h"
#include "base/text.h"
#include "verify/ladder.h"

const attn_rung_row attn_rungs[] = {
    {{"file", "the file is a shared object that can be a plugin", 30, 0},
     attn_rung_file,
     10,
     5},
    {{"handshake", "loads, shakes hands, and its tables hold", 60, 0},
     attn_rung_handshake,
     30,
     10},
    {{"claims", "every claim is exercised and right", 240, 0},
     attn_rung_claims,
     90,
     2.5f},
    {{"check", "what check accepts runs, what it refuses has reasons", 180, 0},
     attn_rung_check,
     30,
     1},
    {{"numerics", "model shapes and random layers against the oracle", 300, 0},
     attn_rung_numerics,
     120,
     3.5f},
    {{"memory", "stays inside its buffers, allocates nothing per step", 60, 0},
     attn_rung_memory,
     20,
     0.6f},
    {{"capture", "a captured forward replays with changed metadata", 120, 0},
     attn_rung_capture,
     20,
     0.6f},
    {{"threads", "builders run side by side", 120, 0},
     attn_rung_threads,
     15,
     0.6f},
    {{"invariance", "threads, batch mates, order and pages change nothing", 240,
      0},
     attn_rung_invariance,
     45,
     1},
    {{"leaks", "memory, threads and files stay level", 120, 0},
     attn_rung_leaks,
     15,
     0.6f},
};
const size_t attn_num_rungs = sizeof attn_rungs / sizeof *attn_rungs;

#define MOST_TARGETS 128
#define SUMMARY_SIZE_1_0 32u
#define PARAMS_SIZE_1_0 offsetof(attn_ladder_params, device)

typedef struct target {
    char name[128], file[1024], reason[ATTN_REASON];
    uint32_t state;
} target;

/* One climb as the caller sees it. */
typedef struct tour {
    const attn_ladder_params *params;
    const attn_ladder_events *events;
    attn_ladder_summary *summary;
    target *targets;
    size_t count;
    char broken[ATTN_REASON]; /* why nothing could be discovered */
    const char *backend, *rung;
    attn_note result;
    double start;
} tour;

const attn_rung *
attn_rung_at(size_t index)
{
    return index < attn_num_rungs ? &attn_rungs[index].pub : NULL;
}

static void
discovered(void *arg, const attn_note *n)
{
    tour *t = arg;
    if (n->type == ATTN_NOTE_RESULT && n->state == ATTN_RUNG_FAIL)
        snprintf(t->broken, sizeof t->broken, "%s", n->reason);
    if (n->type != ATTN_NOTE_TARGET || t->count == MOST_TARGETS)
        return;
    target *to = &t->targets[t->count++];
    snprintf(to->name, sizeof to->name, "%s", n->name);
    snprintf(to->file, sizeof to->file, "%s", n->file);
    snprintf(to->reason, sizeof to->reason, "%s", n->reason);
    to->state = n->state;
}

/* A command line being made; what does not fit is cut. */
typedef struct line {
    char *text;
    size_t size, used;
} line;

static void ATTN_PRINTF(2, 3) put(line *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(l->text + l->used, l->size - l->used, fmt, ap);
    va_end(ap);
    l->used += n > 0 ? (size_t)n : 0;
    if (l->used >= l->size)
        l->used = l->size - 1;
}

/* One word to a shell. */
static void
put_word(line *l, const char *word)
{
    const size_t plain = strspn(word, "abcdefghijklmnopqrstuvwxyz"
                                      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                      "%+,-./:=@_");
    if (plain && !word[plain]) {
        put(l, " %s", word);
        return;
    }
    put(l, " '");
    for (; *word; word++)
        if (*word == '\'')
            put(l, "'\\''");
        else
            put(l, "%c", *word);
    put(l, "'");
}

/* What the run was asked for beside the rung, as options. */
static void
put_options(line *l, const attn_ladder_params *p)
{
    char pair[1024];
    for (const attn_key_value *o = p->options; o && o->key; o++) {
        snprintf(pair, sizeof pair, "%s=%s", o->key, o->value);
        put(l, " --option");
        put_word(l, pair);
    }
    if (p->device) {
        put(l, " --device");
        put_word(l, p->device);
    }
    if (p->num_threads)
        put(l, " --threads %u", p->num_threads);
}

static void
reproduce(const tour *t, uint64_t seed, char *text, size_t size)
{
    const attn_ladder_params *p = t->params;
    const char *backend = strcmp(t->backend, "-") ? t->backend : p->backend;
    line l = {text, size, 0};
    put(&l, "attnctl test");
    if (p->only_library)
        put_word(&l, p->only_library);
    if (backend) {
        put(&l, " --backend");
        put_word(&l, backend);
    }
    put(&l, " --rung %s%s", t->rung, p->quick && !seed ? " --quick" : "");
    if (seed && !strcmp(t->rung, "numerics"))
        put(&l, " --in-process --case %" PRIu64, seed);
    else if (p->seed)
        put(&l, " --seed %" PRIu64, p->seed);
    put_options(&l, p);
}

static void
tell(tour *t, uint32_t state, const char *reason, uint64_t seed, uint32_t cases)
{
    char command[2000] = "";
    if (state == ATTN_RUNG_FAIL)
        reproduce(t, seed, command, sizeof command);
    const attn_rung_result r = {.struct_size = sizeof r,
                                .state = state,
                                .backend = t->backend,
                                .rung = t->rung,
                                .reason = reason,
                                .reproduce = command,
                                .seed = seed,
                                .num_cases = cases,
                                .seconds = attn_climb_now() - t->start};
    t->summary->passed += state == ATTN_RUNG_PASS;
    t->summary->failed += state == ATTN_RUNG_FAIL;
    t->summary->skipped += state == ATTN_RUNG_SKIP;
    if (t->events && t->events->rung)
        t->events->rung(t->events->arg, &r);
}

static void
on_note(void *arg, const attn_note *n)
{
    tour *t = arg;
    if (n->type == ATTN_NOTE_PROGRESS && t->events && t->events->progress)
        t->events->progress(t->events->arg, t->backend, t->rung, n->done,
                            n->total);
    if (n->type == ATTN_NOTE_CLAIM) {
        const attn_claim_result c = {.struct_size = sizeof c,
                                     .proven = n->state,
                                     .backend = t->backend,
                                     .kind = n->kind,
                                     .claim = n->name,
                                     .reason = n->reason};
        t->summary->claims++;
        t->summary->claims_proven += n->state;
        if (t->events && t->events->claim)
            t->events->claim(t->events->arg, &c);
    }
    if (n->type == ATTN_NOTE_RESULT)
        t->result = *n;
}

static int
wanted(const tour *t, const char *rung)
{
    return !t->params->rung || !strcmp(t->params->rung, rung);
}

static void
climb(tour *t, const target *who)
{
    attn_ladder_params p = *t->params;
    t->backend = who->name;
    p.backend = who->name; /* options are this backend's */
    t->summary->num_backends++;
    for (size_t i = 0; i < attn_num_rungs; i++) {
        const attn_rung_row *row = &attn_rungs[i];
        t->rung = row->pub.name;
        if (!wanted(t, t->rung) ||
            (p.only_case && row->run != attn_rung_numerics))
            continue;
        t->start = attn_climb_now();
        if (t->events && t->events->progress)
            t->events->progress(t->events->arg, t->backend, t->rung, 0, 0);
        attn_rung_isolated(&p, row, who->name, on_note, t);
        tell(t, t->result.state, t->result.reason, t->result.seed,
             t->result.num_cases);
    }
}

/* A backend that cannot be climbed has one row that says why. */
static void
tell_unready(tour *t, const target *who)
{
    char reason[ATTN_REASON + 32];
    const int failed = who->state == ATTN_STATE_REFUSED ||
                       who->state == ATTN_STATE_QUARANTINED;
    t->backend = who->name;
    t->rung = "handshake";
    t->start = attn_climb_now();
    snprintf(reason, sizeof reason, "%s: %s", attn_state_str(who->state),
             who->reason);
    tell(t, failed ? ATTN_RUNG_FAIL : ATTN_RUNG_SKIP, reason, 0, 0);
}

static attn_status
no_such_backend(const tour *t, attn_error *err)
{
    attn_nearest near = {.text = t->params->backend};
    char hint[160];
    for (size_t i = 0; i < t->count; i++)
        attn_nearest_offer(&near, t->targets[i].name);
    return attn_error_set(err, ATTN_E_NOT_FOUND, "backend", "no backend '%s'%s",
                          t->params->backend,
                          attn_nearest_hint(&near, hint, sizeof hint));
}

static attn_status
no_such_device(const tour *t, attn_error *err)
{
    const char *backend = t->params->backend;
    return attn_error_set(
        err, ATTN_E_NOT_FOUND, "device",
        "no device '%s' of %s%s; attnctl list shows them", t->params->device,
        backend ? "backend " : "any backend", backend ? backend : "");
}

/* Nobody was asked for, or has the device. */
static attn_status
found_none(tour *t, attn_error *err)
{
    attn_ladder_params p = *t->params;
    const attn_ladder_params *asked = t->params;
    if (!p.device)
        return p.backend ? no_such_backend(t, err) : ATTN_OK;
    p.device = NULL;
    t->params = &p;
    t->count = 0;
    attn_rung_discover(&p, discovered, t);
    attn_status s = p.backend ? no_such_backend(t, err) : ATTN_OK;
    for (size_t i = 0; i < t->count; i++)
        if (!p.backend || !strcmp(p.backend, t->targets[i].name))
            s = ATTN_OK;
    t->params = asked;
    return s ? s : no_such_device(t, err);
}

static attn_status
check_rung(const char *rung, attn_error *err)
{
    attn_nearest near = {.text = rung};
    char hint[160];
    for (size_t i = 0; i < attn_num_rungs; i++) {
        if (!strcmp(rung, attn_rungs[i].pub.name))
            return ATTN_OK;
        attn_nearest_offer(&near, attn_rungs[i].pub.name);
    }
    return attn_error_set(err, ATTN_E_NOT_FOUND, "rung", "no rung '%s'%s", rung,
                          attn_nearest_hint(&near, hint, sizeof hint));
}

/* The file alone first: a refused one must not cost a process its life. */
static int
file_is_good(tour *t)
{
    attn_error err = ATTN_ERROR_INIT;
    t->backend = "-";
    t->rung = "file";
    t->start = attn_climb_now();
    if (!t->params->only_library ||
        !attn_plugin_file_check(t->params->only_library, &err))
        return 1;
    tell(t, ATTN_RUNG_FAIL, err.message, 0, 0);
    return 0;
}

static attn_status
visit(tour *t, attn_error *err)
{
    int seen = 0;
    attn_ladder_params p = *t->params;
    attn_rung_discover(&p, discovered, t);
    if (!t->count && t->broken[0]) {
        t->backend = "-";
        t->rung = "handshake";
        tell(t, ATTN_RUNG_FAIL, t->broken, 0, 0);
        return ATTN_OK;
    }
    for (size_t i = 0; i < t->count; i++) {
        const target *who = &t->targets[i];
        if (p.backend && strcmp(p.backend, who->name) != 0)
            continue;
        seen = 1;
        if (who->state == ATTN_STATE_READY)
            climb(t, who);
        else if (p.backend || p.only_library ||
                 who->state < ATTN_STATE_SHADOWED)
            tell_unready(t, who);
    }
    return seen ? ATTN_OK : found_none(t, err);
}

/* What an application of an older minor left out is zero. */
static attn_status
take_params(const attn_ladder_params *given, const attn_ladder_summary *summary,
            attn_ladder_params *params, attn_error *err)
{
    if (given->struct_size < PARAMS_SIZE_1_0)
        return attn_error_params(err, given->struct_size, PARAMS_SIZE_1_0);
    if (summary->struct_size < SUMMARY_SIZE_1_0)
        return attn_error_set(err, ATTN_E_ARG, "summary.struct_size",
                              "struct_size %u: at least %u",
                              summary->struct_size, SUMMARY_SIZE_1_0);
    attn_take(params, sizeof *params, given);
    params->struct_size = sizeof *params;
    return params->rung ? check_rung(params->rung, err) : ATTN_OK;
}

attn_status
attn_ladder_run(const attn_ladder_params *params,
                const attn_ladder_events *events, attn_ladder_summary *summary,
                attn_error *err)
{
    attn_ladder_params whole;
    attn_ladder_summary sum = {.struct_size = sizeof sum};
    tour t = {.params = &whole, .events = events, .summary = &sum};
    attn_status s = take_params(params, summary, &whole, err);
    if (s)
        return s;
    t.targets = calloc(MOST_TARGETS, sizeof *t.targets);
    if (!t.targets)
        return attn_error_nomem(err, "ladder",
                                MOST_TARGETS * sizeof *t.targets);
    if (file_is_good(&t))
        s = visit(&t, err);
    free(t.targets);
    if (!s)
        attn_give(summary, summary->struct_size, &sum, sizeof sum);
    return s;
}
