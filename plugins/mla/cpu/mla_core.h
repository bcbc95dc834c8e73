/* SPDX-License-Identifier: Apache-2.0 */
/* mla_core.h - the attention core, at the level it is compiled for: one tile
 * of query rows against one tile of keys. Scores stand as [key][row], so that
 * softmax runs along lanes without crossing them. */
#ifndef ATTN_MLA_CPU_MLA_CORE_H
#define ATTN_MLA_CPU_MLA_CORE_H

#include "mla/cpu/mla_hidden.h"
#include "mla/cpu/mla_narrow.h"

/* Scores of num keys whose rows start at a, a_row cells apart. soon: NULL, or
 * as many rows that will be needed next. */
static void
core_scores(const core_tile *t, const uint32_t *a, ptrdiff_t a_row, size_t first, size_t num,
            const char *soon)
{
    const gemm_args g = {.a = a,
                         .a_row = a_row,
                         .a_k = 1,
                         .b = t->panel,
                         .c = t->scores + first * t->width,
                         .c_row = (ptrdiff_t)t->width,
                         .m = num,
                         .n = t->width,
                         .k = t->k,
                         .prefetch = soon,
                         .prefetch_bytes = sizeof(uint32_t)};
    gemm_cells(&g);
}

static void
core_mask(const core_tile *t, int32_t key0, size_t num)
{
    for (size_t j = 0; j < t->width; j += VL) {
        vi limit;
        memcpy(&limit, t->limit + j, sizeof limit);
        for (size_t x = 0; x < num; x++) {
            float *s = t->scores + x * t->width + j;
            const vi seen = (vi)(vi_set(key0 + (int32_t)x) < limit);
            vf_store(s, vf_select(seen, vf_load(s), vf_set(-__builtin_inff())));
        }
    }
}

/* Lanes j.. of all keys: new maximum, factor for what was gathered, sum and
 * probabilities. */
static void
core_softmax_lanes(core_tile *t, size_t j, size_t num)
{
    const float *s = t->scores + j;
    const size_t w = t->width;
    const vf scale = vf_set(t->scale2), old = vf_load(t->max + j);
    vf m0 = vf_load(s), m1 = m0;
    size_t x = 1;
    for (; x + 1 < num; x += 2) {
        m0 = vf_max(m0, vf_load(s + x * w));
        m1 = vf_max(m1, vf_load(s + (x + 1) * w));
    }
    if (x < num)
        m0 = vf_max(m0, vf_load(s + x * w));
    const vf max = vf_max(old, vf_max(m0, m1) * scale);
    const vf alpha = vf_exp2(vf_max(vf_set(-160.0f), old - max));
    vf sum0 = vf_load(t->sum + j) * alpha, sum1 = vf_set(0.0f);
    uint32_t *p = t->probs + j;
    for (x = 0; x + 1 < num; x += 2) {
        const vf p0 = core_prob(s + x * w, scale, max);
        const vf p1 = core_prob(s + (x + 1) * w, scale, max);
        sum0 += p0;
        sum1 += p1;
#if CELL_BF16
        vu_store(p + x / 2 * w, cell_pair(p0, p1));
#else
        vu_store(p + x * w, (vu)p0);
        vu_store(p + (x + 1) * w, (vu)p1);
#endif
    }
    if (x < num) {
        const vf p0 = core_prob(s + x * w, scale, max);
        sum0 += p0;
#if CELL_BF16
        vu_store(p + x / 2 * w, cell_pair(p0, vf_set(0.0f)));
#else
        vu_store(p + x * w, (vu)p0);
#endif
    }
    vf_store(t->max + j, max);
    vf_store(t->alpha + j, alpha);
    vf_store(t->sum + j, sum0 + sum1);
}

/* After core_scores: probabilities of keys key0.., num of them. */
static void
core_softmax(core_tile *t, int32_t key0, size_t num)
{
    if (key0 + (int32_t)num > t->least_limit)
        core_mask(t, key0, num);
    for (size_t j = 0; j < t->width; j += VL)
        core_softmax_lanes(t, j, num);
}

/* After core_softmax: columns n0.., n of them, whose values stand as B in v
 * (panels v_panel cells apart). */
static void
core_values(const core_tile *t, size_t num, const uint32_t *v, ptrdiff_t v_panel, size_t n0,
            size_t n)
{
    const gemm_args g = {.a = t->probs,
                         .a_row = 1,
                         .a_k = (ptrdiff_t)t->width,
                         .b = v,
                         .b_panel = v_panel,
                         .c = t->out + n0,
                         .c_row = t->out_row,
                         .row_scale = t->fresh ? NULL : t->alpha,
                         .m = t->rows,
                         .n = n,
                         .k = (num + EPC - 1) / EPC};
    gemm_cells(&g);
}

