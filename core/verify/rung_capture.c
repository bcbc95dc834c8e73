/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "verify/case.h"
#include "verify/ladder.h"

#define MOST_CASES 24

/* Batches of a capture level; the second set is what the graph, recorded on
 * the first, must also get right: fewer keys, in another order. */
typedef struct shapes {
    uint32_t level, n;
    attn_spec_request first[4], then[4];
} shapes;

static const shapes SHAPES[] = {
    {ATTN_CAPTURE_DECODE,
     4,
     {{1, 90}, {1, 17}, {1, 64}, {1, 33}},
     {{1, 12}, {1, 1}, {1, 90}, {1, 48}}},
    {ATTN_CAPTURE_UNIFORM,
     3,
     {{3, 70}, {3, 90}, {3, 40}},
     {{3, 3}, {3, 65}, {3, 81}}},
    {ATTN_CAPTURE_ALWAYS,
     4,
     {{1, 80}, {20, 90}, {4, 4}, {7, 61}},
     {{9, 88}, {3, 70}, {1, 16}, {19, 33}}},
};

static const char *
level_name(uint32_t level)
{
    static const char *const NAMES[] = {"never", "decode", "uniform", "always"};
    return level <= ATTN_CAPTURE_ALWAYS ? NAMES[level] : "?";
}

static attn_call *
make(const attn_climb *c, const attn_ladder_case *k, const shapes *s, int then,
     attn_error *err)
{
    attn_call *call = NULL;
    const attn_case_params params = {.struct_size = sizeof params,
                                     .num_reqs = s->n,
                                     .layer = &k->layer.head,
                                     .requests = then ? s->then : s->first,
                                     .seed = c->seed + (uint64_t)then,
                                     .flags = then ? 0 : ATTN_CASE_ROOMY};
    return attn_case_make(&params, &call, err) ? NULL : call;
}

/* A layer is prepared once: both calls must have the same constants. */
static void
share_constants(const attn_call *from, const attn_call *to)
{
    static const char *const NAMES[] = {
        "sinks",       "alibi_slopes", "w_uk", "w_uv",
        "conv_weight", "conv_bias",    "a",    "d",
        "dt_bias"};
    for (size_t i = 0; from && to && i < sizeof NAMES / sizeof *NAMES; i++) {
        const attn_call_tensor *a = attn_call_find(from, NAMES[i]);
        const attn_call_tensor *b = attn_call_find(to, NAMES[i]);
        if (a && b)
            memcpy(b->data, a->data, a->bytes);
    }
}

static attn_status
judge(attn_trial *t, const attn_call *call, attn_error *err)
{
    char text[ATTN_REASON] = "";
    attn_call *result = NULL;
    attn_status s = attn_trial_collect(t, &result, err);
    if (s)
        return s;
    if (attn_ladder_judge(call, result, text, sizeof text) != ATTN_RUNG_PASS)
        s = attn_error_set(err, ATTN_E_INTERNAL, "replay", "%s", text);
    attn_call_free(result);
    return s;
}

static attn_status
replay(attn_trial *t, const attn_call *call, attn_error *err)
{
    attn_status s = attn_trial_load(t, call, err);
    if (!s)
        s = attn_trial_build(t, err);
    if (!s)
        s = attn_trial_replay(t, err);
    if (!s)
        s = attn_trial_sync(t, err);
    if (!s)
        s = attn_trial_check(t, err);
    return s ? s : judge(t, call, err);
}

/* Beyond its level a backend says so, and enqueues nothing. */
static attn_status
must_refuse(attn_trial *t, const shapes *s, attn_error *err)
{
    attn_error why = ATTN_ERROR_INIT;
    attn_status got = attn_trial_build(t, &why);
    if (!got)
        got = attn_trial_capture(t, &why);
    if (got == ATTN_E_CAPTURE)
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_INTERNAL, "capture",
                          "a batch of level '%s' is beyond the claims, yet "
                          "forward under capture gave status %d",
                          level_name(s->level), got);
}

static attn_status
one_shape(attn_climb *c, const attn_ladder_case *k, const shapes *s,
          uint32_t level, attn_error *err)
{
    attn_call *first = make(c, k, s, 0, err), *then = make(c, k, s, 1, err);
    attn_trial *t = NULL;
    const attn_trial_params in = {.registry = c->registry,
                                  .entry = c->entry,
                                  .num_threads = c->params->num_threads,
                                  .capture = level};
    share_constants(first, then);
    attn_status st = first && then ? ATTN_OK : ATTN_E_INTERNAL;
    if (!st)
        st = attn_trial_create(&in, first, &t, err);
    if (!st && s->level > level)
        st = must_refuse(t, s, err);
    else if (!st) {
        st = attn_trial_build(t, err);
        if (!st)
            st = attn_trial_capture(t, err);
        if (!st)
            st = replay(t, first, err);
        if (!st)
            st = replay(t, then, err);
        if (!st)
            st = replay(t, first, err);
    }
    attn_trial_destroy(t);
    attn_call_free(first);
    attn_call_free(then);
    return st;
}

static attn_status
all_shapes(attn_climb *c, const attn_ladder_case *k, uint32_t level,
           attn_error *err)
{
    attn_status s = ATTN_OK;
    for (size_t i = 0; !s && i < sizeof SHAPES / sizeof *SHAPES; i++)
        s = one_shape(c, k, &SHAPES[i], level, err);
    c->num_cases++;
    return s;
}

uint32_t
attn_rung_capture(attn_climb *c, char *reason, size_t size)
{
    const attn_backend *b = c->entry->backend;
    const uint32_t level = b->caps[0]->capture;
    char claim[32];
    if (b->device_type == ATTN_DEVICE_CPU || level == ATTN_CAPTURE_NEVER) {
        snprintf(reason, size, "%s",
                 b->device_type == ATTN_DEVICE_CPU
                     ? "runs on the host: nothing to capture"
                     : "claims no capture");
        return ATTN_RUNG_SKIP;
    }
    attn_error err = ATTN_ERROR_INIT;
    attn_status s = ATTN_OK;
    for (uint32_t i = 0; !s && i < MOST_CASES && attn_climb_now() < c->end;
         i++) {
        attn_ladder_case k;
        attn_climb_progress(c, i, MOST_CASES);
        if (!attn_ladder_case_make(c, attn_ladder_random_id(c->seed * 271 + i),
                                   &k) ||
            k.layer.head.features &
                (ATTN_F_DRAFTS | ATTN_F_CROSS | ATTN_F_CHECKPOINTS))
            continue;
        s = all_shapes(c, &k, level, &err);
    }
    snprintf(claim, sizeof claim, "capture %s", level_name(level));
    attn_climb_claim(c, "capture", claim, !s && c->num_cases, err.message);
    if (s) {
        snprintf(reason, size, "%s: %s", err.where, err.message);
        return ATTN_RUNG_FAIL;
    }
    snprintf(reason, size,
             "%u layers, each recorded once and replayed on "
             "three batches",
             c->num_cases);
    return c->num_cases ? ATTN_RUNG_PASS : ATTN_RUNG_SKIP;
}
