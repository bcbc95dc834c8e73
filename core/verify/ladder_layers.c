/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include <attn/base.h>

#include "verify/ladder.h"

/* The simplest layer of each family, before a backend's claims bend it. */
static const struct {
    const char *family, *field, *value;
} SIMPLE[] = {
    {ATTN_FAMILY_FLASH, "num_heads", "4"},
    {ATTN_FAMILY_FLASH, "num_kv_heads", "2"},
    {ATTN_FAMILY_FLASH, "head_dim", "64"},
    {ATTN_FAMILY_FLASH, "block_size", "16"},
    {ATTN_FAMILY_FLASH, "q_dtype", "bf16"},
    {ATTN_FAMILY_MLA, "num_heads", "4"},
    {ATTN_FAMILY_MLA, "qk_nope_head_dim", "64"},
    {ATTN_FAMILY_MLA, "qk_rope_head_dim", "32"},
    {ATTN_FAMILY_MLA, "v_head_dim", "64"},
    {ATTN_FAMILY_MLA, "kv_lora_rank", "256"},
    {ATTN_FAMILY_MLA, "block_size", "16"},
    {ATTN_FAMILY_MLA, "q_dtype", "bf16"},
    {ATTN_FAMILY_MAMBA2, "num_heads", "4"},
    {ATTN_FAMILY_MAMBA2, "head_dim", "64"},
    {ATTN_FAMILY_MAMBA2, "num_groups", "1"},
    {ATTN_FAMILY_MAMBA2, "state_dim", "32"},
    {ATTN_FAMILY_MAMBA2, "chunk_size", "32"},
    {ATTN_FAMILY_MAMBA2, "x_dtype", "bf16"},
    {ATTN_FAMILY_MAMBA1, "num_channels", "64"},
    {ATTN_FAMILY_MAMBA1, "state_dim", "16"},
    {ATTN_FAMILY_MAMBA1, "x_dtype", "bf16"},
};

/* What a random layer may have in a field, beside what is claimed. */
static const struct {
    const char *family, *field;
    const char *values[10];
} WILD[] = {
    {ATTN_FAMILY_FLASH, "num_kv_heads", {"1", "2", "3", "4"}},
    {ATTN_FAMILY_FLASH, "num_heads", {"1", "2", "4", "6", "8", "12"}},
    {ATTN_FAMILY_FLASH,
     "head_dim",
     {"8", "16", "64", "72", "80", "96", "128", "192", "256"}},
    {ATTN_FAMILY_FLASH, "head_dim_v", {"0", "0", "0", "64", "128", "24"}},
    {ATTN_FAMILY_FLASH,
     "block_size",
     {"1", "2", "5", "16", "32", "64", "128", "256"}},
    {ATTN_FAMILY_MLA, "num_heads", {"1", "2", "3", "8", "16"}},
    {ATTN_FAMILY_MLA, "qk_nope_head_dim", {"32", "64", "128", "80"}},
    {ATTN_FAMILY_MLA, "qk_rope_head_dim", {"16", "32", "64"}},
    {ATTN_FAMILY_MLA, "v_head_dim", {"32", "64", "128", "80"}},
    {ATTN_FAMILY_MLA, "kv_lora_rank", {"64", "256", "512", "192"}},
    {ATTN_FAMILY_MLA, "block_size", {"1", "3", "16", "64", "128"}},
    {ATTN_FAMILY_MAMBA2, "num_heads", {"1", "2", "6", "8", "24"}},
    {ATTN_FAMILY_MAMBA2, "head_dim", {"16", "32", "64", "80", "128"}},
    {ATTN_FAMILY_MAMBA2, "num_groups", {"1", "1", "2", "8"}},
    {ATTN_FAMILY_MAMBA2, "state_dim", {"16", "64", "128", "48"}},
    {ATTN_FAMILY_MAMBA2, "conv_width", {"4", "4", "2", "3"}},
    {ATTN_FAMILY_MAMBA2, "chunk_size", {"8", "16", "64", "256"}},
    {ATTN_FAMILY_MAMBA1, "num_channels", {"8", "96", "100", "1536"}},
    {ATTN_FAMILY_MAMBA1, "state_dim", {"8", "16", "32"}},
    {ATTN_FAMILY_MAMBA1, "conv_width", {"4", "4", "2", "3"}},
};

static const char *const TYPES[] = {"f32", "f16", "bf16"};

int
attn_ladder_set(attn_any_layer *layer, const char *name, const char *value)
{
    attn_any_layer copy = *layer;
    if (attn_layer_set(&copy, name, value, NULL))
        return 0;
    *layer = copy;
    return 1;
}

