/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include <attn/base.h>

#include "verify/ladder.h"

/* Where the claims of all sets are tried, and what came of it. */
typedef struct audit {
    attn_climb *c;
    const attn_caps *caps;
    uint32_t count, proven;
    char first[ATTN_REASON]; /* the first that failed */
} audit;

static const char *
input_field(const attn_any_layer *l)
{
    return !strcmp(l->head.family, ATTN_FAMILY_MAMBA2) ||
                   !strcmp(l->head.family, ATTN_FAMILY_MAMBA1)
               ? "x_dtype"
               : "q_dtype";
}

static int
is_input_side(const char *name)
{
    return strcmp(name, "kv_dtype") != 0 &&
           strcmp(name, "ssm_state_dtype") != 0;
}

/* Changes that one claim makes to the simplest layer. */
typedef struct change {
    const char *name, *value; /* a field, or */
    uint64_t feature;
} change;

static int
claimed_type(const attn_caps *caps, const char *name, const char *type)
{
    int any = 0;
    for (uint32_t i = 0; i < caps->num_dtypes; i++) {
        if (strcmp(caps->dtypes[i].name, name) != 0)
            continue;
        any = 1;
        if (!strcmp(attn_dtype_str(caps->dtypes[i].dtype), type))
            return 1;
    }
    return !any;
}

