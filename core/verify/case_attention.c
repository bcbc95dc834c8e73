/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const attn_dtype I32 = ATTN_I32, I64 = ATTN_I64, U8 = ATTN_U8,
                        FLOAT32 = ATTN_F32;

/* Scales that are no powers of two too: x / scale must round as x / scale. */
static const float SCALES[] = {0.25f, 0.375f, 0.5f, 0.75f, 1.5f, 2.0f, 3.0f};

/* One cache tensor with its new rows and its scale. */
typedef struct cache {
    const char *name;
    size_t row;   /* elements of one token */
    size_t heads; /* that have a scale each */
    const float *scale;
} cache;

typedef struct pages {
    uint32_t block_size, cols, num_blocks, num_caches;
    cache caches[2];
    uint32_t *order; /* [num_blocks] */
    int64_t *slots;  /* [tokens] in the call, NULL: no new tokens */
} pages;

static const attn_flash_layer *
flash(const attn_case *c)
{
    return (const attn_flash_layer *)c->in->layer;
}

static const attn_mla_layer *
mla(const attn_case *c)
{
    return (const attn_mla_layer *)c->in->layer;
}

static int
is_flash(const attn_case *c)
{
    return !strcmp(c->in->layer->family, ATTN_FAMILY_FLASH);
}

static int
needs(const attn_case *c, uint64_t feature)
{
    return (c->in->layer->features & feature) != 0;
}

static int
flagged(const attn_case *c, uint32_t flag)
{
    return (c->in->flags & flag) != 0;
}

static uint32_t
blocks_of(const pages *g, uint32_t seq_len)
{
    return seq_len / g->block_size + (seq_len % g->block_size != 0);
}

static const float *
add_scale(attn_case *c, const char *name, uint32_t n, attn_dtype kv)
{
    if (!needs(c, ATTN_F_KV_SCALES) || kv.bits != 8)
        return NULL;
    float *s = ATTN_CASE_ADD(c, name, FLOAT32, n);
    for (uint32_t i = 0; s && i < n; i++)
        s[i] = SCALES[attn_random_below(&c->rng, 7)];
    return s;
}

/* The block table: each request's blocks in random places, poison behind. */
static void
add_table(attn_case *c, pages *g)
{
    uint32_t used = 0, at = 0;
    for (uint32_t r = 0; r < c->in->num_reqs; r++) {
        const uint32_t n = blocks_of(g, c->in->requests[r].seq_len);
        g->cols = n > g->cols ? n : g->cols;
        used += n;
    }
    g->cols += 1 + attn_random_below(&c->rng, 3);
    g->num_blocks = used + 2 + attn_random_below(&c->rng, 3);
    if (flagged(c, ATTN_CASE_ROOMY)) { /* a part of a block more a request */
        g->cols += 2;
        g->num_blocks += c->num_reqs + 2;
    }
    g->order =
        attn_case_shuffle(c, g->num_blocks, flagged(c, ATTN_CASE_IN_ORDER));
    int32_t *table = ATTN_CASE_ADD(c, "block_table", I32, c->num_reqs, g->cols);
    for (uint32_t r = 0; table && r < c->num_reqs; r++)
        for (uint32_t k = 0; k < g->cols; k++)
            table[r * g->cols + k] = k < blocks_of(g, (uint32_t)c->seq_lens[r])
                                         ? (int32_t)g->order[at++]
                                         : ATTN_POISON_BLOCK;
}

static size_t
slot_of(const attn_case *c, const pages *g, uint32_t r, uint32_t position)
{
    const int32_t *table = attn_call_find(c->call, "block_table")->data;
    const int32_t b = table[r * g->cols + position / g->block_size];
    return (size_t)b * g->block_size + position % g->block_size;
}

static void
fill_row(attn_case *c, const cache *k, size_t slot)
{
    const size_t per = k->row / k->heads;
    for (size_t h = 0; h < k->heads; h++)
        attn_case_fill(c, k->name, slot * k->row + h * per, per, 0,
                       k->scale ? 1 / (double)k->scale[h] : 1);
}

/* Which new tokens are written by update_cache: -1 for a few that are in the
 * cache already. */