/* Where the cache rows of keys key0.. of a request lie. */
static void
core_rows(const attn_builder *b, const attn_tensor *cache, uint32_t r, uint32_t key0, uint32_t num,
          const char **rows)
{
    const attn_kv_group *g = b->group;
    const int32_t *table = g->block_table + (int64_t)r * g->block_table_stride;
    const int64_t size = (int64_t)cpu_type_size(b->kv_type);
    const char *base = cpu_data(cache);
    uint32_t block = key0 / g->block_size, at = key0 % g->block_size;
    for (uint32_t i = 0; i < num; block++, at = 0) {
        const char *p = base + (int64_t)table[block] * cache->strides[0] * size;
        for (; at < g->block_size && i < num; at++, i++)
            rows[i] = p + (int64_t)at * cache->strides[1] * size;
    }
}

/* Rows that lie evenly, from first on: their number. */
static uint32_t
core_run(const char *const *rows, uint32_t first, uint32_t num)
{
    uint32_t i = first + 1;
    if (i == num)
        return 1;
    const ptrdiff_t step = rows[i] - rows[first];
    while (i < num && rows[i] - rows[i - 1] == step)
        i++;
    return i - first;
}

/* Whether runs of cache rows may be used where they lie: a run may reach
 * from the last row of a block into the next block, in steps of whole cells. */
static int
core_direct(const attn_builder *b, const attn_tensor *cache)
{
    const int64_t size = (int64_t)cpu_type_size(b->kv_type);
    return b->direct && b->group->block_size >= 8 && cache->strides[0] * size % 4 == 0 &&
           cache->strides[1] * size % 4 == 0;
}

/* Makes cells of rows, if they are none, and lets rows point there; behind
 * them stand NARROW_AHEAD rows that come next. */
static void
core_gather(const attn_builder *b, const char **rows, uint32_t num, uint32_t *dst)
{
    const size_t k = (b->c + b->dr) / EPC, bytes = (b->c + b->dr) * cpu_type_size(b->kv_type);
    for (uint32_t i = 0; i < num; i++, dst += k) {
        for (size_t x = 0; x < bytes; x += 64)
            __builtin_prefetch(rows[i + NARROW_AHEAD] + x, 0, 2);
        cells_from(dst, rows[i], b->kv_type, b->c + b->dr);
        rows[i] = (const char *)dst;
    }
}

/* A cell pointer from a byte pointer; cells may lie at any address. */
static const uint32_t *
core_cells(const char *p)
{
    return (const uint32_t *)(const void *)p;
}

/* q_nope and q_pe of one token and head as cells: k of them. */
static void
core_query_cells(const mla_step *step, uint32_t token, uint32_t head, uint32_t *dst)
{
    const attn_builder *b = step->b;
    const attn_tensor *n = step->args->q_nope, *p = step->args->q_pe;
    const int64_t size = (int64_t)cpu_type_size(b->q_type);
    const char *qn = cpu_data(n) + (token * n->strides[0] + head * n->strides[1]) * size;
    const char *qp = cpu_data(p) + (token * p->strides[0] + head * p->strides[1]) * size;
    cells_from(dst, qn, b->q_type, b->dn);
    cells_from(dst + b->dn / EPC, qp, b->q_type, b->dr);
}

/* One row of out (and lse), from what was gathered. */
static void
core_store_out(const mla_step *step, uint32_t token, uint32_t head, const float *acc, float factor,
               float *row)
{
    const attn_builder *b = step->b;
    attn_tensor *o = step->args->out;
    char *dst = cpu_data(o) + (token * o->strides[0] + head * o->strides[1]) *
                                  (int64_t)cpu_type_size(b->out_type);
    for (uint32_t i = 0; i < b->dv; i += VL)
        vf_store(row + i, vf_load(acc + i) * vf_set(factor));
    convert_from_f32(dst, b->out_type, row, b->dv);
}

/* shift: what scores are wrong by on average, in natural units. */
static void
core_store_lse(const mla_step *step, uint32_t token, uint32_t head, float max, float sum,
               float shift)
{
    attn_tensor *l = step->args->lse;
    if (!l)
        return;
    float *dst = (float *)(void *)cpu_data(l) + token * l->strides[0] + head * l->strides[1];
    *dst = sum > 0.0f || sum != sum ? (float)((double)max * 0.693147180559945309 +
                                              (double)__builtin_logf(sum) + (double)shift)
                                    : -__builtin_inff();
}

#endif /* ATTN_MLA_CPU_MLA_CORE_H */
