/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <attn/session.h>

#include "base/error.h"
#include "verify/ladder.h"
#include "verify/number.h"
#include "verify/oracle.h"

#define RANDOM_ID (0x80ull << 56)
#define EMULATED_LONGEST 256u
#define EMULATED_HEADS 8u
#define QUICK_LONGEST 1024u
#define TRIES 200
#define CHECKED_ROWS 64
#define FIRST_RATE 2e8 /* flops per second before anything is known */
#define FIRST_RATE_EMULATED 2e6
#define MOST_BYTES (1.5e9) /* of one problem */

/* Batches of published test suites: query and sequence lengths, each list
 * repeated `times` times. */
static const struct {
    const char *name;
    uint32_t times, n;
    uint32_t q[6], s[6];
} SPECS[ATTN_LADDER_SPECS] = {
    {"small_decode", 1, 2, {1, 1}, {32, 40}},
    {"small_prefill", 1, 2, {8, 8}, {32, 40}},
    {"mixed_small", 1, 4, {1, 1, 5, 5}, {32, 40, 48, 56}},
    {"medium_decode", 2, 4, {1, 1, 1, 1}, {128, 256, 512, 1024}},
    {"medium_prefill", 1, 4, {16, 16, 16, 16}, {256, 512, 1024, 2048}},
    {"mixed_medium",
     1,
     6,
     {1, 1, 1, 7, 7, 7},
     {512, 1024, 2048, 512, 1024, 2048}},
    {"large_decode", 32, 1, {1}, {2048}},
    {"large_prefill", 8, 1, {32}, {4096}},
    {"mixed_large",
     1,
     6,
     {1, 1, 1, 32, 32, 32},
     {1024, 2048, 4096, 1024, 2048, 4096}},
    {"single_decode", 1, 1, {1}, {1024}},
    {"single_prefill", 1, 1, {64}, {1024}},
    {"small_encoder_prefill", 1, 4, {32, 64, 128, 256}, {32, 64, 128, 256}},
    {"medium_encoder_prefill",
     1,
     4,
     {256, 512, 1024, 2048},
     {256, 512, 1024, 2048}},
};

/* Layers of real models. */
static const struct {
    const char *name, *family;
    const char *fields[8]; /* "name=value" */
    uint64_t features;
} MODELS[] = {
    {"llama-3-8b",
     ATTN_FAMILY_FLASH,
     {"num_heads=32", "num_kv_heads=8", "head_dim=128", "block_size=16"},
     ATTN_F_LSE},
    {"sliding-window",
     ATTN_FAMILY_FLASH,
     {"num_heads=32", "num_kv_heads=8", "head_dim=128", "block_size=16",
      "window_left=511"},
     0},
    {"gpt-oss",
     ATTN_FAMILY_FLASH,
     {"num_heads=64", "num_kv_heads=8", "head_dim=64", "block_size=16",
      "window_left=127"},
     ATTN_F_SINKS | ATTN_F_LSE},
    {"encoder",
     ATTN_FAMILY_FLASH,
     {"num_heads=12", "num_kv_heads=12", "head_dim=64", "block_size=16",
      "causal=0"},
     0},
    {"deepseek-v2-lite",
     ATTN_FAMILY_MLA,
     {"num_heads=16", "qk_nope_head_dim=128", "qk_rope_head_dim=64",
      "v_head_dim=128", "kv_lora_rank=512", "block_size=64"},
     ATTN_F_LSE},
    {"deepseek-r1",
     ATTN_FAMILY_MLA,
     {"num_heads=128", "qk_nope_head_dim=128", "qk_rope_head_dim=64",
      "v_head_dim=128", "kv_lora_rank=512", "block_size=64"},
     0},
    {"deepseek-r1-tp8",
     ATTN_FAMILY_MLA,
     {"num_heads=16", "qk_nope_head_dim=128", "qk_rope_head_dim=64",
      "v_head_dim=128", "kv_lora_rank=512", "block_size=64"},
     0},
    {"mamba-codestral-7b",
     ATTN_FAMILY_MAMBA2,
     {"num_heads=128", "head_dim=64", "num_groups=8", "state_dim=128",
      "chunk_size=256"},
     0},
    {"mamba2-130m",
     ATTN_FAMILY_MAMBA2,
     {"num_heads=24", "head_dim=64", "num_groups=1", "state_dim=128",
      "chunk_size=256"},
     0},
    {"mamba-130m",
     ATTN_FAMILY_MAMBA1,
     {"num_channels=1536", "state_dim=16"},
     0},
};
#define NUM_MODELS (sizeof MODELS / sizeof *MODELS)

