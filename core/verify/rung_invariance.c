/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "verify/derive.h"
#include "verify/ladder.h"

#define MOST_CASES 200
#define MOST_THREADS 4u

/* One case, its result, and how later ones must compare with it. */
typedef struct base {
    attn_climb *c;
    const attn_ladder_case *k;
    attn_call *call, *result;
    attn_problem p;
    uint64_t properties;
    char *reason;
    size_t size;
} base;

static attn_call *
run(base *b, const attn_call *call, uint32_t threads, uint32_t mode)
{
    attn_error err = ATTN_ERROR_INIT;
    attn_call *result = NULL;
    const attn_run_params params = {.struct_size = sizeof params,
                                    .num_threads = threads,
                                    .flags = b->k->run_flags};
    b->c->loops->mode = mode;
    if (attn_call_run(b->c->registry, b->c->entry, call, &params, &result,
                      &err))
        snprintf(b->reason, b->size, "%s: %s: %s", b->k->label, err.where,
                 err.message);
    b->c->loops->mode = ATTN_LOOP_POOL;
    return result;
}

/* Bit for bit where that is claimed, else within the rule. */
static int
agrees(base *b, const attn_derivation *d, const attn_call *call, int exact,
       const attn_call *result, const char *how)
{
    uint32_t request = 0;
    const char *what = "";
    char text[ATTN_REASON] = "";
    if (exact) {
        if (attn_call_same(&b->p, d, b->result, result, &request, &what))
            return 1;
        snprintf(b->reason, b->size,
                 "%s: %s: '%s' of request %u differs in its bits, which the "
                 "claims exclude",
                 b->k->label, how, what, d->order[request]);
        return 0;
    }
    if (attn_ladder_judge(call, result, text, sizeof text) == ATTN_RUNG_PASS)
        return 1;
    snprintf(b->reason, b->size, "%s: %s: %s", b->k->label, how, text);
    return 0;
}

/* The same requests again, in another way of running. */
static int
vary_run(base *b, const attn_derivation *all, uint32_t threads, uint32_t mode,
         uint64_t property, const char *how)
{
    attn_call *result = run(b, b->call, threads, mode);
    const int ok =
        result &&
        agrees(b, all, b->call, (b->properties & property) != 0, result, how);
    attn_call_free(result);
    return ok;
}

static int
vary_call(base *b, const attn_derivation *d, const char *how)
{
    attn_error err = ATTN_ERROR_INIT;
    attn_call *call = NULL, *result = NULL;
    if (attn_call_derive(&b->p, d, &call, &err)) {
        snprintf(b->reason, b->size, "%s", err.message);
        return 0;
    }
    result = run(b, call, 0, ATTN_LOOP_POOL);
    const int ok =
        result &&
        agrees(b, d, call, (b->properties & ATTN_P_BATCH_INVARIANT) != 0,
               result, how);
    attn_call_free(call);
    attn_call_free(result);
    return ok;
}

static int
vary_threads(base *b, const attn_derivation *all)
{
    char how[64];
    for (uint32_t n = 1; n <= MOST_THREADS; n++) {
        snprintf(how, sizeof how, "with %u threads", n);
        if (!vary_run(b, all, n, ATTN_LOOP_POOL, ATTN_P_BATCH_INVARIANT, how))
            return 0;
    }
    return vary_run(b, all, MOST_THREADS, ATTN_LOOP_SHUFFLE,
                    ATTN_P_BATCH_INVARIANT, "with tasks on other workers");
}

static void
shuffle(attn_random *rng, uint32_t *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        x[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        const uint32_t k = attn_random_below(rng, i), t = x[i - 1];
        x[i - 1] = x[k];
        x[k] = t;
    }
}

