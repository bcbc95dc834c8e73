/* SPDX-License-Identifier: Apache-2.0 */
/* mla_absorbed.h - queries in latent space: all heads read each cache row
 * once. Three passes over a wave: query, attend, output. */
#ifndef ATTN_MLA_CPU_MLA_ABSORBED_H
#define ATTN_MLA_CPU_MLA_ABSORBED_H

#include "mla/cpu/mla_core.h"

/* The segment that holds number x, where first() ascends. */
static const mla_segment *
absorbed_find(const mla_step *step, uint32_t x, int by_task)
{
    const mla_segment *s = step->b->segments + step->wave->first_segment;
    uint32_t lo = 0, hi = step->wave->num_segments;
    while (hi - lo > 1) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if ((by_task ? s[mid].first_task : s[mid].first_token) <= x)
            lo = mid;
        else
            hi = mid;
    }
    return s + lo;
}

/* The token of the step behind token x of the wave. */
static uint32_t
absorbed_token(const mla_step *step, const mla_segment *s, uint32_t x)
{
    return (uint32_t)step->b->batch->query_start_loc[s->req] + s->tok0 + x - s->first_token;
}

/* query pass: q_nope w_uk of one head for a block of the wave's tokens. */
static void
query_task(const mla_step *step, uint32_t task, char *scratch)
{
    const attn_builder *b = step->b;
    const uint32_t head = task % b->heads, x0 = task / b->heads * MLA_BLOCK_TOKENS;
    const uint32_t left = step->wave->num_tokens - x0;
    const uint32_t num = left < MLA_BLOCK_TOKENS ? left : MLA_BLOCK_TOKENS;
    const size_t kq = (b->dn + b->dr) / EPC, kn = b->dn / EPC;
    uint32_t *q = (uint32_t *)(void *)scratch;
    float *lat = (float *)(void *)(scratch + b->scratch.panel);
    for (uint32_t i = 0; i < num; i++) {
        const mla_segment *s = absorbed_find(step, x0 + i, 0);
        core_query_cells(step, absorbed_token(step, s, x0 + i), head, q + i * kq);
    }
    const gemm_args g = {.a = q,
                         .a_row = (ptrdiff_t)kq,
                         .a_k = 1,
                         .b = step->args->layer->uk_absorb + head * kn * b->c,
                         .b_panel = (ptrdiff_t)(kn * GEMM_PANEL),
                         .c = lat,
                         .c_row = (ptrdiff_t)b->c,
                         .m = num,
                         .n = b->c,
                         .k = kn};
    gemm_cells(&g);
    for (uint32_t i = 0; i < num; i++) {
        uint32_t *dst = b->wave_query + ((size_t)(x0 + i) * b->heads + head) * b->query_cells;
        cells_from_f32(dst, lat + (size_t)i * b->c, b->c);
        memcpy(dst + b->c / EPC, q + i * kq + kn, b->dr / EPC * sizeof *dst);
#if CELL_BF16
        cells_from_rest(dst + (b->c + b->dr) / EPC, lat + (size_t)i * b->c, b->c);
#endif
    }
}

/* An attend task: a tile of (token, head) rows, one split of the keys. */
typedef struct absorbed {
    const mla_step *step;
    const attn_builder *b;
    const mla_segment *seg;
    uint32_t row0, split;
    core_tile t;
    uint32_t *panel, *keys, *values;
} absorbed;

/* Narrow tiles sum in an order of their own, so that what a request gets must
 * not depend on how waves cut its tokens. */
static void
absorbed_width(const absorbed *a, core_tile *t)
{
    const uint32_t rows = mla_query_len(a->b->batch, a->seg->req) * a->b->heads;
    t->narrow = VL == 16 && rows <= 16;
    t->width = t->narrow && t->rows <= 8 ? 8 : (t->rows + 15) / 16 * 16;
}

