/* SPDX-License-Identifier: Apache-2.0 */
/* mamba_wide1.h - Mamba-1 with f32 inputs: the selective scan in f64.
 *
 * In f32 the convolution, dt, the exponentials and the products cost two ulp
 * of a state at times, however good each of them is; f64 leaves the rounding
 * of what is stored. An f64 exponential needs no second part of its argument,
 * so that a vector of half the lanes takes two thirds of the instructions. */
#ifndef ATTN_MAMBA_CPU_MAMBA_WIDE1_H
#define ATTN_MAMBA_CPU_MAMBA_WIDE1_H

#include "mamba/cpu/mamba_scan1.h"
#include "mamba/cpu/mamba_vec64.h"

typedef struct wide1 {
    scan1 k;         /* request, channels and window; its other parts unused */
    double *bb, *cc; /* [chunk][N] */
    double *state;   /* [channels / WD_LANES][N][WD_LANES] */
} wide1;

static void
wide1_open(wide1 *w, const mamba_step *s, uint32_t task, char *p)
{
    scan1_open(&w->k, s, task, p);
    const mamba_scratch *size = &s->b->scratch;
    w->bb = (double *)(void *)(p += size->conv + size->window);
    w->cc = w->bb + size->steps / sizeof(double) / 2;
    w->state = (double *)(void *)(p + size->steps);
}

static void
wide1_load(wide1 *w)
{
    const scan1 *k = &w->k;
    const uint32_t n = k->b->n;
    float line[MAMBA_MAX_DIM];
    memset(line, 0, sizeof line);
    for (uint32_t c = 0; c < k->part.num; c++) {
        if (k->q->slot_in >= 0)
            convert_to_f32(line, scan1_slot(k, k->q->slot_in, c), k->b->ssm_type, n);
        double *dst = w->state + c / WD_LANES * n * WD_LANES + c % WD_LANES;
        for (uint32_t i = 0; i < n; i++)
            dst[i * WD_LANES] = (double)line[i];
    }
}

static void
wide1_save(const wide1 *w, int32_t slot)
{
    const scan1 *k = &w->k;
    const uint32_t n = k->b->n;
    float line[MAMBA_MAX_DIM];
    for (uint32_t c = 0; slot >= 0 && c < k->part.num; c++) {
        const double *src = w->state + c / WD_LANES * n * WD_LANES + c % WD_LANES;
        for (uint32_t i = 0; i < n; i++)
            line[i] = (float)src[i * WD_LANES];
        convert_from_f32(scan1_slot(k, slot, c), k->b->ssm_type, line, n);
    }
}

static const float *
wide1_row(const attn_tensor *t, int64_t row, uint32_t col)
{
    return (const float *)(const void *)tensor_row(t, CPU_F32, row, col);
}

/* The convolution of WD_LANES channels from c on, tokens first..; the window moves. */
GEMM_INLINE void
wide1_conv(const wide1 *w, uint32_t c, int64_t first, uint32_t len, const uint32_t width, wd *out)
{
    const mamba_step *s = w->k.s;
    const uint32_t ch = w->k.part.first + c, num = w->k.part.num;
    wd tap[MAMBA_MAX_WIDTH], weight[MAMBA_MAX_WIDTH];
    for (uint32_t i = 0; i < width; i++)
        weight[i] = wd_widen(s->layer->conv_weight + (size_t)i * s->b->channels + ch);
    for (uint32_t i = 0; i + 1 < width; i++)
        tap[i] = wd_widen(w->k.window + i * num + c);
    const wd bias = wd_widen(s->layer->conv_bias + ch);
    for (uint32_t t = 0; t < len; t++) {
        tap[width - 1] = wd_widen(wide1_row(s->x, first + t, ch));
        wd y = bias;
        for (uint32_t i = 0; i < width; i++)
            y = weight[i] * tap[i] + y;
        out[t] = s->b->silu ? wd_silu(y) : y;
        for (uint32_t i = 0; i + 1 < width; i++)
            tap[i] = tap[i + 1];
    }
    for (uint32_t i = 0; i + 1 < width; i++)
        wd_narrow(w->k.window + i * num + c, tap[i]);
}

/* State i of WD_LANES channels, one token; adds to y what it gives. */
GEMM_INLINE wd
wide1_state(double *h, const double *a, uint32_t i, wd dt, wd u, const double *bb, const double *cc,
            wd y)
{
    const wd decay = wd_exp2_any(wd_load(a + i * WD_LANES) * dt);
    const wd next = wd_load(h + i * WD_LANES) * decay + u * wd_set(bb[i]);
    wd_store(h + i * WD_LANES, next);
    return next * wd_set(cc[i]) + y;
}