static const char *const DTYPES[ATTN_LADDER_DTYPES] = {"bf16", "f16", "f32"};

uint32_t
attn_ladder_num_models(const attn_climb *c)
{
    uint32_t n = 0;
    for (size_t i = 0; i < NUM_MODELS; i++)
        n += !strcmp(MODELS[i].family, c->entry->backend->family);
    return n;
}

uint64_t
attn_ladder_model_id(uint32_t model, uint32_t spec, uint32_t dtype,
                     uint32_t seed)
{
    return (uint64_t)(model + 1) << 48 | (uint64_t)(spec + 1) << 40 |
           (uint64_t)(dtype + 1) << 32 | seed;
}

uint64_t
attn_ladder_random_id(uint64_t seed)
{
    return RANDOM_ID | (seed & 0xFFFFFFFFFFFFull);
}

static void
add(attn_ladder_case *k, uint32_t q, uint32_t s)
{
    if (k->num_reqs < ATTN_CASE_REQUESTS)
        k->requests[k->num_reqs++] = (attn_spec_request){q, s};
}

static void
set_spec(const attn_climb *c, attn_ladder_case *k, uint32_t spec)
{
    const uint32_t cap = c->entry->emulated ? EMULATED_LONGEST
                         : c->params->quick ? QUICK_LONGEST
                                            : UINT32_MAX;
    uint32_t longest = 0;
    for (uint32_t i = 0; i < SPECS[spec].n; i++)
        longest = SPECS[spec].s[i] > longest ? SPECS[spec].s[i] : longest;
    for (uint32_t t = 0; t < SPECS[spec].times; t++)
        for (uint32_t i = 0; i < SPECS[spec].n; i++) {
            uint32_t q = SPECS[spec].q[i], s = SPECS[spec].s[i];
            if (longest > cap) {
                const int whole = q == s;
                s = s * cap / longest;
                q = whole || q > s ? s : q;
            }
            if (!(c->entry->emulated && t >= 4))
                add(k, q, s);
        }
}

/* Fewer heads at the same ratio, for a backend that is emulated. */
static void
fewer_heads(attn_any_layer *l)
{
    if (!strcmp(l->head.family, ATTN_FAMILY_FLASH)) {
        const uint32_t ratio = l->flash.num_heads / l->flash.num_kv_heads;
        while (l->flash.num_heads > EMULATED_HEADS) {
            l->flash.num_kv_heads =
                l->flash.num_kv_heads > 1 ? l->flash.num_kv_heads / 2 : 1;
            if (l->flash.num_kv_heads == 1 && ratio > EMULATED_HEADS)
                break;
            l->flash.num_heads = ratio * l->flash.num_kv_heads;
        }
    } else if (!strcmp(l->head.family, ATTN_FAMILY_MLA) &&
               l->mla.num_heads > EMULATED_HEADS)
        l->mla.num_heads = EMULATED_HEADS;
    else if (!strcmp(l->head.family, ATTN_FAMILY_MAMBA2) &&
             l->mamba2.num_heads > EMULATED_HEADS) {
        l->mamba2.num_heads = EMULATED_HEADS;
        l->mamba2.num_groups = l->mamba2.num_groups > 2 ? 2 : 1;
    }
}

