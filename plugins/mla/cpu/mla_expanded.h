/* SPDX-License-Identifier: Apache-2.0 */
/* mla_expanded.h - keys and values multiplied out per head, chunk by chunk. */
#ifndef ATTN_MLA_CPU_MLA_EXPANDED_H
#define ATTN_MLA_CPU_MLA_EXPANDED_H

#include "mla/cpu/mla_wide.h"

/* A task: one piece of a request's tokens, one head. */
typedef struct expanded {
    const mla_step *step;
    const attn_builder *b;
    uint32_t req, head, tok0, num, first_token;
    size_t k; /* cells of a query row */
    uint32_t *panels;
    float *out, *max, *sum;
    uint32_t *keys;   /* [chunk][k] */
    uint32_t *values; /* [chunk / key_tile] B of key_tile / EPC x dv */
    float *scores;
    uint32_t *probs;
    float *block;                           /* [MLA_EXPAND_ROWS][dn or dv] */
    uint32_t *rows;                         /* gathered cache rows */
    uint32_t num_hidden, hidden[MLA_CHUNK]; /* keys whose values are not finite */
} expanded;

static void
expanded_open(expanded *e, const mla_step *step, uint32_t task, char *scratch)
{
    const attn_builder *b = step->b;
    const mla_piece *piece = &b->pieces[task / b->heads];
    const mla_scratch *s = &b->scratch;
    e->step = step;
    e->b = b;
    e->req = piece->req;
    e->head = task % b->heads;
    e->tok0 = piece->tok0;
    e->num = piece->num;
    e->first_token = (uint32_t)b->batch->query_start_loc[piece->req] + piece->tok0;
    e->k = (b->dn + b->dr) / EPC;
    e->panels = (uint32_t *)(void *)scratch;
    e->out = (float *)(void *)(scratch += s->panel);
    e->max = (float *)(void *)(scratch += s->out);
    e->sum = e->max + s->stats / sizeof(float) / 2;
    e->keys = (uint32_t *)(void *)(scratch += s->stats);
    e->values = (uint32_t *)(void *)(scratch += s->keys);
    e->scores = (float *)(void *)(scratch += s->values);
    e->probs = (uint32_t *)(void *)(scratch += s->scores);
    e->block = (float *)(void *)(scratch += s->probs);
    e->rows = (uint32_t *)(void *)(scratch + s->block);
}

static void
expanded_tile(const expanded *e, uint32_t row0, core_tile *t)
{
    t->rows = e->num - row0 < MLA_ROWS ? e->num - row0 : MLA_ROWS;
    t->width = (t->rows + 15) / 16 * 16;
    t->narrow = 0;
    t->panel = e->panels + row0 * e->k;
    t->k = e->k;
    t->vcols = e->b->dv;
    t->scale2 = e->b->layer.scale * e->step->kv_scale * 1.44269504f;
    t->out = e->out + (size_t)row0 * e->b->dv;
    t->out_row = (ptrdiff_t)e->b->dv;
    t->max = e->max + row0;
    t->sum = e->sum + row0;
    t->scores = e->scores;
    t->probs = e->probs;
    t->fresh = 0;
    for (size_t i = 0; i < t->rows; i++)
        t->limit[i] = mla_limit(e->b, e->req, e->tok0 + row0 + (uint32_t)i);
    core_limits(t);
}

static void
expanded_queries(const expanded *e)
{
    core_tile t;
    uint32_t cells[512];
    for (uint32_t r = 0; r < e->num; r += MLA_ROWS) {
        expanded_tile(e, r, &t);
        uint32_t *panel = e->panels + r * e->k;
        memset(panel, 0, t.width * e->k * sizeof *panel);
        for (uint32_t i = 0; i < t.rows; i++) {
            core_query_cells(e->step, e->first_token + r + i, e->head, cells);
            core_panel_row(&t, panel, i, cells);
        }
        core_reset(&t);
        memset(t.out, 0, t.rows * e->b->dv * sizeof *t.out);
    }
}

/* block = latent rows times one packed weight. */
static void
expanded_multiply(const expanded *e, const char *const *rows, uint32_t num, const uint32_t *w,
                  uint32_t n)
{
    for (uint32_t i = 0, run; i < num; i += run) {
        run = core_run(rows, i, num);
        const ptrdiff_t step = run > 1 ? (rows[i + 1] - rows[i]) / 4 : 0;
        const size_t k = e->b->c / EPC;
        const gemm_args g = {.a = core_cells(rows[i]),
                             .a_row = step,
                             .a_k = 1,
                             .b = w,
                             .b_panel = (ptrdiff_t)(k * GEMM_PANEL),
                             .c = e->block + (size_t)i * n,
                             .c_row = (ptrdiff_t)n,
                             .m = run,
                             .n = n,
                             .k = k};
        gemm_cells(&g);
    }
}

/* Values of keys key0.. that are not finite become zeros: see mla_hidden.h. */
static void
expanded_hide(expanded *e, uint32_t key0, uint32_t num)
{
    const size_t dv = e->b->dv;
    for (uint32_t i = 0; i < num; i++) {
        vf sum = vf_set(0.0f);
        for (size_t n = 0; n < dv; n += VL)
            sum = vf_fma(vf_load(e->block + i * dv + n), vf_set(0.0f), sum);
        if (vf_sum(sum) == 0.0f)
            continue;
        e->hidden[e->num_hidden++] = key0 + i;
        memset(e->block + i * dv, 0, dv * sizeof *e->block);
    }
}

