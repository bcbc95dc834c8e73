/* SPDX-License-Identifier: Apache-2.0 */
/* mamba_wide2.h - Mamba-2 with f32 inputs: the recurrence as written, in f64.
 *
 * In f32 the roundings of convolution, dt, decays and products reach two ulp
 * of a state. Short steps go row by row, lanes along N; longer ones in tiles
 * of h^T, lanes along P, that stay in registers for a chunk of tokens. There
 * a state is kept divided by its decay since the start of a span of tokens:
 *   g_t = h_t / D_t = g_(t-1) + (u_t / D_t) B_t,  y_t = D_t (C_t . g_t)
 * which spares a multiplication for each state and token. Spans end before D
 * leaves the range that f64 divides by without loss. */
#ifndef ATTN_MAMBA_CPU_MAMBA_WIDE2_H
#define ATTN_MAMBA_CPU_MAMBA_WIDE2_H

#include "mamba/cpu/mamba_scan2.h"
#include "mamba/cpu/mamba_vec64.h"

#define WIDE2_TILE WD_LANES /* states; divides N */
#define WIDE2_SPAN 200.0    /* bits of decay inside a span */

/* Tokens from..to; factor: of g from the span before. */
typedef struct wide2_span {
    uint32_t from, to;
    double factor;
} wide2_span;

typedef struct wide2 {
    scan2 k;           /* request, heads, parts and window */
    double *conv;      /* [chunk][stride] */
    double *dt, *log2; /* [num][chunk]; log2: of the decay */
    double *state;     /* [num][N][P] */
    double *y, *u;     /* [P / VL][chunk][VL] */
    double *bc;        /* [N / tile][chunk][2][tile]: B, C */
} wide2;

/* Where lanes p.. (of a vector of VL) of token t stand in y and u. */
GEMM_INLINE size_t
wide2_at(uint32_t t, uint32_t p)
{
    return (p / VL * MAMBA_CHUNK + t) * VL + p % VL;
}

static void
wide2_open(wide2 *w, const mamba_step *s, uint32_t task, char *p)
{
    scan2_open(&w->k, s, task, p);
    w->conv = (double *)(void *)w->k.conv;
    w->dt = (double *)(void *)w->k.dt;
    w->log2 = w->dt + (size_t)w->k.num * MAMBA_CHUNK;
    w->state = (double *)(void *)w->k.state;
    w->y = (double *)(void *)w->k.y;
    w->u = w->y + (size_t)MAMBA_CHUNK * s->b->p;
    w->bc = (double *)(void *)w->k.c_cells;
}

/* The convolution of WD_LANES channels of a part; the window moves. */
GEMM_INLINE void
wide2_conv(const wide2 *w, const conv_part *part, uint32_t c, uint32_t first, uint32_t len,
           const uint32_t width)
{
    const mamba_step *s = w->k.s;
    const uint32_t ch = part->first + c;
    float *window = w->k.window + part->at + c;
    double *out = w->conv + part->at + c;
    wd tap[MAMBA_MAX_WIDTH], weight[MAMBA_MAX_WIDTH];
    for (uint32_t i = 0; i < width; i++)
        weight[i] = wd_widen(s->layer->conv_weight + (size_t)i * s->b->channels + ch);
    for (uint32_t i = 0; i + 1 < width; i++)
        tap[i] = wd_widen(window + i * w->k.stride);
    const wd bias = wd_widen(s->layer->conv_bias + ch);
    for (uint32_t t = 0; t < len; t++) {
        const char *src = tensor_row(s->x, CPU_F32, (int64_t)first + t, ch);
        tap[width - 1] = wd_widen((const float *)(const void *)src);
        wd y = bias;
        for (uint32_t i = 0; i < width; i++)
            y = weight[i] * tap[i] + y;
        wd_store(out + t * w->k.stride, s->b->silu ? wd_silu(y) : y);
        for (uint32_t i = 0; i + 1 < width; i++)
            tap[i] = tap[i + 1];
    }
    for (uint32_t i = 0; i + 1 < width; i++)
        wd_narrow(window + i * w->k.stride, tap[i]);
}