static int
finish(attn_any_layer *layer)
{
    return attn_layer_finish(layer, NULL) == ATTN_OK;
}

int
attn_ladder_need(attn_any_layer *layer, uint64_t feature)
{
    layer->head.features |= feature;
    switch (feature) {
    case ATTN_F_CAUSAL: /* recurrent layers are, without a field */
        attn_ladder_set(layer, "causal", "1");
        return 1;
    case ATTN_F_NONCAUSAL:
        layer->head.features &= ~ATTN_F_CAUSAL;
        return attn_ladder_set(layer, "causal", "0");
    case ATTN_F_WINDOW:
        return attn_ladder_set(layer, "window_left", "11");
    case ATTN_F_SOFTCAP:
        return attn_ladder_set(layer, "softcap", "20");
    case ATTN_F_CROSS:
        layer->head.features &= ~ATTN_F_CAUSAL;
        return attn_ladder_set(layer, "causal", "0");
    case ATTN_F_KV_SCALES:
        return attn_ladder_set(layer, "kv_dtype", "e4m3");
    default:
        return 1;
    }
}

/* The claim of this name that is nearest to the simple value. */
static void
bend_dim(const attn_caps *caps, const char *name, attn_any_layer *layer)
{
    char text[32];
    uint32_t best = 0, any = 0, now;
    if (attn_layer_get(&layer->head, name, text, sizeof text))
        return;
    sscanf(text, "%u", &now);
    for (uint32_t i = 0; i < caps->num_dims; i++) {
        const attn_range *r = &caps->dims[i].range;
        if (strcmp(caps->dims[i].name, name) != 0)
            continue;
        uint32_t v = now < r->lo ? r->lo : now > r->hi ? r->hi : now;
        v = r->step ? r->lo + (v - r->lo) / r->step * r->step : r->lo;
        const uint32_t d = v > now ? v - now : now - v;
        if (!any || d < (best > now ? best - now : now - best))
            best = v;
        any = 1;
    }
    snprintf(text, sizeof text, "%u", best);
    if (any)
        attn_ladder_set(layer, name, text);
}

static void
bend_types(const attn_caps *caps, attn_any_layer *layer)
{
    for (uint32_t i = 0; i < caps->num_dtypes; i++) {
        char text[32];
        const char *name = caps->dtypes[i].name;
        int claimed = 0;
        if (attn_layer_get(&layer->head, name, text, sizeof text))
            continue;
        for (uint32_t k = 0; k < caps->num_dtypes; k++)
            claimed |= !strcmp(caps->dtypes[k].name, name) &&
                       !strcmp(attn_dtype_str(caps->dtypes[k].dtype), text);
        if (!claimed)
            attn_ladder_set(layer, name, attn_dtype_str(caps->dtypes[i].dtype));
    }
}