static void
absorbed_open(absorbed *a, const mla_step *step, uint32_t task, char *scratch)
{
    const attn_builder *b = step->b;
    const mla_scratch *s = &b->scratch;
    core_tile *t = &a->t;
    a->step = step;
    a->b = b;
    a->seg = absorbed_find(step, task, 1);
    a->split = (task - a->seg->first_task) % a->seg->splits;
    a->row0 = (task - a->seg->first_task) / a->seg->splits * MLA_ROWS;
    const uint32_t rows = a->seg->num * b->heads;
    t->rows = rows - a->row0 < MLA_ROWS ? rows - a->row0 : MLA_ROWS;
    absorbed_width(a, t);
    t->k = (b->c + b->dr) / EPC;
    t->vcols = b->c;
    t->scale2 = b->layer.scale * step->kv_scale * 1.44269504f;
    a->panel = (uint32_t *)(void *)scratch;
    t->panel = a->panel;
    t->max = (float *)(void *)(scratch += s->panel + s->out);
    t->sum = t->max + MLA_ROWS;
    a->keys = (uint32_t *)(void *)(scratch += s->stats);
    a->values = (uint32_t *)(void *)(scratch += s->keys);
    t->scores = (float *)(void *)(scratch += s->values);
    t->probs = (uint32_t *)(void *)(scratch + s->scores);
    const size_t at = a->seg->first_row + (size_t)a->split * rows + a->row0;
    t->out = b->partial_out + at * b->c;
    t->out_row = (ptrdiff_t)b->c;
    for (uint32_t i = 0; i < t->rows; i++)
        t->limit[i] = mla_limit(b, a->seg->req, a->seg->tok0 + (a->row0 + i) / b->heads);
    core_limits(t);
    core_reset(t);
}

static void
absorbed_panel(const absorbed *a)
{
    const core_tile *t = &a->t;
    const size_t k = t->k, row = a->b->query_cells;
    const uint32_t *q =
        a->b->wave_query + ((size_t)a->seg->first_token * a->b->heads + a->row0) * row;
    if (t->width != t->rows)
        memset(a->panel, 0, t->width * k * sizeof *a->panel);
    for (size_t i = 0; i < t->rows; i++)
        core_panel_row(t, a->panel, i, q + i * row);
}

/* Columns n0.. of the latent part of num rows as B, one panel wide: it is
 * used at once, while it lies in L1. */
static void
absorbed_panel_values(const absorbed *a, const char *const *rows, uint32_t num, size_t n0,
                      size_t width)
{
    static const uint32_t zero[GEMM_PANEL] = {0};
    for (size_t i = 0; i < num; i += EPC) {
        const uint32_t *x = core_cells(rows[i]) + n0 / EPC;
        const uint32_t *y = EPC == 2 && i + 1 < num ? core_cells(rows[i + 1]) + n0 / EPC : zero;
        cells_zip(a->values + i / EPC * width, x, y, width);
    }
}

static void
absorbed_values(absorbed *a, const char *const *rows, uint32_t num)
{
    for (size_t n = 0; n < a->b->c; n += GEMM_PANEL) {
        const size_t width = a->b->c - n < GEMM_PANEL ? a->b->c - n : GEMM_PANEL;
        absorbed_panel_values(a, rows, num, n, width);
        core_values(&a->t, num, a->values, 0, n, width);
    }
    a->t.fresh = 0;
}

static void
absorbed_wide_tile(absorbed *a, uint32_t key0, uint32_t num, const char **rows, int direct)
{
    for (uint32_t i = 0, run; i < num; i += run) {
        run = core_run(rows, i, num);
        const ptrdiff_t step = run > 1 ? (rows[i + 1] - rows[i]) / 4 : 0;
        core_scores(&a->t, core_cells(rows[i]), step, i, run, direct ? rows[num + i] : NULL);
    }
    hidden_rows hidden;
    core_softmax(&a->t, (int32_t)key0, num);
    hidden_take(&a->t, (int32_t)key0, num, rows, &hidden);
    absorbed_values(a, rows, num);
    hidden_give(&a->t, (int32_t)key0, &hidden);
}