/* Values of one key tile as B; a missing partner of the last pair is 0. */
static void
expanded_values(const expanded *e, uint32_t num, uint32_t *dst)
{
    const size_t dv = e->b->dv, kc = e->b->key_tile / EPC;
    const float *v = e->block;
    float zero[256] = {0};
    for (size_t i = 0; i < num; i += EPC, v += EPC * dv) {
        const float *next = EPC == 2 && i + 1 < num ? v + dv : zero;
        for (size_t n = 0; n < dv; n += GEMM_PANEL) {
            const size_t width = dv - n < GEMM_PANEL ? dv - n : GEMM_PANEL;
            cells_zip_f32(dst + n * kc + i / EPC * width, v + n, next + n, width);
        }
    }
}

/* Keys key0.. into the chunk, at chunk row at (a multiple of key_tile). */
static void
expanded_keys(expanded *e, uint32_t key0, uint32_t num, uint32_t at)
{
    const attn_builder *b = e->b;
    const attn_prepared *w = e->step->args->layer;
    const size_t uk = (size_t)e->head * (b->c / EPC) * b->dn;
    const size_t uv = (size_t)e->head * (b->c / EPC) * b->dv;
    const char *rows[MLA_EXPAND_ROWS + NARROW_AHEAD];
    core_rows(b, e->step->args->kv_cache, e->req, key0, num, rows);
    for (uint32_t i = num; i < num + NARROW_AHEAD; i++)
        rows[i] = rows[num - 1];
    if (!core_direct(b, e->step->args->kv_cache))
        core_gather(b, rows, num, e->rows);
    expanded_multiply(e, rows, num, w->uk_expand + uk, b->dn);
    for (uint32_t i = 0; i < num; i++) {
        uint32_t *key = e->keys + (size_t)(at + i) * e->k;
        cells_from_f32(key, e->block + (size_t)i * b->dn, b->dn);
        memcpy(key + b->dn / EPC, core_cells(rows[i]) + b->c / EPC, b->dr / EPC * sizeof *key);
    }
    expanded_multiply(e, rows, num, w->uv + uv, b->dv);
    expanded_hide(e, key0, num);
    expanded_values(e, num, e->values + (size_t)at / EPC * b->dv);
}

/* Adds hidden values of keys key0.. to the rows of the tile that see them. */
static void
expanded_show(const expanded *e, const core_tile *t, uint32_t key0, uint32_t num)
{
    const attn_builder *b = e->b;
    const attn_tensor *cache = e->step->args->kv_cache;
    const size_t uv = (size_t)e->head * (b->c / EPC) * b->dv;
    for (uint32_t i = 0; i < e->num_hidden; i++) {
        const uint32_t x = e->hidden[i] - key0;
        const char *row;
        if (x >= num)
            continue;
        core_rows(b, cache, e->req, e->hidden[i], 1, &row);
        cells_from(e->rows, row, b->kv_type, b->c);
        row = (const char *)e->rows;
        expanded_multiply(e, &row, 1, e->step->args->layer->uv + uv, b->dv);
        hidden_add(t, (int32_t)key0, x, e->block, CPU_F32);
    }
}

static void
expanded_chunk(expanded *e, uint32_t key0, uint32_t key1)
{
    const uint32_t tile = e->b->key_tile;
    const ptrdiff_t v_panel = (ptrdiff_t)(tile / EPC) * GEMM_PANEL;
    core_tile t;
    e->num_hidden = 0;
    for (uint32_t k = key0; k < key1; k += tile)
        expanded_keys(e, k, key1 - k < tile ? key1 - k : tile, k - key0);
    for (uint32_t r = 0; r < e->num; r += MLA_ROWS) {
        expanded_tile(e, r, &t);
        for (uint32_t k = key0; k < key1 && (int32_t)k < t.most_limit; k += tile) {
            const uint32_t num = key1 - k < tile ? key1 - k : tile;
            core_scores(&t, e->keys + (size_t)(k - key0) * e->k, (ptrdiff_t)e->k, 0, num, NULL);
            core_softmax(&t, (int32_t)k, num);
            core_values(&t, num, e->values + (size_t)(k - key0) / EPC * e->b->dv, v_panel, 0,
                        e->b->dv);
            expanded_show(e, &t, k, num);
        }
    }
}

static void
expanded_store(const expanded *e)
{
    float row[256];
    for (uint32_t i = 0; i < e->num; i++) {
        const float sum = e->sum[i];
        const float factor = sum > 0.0f || sum != sum ? e->step->kv_scale / sum : 0.0f;
        core_store_out(e->step, e->first_token + i, e->head, e->out + (size_t)i * e->b->dv, factor,
                       row);
        core_store_lse(e->step, e->first_token + i, e->head, e->max[i], sum, 0.0f);
    }
}

static void
expanded_task(const mla_step *step, uint32_t task, char *scratch)
{
    expanded e;
    const mla_piece *piece = &step->b->pieces[task / step->b->heads];
    if (piece->wide) {
        wide_task(step, piece, task % step->b->heads, scratch);
        return;
    }
    expanded_open(&e, step, task, scratch);
    expanded_queries(&e);
    const int32_t last = mla_limit(e.b, e.req, e.tok0 + e.num - 1);
    const uint32_t keys = last > 0 ? (uint32_t)last : 0;
    for (uint32_t k = 0; k < keys; k += MLA_CHUNK)
        expanded_chunk(&e, k, keys - k < MLA_CHUNK ? keys : k + MLA_CHUNK);
    expanded_store(&e);
}

#endif /* ATTN_MLA_CPU_MLA_EXPANDED_H */