/* Types that follow the input's unless something else is asked. */
static void
follow_types(attn_any_layer *layer, const char *type)
{
    static const char *const NAMES[] = {"q_dtype",      "kv_dtype",
                                        "weight_dtype", "out_dtype",
                                        "x_dtype",      "conv_state_dtype"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        attn_ladder_set(layer, NAMES[i], type);
}

static int
start(const attn_climb *c, attn_any_layer *layer)
{
    const char *id = c->entry->backend->family;
    const attn_family *f = attn_family_find(id);
    if (!f)
        return 0;
    attn_layer_init(f, layer);
    for (size_t i = 0; i < sizeof SIMPLE / sizeof *SIMPLE; i++)
        if (!strcmp(SIMPLE[i].family, id))
            attn_ladder_set(layer, SIMPLE[i].field, SIMPLE[i].value);
    follow_types(layer, "bf16");
    attn_ladder_set(layer, "ssm_state_dtype", "f32");
    return 1;
}

int
attn_ladder_base(const attn_climb *c, const attn_caps *caps,
                 attn_any_layer *layer)
{
    if (!start(c, layer))
        return 0;
    attn_layer_finish(layer, NULL);
    for (uint32_t i = 0; i < caps->num_dims; i++)
        bend_dim(caps, caps->dims[i].name, layer);
    bend_types(caps, layer);
    if (!(caps->features & ATTN_F_CAUSAL) &&
        (caps->features & ATTN_F_NONCAUSAL))
        attn_ladder_need(layer, ATTN_F_NONCAUSAL);
    layer->head.features |= caps->features & ATTN_F_LSE;
    return finish(layer);
}

static void
random_dims(attn_random *rng, attn_any_layer *layer)
{
    for (size_t i = 0; i < sizeof WILD / sizeof *WILD; i++) {
        uint32_t n = 0;
        if (strcmp(WILD[i].family, layer->head.family) != 0 ||
            !attn_random_below(rng, 3))
            continue;
        while (n < 10 && WILD[i].values[n])
            n++;
        attn_ladder_set(layer, WILD[i].field,
                        WILD[i].values[attn_random_below(rng, n)]);
    }
}

static void
random_claimed(const attn_caps *caps, attn_random *rng, attn_any_layer *layer,
               int wild)
{
    for (uint32_t i = 0; i < caps->num_dims; i++) {
        const attn_dim_claim *d = &caps->dims[i];
        char text[32];
        const uint32_t hi = d->range.hi < 512 ? d->range.hi : 512;
        if (attn_random_below(rng, 4) || hi < d->range.lo)
            continue;
        uint32_t v = d->range.lo;
        if (d->range.step)
            v += attn_random_below(rng, (hi - v) / d->range.step + 1) *
                 d->range.step;
        if (wild && !attn_random_below(rng, 4))
            v += 1;
        snprintf(text, sizeof text, "%u", v);
        attn_ladder_set(layer, d->name, text);
    }
    for (uint32_t i = 0; i < caps->num_dtypes; i++)
        if (!attn_random_below(rng, 6))
            attn_ladder_set(layer, caps->dtypes[i].name,
                            attn_dtype_str(caps->dtypes[i].dtype));
}

static void
random_features(const attn_caps *caps, attn_random *rng, attn_any_layer *layer,
                int wild)
{
    char text[32];
    for (uint32_t bit = 0; bit <= 13; bit++) {
        const uint64_t f = 1ull << bit;
        const int claimed = (caps->features & f) != 0;
        if (attn_random_below(rng, claimed ? 4 : 24) == 0 && (claimed || wild))
            attn_ladder_need(layer, f);
    }
    if (layer->head.features & ATTN_F_WINDOW) {
        snprintf(text, sizeof text, "%d", (int)attn_random_below(rng, 70) - 1);
        attn_ladder_set(layer, "window_left", text);
        snprintf(text, sizeof text, "%d", (int)attn_random_below(rng, 30) - 1);
        attn_ladder_set(layer, "window_right", text);
    }
}

/* Needs that contradict each other: no definition has both. */
static void
reconcile(attn_any_layer *layer)
{
    uint64_t *f = &layer->head.features;
    if (*f & ATTN_F_CROSS) {
        *f &= ~(ATTN_F_WINDOW | ATTN_F_ALIBI | ATTN_F_PREFIX_RANGES |
                ATTN_F_PER_REQUEST_CAUSAL);
        attn_ladder_set(layer, "window_left", "-1");
        attn_ladder_set(layer, "window_right", "-1");
        attn_ladder_set(layer, "causal", "0");
    }
    if (*f & ATTN_F_DRAFTS)
        *f &= ~ATTN_F_CHECKPOINTS;
}

/* Elements of what is largest: a state, a page or a weight. A rung wants many
 * layers, not one that fills the memory. */
static int
is_huge(const attn_any_layer *l)
{
    double most = 0;
    if (!strcmp(l->head.family, ATTN_FAMILY_FLASH))
        most = (double)l->flash.num_heads * l->flash.head_dim * 64 +
               (double)l->flash.num_kv_heads * l->flash.head_dim *
                   l->flash.block_size * 4;
    else if (!strcmp(l->head.family, ATTN_FAMILY_MLA))
        most = (double)l->mla.num_heads *
               (l->mla.qk_nope_head_dim + l->mla.v_head_dim) *
               l->mla.kv_lora_rank / 2;
    else if (!strcmp(l->head.family, ATTN_FAMILY_MAMBA2))
        most = (double)l->mamba2.num_heads * l->mamba2.head_dim *
               l->mamba2.state_dim * 4;
    else
        most = (double)l->mamba1.num_channels * l->mamba1.state_dim * 8;
    return most > 2e6;
}

int
attn_ladder_random(const attn_climb *c, attn_random *rng, int wild,
                   attn_any_layer *layer)
{
    const attn_backend *b = c->entry->backend;
    const attn_caps *caps = b->caps[attn_random_below(rng, b->num_caps)];
    if (!start(c, layer))
        return 0;
    follow_types(layer, TYPES[attn_random_below(rng, 3)]);
    random_dims(rng, layer);
    random_claimed(caps, rng, layer, wild);
    random_features(caps, rng, layer, wild);
    reconcile(layer);
    return !is_huge(layer) && finish(layer);
}