static void
add_slots(attn_case *c, pages *g)
{
    if (!flagged(c, ATTN_CASE_NEW_TOKENS) || needs(c, ATTN_F_CROSS))
        return;
    g->slots = ATTN_CASE_ADD(c, "slot_mapping", I64, c->num_tokens);
    for (uint32_t i = 0; g->slots && i < c->num_tokens; i++)
        g->slots[i] = -1;
    for (uint32_t r = 0; g->slots && r < c->in->num_reqs; r++) {
        const uint32_t q = c->in->requests[r].query_len;
        for (uint32_t i = 0; i < q; i++)
            if (attn_random_below(&c->rng, 16))
                g->slots[c->query_start_loc[r] + (int32_t)i] =
                    (int64_t)slot_of(c, g, r, (uint32_t)c->seq_lens[r] - q + i);
    }
}

/* Positions that hold something before the step; all else stays NaN. */
static void
fill_caches(attn_case *c, const pages *g)
{
    for (uint32_t k = 0; k < g->num_caches; k++) {
        const cache *a = &g->caches[k];
        const size_t all = (size_t)g->num_blocks * g->block_size;
        if (!flagged(c, ATTN_CASE_NO_POISON))
            attn_case_poison(c, a->name, 0, all * a->row);
        for (size_t i = 0; flagged(c, ATTN_CASE_NO_POISON) && i < all; i++)
            fill_row(c, a, i);
    }
    for (uint32_t r = 0; !c->status && r < c->in->num_reqs; r++) {
        const uint32_t q = c->in->requests[r].query_len;
        const uint32_t s = c->in->requests[r].seq_len;
        for (uint32_t p = 0; p < s; p++) {
            const size_t token =
                (size_t)c->query_start_loc[r] + (p + q >= s ? p + q - s : 0);
            if (g->slots && p + q >= s && g->slots[token] >= 0)
                continue;
            for (uint32_t k = 0; k < g->num_caches; k++)
                fill_row(c, &g->caches[k], slot_of(c, g, r, p));
        }
    }
}

/* New rows; those of skipped tokens are NaN: nobody may use them. */
static void
add_new(attn_case *c, const pages *g, const char *name, attn_dtype dtype,
        int64_t heads, int64_t dim)
{
    if (!g->slots)
        return;
    if (heads)
        ATTN_CASE_ADD(c, name, dtype, c->num_tokens, heads, dim);
    else
        ATTN_CASE_ADD(c, name, dtype, c->num_tokens, dim);
    const size_t row = (size_t)((heads ? heads : 1) * dim);
    for (uint32_t t = 0; t < c->num_tokens; t++)
        if (g->slots[t] >= 0)
            attn_case_fill(c, name, t * row, row, 0, 1);
        else
            attn_case_poison(c, name, t * row, row);
}

static void
add_masks(attn_case *c)
{
    if (needs(c, ATTN_F_PER_REQUEST_CAUSAL)) {
        uint8_t *m = ATTN_CASE_ADD(c, "causal", U8, c->num_reqs);
        for (uint32_t r = 0; m && r < c->num_reqs; r++)
            m[r] = (uint8_t)attn_random_below(&c->rng, 2);
    }
    if (!needs(c, ATTN_F_PREFIX_RANGES))
        return;
    int32_t *g = ATTN_CASE_ADD(c, "prefix_ranges", I32, c->num_reqs, 2, 2);
    for (uint32_t r = 0; g && r < c->num_reqs; r++) {
        const uint32_t s = (uint32_t)c->seq_lens[r];
        int32_t *x = g + r * 4;
        x[0] = x[1] = x[2] = x[3] = -1;
        if (s < 4)
            continue;
        x[0] = (int32_t)attn_random_below(&c->rng, s / 2);
        x[1] = x[0] + (int32_t)attn_random_below(&c->rng, s / 4 + 1);
        if (attn_random_below(&c->rng, 4)) {
            x[2] = x[1] + 1 +
                   (int32_t)attn_random_below(&c->rng, s - (uint32_t)x[1] - 1);
            x[3] =
                x[2] + (int32_t)attn_random_below(&c->rng, s - (uint32_t)x[2]);
        }
    }
}

/* Queries: per request another spread of scores, so that some rows see all
 * keys nearly alike and others hang on a few. */
