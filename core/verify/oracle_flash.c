/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "verify/support.h"

/* The keys and values of one request and KV head. kt holds the keys turned
 * over, [D, n]: so the plain scores of all keys grow side by side, each summed
 * in the order of its elements like a plain loop does. */
typedef struct tile {
    double *k, *v;
    float *kt, *vf;
    int64_t first, last;
} tile;

typedef struct work {
    const attn_problem *p;
    const attn_flash_layer *l;
    const attn_results *to;
    const void *k_cache, *v_cache;
    void *own_k, *own_v;
    const float *k_scale, *v_scale, *slopes;
    double *sinks; /* [H] */
    tile t;
    double *s, *q, *acc; /* scores; one query; one output */
    float *sf, *qf, *accf;
} work;

static const float *
floats(const attn_call *call, const char *name)
{
    const attn_call_tensor *t = attn_call_find(call, name);
    return t ? t->data : NULL;
}

static void
work_clear(work *w)
{
    free(w->own_k);
    free(w->own_v);
    free(w->sinks);
    free(w->t.k);
    free(w->t.v);
    free(w->t.kt);
    free(w->t.vf);
    free(w->s);
    free(w->q);
    free(w->acc);
    free(w->sf);
    free(w->qf);
    free(w->accf);
}

static int
work_alloc(work *w)
{
    const size_t n = w->p->max_seq_len + 1u, d = w->l->head_dim,
                 dv = w->l->head_dim_v;
    w->t.k = malloc(n * d * sizeof(double));
    w->t.v = malloc(n * dv * sizeof(double));
    w->t.kt = malloc(n * d * sizeof(float));
    w->t.vf = malloc(n * dv * sizeof(float));
    w->s = malloc(n * sizeof(double));
    w->sf = malloc(n * sizeof(float));
    w->q = malloc(d * sizeof(double));
    w->qf = malloc(d * sizeof(float));
    w->acc = malloc(dv * sizeof(double));
    w->accf = malloc(dv * sizeof(float));
    w->sinks = malloc(w->l->num_heads * sizeof(double));
    return w->t.k && w->t.v && w->t.kt && w->t.vf && w->s && w->sf && w->q &&
           w->qf && w->acc && w->accf && w->sinks;
}

static attn_status
work_open(work *w, const attn_problem *p, const attn_results *to,
          attn_error *err)
{
    memset(w, 0, sizeof *w);
    w->p = p;
    w->l = attn_problem_flash(p);
    w->to = to;
    attn_status s = attn_cache_updated(p, 0, &w->k_cache, &w->own_k, err);
    if (!s)
        s = attn_cache_updated(p, 1, &w->v_cache, &w->own_v, err);
    if (!s && !work_alloc(w))
        s = attn_error_nomem(err, "oracle", p->max_seq_len);
    if (s)
        return s;
    w->slopes = floats(p->call, "alibi_slopes");
    if (w->l->kv_dtype.bits == 8) {
        w->k_scale = floats(p->call, "k_scale");
        w->v_scale = floats(p->call, "v_scale");
    }
    const attn_call_tensor *sinks = attn_call_find(p->call, "sinks");
    if (sinks)
        attn_number_load(w->sinks, sinks->data, sinks->dtype, w->l->num_heads);
    else {
        free(w->sinks);
        w->sinks = NULL;
    }
    return ATTN_OK;
}

static void
load_row(double *dst, float *dstf, const void *cache, size_t index, size_t d,
         attn_dtype dtype, const float *scale)
{
    attn_number_load(dst, (const uint8_t *)cache + index * d * dtype.bits / 8,
                     dtype, d);
    for (size_t i = 0; scale && i < d; i++)
        dst[i] *= (double)*scale;
    attn_narrow(dstf, dst, d);
}

static void
load_tile(work *w, uint32_t r, uint32_t g)
{
    const attn_problem *p = w->p;
    const size_t d = w->l->head_dim, dv = w->l->head_dim_v;
    const size_t n = (size_t)(w->t.last - w->t.first);
    for (int64_t j = w->t.first; j < w->t.last; j++) {
        const int32_t b =
            p->block_table[(size_t)r * p->cols + (size_t)(j / p->block_size)];
        const size_t slot =
            (size_t)b * p->block_size + (size_t)(j % p->block_size);
        const size_t row = slot * w->l->num_kv_heads + g;
        const size_t i = (size_t)(j - w->t.first);
        load_row(w->t.k + i * d, w->qf, w->k_cache, row, d, w->l->kv_dtype,
                 w->k_scale ? w->k_scale + g : NULL);
        for (size_t e = 0; e < d; e++)
            w->t.kt[e * n + i] = w->qf[e];
        load_row(w->t.v + i * dv, w->t.vf + i * dv, w->v_cache, row, dv,
                 w->l->kv_dtype, w->v_scale ? w->v_scale + g : NULL);
    }
}

static double
score_f64(const work *w, const double *k, uint32_t h, int64_t distance)
{
    const attn_flash_layer *l = w->l;
    double s = (double)l->scale * attn_dot_f64(w->q, k, l->head_dim);
    if (l->softcap > 0)
        s = (double)l->softcap * tanh(s / (double)l->softcap);
    if (w->slopes)
        s -= (double)w->slopes[h] * (double)llabs(distance);
    return s;
}

/* Scores of the keys lo..hi-1 of the tile, into w->sf. */
static void
plain_scores(work *w, size_t lo, size_t hi)
{
    const size_t n = (size_t)(w->t.last - w->t.first);
    memset(w->sf, 0, (hi - lo) * sizeof *w->sf);
    for (size_t e = 0; e < w->l->head_dim; e++)
        attn_axpy_f32(w->sf, w->t.kt + e * n + lo, w->qf[e], hi - lo);
}