/* All type fields that may hold it take the type. */
static void
all_types(const attn_caps *caps, attn_any_layer *l, const char *type)
{
    static const char *const NAMES[] = {"q_dtype",      "kv_dtype",
                                        "weight_dtype", "out_dtype",
                                        "x_dtype",      "conv_state_dtype"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (claimed_type(caps, NAMES[i], type))
            attn_ladder_set(l, NAMES[i], type);
}

static int
apply(const attn_caps *caps, attn_any_layer *l, const change *x)
{
    char text[32];
    if (x->feature)
        return attn_ladder_need(l, x->feature) && !attn_layer_finish(l, NULL);
    if (strstr(x->name, "dtype") && is_input_side(x->name))
        all_types(caps, l, x->value);
    if (!strcmp(x->name, "gqa_ratio")) {
        unsigned ratio = 0;
        sscanf(x->value, "%u", &ratio);
        snprintf(text, sizeof text, "%u", ratio * l->flash.num_kv_heads);
        return attn_ladder_set(l, "num_heads", text) &&
               !attn_layer_finish(l, NULL);
    }
    if (!strcmp(x->name, "head_dim") &&
        !strcmp(l->head.family, ATTN_FAMILY_FLASH)) {
        attn_ladder_set(l, "scale", "0");
        attn_ladder_set(l, "head_dim_v", x->value);
    }
    if (!strcmp(x->name, "num_heads") &&
        !strcmp(l->head.family, ATTN_FAMILY_FLASH)) {
        unsigned heads = 0;
        sscanf(x->value, "%u", &heads);
        if (heads % l->flash.num_kv_heads)
            attn_ladder_set(l, "num_kv_heads", "1");
    }
    if (!strcmp(x->name, "num_kv_heads"))
        attn_ladder_set(l, "num_heads", x->value);
    if (!strcmp(x->name, "num_groups"))
        attn_ladder_set(l, "num_heads", x->value);
    return attn_ladder_set(l, x->name, x->value) && !attn_layer_finish(l, NULL);
}

/* Fields whose largest values make a layer that few requests are enough for. */
static int
is_width(const char *name)
{
    return !strcmp(name, "num_heads") || !strcmp(name, "num_groups") ||
           !strcmp(name, "num_channels");
}

/* A claim is proven by one layer that has it: in any input type. */
static uint32_t
try_change(audit *a, const change *x, uint32_t nth, char *reason, size_t size)
{
    static const char *const BASES[] = {NULL, "f32", "bf16", "f16"};
    uint32_t state = ATTN_RUNG_SKIP;
    for (size_t i = 0; i < 4 && state == ATTN_RUNG_SKIP; i++) {
        attn_ladder_case k = {.id = a->c->seed | 1ull << 61 |
                                    (uint64_t)nth << 32};
        attn_random rng = {k.id};
        if (!attn_ladder_base(a->c, a->caps, &k.layer)) {
            snprintf(reason, size, "no layer of the family fits the claims");
            return ATTN_RUNG_SKIP;
        }
        if (BASES[i] && !claimed_type(a->caps, input_field(&k.layer), BASES[i]))
            continue;
        if (BASES[i])
            all_types(a->caps, &k.layer, BASES[i]);
        if (!apply(a->caps, &k.layer, x)) {
            snprintf(reason, size, "such a layer cannot be described");
            continue;
        }
        snprintf(k.label, sizeof k.label, "claim");
        if (nth & 1 && a->c->entry->backend->op->update_cache)
            k.flags |= ATTN_CASE_NEW_TOKENS;
        if (x->feature || !is_width(x->name))
            attn_ladder_requests(a->c, &rng, &k, 40);
        k.requests[k.num_reqs++] = (attn_spec_request){1, 33};
        k.requests[k.num_reqs++] = (attn_spec_request){
            k.layer.head.features & ATTN_F_DRAFTS ? 3 : 18, 18};
        state = attn_ladder_case_run(a->c, &k, reason, size);
    }
    return state;
}

static void
settle(audit *a, const char *kind, const char *claim, const change *x)
{
    char reason[ATTN_REASON] = "";
    attn_climb_progress(a->c, a->count, 0);
    const uint32_t s = try_change(a, x, a->count, reason, sizeof reason);
    attn_climb_claim(a->c, kind, claim, s == ATTN_RUNG_PASS, reason);
    a->count++;
    a->proven += s == ATTN_RUNG_PASS;
    if (s != ATTN_RUNG_PASS && !a->first[0])
        snprintf(a->first, sizeof a->first, "%s: %.*s", claim, ATTN_REASON - 80,
                 reason);
}

static void
audit_types(audit *a)
{
    for (uint32_t i = 0; i < a->caps->num_dtypes; i++) {
        const attn_dtype_claim *t = &a->caps->dtypes[i];
        char claim[96];
        const char *type = attn_dtype_str(t->dtype);
        snprintf(claim, sizeof claim, "%s %s", t->name, type);
        settle(a, "dtype", claim, &(change){t->name, type, 0});
    }
}

static void
audit_features(audit *a)
{
    for (uint32_t bit = 0; bit < 48; bit++) {
        const uint64_t f = 1ull << bit;
        if (!(a->caps->features & f))
            continue;
        const char *name = attn_feature_str(f);
        settle(a, "feature", name ? name : "unknown", &(change){"", "", f});
    }
}

/* The largest value of a range that the field itself may have. */
static uint32_t
largest(const audit *a, const attn_dim_claim *d)
{
    const attn_family *f = attn_family_find(a->c->entry->backend->family);
    for (uint32_t i = 0; i < f->num_fields; i++)
        if (!strcmp(f->fields[i].name, d->name) &&
            f->fields[i].hi < (double)d->range.hi)
            return (uint32_t)f->fields[i].hi;
    return d->range.hi;
}

/* Both ends of a range and something between. */
static void
audit_dims(audit *a)
{
    for (uint32_t i = 0; i < a->caps->num_dims; i++) {
        const attn_range *r = &a->caps->dims[i].range;
        const uint32_t step = r->step ? r->step : 1;
        const uint32_t hi = largest(a, &a->caps->dims[i]);
        const uint32_t steps = r->step && hi > r->lo ? (hi - r->lo) / step : 0;
        const uint32_t at[3] = {0, steps / 3, steps};
        for (uint32_t k = 0; k < 3; k++) {
            char value[32], claim[96];
            if (k && at[k] == at[k - 1])
                continue;
            snprintf(value, sizeof value, "%u", r->lo + at[k] * step);
            snprintf(claim, sizeof claim, "%s %s", a->caps->dims[i].name,
                     value);
            settle(a, "dim", claim, &(change){a->caps->dims[i].name, value, 0});
        }
    }
}

uint32_t
attn_rung_claims(attn_climb *c, char *reason, size_t size)
{
    const attn_backend *b = c->entry->backend;
    audit a = {.c = c};
    c->end = attn_climb_now() + 200; /* no claim is left out for its time */
    for (uint32_t i = 0; i < b->num_caps; i++) {
        a.caps = b->caps[i];
        audit_types(&a);
        audit_features(&a);
        audit_dims(&a);
    }
    snprintf(reason, size, "%u of %u claims proven%s%s", a.proven, a.count,
             a.first[0] ? "; first unproven: " : "", a.first);
    return a.proven == a.count ? ATTN_RUNG_PASS : ATTN_RUNG_FAIL;
}
