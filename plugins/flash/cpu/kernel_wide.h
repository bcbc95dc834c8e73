/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_wide.h - part of kernel.h: short requests of f32 layers, in f64.
 *
 * Where a row has few keys, nothing averages the roundings of an f32 sum: the worst output hangs
 * on a few of them. Here every output is rounded once. Keys stand turned over, so that both
 * products run along lanes: S = Q Kt, O = S V; a row's softmax sees all its keys at once. */
#ifndef FLASH_CPU_KERNEL_WIDE_H
#define FLASH_CPU_KERNEL_WIDE_H

#include "common/cpu/wide.h"

/* A block's keys and values in f64, and four of its rows. */
typedef struct wide {
    work *w;
    uint32_t keys, pitch; /* of the block; in whole steps */
    uint32_t cols;        /* of a value row, in whole steps */
    double *kt, *v;       /* [dim][pitch], [keys][cols] */
    double *q, *s, *o;    /* [4][dim], [4][pitch], [4][cols] */
    int32_t span[8];      /* keys that the four see: [lo, hi), of the block's */
    int finite;           /* all values are: 0 times one is 0 */
    int direct;           /* few rows: the cache is read where it lies, nothing is packed */
} wide;

/* Elements of a row of the cache as f32. */
static const float *
wide_row(const work *w, const void *row, uint32_t n)
{
    if (w->shape->kv_type == CPU_F32)
        return row;
    FOR_TYPE(w->shape->kv_type, row_to_f32(T, row, w->staging, n))
    return w->staging;
}

static void
wide_pack(wide *x, uint32_t first)
{
    const work *w = x->w;
    const flash_shape *shape = w->shape;
    for (uint32_t j = 0; j < (uint32_t)w->tile_keys; j++) {
        const float *row = wide_row(w, w->key_rows[j], shape->dim);
        for (uint32_t d = 0; d < shape->dim; d++)
            x->kt[(size_t)d * x->pitch + first + j] = (double)row[d];
        double *v = x->v + (size_t)(first + j) * x->cols;
        wd sum = wd_set(0);
        row = wide_row(w, w->value_rows[j], shape->dim_v);
        for (uint32_t d = 0; d < shape->dim_v; d += WD_LANES) {
            const wd e = wd_widen(row + d);
            wd_store(v + d, e);
            sum += e * wd_set(0);
        }
        x->finite &= wd_sum(sum) == 0;
    }
}

static int
wide_sees(const wide *x, uint32_t r, int32_t key)
{
    return key >= x->span[2 * r] && key < x->span[2 * r + 1];
}

/* Runs over the block's keys, tile by tile. */
static void
wide_tiles(wide *x, void (*each)(wide *x, uint32_t first))
{
    work *w = x->w;
    const flash_block *b = w->block;
    const int32_t step = (int32_t)w->shape->key_tile;
    for (int32_t lo = b->lo; lo < b->hi; lo += step) {
        tile_rows(w, lo, b->hi - lo < step ? b->hi - lo : step);
        each(x, (uint32_t)(lo - b->lo));
    }
}

static void
wide_load(wide *x)
{
    memset(x->kt, 0, sizeof(double) * x->w->shape->dim * x->pitch);
    memset(x->v, 0, sizeof(double) * x->keys * x->cols);
    wide_tiles(x, wide_pack);
}

static void
wide_direct_scores(wide *x, uint32_t first)
{
    const work *w = x->w;
    const uint32_t dim = w->shape->dim;
    for (uint32_t j = 0; j < (uint32_t)w->tile_keys; j++) {
        const float *row = wide_row(w, w->key_rows[j], dim);
        wd acc[4] = {wd_set(0), wd_set(0), wd_set(0), wd_set(0)};
        for (uint32_t d = 0; d < dim; d += WD_LANES) {
            const wd k = wd_widen(row + d);
#pragma GCC unroll 4
            for (uint32_t r = 0; r < 4; r++)
                acc[r] = wd_load(x->q + r * dim + d) * k + acc[r];
        }
        for (uint32_t r = 0; r < 4; r++)
            x->s[r * x->pitch + first + j] = wd_sum(acc[r]);
    }
}

static void
wide_direct_values(wide *x, uint32_t first)
{
    const work *w = x->w;
    const uint32_t dim = w->shape->dim_v;
    for (uint32_t j = 0; j < (uint32_t)w->tile_keys; j++) {
        const float *row = wide_row(w, w->value_rows[j], dim);
        for (uint32_t r = 0; r < 4; r++) {
            double *o = x->o + r * x->cols;
            const wd p = wd_set(x->s[r * x->pitch + first + j]);
            if (!wide_sees(x, r, (int32_t)(first + j)))
                continue;
            for (uint32_t d = 0; d < dim; d += WD_LANES)
                wd_store(o + d, p * wd_widen(row + d) + wd_load(o + d));
        }
    }
}

static double
wide_score(const work *w, double s, double slope, int32_t away)
{
    const double cap = (double)w->shape->softcap;
    if (cap > 0)
        s = cap * tanh(s / cap);
    return s - slope * (double)(away < 0 ? -away : away);
}