static void
add_query(attn_case *c, const char *name, attn_dtype dtype, uint32_t heads,
          uint32_t dim, double unit)
{
    const size_t row = (size_t)heads * dim;
    ATTN_CASE_ADD(c, name, dtype, c->num_tokens, heads, dim);
    for (uint32_t r = 0; !c->status && r < c->in->num_reqs; r++) {
        const double spread = flagged(c, ATTN_CASE_LARGE)
                                  ? 25
                                  : 0.5 + 0.5 * attn_random_below(&c->rng, 6);
        attn_case_fill(c, name, (size_t)c->query_start_loc[r] * row,
                       c->in->requests[r].query_len * row, 0, spread * unit);
    }
    attn_case_poison(c, name, c->real_tokens * row,
                     (c->num_tokens - c->real_tokens) * row);
}

static void
make_flash(attn_case *c, pages *g)
{
    const attn_flash_layer *l = flash(c);
    const uint32_t hk = l->num_kv_heads, d = l->head_dim, dv = l->head_dim_v;
    g->block_size = l->block_size;
    add_table(c, g);
    const float *ks = add_scale(c, "k_scale", hk, l->kv_dtype);
    const float *vs = add_scale(c, "v_scale", hk, l->kv_dtype);
    ATTN_CASE_ADD(c, "k_cache", l->kv_dtype, g->num_blocks, g->block_size, hk,
                  d);
    ATTN_CASE_ADD(c, "v_cache", l->kv_dtype, g->num_blocks, g->block_size, hk,
                  dv);
    g->num_caches = 2;
    g->caches[0] = (cache){"k_cache", (size_t)hk * d, hk, ks};
    g->caches[1] = (cache){"v_cache", (size_t)hk * dv, hk, vs};
    add_slots(c, g);
    fill_caches(c, g);
    add_new(c, g, "k", l->q_dtype, hk, d);
    add_new(c, g, "v", l->q_dtype, hk, dv);
    add_query(c, "q", l->q_dtype, l->num_heads, d,
              1 / ((double)l->scale * sqrt(d)));
    if (needs(c, ATTN_F_SINKS)) {
        ATTN_CASE_ADD(c, "sinks", FLOAT32, l->num_heads);
        attn_case_fill(c, "sinks", 0, l->num_heads, 0, 2);
    }
    if (needs(c, ATTN_F_ALIBI)) {
        float *s = ATTN_CASE_ADD(c, "alibi_slopes", FLOAT32, l->num_heads);
        for (uint32_t h = 0; s && h < l->num_heads; h++)
            s[h] = ldexpf(1.0f, -1 - (int)(h % 8));
    }
}

static void
make_mla(attn_case *c, pages *g)
{
    const attn_mla_layer *l = mla(c);
    const uint32_t dn = l->qk_nope_head_dim, dr = l->qk_rope_head_dim;
    const uint32_t rank = l->kv_lora_rank, h = l->num_heads;
    const double unit = 1 / ((double)l->scale * sqrt(dn + dr));
    g->block_size = l->block_size;
    add_table(c, g);
    const float *scale = add_scale(c, "kv_scale", 1, l->kv_dtype);
    ATTN_CASE_ADD(c, "kv_cache", l->kv_dtype, g->num_blocks, g->block_size,
                  (int64_t)rank + dr);
    g->num_caches = 1;
    g->caches[0] = (cache){"kv_cache", (size_t)rank + dr, 1, scale};
    add_slots(c, g);
    fill_caches(c, g);
    add_new(c, g, "latent", l->q_dtype, 0, rank);
    add_new(c, g, "k_pe", l->q_dtype, 0, dr);
    add_query(c, "q_nope", l->q_dtype, h, dn, unit);
    add_query(c, "q_pe", l->q_dtype, h, dr, unit);
    ATTN_CASE_ADD(c, "w_uk", l->weight_dtype, h, dn, rank);
    ATTN_CASE_ADD(c, "w_uv", l->weight_dtype, h, l->v_head_dim, rank);
    attn_case_fill(c, "w_uk", 0, (size_t)h * dn * rank, 0, 1 / sqrt(rank));
    attn_case_fill(c, "w_uv", 0, (size_t)h * l->v_head_dim * rank, 0,
                   1 / sqrt(rank));
}

void
attn_case_attention(attn_case *c)
{
    pages g = {0};
    attn_case_lengths(c);
    if (is_flash(c))
        make_flash(c, &g);
    else
        make_mla(c, &g);
    add_masks(c);
    free(g.order);
}