static int
set_model(const attn_climb *c, attn_ladder_case *k, uint32_t nth,
          const char *type)
{
    static const char *const FOLLOW[] = {"q_dtype",      "kv_dtype",
                                         "weight_dtype", "out_dtype",
                                         "x_dtype",      "conv_state_dtype"};
    for (size_t i = 0; i < NUM_MODELS; i++) {
        if (strcmp(MODELS[i].family, c->entry->backend->family) != 0 || nth--)
            continue;
        attn_layer_init(attn_family_find(MODELS[i].family), &k->layer);
        for (size_t f = 0; f < 8 && MODELS[i].fields[f]; f++) {
            char text[64];
            snprintf(text, sizeof text, "%s", MODELS[i].fields[f]);
            char *value = strchr(text, '=');
            *value++ = 0;
            if (!attn_ladder_set(&k->layer, text, value))
                return 0;
        }
        for (size_t f = 0; f < sizeof FOLLOW / sizeof *FOLLOW; f++)
            attn_ladder_set(&k->layer, FOLLOW[f], type);
        attn_ladder_set(&k->layer, "ssm_state_dtype", "f32");
        k->layer.head.features = MODELS[i].features;
        if (c->entry->emulated)
            fewer_heads(&k->layer);
        snprintf(k->label, sizeof k->label, "%s %s", MODELS[i].name, type);
        return attn_layer_finish(&k->layer, NULL) == ATTN_OK;
    }
    return 0;
}

void
attn_ladder_requests(const attn_climb *c, attn_random *rng, attn_ladder_case *k,
                     uint32_t longest)
{
    const uint32_t n = 1 + attn_random_below(rng, 5);
    const int cross = (k->layer.head.features & ATTN_F_CROSS) != 0;
    const int drafts = (k->layer.head.features & ATTN_F_DRAFTS) != 0;
    (void)c;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t s = 1 + attn_random_below(rng, longest);
        uint32_t q;
        switch (attn_random_below(rng, 4)) {
        case 0:
            q = 1;
            break;
        case 1:
            q = s;
            break;
        case 2:
            q = 1 + attn_random_below(rng, 8);
            break;
        default:
            q = 1 + attn_random_below(rng, s);
        }
        if (drafts && q > 4)
            q = 1 + q % 4;
        if (!cross && q > s)
            q = s;
        add(k, q, s);
    }
}

void
attn_ladder_describe(attn_ladder_case *k, const char *what)
{
    const attn_family *f = attn_family_find(k->layer.head.family);
    size_t n = (size_t)snprintf(k->label, sizeof k->label, "%s", what);
    for (uint32_t i = 0; i < f->num_fields && n < sizeof k->label; i++) {
        const char *name = f->fields[i].name;
        char value[32];
        if (!attn_layer_get(&k->layer.head, name, value, sizeof value) &&
            strcmp(value, f->fields[i].value) != 0)
            n += (size_t)snprintf(k->label + n, sizeof k->label - n, " %s=%s",
                                  name, value);
    }
    for (uint32_t bit = 3; bit <= 13 && n < sizeof k->label; bit++)
        if (k->layer.head.features & 1ull << bit)
            n += (size_t)snprintf(k->label + n, sizeof k->label - n, " +%s",
                                  attn_feature_str(1ull << bit));
}

/* The pages that an engine would make which asks the backend: long ones may
 * lead to kernels of their own. */
static int
prefer_pages(const attn_climb *c, attn_ladder_case *k)
{
    attn_kv_spec spec = {.struct_size = sizeof spec};
    const attn_cache_spec *first = &spec.caches[0];
    attn_any_layer layer = k->layer;
    char text[16];
    if (attn_kv_spec_get(c->entry, &layer.head, &spec, NULL) ||
        !spec.preferred_block_size)
        return 0;
    snprintf(text, sizeof text, "%u", spec.preferred_block_size);
    if (!attn_ladder_set(&layer, "block_size", text) ||
        attn_layer_finish(&layer, NULL) ||
        attn_kv_spec_get(c->entry, &layer.head, &spec, NULL))
        return 0;
    k->layer = layer;
    k->run_flags &= ~ATTN_RUN_TURNED;
    if (first->ndim == 3 && first->strides[1] > first->strides[0])
        k->run_flags |= ATTN_RUN_TURNED;
    return 1;
}