/* One token of WD_LANES channels: the sum over the states. */
GEMM_INLINE wd
wide1_token(double *h, const double *a, uint32_t n, wd dt, wd u, const double *bb, const double *cc)
{
    wd y0 = wd_set(0.0), y1 = y0, y2 = y0, y3 = y0;
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        y0 = wide1_state(h, a, i, dt, u, bb, cc, y0);
        y1 = wide1_state(h, a, i + 1, dt, u, bb, cc, y1);
        y2 = wide1_state(h, a, i + 2, dt, u, bb, cc, y2);
        y3 = wide1_state(h, a, i + 3, dt, u, bb, cc, y3);
    }
    for (; i < n; i++)
        y0 = wide1_state(h, a, i, dt, u, bb, cc, y0);
    return (y0 + y1) + (y2 + y3);
}

static void
wide1_put(const mamba_step *s, int64_t token, uint32_t ch, wd y)
{
    float line[WD_LANES];
    wd_narrow(line, y);
    char *dst = cpu_data(s->out) +
                (token * s->out->strides[0] + ch) * (int64_t)cpu_type_size(s->b->out_type);
    if (s->b->out_type == CPU_F32)
        memcpy(dst, line, sizeof line);
    else
        convert_from_f32(dst, s->b->out_type, line, WD_LANES);
}

/* Tokens first.. (len of them), WD_LANES channels from c on. */
static void
wide1_lanes(wide1 *w, uint32_t c, int64_t first, uint32_t len)
{
    const attn_builder *b = w->k.b;
    const mamba_step *s = w->k.s;
    const uint32_t n = b->n, ch = w->k.part.first + c;
    double *h = w->state + c / WD_LANES * n * WD_LANES;
    const float *a = s->layer->a + (size_t)ch / 16 * n * 16 + ch % 16;
    const wd d = wd_widen(s->layer->d + ch), bias = wd_widen(s->layer->dt_bias + ch);
    wd xs[MAMBA_CHUNK];
    double a2[MAMBA_MAX_DIM * WD_LANES];
    for (uint32_t i = 0; i < n; i++)
        wd_store(a2 + i * WD_LANES, wd_widen(a + i * 16) * wd_set(WD_LOG2E));
    if (b->width == 4)
        wide1_conv(w, c, first, len, 4, xs);
    else
        wide1_conv(w, c, first, len, b->width, xs);
    for (uint32_t t = 0; t < len; t++) {
        wd dt = wd_widen(wide1_row(s->dt, first + t, ch)) + bias;
        if (b->softplus)
            dt = wd_softplus(dt);
        wd y = wide1_token(h, a2, n, dt, dt * xs[t], w->bb + t * n, w->cc + t * n);
        y = d * xs[t] + y;
        if (s->z)
            y *= wd_silu(wd_widen(wide1_row(s->z, first + t, ch)));
        wide1_put(s, first + t, ch, y);
    }
}

static void
wide1_task(const mamba_step *s, uint32_t task, char *scratch)
{
    wide1 w;
    wide1_open(&w, s, task, scratch);
    wide1_load(&w);
    const attn_builder *b = s->b;
    const scan1 *k = &w.k;
    for (uint32_t t = 0, len; t < k->q->num; t += len) {
        len = scan1_len(k, t);
        const int64_t first = k->q->first + t;
        for (uint32_t i = 0; i < len; i++) {
            const float *bb = wide1_row(s->bb, first + i, 0), *cc = wide1_row(s->cc, first + i, 0);
            for (uint32_t j = 0; j < b->n; j++) {
                w.bb[i * b->n + j] = (double)bb[j];
                w.cc[i * b->n + j] = (double)cc[j];
            }
        }
        for (uint32_t c = 0; c < k->part.num; c += WD_LANES)
            wide1_lanes(&w, c, first, len);
        wide1_save(&w, mamba_target(b, k->q, t + len - 1));
        wide1_save(&w, mamba_checkpoint(b, k->q, t + len - 1));
    }
}

/* 16-bit inputs: what the family rounds them to is far above f32's errors. */
static void
mamba1_task(const mamba_step *s, uint32_t task, char *scratch)
{
    if (s->b->x_type == CPU_F32)
        wide1_task(s, task, scratch);
    else
        scan1_task(s, task, scratch);
}

#endif /* ATTN_MAMBA_CPU_MAMBA_WIDE1_H */