/* Convolution, time steps and decays of tokens t0.. of the request. */
static void
wide2_inputs(wide2 *w, uint32_t t0, uint32_t len)
{
    const attn_builder *b = w->k.b;
    const mamba_step *s = w->k.s;
    const uint32_t first = w->k.q->first + t0;
    for (int i = 0; i < 3; i++)
        for (uint32_t c = 0; c < w->k.part[i].num; c += WD_LANES) {
            if (b->width == 4)
                wide2_conv(w, &w->k.part[i], c, first, len, 4);
            else
                wide2_conv(w, &w->k.part[i], c, first, len, b->width);
        }
    for (uint32_t h = 0; h < w->k.num; h++) {
        const uint32_t head = w->k.head0 + h;
        double *dt = w->dt + h * MAMBA_CHUNK, *log2 = w->log2 + h * MAMBA_CHUNK;
        const wd a = wd_set((double)s->layer->a[head] * WD_LOG2E);
        for (uint32_t t = 0; t < len; t++)
            dt[t] =
                (double)cpu_get(CPU_F32, tensor_row(s->dt, CPU_F32, (int64_t)first + t, head), 0) +
                (double)s->layer->dt_bias[head];
        for (uint32_t t = len; t % WD_LANES; t++)
            dt[t] = 0.0;
        for (uint32_t t = 0; t < len; t += WD_LANES) {
            const wd x = wd_load(dt + t), step = b->softplus ? wd_softplus(x) : x;
            wd_store(dt + t, step);
            wd_store(log2 + t, a * step);
        }
    }
}

/* y (+ d x), gated, to out. */
static void
wide2_store(const wide2 *w, uint32_t h, uint32_t t0, uint32_t len)
{
    const attn_builder *b = w->k.b;
    const attn_tensor *o = w->k.s->out, *z = w->k.s->z;
    const uint32_t head = w->k.head0 + h;
    const wd d = wd_set((double)w->k.s->layer->d[head]);
    float line[MAMBA_MAX_DIM];
    for (uint32_t t = 0; t < len; t++) {
        const int64_t token = (int64_t)w->k.q->first + t0 + t;
        const double *x = w->conv + t * w->k.stride + h * b->p;
        for (uint32_t p = 0; p < b->p; p += WD_LANES) {
            wd v = d * wd_load(x + p) + wd_load(w->y + wide2_at(t, p));
            if (z) {
                const char *gate = tensor_row(z, CPU_F32, token, head * z->strides[1] + p);
                v *= wd_silu(wd_widen((const float *)(const void *)gate));
            }
            wd_narrow(line + p, v);
        }
        char *dst = cpu_data(o) + (token * o->strides[0] + head * o->strides[1]) *
                                      (int64_t)cpu_type_size(b->out_type);
        convert_from_f32(dst, b->out_type, line, b->p);
    }
}

/* ------------------------------------------------------------ row by row */

/* WD_LANES states of one row, one token; adds to y what they give. */
GEMM_INLINE wd
wide2_state(wd s, wd decay, wd u, const double *bb, const double *cc, wd *y)
{
    const wd next = s * decay + u * wd_load(bb);
    *y = next * wd_load(cc) + *y;
    return next;
}

/* One token of one row; returns its y. */
GEMM_INLINE double
wide2_row(double *row, uint32_t n, wd decay, wd u, const double *bb, const double *cc)
{
    wd y0 = wd_set(0.0), y1 = y0;
    for (uint32_t i = 0; i < n; i += 2 * WD_LANES) {
        const uint32_t j = i + WD_LANES;
        const wd s0 = wide2_state(wd_load(row + i), decay, u, bb + i, cc + i, &y0);
        const wd s1 = wide2_state(wd_load(row + j), decay, u, bb + j, cc + j, &y1);
        wd_store(row + i, s0);
        wd_store(row + j, s1);
    }
    return wd_sum(y0 + y1);
}

/* The same, of a row that is read and written where it is kept. */
GEMM_INLINE double
wide2_row_once(const float *src, float *dst, uint32_t n, wd decay, wd u, const double *bb,
               const double *cc)
{
    wd y0 = wd_set(0.0), y1 = y0;
    for (uint32_t i = 0; i < n; i += 2 * WD_LANES) {
        const uint32_t j = i + WD_LANES;
        const wd s0 = wide2_state(wd_widen(src + i), decay, u, bb + i, cc + i, &y0);
        const wd s1 = wide2_state(wd_widen(src + j), decay, u, bb + j, cc + j, &y1);
        wd_narrow(dst + i, s0);
        wd_narrow(dst + j, s1);
    }
    return wd_sum(y0 + y1);
}