/* One key tile; behind its rows stand as many of the ones after. */
static void
absorbed_tile(absorbed *a, uint32_t key0, uint32_t num, const char **rows)
{
    const int direct = core_direct(a->b, a->step->args->kv_cache);
    if (!direct)
        core_gather(a->b, rows, num, a->keys);
#if VL == 16
    if (a->t.narrow) {
        narrow_scores(&a->t, rows, num);
        if (a->t.width == 8)
            narrow_softmax(&a->t, (int32_t)key0, num);
        else
            core_softmax(&a->t, (int32_t)key0, num);
        hidden_rows hidden;
        hidden_take(&a->t, (int32_t)key0, num, rows, &hidden);
        narrow_values(&a->t, rows, num);
        hidden_give(&a->t, (int32_t)key0, &hidden);
        a->t.fresh = 0;
        return;
    }
#endif
    absorbed_wide_tile(a, key0, num, rows, direct);
}

static void
absorbed_keys(absorbed *a, uint32_t key0, uint32_t key1)
{
    const attn_tensor *cache = a->step->args->kv_cache;
    const uint32_t tile = a->b->key_tile;
    const char *rows[2 * 128 + NARROW_AHEAD];
    for (uint32_t k = key0; k < key1; k += tile) {
        const uint32_t left = key1 - k, num = left < tile ? left : tile;
        const uint32_t known = left < 2 * tile ? left : 2 * tile;
        core_rows(a->b, cache, a->seg->req, k, known, rows);
        for (uint32_t i = known; i < num + tile; i++)
            rows[i] = rows[known - 1];
        absorbed_tile(a, k, num, rows);
    }
}

/* Rows that the first tile reads before it asks for any. */
static void
absorbed_first(const absorbed *a, uint32_t key0, uint32_t key1)
{
    const uint32_t num = key1 - key0 < NARROW_AHEAD ? key1 - key0 : NARROW_AHEAD;
    const size_t bytes = (a->b->c + a->b->dr) * cpu_type_size(a->b->kv_type);
    const char *rows[NARROW_AHEAD];
    core_rows(a->b, a->step->args->kv_cache, a->seg->req, key0, num, rows);
    for (uint32_t i = 0; i < num; i++)
        for (size_t x = 0; x < bytes; x += 64)
            __builtin_prefetch(rows[i] + x, 0, 2);
}

static void
attend_task(const mla_step *step, uint32_t task, char *scratch)
{
    absorbed a;
    absorbed_open(&a, step, task, scratch);
    const uint32_t len = (uint32_t)a.b->batch->seq_lens[a.seg->req];
    const uint32_t key0 = a.split * a.seg->split_len;
    uint32_t key1 = key0 + a.seg->split_len < len ? key0 + a.seg->split_len : len;
    if ((int32_t)key1 > a.t.most_limit)
        key1 = (uint32_t)a.t.most_limit;
    if (key0 < key1) {
        absorbed_first(&a, key0, key1);
        absorbed_panel(&a);
        absorbed_keys(&a, key0, key1);
    }
    const size_t rows = (size_t)a.seg->num * a.b->heads;
    float *stats = a.b->partial_stats + 2 * (a.seg->first_row + a.split * rows + a.row0);
    for (size_t i = 0; i < a.t.rows; i++) {
        stats[2 * i] = a.t.max[i];
        stats[2 * i + 1] = a.t.sum[i];
    }
}

typedef struct merged {
    float max, sum;
} merged;

/* Adds the splits of one row up, in their order: lat = [c], not divided. */
static merged
output_merge(const attn_builder *b, const mla_segment *s, size_t row, float *lat)
{
    const size_t rows = (size_t)s->num * b->heads, at = s->first_row + row;
    merged m = {MLA_UNSEEN, 0.0f};
    for (uint32_t x = 0; x < s->splits; x++) {
        const float max = b->partial_stats[2 * (at + x * rows)];
        m.max = max > m.max || max != max ? max : m.max;
    }
    memset(lat, 0, b->c * sizeof *lat);
    for (uint32_t x = 0; x < s->splits; x++) {
        const float *stats = b->partial_stats + 2 * (at + x * rows);
        const float *part = b->partial_out + (at + x * rows) * b->c;
        if (stats[1] == 0.0f)
            continue;
        const float w = exp2f(stats[0] - m.max);
        m.sum += w * stats[1];
        for (uint32_t i = 0; i < b->c; i += VL)
            vf_store(lat + i, vf_fma(vf_load(part + i), vf_set(w), vf_load(lat + i)));
    }
    return m;
}