static float
finish_f32(const work *w, float dot, uint32_t h, int64_t distance)
{
    const attn_flash_layer *l = w->l;
    float s = l->scale * dot;
    if (l->softcap > 0)
        s = l->softcap * tanhf(s / l->softcap);
    if (w->slopes)
        s -= w->slopes[h] * (float)llabs(distance);
    return s;
}

static void
write_row(const work *w, size_t i, double sum, double lse, double lsef)
{
    const size_t dv = w->l->head_dim_v;
    for (size_t k = 0; k < dv; k++)
        w->to->out[i * dv + k] = w->acc[k] / sum;
    w->to->lse[i] = lse;
    if (w->to->want_plain)
        w->to->plain_lse[i] = lsef;
}

static void
plain_row(work *w, size_t i, const int64_t *index, size_t n, uint32_t h,
          int64_t pos, const double *sink)
{
    const size_t d = w->l->head_dim, dv = w->l->head_dim_v;
    double *to = w->to->plain_out + i * dv;
    attn_narrow(w->qf, w->q, d);
    memset(w->accf, 0, dv * sizeof *w->accf);
    plain_scores(w, (size_t)(index[0] - w->t.first),
                 (size_t)(index[n - 1] + 1 - w->t.first));
    for (size_t k = 0; k < n; k++)
        w->sf[k] = finish_f32(w, w->sf[index[k] - index[0]], h, pos - index[k]);
    const float sum = attn_softmax_f32(
        w->sf, n, sink, attn_operand_of(w->l->q_dtype), &w->to->plain_lse[i]);
    for (size_t k = 0; k < n; k++)
        attn_axpy_f32(w->accf, w->t.vf + (size_t)(index[k] - w->t.first) * dv,
                      w->sf[k], dv);
    for (size_t k = 0; k < dv; k++)
        to[k] = attn_number_round((double)(w->accf[k] / sum), w->l->out_dtype);
}

static void
do_row(work *w, uint32_t r, size_t i, attn_row row, int64_t *index)
{
    const attn_problem *p = w->p;
    const size_t d = w->l->head_dim, dv = w->l->head_dim_v;
    const attn_call_tensor *q = attn_call_find(p->call, "q");
    const int64_t pos = attn_problem_position(
        p, r, row.token - (uint32_t)p->query_start_loc[r]);
    const double *sink = w->sinks ? w->sinks + row.head : NULL;
    int64_t lo, hi;
    size_t n = 0;
    attn_problem_span(p, r, pos, &lo, &hi);
    for (int64_t j = lo; j < hi; j++)
        if (attn_problem_visible(p, r, pos, j))
            index[n++] = j;
    memset(w->acc, 0, dv * sizeof *w->acc);
    if (!n) {
        write_row(w, i, 1.0, -INFINITY, -INFINITY);
        return;
    }
    attn_number_load(w->q,
                     (const uint8_t *)q->data +
                         ((size_t)row.token * w->l->num_heads + row.head) * d *
                             (q->dtype.bits / 8u),
                     q->dtype, d);
    for (size_t k = 0; k < n; k++)
        w->s[k] = score_f64(w, w->t.k + (size_t)(index[k] - w->t.first) * d,
                            row.head, pos - index[k]);
    double lse;
    const double sum = attn_softmax_f64(w->s, n, sink, &lse);
    for (size_t k = 0; k < n; k++)
        attn_axpy_f64(w->acc, w->t.v + (size_t)(index[k] - w->t.first) * dv,
                      w->s[k], dv);
    write_row(w, i, sum, lse, 0);
    if (w->to->want_plain)
        plain_row(w, i, index, n, row.head, pos, sink);
}

/* The keys that the rows of this request and KV head see between them. */
static int
tile_span(work *w, const attn_sample *s, uint32_t r, uint32_t g)
{
    const uint32_t ratio = w->l->num_heads / w->l->num_kv_heads;
    int any = 0;
    w->t.first = INT64_MAX;
    w->t.last = 0;
    for (size_t i = s->first[r]; i < s->first[r + 1]; i++) {
        int64_t lo, hi;
        if (s->rows[i].head / ratio != g)
            continue;
        attn_problem_span(
            w->p, r,
            attn_problem_position(
                w->p, r, s->rows[i].token - (uint32_t)w->p->query_start_loc[r]),
            &lo, &hi);
        w->t.first = lo < w->t.first ? lo : w->t.first;
        w->t.last = hi > w->t.last ? hi : w->t.last;
        any = 1;
    }
    return any;
}

attn_status
attn_oracle_flash(const attn_problem *p, const attn_sample *s,
                  const attn_results *to, attn_error *err)
{
    work w;
    attn_status status = work_open(&w, p, to, err);
    int64_t *index = malloc((p->max_seq_len + 1u) * sizeof *index);
    if (!status && !index)
        status = attn_error_nomem(err, "oracle", p->max_seq_len);
    for (uint32_t r = 0; !status && r < p->num_reqs; r++)
        for (uint32_t g = 0; g < w.l->num_kv_heads; g++) {
            if (!tile_span(&w, s, r, g))
                continue;
            load_tile(&w, r, g);
            for (size_t i = s->first[r]; i < s->first[r + 1]; i++)
                if (s->rows[i].head / (w.l->num_heads / w.l->num_kv_heads) == g)
                    do_row(&w, r, i, s->rows[i], index);
        }
    free(index);
    work_clear(&w);
    return status;
}