/* Scores of keys lo..hi-1 of the block into weights, zero beside them; returns their sum. */
static double
wide_softmax(const wide *x, uint32_t row, double *s, int32_t lo, int32_t hi, double *top)
{
    const work *w = x->w;
    const uint32_t head = w->kv_head * w->shape->group + row % w->shape->group;
    const int32_t position = w->position0 + (int32_t)(row / w->shape->group) - w->block->lo;
    const double scale =
        (double)w->shape->scale * (double)head_scale(&w->job->k_scale, w->shape, w->kv_head);
    const double slope = w->job->slopes ? (double)w->job->slopes[head] : 0;
    double max = -INFINITY;
    for (int32_t j = lo; j < hi; j++) {
        s[j] *= scale;
        if (w->special)
            s[j] = wide_score(w, s[j], slope, position - j);
        max = s[j] > max ? s[j] : max;
    }
    for (int32_t j = 0; j < (int32_t)x->pitch; j++)
        s[j] = j < lo || j >= hi ? -INFINITY : s[j];
    *top = max;
    return wd_softmax(s, x->pitch, max);
}

/* One row of out and lse: o [dim_v], not divided. */
static void
wide_store(const wide *x, uint32_t row, const double *o, double max, double sum)
{
    const flash_job *job = x->w->job;
    const flash_shape *shape = job->shape;
    const uint32_t head = x->w->kv_head * shape->group + row % shape->group;
    const int64_t token = x->w->token0 + row / shape->group;
    char *out = job->out.data + token * job->out.stride[0] + head * job->out.stride[1];
    double factor = (double)head_scale(&job->v_scale, shape, x->w->kv_head);
    if (job->sinks) {
        const double sink = (double)job->sinks[head], top = sink > max ? sink : max;
        sum = sum * exp(max - top) + exp(sink - top);
        factor *= exp(max - top);
        max = top;
    }
    factor /= sum;
    for (uint32_t i = 0; i < shape->dim_v; i++)
        cpu_put(shape->out_type, out, i, (float)(o[i] * factor));
    if (job->lse.data)
        cpu_put(CPU_F32, job->lse.data + token * job->lse.stride[0] + head * job->lse.stride[1], 0,
                (float)(max + log(sum)));
}

/* Weights times values. Where a value is not finite, no row meets one that it does not see. */
static void
wide_values(wide *x)
{
    if (x->direct) {
        memset(x->o, 0, sizeof(double) * 4 * x->cols);
        wide_tiles(x, wide_direct_values);
    } else if (x->finite)
        wd_gemm(4, x->s, x->pitch, x->v, x->cols, x->keys, x->cols, x->o, x->cols);
    else
        for (uint32_t r = 0; r < 4; r++) {
            const size_t lo = (size_t)x->span[2 * r], hi = (size_t)x->span[2 * r + 1];
            wd_gemm(1, x->s + r * x->pitch + lo, x->pitch, x->v + lo * x->cols, x->cols, hi - lo,
                    x->cols, x->o + r * x->cols, x->cols);
        }
}

static void
wide_scores(wide *x, uint32_t row)
{
    const work *w = x->w;
    const uint32_t dim = w->shape->dim;
    for (uint32_t r = 0; r < 4; r++)
        for (uint32_t d = 0; d < dim; d++)
            x->q[r * dim + d] = (double)w->q[(size_t)(row + r) * w->shape->pitch + d];
    if (x->direct)
        wide_tiles(x, wide_direct_scores);
    else
        wd_gemm(4, x->q, dim, x->kt, x->pitch, dim, x->pitch, x->s, x->pitch);
}

/* Rows row.. of the block, at most four. */
static void
wide_rows(wide *x, uint32_t row)
{
    const work *w = x->w;
    const uint32_t group = w->shape->group;
    const uint32_t left = w->rows - row, rows = left < 4 ? left : 4;
    double max[4], sum[4];
    memset(x->span, 0, sizeof x->span);
    wide_scores(x, row);
    for (uint32_t r = 0; r < rows; r++) {
        const int32_t *of = w->span + 2 * (size_t)((row + r) / group);
        int32_t *span = x->span + 2 * r;
        if (of[0] < of[1]) {
            span[0] = of[0] - w->block->lo;
            span[1] = of[1] - w->block->lo;
        }
        sum[r] = wide_softmax(x, row + r, x->s + r * x->pitch, span[0], span[1], &max[r]);
    }
    wide_values(x);
    for (uint32_t r = 0; r < rows; r++)
        if (x->span[2 * r] < x->span[2 * r + 1])
            wide_store(x, row + r, x->o + r * x->cols, max[r], sum[r]);
        else
            row_finish(w->job, w->token0 + (row + r) / group,
                       w->kv_head * group + (row + r) % group,
                       w->o + (size_t)(row + r) * w->shape->cols, -INFINITY, 0);
}

static void
kernel_wide(const flash_job *job, const flash_block *block, uint32_t kv_head, char *scratch)
{
    const flash_shape *shape = job->shape;
    const size_t most = FLASH_WIDE_KEYS + FLASH_WIDE_PAD, cols = shape->dim_v + FLASH_WIDE_PAD;
    work w;
    work_open(&w, job, block, kv_head, scratch, 0);
    wide x = {.w = &w, .keys = (uint32_t)(block->hi - block->lo), .finite = 1};
    x.direct = w.rows <= FLASH_DECODE_ROWS;
    x.pitch = (x.keys + WD_STEP - 1) / WD_STEP * WD_STEP;
    x.cols = (shape->dim_v + WD_STEP - 1) / WD_STEP * WD_STEP;
    x.kt = (double *)(void *)(scratch + job->layout->wide);
    x.v = x.kt + most * shape->dim;
    x.s = x.v + FLASH_WIDE_KEYS * cols;
    x.q = x.s + 4 * most;
    x.o = x.q + 4 * (size_t)shape->dim;
    if (!x.direct)
        wide_load(&x);
    for (uint32_t row = 0; row < w.rows; row += 4)
        wide_rows(&x, row);
}

#endif