/* One token, an f32 state: it streams through once. */
static void
wide2_once(const wide2 *w, uint32_t h)
{
    static const float zero[MAMBA_MAX_DIM] = {0};
    const scan2 *k = &w->k;
    const attn_builder *b = k->b;
    const int64_t step = k->s->ssm->strides[2] * (int64_t)sizeof(float);
    const double *in = w->conv, dt = w->dt[h * MAMBA_CHUNK];
    const double *bb = in + k->part[1].at, *cc = in + k->part[2].at;
    const wd decay = wd_exp2_any(wd_set(w->log2[h * MAMBA_CHUNK]));
    const int32_t check = mamba_checkpoint(b, k->q, 0);
    char *dst = scan2_slot(k, mamba_target(b, k->q, 0), h);
    const char *src = k->fresh ? (const char *)zero : scan2_slot(k, k->q->slot_in, h);
    for (uint32_t p = 0; p < b->p; p++) {
        const wd u = wd_set(dt * in[h * b->p + p]);
        w->y[wide2_at(0, p)] = wide2_row_once((const float *)(const void *)src,
                                              (float *)(void *)dst, b->n, decay, u, bb, cc);
        if (check >= 0)
            memcpy(scan2_slot(k, check, h) + p * step, dst, b->n * sizeof(float));
        src += k->fresh ? 0 : step;
        dst += step;
    }
}

static void
wide2_row_put(const wide2 *w, char *dst, const double *row)
{
    const uint32_t n = w->k.b->n;
    float line[MAMBA_MAX_DIM];
    for (uint32_t i = 0; i < n; i += WD_LANES)
        wd_narrow(line + i, wd_load(row + i));
    convert_from_f32(dst, w->k.b->ssm_type, line, n);
}

/* All tokens of the request, at most a chunk: rows of the state pass once. */
static void
wide2_rows(const wide2 *w, uint32_t h)
{
    const scan2 *k = &w->k;
    const attn_builder *b = k->b;
    const int64_t step = k->s->ssm->strides[2] * (int64_t)cpu_type_size(b->ssm_type);
    const double *dt = w->dt + h * MAMBA_CHUNK, *log2 = w->log2 + h * MAMBA_CHUNK;
    double row[MAMBA_MAX_DIM] = {0}, decay[MAMBA_CHUNK];
    float line[MAMBA_MAX_DIM];
    for (uint32_t t = 0; t < k->q->num; t += WD_LANES)
        wd_store(decay + t, wd_exp2_any(wd_load(log2 + t)));
    for (uint32_t p = 0; p < b->p; p++) {
        if (!k->fresh)
            convert_to_f32(line, scan2_slot(k, k->q->slot_in, h) + p * step, b->ssm_type, b->n);
        for (uint32_t i = 0; i < b->n; i += WD_LANES)
            wd_store(row + i, k->fresh ? wd_set(0.0) : wd_widen(line + i));
        for (uint32_t t = 0; t < k->q->num; t++) {
            const double *in = w->conv + t * k->stride;
            const wd u = wd_set(dt[t] * in[h * b->p + p]);
            w->y[wide2_at(t, p)] =
                wide2_row(row, b->n, wd_set(decay[t]), u, in + k->part[1].at, in + k->part[2].at);
            const int32_t own = mamba_target(b, k->q, t), check = mamba_checkpoint(b, k->q, t);
            if (own >= 0)
                wide2_row_put(w, scan2_slot(k, own, h) + p * step, row);
            if (check >= 0)
                wide2_row_put(w, scan2_slot(k, check, h) + p * step, row);
        }
    }
}

/* -------------------------------------------------------------- in tiles */