/* How far rounding the query has shifted the scores, averaged with their own
 * weights: to first order what lse is wrong by. lat is divided. */
static float
output_shift(const mla_step *step, size_t x, uint32_t head, const float *lat)
{
#if CELL_BF16
    const attn_builder *b = step->b;
    const uint32_t *rest =
        b->wave_query + (x * b->heads + head) * b->query_cells + (b->c + b->dr) / EPC;
    vf acc = vf_set(0.0f);
    for (uint32_t i = 0; i < b->c; i += VL)
        acc = vf_fma(convert_get(rest, CPU_BF16, i), vf_load(lat + i), acc);
    return vf_sum(acc) * b->layer.scale * step->kv_scale;
#else
    (void)step, (void)x, (void)head, (void)lat;
    return 0.0f;
#endif
}

typedef struct output {
    const mla_step *step;
    const attn_builder *b;
    uint32_t head, x0, num;
    uint32_t *lat, *rest; /* A: [tokens][c], and what rounding lost */
    float *row, *out;
} output;

static void
output_latents(const output *o)
{
    const attn_builder *b = o->b;
    const size_t kc = b->c / EPC;
    for (uint32_t i = 0; i < o->num; i++) {
        const mla_segment *s = absorbed_find(o->step, o->x0 + i, 0);
        const size_t r = (size_t)(o->x0 + i - s->first_token) * b->heads + o->head;
        const merged m = output_merge(b, s, r, o->row);
        const float factor = m.sum > 0.0f || m.sum != m.sum ? 1.0f / m.sum : 0.0f;
        for (uint32_t j = 0; j < b->c; j += VL)
            vf_store(o->row + j, vf_load(o->row + j) * vf_set(factor));
        cells_from_f32(o->lat + i * kc, o->row, b->c);
#if CELL_BF16
        cells_from_rest(o->rest + i * kc, o->row, b->c);
#endif
        core_store_lse(o->step, absorbed_token(o->step, s, o->x0 + i), o->head, m.max, m.sum,
                       output_shift(o->step, o->x0 + i, o->head, o->row));
    }
}

static void
output_multiply(const output *o)
{
    const attn_builder *b = o->b;
    const size_t kc = b->c / EPC;
    gemm_args g = {.a = o->lat,
                   .a_row = (ptrdiff_t)kc,
                   .a_k = 1,
                   .b = o->step->args->layer->uv + o->head * kc * b->dv,
                   .b_panel = (ptrdiff_t)(kc * GEMM_PANEL),
                   .c = o->out,
                   .c_row = (ptrdiff_t)b->dv,
                   .m = o->num,
                   .n = b->dv,
                   .k = kc};
    gemm_cells(&g);
    if (EPC == 1)
        return;
    g.a = o->rest;
    g.add = 1;
    gemm_cells(&g);
}

/* output pass: latent results of one head times w_uv for a block of tokens. */
static void
output_task(const mla_step *step, uint32_t task, char *scratch)
{
    const attn_builder *b = step->b;
    output o = {.step = step, .b = b};
    o.head = task % b->heads;
    o.x0 = task / b->heads * MLA_BLOCK_TOKENS;
    const uint32_t left = step->wave->num_tokens - o.x0;
    o.num = left < MLA_BLOCK_TOKENS ? left : MLA_BLOCK_TOKENS;
    o.lat = (uint32_t *)(void *)scratch;
    o.rest = o.lat + (size_t)MLA_BLOCK_TOKENS * b->c / EPC;
    o.row = (float *)(void *)(scratch + b->scratch.panel);
    o.out = o.row + b->c;
    output_latents(&o);
    output_multiply(&o);
    for (uint32_t i = 0; i < o.num; i++) {
        const mla_segment *s = absorbed_find(step, o.x0 + i, 0);
        core_store_out(step, absorbed_token(step, s, o.x0 + i), o.head, o.out + (size_t)i * b->dv,
                       step->kv_scale, o.row);
    }
}

#endif /* ATTN_MLA_CPU_MLA_ABSORBED_H */