static int
make_random(attn_climb *c, uint64_t id, attn_ladder_case *k)
{
    attn_random rng = {id};
    char text[256];
    for (int i = 0; i < TRIES; i++) {
        if (!attn_ladder_random(c, &rng, 0, &k->layer) ||
            !attn_eligible(c->registry, c->entry, &k->layer.head, text,
                           sizeof text))
            continue;
        if (c->entry->emulated)
            fewer_heads(&k->layer);
        attn_ladder_requests(c, &rng, k, c->entry->emulated ? 80 : 300);
        attn_ladder_describe(k, "random");
        return 1;
    }
    return 0;
}

int
attn_ladder_case_make(attn_climb *c, uint64_t id, attn_ladder_case *k)
{
    memset(k, 0, sizeof *k);
    k->id = id;
    const uint32_t seed = (uint32_t)id;
    if (seed & 1 && c->entry->backend->op->update_cache)
        k->flags |= ATTN_CASE_NEW_TOKENS;
    if (seed & 2)
        k->run_flags |= ATTN_RUN_PADDED;
    if (seed & 8)
        k->run_flags |= ATTN_RUN_TURNED;
    if (seed & 4)
        k->flags |= ATTN_CASE_PADDING;
    if (id & RANDOM_ID)
        return make_random(c, id, k);
    const uint32_t model = (uint32_t)(id >> 48 & 0xFF) - 1;
    const uint32_t spec = (uint32_t)(id >> 40 & 0xFF) - 1;
    const uint32_t type = (uint32_t)(id >> 32 & 0xFF) - 1;
    if (spec >= ATTN_LADDER_SPECS || type >= ATTN_LADDER_DTYPES ||
        !set_model(c, k, model, DTYPES[type]))
        return 0;
    set_spec(c, k, spec);
    const int is_preferred =
        (seed + model) % 3 == 0 && !c->entry->emulated && prefer_pages(c, k);
    const size_t n = strlen(k->label);
    snprintf(k->label + n, sizeof k->label - n, " %s%s", SPECS[spec].name,
             is_preferred ? ", preferred pages" : "");
    return 1;
}

attn_call *
attn_ladder_case_call(attn_climb *c, const attn_ladder_case *k, char *reason,
                      size_t size)
{
    attn_error err = ATTN_ERROR_INIT;
    attn_call *call = NULL;
    const attn_case_params params = {.struct_size = sizeof params,
                                     .num_reqs = k->num_reqs,
                                     .layer = &k->layer.head,
                                     .requests = k->requests,
                                     .seed = k->id,
                                     .flags = k->flags};
    c->current = k->id;
    if (attn_case_make(&params, &call, &err))
        snprintf(reason, size, "%s: %s", k->label, err.message);
    return call;
}

static int
too_dear(const attn_climb *c, const attn_call *call, double *flops)
{
    attn_cost cost = {.struct_size = sizeof cost};
    const double rate = c->rate > 0          ? c->rate
                        : c->entry->emulated ? FIRST_RATE_EMULATED
                                             : FIRST_RATE;
    attn_call_cost(call, &cost);
    *flops = cost.flops;
    return cost.bytes > MOST_BYTES ||
           attn_climb_now() + cost.flops / rate > c->end;
}

/* A cache must hold exactly what update_cache means, bit for bit but for the
 * sign of zero: also where nothing was to be written. */