static int
vary_batch(base *b, attn_random *rng, uint32_t *order, uint32_t *place)
{
    const uint32_t n = b->k->num_reqs;
    for (uint32_t r = 0; r < n; r++)
        order[r] = n - 1 - r;
    if (!vary_call(b, &(attn_derivation){order, n, NULL}, "in reverse order"))
        return 0;
    for (uint32_t r = 0; r < n; r++)
        if (!vary_call(b, &(attn_derivation){&r, 1, NULL},
                       "without its batch mates"))
            return 0;
    for (uint32_t r = 0; r < n; r++)
        order[r] = r;
    shuffle(rng, place, b->p.num_blocks);
    return vary_call(b, &(attn_derivation){order, n, place},
                     "with its pages elsewhere");
}

static int
vary(base *b, attn_random *rng)
{
    uint32_t order[ATTN_CASE_REQUESTS];
    for (uint32_t r = 0; r < b->k->num_reqs; r++)
        order[r] = r;
    const attn_derivation all = {order, b->k->num_reqs, NULL};
    uint32_t *place = malloc((b->p.num_blocks + 1u) * sizeof *place);
    const int ok = place &&
                   vary_run(b, &all, 0, ATTN_LOOP_POOL, ATTN_P_DETERMINISTIC,
                            "run again") &&
                   vary_threads(b, &all) && vary_batch(b, rng, order, place);
    free(place);
    return ok;
}

static int
one_case(base *b, attn_random *rng)
{
    attn_error err = ATTN_ERROR_INIT;
    int ok = 0;
    b->call = attn_ladder_case_call(b->c, b->k, b->reason, b->size);
    if (!b->call)
        return 0;
    if (attn_problem_read(&b->p, b->call, &err))
        snprintf(b->reason, b->size, "%s", err.message);
    else {
        b->result = run(b, b->call, 0, ATTN_LOOP_POOL);
        ok = b->result && vary(b, rng);
        attn_problem_clear(&b->p);
    }
    attn_call_free(b->result);
    attn_call_free(b->call);
    return ok;
}

/* Long requests beside short ones: where splits over keys would show. */
static void
lengthen(attn_climb *c, attn_random *rng, attn_ladder_case *k)
{
    const uint32_t longest = c->entry->emulated ? 200 : 2500;
    if (k->layer.head.features & (ATTN_F_DRAFTS | ATTN_F_CROSS))
        return;
    k->requests[k->num_reqs++] =
        (attn_spec_request){1, 1 + attn_random_below(rng, longest)};
    k->requests[k->num_reqs++] = (attn_spec_request){
        1 + attn_random_below(rng, 3), 4 + attn_random_below(rng, longest)};
}

static void
claim(attn_climb *c, uint64_t properties, uint64_t bit, const char *name,
      int proven, const char *reason)
{
    if (properties & bit)
        attn_climb_claim(c, "property", name, proven, reason);
}

uint32_t
attn_rung_invariance(attn_climb *c, char *reason, size_t size)
{
    const uint64_t properties = c->entry->backend->caps[0]->properties;
    int ok = 1;
    for (uint32_t i = 0; ok && i < MOST_CASES && attn_climb_now() < c->end;
         i++) {
        attn_ladder_case k;
        attn_random rng = {c->seed * 13 + i};
        attn_climb_progress(c, i, MOST_CASES);
        if (!attn_ladder_case_make(c, attn_ladder_random_id(c->seed * 101 + i),
                                   &k))
            continue;
        lengthen(c, &rng, &k);
        base b = {.c = c,
                  .k = &k,
                  .properties = properties,
                  .reason = reason,
                  .size = size};
        ok = one_case(&b, &rng);
        c->num_cases++;
    }
    const int proven = ok && c->num_cases > 0;
    claim(c, properties, ATTN_P_DETERMINISTIC, "deterministic", proven, reason);
    claim(c, properties, ATTN_P_BATCH_INVARIANT, "batch_invariant", proven,
          reason);
    if (ok)
        snprintf(reason, size,
                 "%u batches, each also alone, reversed, moved, on 1 to %u "
                 "threads: %s",
                 c->num_cases, MOST_THREADS,
                 properties & ATTN_P_BATCH_INVARIANT ? "the same bits"
                                                     : "within the rule");
    return !ok ? ATTN_RUNG_FAIL : proven ? ATTN_RUNG_PASS : ATTN_RUNG_SKIP;
}