static void
wide2_load(const wide2 *w, uint32_t h)
{
    const scan2 *k = &w->k;
    const uint32_t n = k->b->n, np = k->b->p;
    const int64_t step = k->s->ssm->strides[2] * (int64_t)cpu_type_size(k->b->ssm_type);
    double *dst = w->state + (size_t)h * n * np;
    float line[MAMBA_MAX_DIM] = {0};
    for (uint32_t p = 0; p < np; p++) {
        if (!k->fresh)
            convert_to_f32(line, scan2_slot(k, k->q->slot_in, h) + p * step, k->b->ssm_type, n);
        for (uint32_t i = 0; i < n; i++)
            dst[i * np + p] = (double)line[i];
    }
}

static void
wide2_save(const wide2 *w, uint32_t h, int32_t slot)
{
    const scan2 *k = &w->k;
    const uint32_t n = k->b->n, np = k->b->p;
    const int64_t step = k->s->ssm->strides[2] * (int64_t)cpu_type_size(k->b->ssm_type);
    const double *src = w->state + (size_t)h * n * np;
    float line[MAMBA_MAX_DIM];
    for (uint32_t p = 0; slot >= 0 && p < np; p++) {
        for (uint32_t i = 0; i < n; i++)
            line[i] = (float)src[i * np + p];
        convert_from_f32(scan2_slot(k, slot, h) + p * step, k->b->ssm_type, line, n);
    }
}

/* B and C of the chunk, a tile's states side by side. */
static void
wide2_pack(const wide2 *w, uint32_t len)
{
    const scan2 *k = &w->k;
    double *dst = w->bc;
    for (uint32_t i = 0; i < k->b->n; i += WIDE2_TILE, dst += MAMBA_CHUNK * 2 * WIDE2_TILE)
        for (uint32_t t = 0; t < len; t++) {
            const double *in = w->conv + t * k->stride + i;
            wd_store(dst + t * 2 * WIDE2_TILE, wd_load(in + k->part[1].at));
            wd_store(dst + (t * 2 + 1) * WIDE2_TILE, wd_load(in + k->part[2].at));
        }
}

/* The chunk's spans, and log2 D of each token; returns how many. *last is the
 * factor after the last one. */
static uint32_t
wide2_spans(const double *log2, uint32_t len, wide2_span *span, double *sum, double *last)
{
    uint32_t n = 0;
    double d = 0.0;
    for (uint32_t t = 0; t < len; t++) {
        const double next = d + log2[t];
        if (t && __builtin_fabs(next) <= WIDE2_SPAN) {
            d = next;
        } else {
            span[n++] = (wide2_span){t, t, next};
            d = 0.0;
        }
        span[n - 1].to = t + 1;
        sum[t] = d;
    }
    for (uint32_t i = 0; i < n; i++)
        span[i].factor = wd_exp2_any(wd_set(span[i].factor))[0];
    *last = wd_exp2_any(wd_set(d))[0];
    return n;
}

/* States i.. and VL lanes p.. of one head over the chunk; adds to y. */
static void
wide2_tile(const wide2 *w, uint32_t h, uint32_t i, uint32_t p, const wide2_span *span, uint32_t num,
           double last)
{
    const uint32_t np = w->k.b->p;
    double *at = w->state + ((size_t)h * w->k.b->n + i) * np + p;
    const double *bc = w->bc + (size_t)i * MAMBA_CHUNK * 2;
    const double *u = w->u + wide2_at(0, p);
    double *y = w->y + wide2_at(0, p);
    wd s[WIDE2_TILE][2];
#pragma GCC unroll 8
    for (uint32_t j = 0; j < WIDE2_TILE; j++) {
        s[j][0] = wd_load(at + j * np);
        s[j][1] = wd_load(at + j * np + WD_LANES);
    }
    for (uint32_t x = 0; x < num; x++) {
        const wd by = wd_set(span[x].factor);
#pragma GCC unroll 8
        for (uint32_t j = 0; j < WIDE2_TILE; j++) {
            s[j][0] *= by;
            s[j][1] *= by;
        }
        for (uint32_t t = span[x].from; t < span[x].to;
             t++, bc += 2 * WIDE2_TILE, u += VL, y += VL) {
            const wd u0 = wd_load(u), u1 = wd_load(u + WD_LANES);
            wd y0[2] = {wd_load(y), wd_set(0.0)}, y1[2] = {wd_load(y + WD_LANES), wd_set(0.0)};
#pragma GCC unroll 8
            for (uint32_t j = 0; j < WIDE2_TILE; j++) {
                const wd b = wd_set(bc[j]), c = wd_set(bc[WIDE2_TILE + j]);
                s[j][0] = u0 * b + s[j][0];
                s[j][1] = u1 * b + s[j][1];
                y0[j % 2] = s[j][0] * c + y0[j % 2];
                y1[j % 2] = s[j][1] * c + y1[j % 2];
            }
            wd_store(y, y0[0] + y0[1]);
            wd_store(y + WD_LANES, y1[0] + y1[1]);
        }
    }
#pragma GCC unroll 8
    for (uint32_t j = 0; j < WIDE2_TILE; j++) {
        wd_store(at + j * np, s[j][0] * wd_set(last));
        wd_store(at + j * np + WD_LANES, s[j][1] * wd_set(last));
    }
}

