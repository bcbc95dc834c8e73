/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "verify/support.h"

/* Exact values are computed in absorbed form (the same sums in another
 * order); the plain implementation expands keys and values. */
typedef struct work {
    const attn_problem *p;
    const attn_mla_layer *l;
    const attn_results *to;
    const void *cache;
    void *owned;
    double scale;         /* of an fp8 cache */
    double *rows;         /* [S, c + dr] of one request */
    float *rowst;         /* the same turned over, [c + dr, S]: plain sums of
                             all keys grow side by side, each in order */
    float *kt, *vt, *v;   /* [dn, S], [dv, S], [S, dv] of one head */
    double *w_uk, *w_uv;  /* [dn, c], [dv, c] of one head */
    float *w_ukf, *w_uvf; /* the same */
    double *s, *q, *ql, *acc, *o;
    float *sf, *qf, *accf;
} work;

static void
work_clear(work *w)
{
    void *all[] = {w->owned, w->rows, w->rowst, w->kt,    w->vt, w->v,
                   w->w_uk,  w->w_uv, w->w_ukf, w->w_uvf, w->s,  w->q,
                   w->ql,    w->acc,  w->o,     w->sf,    w->qf, w->accf};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static int
work_alloc(work *w)
{
    const attn_mla_layer *l = w->l;
    const size_t n = w->p->max_seq_len + 1u, c = l->kv_lora_rank,
                 dr = l->qk_rope_head_dim, dn = l->qk_nope_head_dim,
                 dv = l->v_head_dim;
    double **d[] = {&w->rows, &w->w_uk, &w->w_uv, &w->s,
                    &w->q,    &w->ql,   &w->acc,  &w->o};
    const size_t dn_[] = {n * (c + dr), dn * c, dv * c, n, dn + dr, c, c, dv};
    float **f[] = {&w->rowst, &w->kt, &w->v,  &w->vt,  &w->w_ukf,
                   &w->w_uvf, &w->sf, &w->qf, &w->accf};
    const size_t fn[] = {n * (c + dr), n * dn, n * dv,  n * dv, dn * c,
                         dv * c,       n,      dn + dr, dv};
    int ok = 1;
    for (size_t i = 0; i < sizeof d / sizeof *d; i++)
        ok &= (*d[i] = malloc((dn_[i] + 1) * sizeof(double))) != NULL;
    for (size_t i = 0; i < sizeof f / sizeof *f; i++)
        ok &= (*f[i] = malloc((fn[i] + 1) * sizeof(float))) != NULL;
    return ok;
}

static void
load_request(work *w, uint32_t r)
{
    const attn_problem *p = w->p;
    const size_t width = w->l->kv_lora_rank + w->l->qk_rope_head_dim;
    const size_t elem = w->l->kv_dtype.bits / 8u;
    const size_t n = (size_t)p->seq_lens[r];
    for (int64_t j = 0; j < p->seq_lens[r]; j++) {
        const int32_t b =
            p->block_table[(size_t)r * p->cols + (size_t)(j / p->block_size)];
        const size_t slot =
            (size_t)b * p->block_size + (size_t)(j % p->block_size);
        double *row = w->rows + (size_t)j * width;
        attn_number_load(row, (const uint8_t *)w->cache + slot * width * elem,
                         w->l->kv_dtype, width);
        for (size_t i = 0; w->scale != 1 && i < width; i++)
            row[i] *= w->scale;
        for (size_t i = 0; i < width; i++)
            w->rowst[i * n + (size_t)j] = (float)row[i];
    }
}

static void
load_head(work *w, uint32_t h)
{
    const attn_mla_layer *l = w->l;
    const size_t c = l->kv_lora_rank, elem = l->weight_dtype.bits / 8u;
    const size_t nk = l->qk_nope_head_dim * c, nv = l->v_head_dim * c;
    const attn_call_tensor *uk = attn_call_find(w->p->call, "w_uk");
    const attn_call_tensor *uv = attn_call_find(w->p->call, "w_uv");
    attn_number_load(w->w_uk, (const uint8_t *)uk->data + h * nk * elem,
                     l->weight_dtype, nk);
    attn_number_load(w->w_uv, (const uint8_t *)uv->data + h * nv * elem,
                     l->weight_dtype, nv);
    attn_narrow(w->w_ukf, w->w_uk, nk);
    attn_narrow(w->w_uvf, w->w_uv, nv);
}

/* Rows of weights against the latents of all keys, rounded as operands. */
static void
expand_rows(const work *w, const float *weights, size_t rows, size_t n,
            float *to)
{
    const attn_operand kind = attn_operand_of(w->l->q_dtype);
    const size_t c = w->l->kv_lora_rank;
    size_t i = 0;
    memset(to, 0, rows * n * sizeof *to);
    for (; i + 4 <= rows; i += 4)
        attn_axpy4_f32(to + i * n, w->rowst, weights + i * c, c, c, n);
    for (; i < rows; i++)
        for (size_t k = 0; k < c; k++)
            attn_axpy_f32(to + i * n, w->rowst + k * n, weights[i * c + k], n);
    for (size_t j = 0; j < rows * n; j++)
        to[j] = attn_operand_round(to[j], kind);
}

/* k_nope and v of this head. */
static void
expand(work *w, uint32_t r)
{
    const size_t dv = w->l->v_head_dim, n = (size_t)w->p->seq_lens[r];
    expand_rows(w, w->w_ukf, w->l->qk_nope_head_dim, n, w->kt);
    expand_rows(w, w->w_uvf, dv, n, w->vt);
    for (size_t i = 0; i < dv; i++)
        for (size_t j = 0; j < n; j++)
            w->v[j * dv + i] = w->vt[i * n + j];
}

static void
plain_row(work *w, size_t i, uint32_t r, size_t lo, size_t n)
{
    const attn_mla_layer *l = w->l;
    const size_t c = l->kv_lora_rank, dr = l->qk_rope_head_dim,
                 dn = l->qk_nope_head_dim, dv = l->v_head_dim,
                 all = (size_t)w->p->seq_lens[r];
    attn_narrow(w->qf, w->q, dn + dr);
    memset(w->accf, 0, dv * sizeof *w->accf);
    memset(w->sf, 0, n * sizeof *w->sf);
    for (size_t k = 0; k < dn; k++)
        attn_axpy_f32(w->sf, w->kt + k * all + lo, w->qf[k], n);
    for (size_t k = 0; k < dr; k++)
        attn_axpy_f32(w->sf, w->rowst + (c + k) * all + lo, w->qf[dn + k], n);
    for (size_t k = 0; k < n; k++)
        w->sf[k] *= l->scale;
    const float sum = attn_softmax_f32(
        w->sf, n, NULL, attn_operand_of(l->q_dtype), &w->to->plain_lse[i]);
    for (size_t k = 0; k < n; k++)
        attn_axpy_f32(w->accf, w->v + (lo + k) * dv, w->sf[k], dv);
    for (size_t k = 0; k < dv; k++)
        w->to->plain_out[i * dv + k] =
            attn_number_round((double)(w->accf[k] / sum), l->out_dtype);
}

static void
exact_row(work *w, size_t i, size_t lo, size_t n)
{
    const attn_mla_layer *l = w->l;
    const size_t c = l->kv_lora_rank, dr = l->qk_rope_head_dim,
                 dn = l->qk_nope_head_dim, dv = l->v_head_dim, width = c + dr;
    memset(w->ql, 0, c * sizeof *w->ql);
    memset(w->acc, 0, c * sizeof *w->acc);
    for (size_t k = 0; k < dn; k++)
        attn_axpy_f64(w->ql, w->w_uk + k * c, w->q[k], c);
    for (size_t k = 0; k < n; k++) {
        const double *row = w->rows + (lo + k) * width;
        w->s[k] = (double)l->scale * (attn_dot_f64(w->ql, row, c) +
                                      attn_dot_f64(w->q + dn, row + c, dr));
    }
    const double sum = attn_softmax_f64(w->s, n, NULL, &w->to->lse[i]);
    for (size_t k = 0; k < n; k++)
        attn_axpy_f64(w->acc, w->rows + (lo + k) * width, w->s[k] / sum, c);
    for (size_t k = 0; k < dv; k++)
        w->to->out[i * dv + k] = attn_dot_f64(w->w_uv + k * c, w->acc, c);
}

static void
load_query(work *w, attn_row row)
{
    const attn_mla_layer *l = w->l;
    const size_t elem = l->q_dtype.bits / 8u, dn = l->qk_nope_head_dim,
                 dr = l->qk_rope_head_dim;
    const size_t at = (size_t)row.token * l->num_heads + row.head;
    const attn_call_tensor *nope = attn_call_find(w->p->call, "q_nope");
    const attn_call_tensor *pe = attn_call_find(w->p->call, "q_pe");
    attn_number_load(w->q, (const uint8_t *)nope->data + at * dn * elem,
                     l->q_dtype, dn);
    attn_number_load(w->q + dn, (const uint8_t *)pe->data + at * dr * elem,
                     l->q_dtype, dr);
}

/* All rows of one request and head; false when there are none. */
static void
do_head(work *w, const attn_sample *s, uint32_t r, uint32_t h)
{
    const attn_problem *p = w->p;
    int loaded = 0;
    for (size_t i = s->first[r]; i < s->first[r + 1]; i++) {
        const attn_row row = s->rows[i];
        int64_t lo, hi;
        if (row.head != h)
            continue;
        attn_problem_span(
            p, r,
            attn_problem_position(p, r,
                                  row.token - (uint32_t)p->query_start_loc[r]),
            &lo, &hi);
        if (hi <= lo) {
            w->to->lse[i] = w->to->plain_lse[i] = -INFINITY;
            continue;
        }
        if (!loaded) {
            load_head(w, h);
            if (w->to->want_plain)
                expand(w, r);
            loaded = 1;
        }
        load_query(w, row);
        exact_row(w, i, (size_t)lo, (size_t)(hi - lo));
        if (w->to->want_plain)
            plain_row(w, i, r, (size_t)lo, (size_t)(hi - lo));
    }
}

attn_status
attn_oracle_mla(const attn_problem *p, const attn_sample *s,
                const attn_results *to, attn_error *err)
{
    work w = {.p = p, .l = attn_problem_mla(p), .to = to, .scale = 1};
    const attn_call_tensor *scale = attn_call_find(p->call, "kv_scale");
    if (p->ranges)
        return attn_error_set(err, ATTN_E_UNSUPPORTED, "prefix_ranges",
                              "prefix ranges are not defined for mla");
    attn_status status = attn_cache_updated(p, 0, &w.cache, &w.owned, err);
    if (!status && !work_alloc(&w))
        status = attn_error_nomem(err, "oracle", p->max_seq_len);
    if (scale && w.l->kv_dtype.bits == 8)
        w.scale = (double)*(const float *)scale->data;
    for (uint32_t r = 0; !status && r < p->num_reqs; r++) {
        load_request(&w, r);
        for (uint32_t h = 0; h < w.l->num_heads; h++)
            do_head(&w, s, r, h);
    }
    work_clear(&w);
    return status;
}