static int
same_cache(const attn_problem *p, int part, const attn_call *result,
           char *reason, size_t size)
{
    const char *name = p->kind == ATTN_KIND_MLA ? "kv_cache"
                       : part                   ? "v_cache"
                                                : "k_cache";
    const attn_call_tensor *t = attn_call_find(result, name);
    const void *want;
    void *owned;
    if (!t || attn_cache_updated(p, part, &want, &owned, NULL))
        return 1;
    const size_t e = t->dtype.bits / 8u, n = t->bytes / e;
    size_t i = 0;
    if (memcmp(t->data, want, t->bytes) == 0)
        i = n;
    for (; i < n; i++) {
        const uint8_t *a = (const uint8_t *)t->data + i * e,
                      *b = (const uint8_t *)want + i * e;
        double x = 1, y = 0;
        if (memcmp(a, b, e) == 0)
            continue;
        attn_number_load(&x, a, t->dtype, 1);
        attn_number_load(&y, b, t->dtype, 1);
        if (x == 0 && y == 0)
            continue;
        snprintf(reason, size,
                 "%s after update_cache: element %zu is %g, must be %g", name,
                 i, x, y);
        break;
    }
    free(owned);
    return i == n;
}

uint32_t
attn_ladder_judge(const attn_call *call, const attn_call *result, char *reason,
                  size_t size)
{
    attn_error err = ATTN_ERROR_INIT;
    attn_reference *ref = NULL;
    attn_verdict v[4];
    attn_problem p;
    uint32_t pass = 0;
    if (attn_problem_read(&p, call, &err)) {
        snprintf(reason, size, "%s", err.message);
        return ATTN_RUNG_FAIL;
    }
    int ok =
        p.kind > ATTN_KIND_MLA || !p.has_new ||
        (same_cache(&p, 0, result, reason, size) &&
         (p.kind == ATTN_KIND_MLA || same_cache(&p, 1, result, reason, size)));
    attn_problem_clear(&p);
    if (!ok)
        return ATTN_RUNG_FAIL;
    if (attn_reference_create(call, CHECKED_ROWS, 0, &ref, &err) ||
        attn_compare(ref, result, v, &pass, &err))
        snprintf(reason, size, "%s", err.message);
    else
        for (size_t i = 0; i < attn_reference_count(ref); i++)
            if (!v[i].pass)
                snprintf(reason, size, "%s", v[i].reason);
    attn_reference_free(ref);
    return pass ? ATTN_RUNG_PASS : ATTN_RUNG_FAIL;
}

static void
prefix(const attn_ladder_case *k, char *reason, size_t size)
{
    char text[ATTN_REASON];
    snprintf(text, sizeof text, "%s", reason);
    snprintf(reason, size, "%s: %s", k->label, text);
}

static uint32_t
run(attn_climb *c, const attn_ladder_case *k, const attn_call *call,
    double flops, char *reason, size_t size)
{
    attn_error err = ATTN_ERROR_INIT;
    attn_call *result = NULL;
    const attn_run_params params = {.struct_size = sizeof params,
                                    .flags = k->run_flags,
                                    .num_threads = c->params->num_threads};
    const double start = attn_climb_now();
    if (attn_call_run(c->registry, c->entry, call, &params, &result, &err)) {
        snprintf(reason, size, "%s: %s", err.where, err.message);
        prefix(k, reason, size);
        return ATTN_RUNG_FAIL;
    }
    const double took = attn_climb_now() - start;
    if (flops > 1e6)
        c->rate = flops / (took + 1e-4);
    const uint32_t state = attn_ladder_judge(call, result, reason, size);
    attn_call_free(result);
    if (state == ATTN_RUNG_FAIL)
        prefix(k, reason, size);
    return state;
}

uint32_t
attn_ladder_case_run(attn_climb *c, const attn_ladder_case *k, char *reason,
                     size_t size)
{
    double flops;
    if (!attn_eligible(c->registry, c->entry, &k->layer.head, reason, size))
        return ATTN_RUNG_SKIP;
    attn_call *call = attn_ladder_case_call(c, k, reason, size);
    if (!call)
        return ATTN_RUNG_FAIL;
    uint32_t state = ATTN_RUNG_SKIP;
    if (too_dear(c, call, &flops)) {
        c->num_late++;
        snprintf(reason, size, "no time left");
    } else {
        c->num_cases++;
        state = run(c, k, call, flops, reason, size);
    }
    attn_call_free(call);
    return state;
}