/* y of tokens 0..len of a head, from g. */
static void
wide2_head(const wide2 *w, uint32_t h, uint32_t len)
{
    const uint32_t np = w->k.b->p;
    wide2_span span[MAMBA_CHUNK];
    double sum[MAMBA_CHUNK], last;
    const uint32_t num = wide2_spans(w->log2 + h * MAMBA_CHUNK, len, span, sum, &last);
    for (uint32_t t = 0; t < len; t++) {
        const wd dt = wd_set(w->dt[h * MAMBA_CHUNK + t]) * wd_exp2_any(wd_set(-sum[t]));
        const double *x = w->conv + t * w->k.stride + h * np;
        for (uint32_t p = 0; p < np; p += WD_LANES) {
            wd_store(w->u + wide2_at(t, p), dt * wd_load(x + p));
            wd_store(w->y + wide2_at(t, p), wd_set(0.0));
        }
    }
    for (uint32_t p = 0; p < np; p += VL)
        for (uint32_t i = 0; i < w->k.b->n; i += WIDE2_TILE)
            wide2_tile(w, h, i, p, span, num, last);
    for (uint32_t t = 0; t < len; t++) {
        const wd by = wd_exp2_any(wd_set(sum[t]));
        for (uint32_t p = 0; p < np; p += WD_LANES) {
            double *y = w->y + wide2_at(t, p);
            wd_store(y, by * wd_load(y));
        }
    }
}

static void
wide2_tiles(wide2 *w)
{
    const mamba_request *q = w->k.q;
    for (uint32_t h = 0; h < w->k.num; h++)
        wide2_load(w, h);
    for (uint32_t t = 0, len; t < q->num; t += len) {
        len = q->drafts ? 1 : scan2_chunk_len(&w->k, t);
        wide2_inputs(w, t, len);
        wide2_pack(w, len);
        for (uint32_t h = 0; h < w->k.num; h++) {
            wide2_head(w, h, len);
            wide2_store(w, h, t, len);
            wide2_save(w, h, mamba_target(w->k.b, q, t + len - 1));
            wide2_save(w, h, mamba_checkpoint(w->k.b, q, t + len - 1));
        }
    }
}

static void
wide2_task(const mamba_step *s, uint32_t task, char *scratch)
{
    wide2 w;
    wide2_open(&w, s, task, scratch);
    if (w.k.q->num > (w.k.q->drafts ? MAMBA_CHUNK : MAMBA_SEQUENTIAL)) {
        wide2_tiles(&w);
        return;
    }
    wide2_inputs(&w, 0, w.k.q->num);
    for (uint32_t h = 0; h < w.k.num; h++) {
        if (w.k.q->num == 1 && w.k.b->ssm_type == CPU_F32)
            wide2_once(&w, h);
        else
            wide2_rows(&w, h);
        wide2_store(&w, h, 0, w.k.q->num);
    }
}

/* 16-bit inputs: what the family rounds them to is far above f32's errors. */
static void
mamba2_task(const mamba_step *s, uint32_t task, char *scratch)
{
    if (s->b->x_type == CPU_F32)
        wide2_task(s, task, scratch);
    else
        scan2_task(s, task, scratch);
}

#endif /* ATTN_MAMBA_CPU_MAMBA_WIDE2_H */
