/* SPDX-License-Identifier: Apache-2.0 */
/* mamba_scan2.h - Mamba-2: the recurrence as written, and in chunks.
 *
 * In a chunk, with c_i the running sum of a dt:
 *   Y = e^c_i (C h^T) + M X,  M_ij = (C_i . B_j) e^(c_i - c_j) dt_j, j <= i
 *   h^T = e^c_last h^T + sum_j (e^(c_last - c_j) dt_j B_j) x_j
 * The state is kept as h^T [N][P] while a request's chunks run. */
#ifndef ATTN_MAMBA_CPU_MAMBA_SCAN2_H
#define ATTN_MAMBA_CPU_MAMBA_SCAN2_H

#include "mamba/cpu/mamba_conv.h"

struct scan2 {
    const mamba_step *s;
    const attn_builder *b;
    const mamba_request *q;
    uint32_t head0, num;    /* heads of the block */
    conv_part part[3];      /* x, B, C */
    size_t stride;          /* columns of conv and window */
    float *conv;            /* [chunk][stride] */
    float *window;          /* [width - 1][stride] */
    float *dt, *cum, *rest; /* [num][chunk]; rest: of cum, below f32 */
    float *state;           /* [num][N][P] */
    int fresh;              /* the state is zero */
    uint32_t *c_cells;      /* A: [chunk][N] */
    uint32_t *panel;        /* B: N x chunk, or N x P */
    float *square;          /* [chunk][chunk] */
    uint32_t *matrix;       /* A: [chunk][chunk] */
    uint32_t *x;            /* B: chunk x P */
    float *weighted;        /* [2][N] */
    uint32_t *zipped;       /* [chunk][N] */
    float *y;               /* [chunk][P] */
    float *scale;           /* [N or chunk] */
};

static void
scan2_open(scan2 *k, const mamba_step *s, uint32_t task, char *p)
{
    const attn_builder *b = s->b;
    const mamba_scratch *z = &b->scratch;
    k->s = s;
    k->b = b;
    k->q = &b->requests[task / b->num_blocks];
    const uint32_t per_group = b->heads / b->groups;
    const uint32_t blocks = (per_group + b->block_heads - 1) / b->block_heads;
    const uint32_t block = task % b->num_blocks, group = block / blocks;
    const uint32_t first = block % blocks * b->block_heads;
    k->head0 = group * per_group + first;
    k->num = per_group - first < b->block_heads ? per_group - first : b->block_heads;
    const uint32_t xs = b->heads * b->p, n = b->n, mine = k->num * b->p;
    k->part[0] = (conv_part){k->head0 * b->p, mine, 0};
    k->part[1] = (conv_part){xs + group * n, n, mine};
    k->part[2] = (conv_part){xs + b->groups * n + group * n, n, mine + n};
    k->stride = mine + 2 * n;
    k->fresh = k->q->slot_in < 0;
    k->conv = (float *)(void *)p;
    k->window = (float *)(void *)(p += z->conv);
    k->dt = (float *)(void *)(p += z->window);
    k->cum = k->dt + z->steps / sizeof(float) / 3;
    k->rest = k->cum + z->steps / sizeof(float) / 3;
    k->state = (float *)(void *)(p += z->steps);
    k->c_cells = (uint32_t *)(void *)(p += z->state);
    k->panel = (uint32_t *)(void *)(p += z->cells);
    k->square = (float *)(void *)(p += z->panel);
    k->matrix = (uint32_t *)(void *)(p += z->square);
    k->x = (uint32_t *)(void *)(p += z->matrix);
    k->weighted = (float *)(void *)(p += z->x);
    k->zipped = (uint32_t *)(void *)(p += z->weighted);
    k->y = (float *)(void *)(p += z->zipped);
    k->scale = (float *)(void *)(p + z->y);
    for (int i = 0; i < 3; i++)
        conv_window_load(s, k->q->slot_in, &k->part[i], k->window, k->stride);
}

/* Running sums of a dt in two parts: their differences decide what near tokens
 * give each other, however large the sums are. */
static void
scan2_sums(float *dt, float a, uint32_t len, float *cum, float *rest)
{
    double sum = 0.0;
    for (uint32_t t = 0; t < MAMBA_CHUNK; t++) {
        if (t < len)
            sum += (double)a * (double)dt[t];
        else
            dt[t] = 0.0f;
        cum[t] = (float)sum;
        rest[t] = (float)(sum - (double)cum[t]);
    }
}

/* Convolution and time steps of tokens t0.. of the request. */
static void
scan2_inputs(scan2 *k, uint32_t t0, uint32_t len)
{
    const attn_builder *b = k->b;
    const uint32_t first = k->q->first + t0;
    for (int i = 0; i < 3; i++)
        conv_part_run(k->s, &k->part[i], first, len, k->window, k->conv, k->stride);
    for (uint32_t h = 0; h < k->num; h++) {
        float *dt = k->dt + h * MAMBA_CHUNK, *cum = k->cum + h * MAMBA_CHUNK;
        const float bias = k->s->layer->dt_bias[k->head0 + h];
        const float a = k->s->layer->a[k->head0 + h];
        const int64_t size = (int64_t)cpu_type_size(b->x_type);
        const char *src = tensor_row(k->s->dt, b->x_type, first, k->head0 + h);
        for (uint32_t t = 0; t < len; t++)
            dt[t] = cpu_get(b->x_type, src + t * k->s->dt->strides[0] * size, 0) + bias;
        for (uint32_t t = len; t < MAMBA_CHUNK; t++)
            dt[t] = 0.0f;
        for (uint32_t t = 0; b->softplus && t < len; t += VL)
            vf_store(dt + t, vf_softplus(vf_load(dt + t)));
        scan2_sums(dt, a, len, cum, k->rest + h * MAMBA_CHUNK);
    }
}

/* y (+ d x), gated, to out. x is the convolved input of this head. */
static void
scan2_store(const scan2 *k, uint32_t h, uint32_t t0, uint32_t len)
{
    const attn_builder *b = k->b;
    const attn_tensor *o = k->s->out, *z = k->s->z;
    const uint32_t head = k->head0 + h;
    const vf d = vf_set(k->s->layer->d[head]);
    for (uint32_t t = 0; t < len; t++) {
        const int64_t token = k->q->first + t0 + t;
        const float *x = k->conv + t * k->stride + h * b->p, *y = k->y + t * b->p;
        char *dst = cpu_data(o) + (token * o->strides[0] + head * o->strides[1]) *
                                      (int64_t)cpu_type_size(b->out_type);
        const char *gate = z ? cpu_data(z) + (token * z->strides[0] + head * z->strides[1]) *
                                                 (int64_t)cpu_type_size(b->x_type)
                             : NULL;
        for (uint32_t p = 0; p < b->p; p += VL) {
            vf v = vf_fma(d, vf_load(x + p), vf_load(y + p));
            if (gate)
                v *= mamba_silu(convert_get(gate, b->x_type, p));
            convert_put(dst, b->out_type, p, v);
        }
    }
}

static char *
scan2_slot(const scan2 *k, int32_t slot, uint32_t h)
{
    const attn_tensor *t = k->s->ssm;
    return cpu_data(t) + (slot * t->strides[0] + (k->head0 + h) * t->strides[1]) *
                             (int64_t)cpu_type_size(k->b->ssm_type);
}

/* One token of one head. src NULL: from zero. */
GEMM_INLINE void
scan2_token(const scan2 *k, uint32_t h, uint32_t t, const char *src, char *dst, int64_t row,
            const cpu_type type)
{
    const uint32_t n = k->b->n, np = k->b->p;
    const float *in = k->conv + t * k->stride;
    const float *x = in + h * np, *bb = in + k->part[1].at, *cc = in + k->part[2].at;
    const float dt = k->dt[h * MAMBA_CHUNK + t];
    const vf decay = vf_exp(vf_set(k->s->layer->a[k->head0 + h] * dt));
    for (uint32_t p = 0; p < np; p++) {
        const vf u = vf_set(dt * x[p]);
        vf acc0 = vf_set(0.0f), acc1 = acc0;
        for (uint32_t i = 0; i < n; i += 2 * VL) {
            vf s0 = u * vf_load(bb + i), s1 = acc0;
            if (src)
                s0 = vf_fma(decay, convert_get(src, type, i), s0);
            convert_put(dst, type, i, s0);
            acc0 = vf_fma(s0, vf_load(cc + i), acc0);
            if (i + VL >= n)
                break;
            s1 = u * vf_load(bb + i + VL);
            if (src)
                s1 = vf_fma(decay, convert_get(src, type, i + VL), s1);
            convert_put(dst, type, i + VL, s1);
            acc1 = vf_fma(s1, vf_load(cc + i + VL), acc1);
        }
        k->y[t * np + p] = vf_sum(acc0 + acc1);
        src = src ? src + row : NULL;
        dst += row;
    }
}

GEMM_INLINE void
scan2_token_any(const scan2 *k, uint32_t h, uint32_t t, const char *src, char *dst, int64_t row,
                cpu_type type)
{
    if (type == CPU_F32)
        scan2_token(k, h, t, src, dst, row, CPU_F32);
    else if (type == CPU_BF16)
        scan2_token(k, h, t, src, dst, row, CPU_BF16);
    else
        scan2_token(k, h, t, src, dst, row, CPU_F16);
}

/* f32 rows [P][N] to a slot. */
static void
scan2_put(const scan2 *k, uint32_t h, const float *rows, int32_t slot)
{
    const int64_t row = k->s->ssm->strides[2] * (int64_t)cpu_type_size(k->b->ssm_type);
    for (uint32_t p = 0; slot >= 0 && p < k->b->p; p++)
        convert_from_f32(scan2_slot(k, slot, h) + p * row, k->b->ssm_type, rows + p * k->b->n,
                         k->b->n);
}

/* One head, tokens t0.. as the recurrence is written, in a copy of the state:
 * between tokens it stays f32, whatever type it is kept in. */
static void
scan2_head_copy(scan2 *k, uint32_t h, uint32_t t0, uint32_t len)
{
    const attn_builder *b = k->b;
    const int64_t row = k->s->ssm->strides[2] * (int64_t)cpu_type_size(b->ssm_type);
    float *rows = k->state + (size_t)h * b->n * b->p;
    for (uint32_t p = 0; t0 == 0 && !k->fresh && p < b->p; p++)
        convert_to_f32(rows + p * b->n, scan2_slot(k, k->q->slot_in, h) + p * row, b->ssm_type,
                       b->n);
    for (uint32_t t = 0; t < len; t++) {
        const int zero = k->fresh && t0 + t == 0;
        scan2_token(k, h, t, zero ? NULL : (const char *)rows, (char *)rows,
                    (int64_t)b->n * (int64_t)sizeof(float), CPU_F32);
        scan2_put(k, h, rows, mamba_target(b, k->q, t0 + t));
        scan2_put(k, h, rows, mamba_checkpoint(b, k->q, t0 + t));
    }
}

/* One token, one head: the state streams through once. */
static void
scan2_head_once(scan2 *k, uint32_t h)
{
    const attn_builder *b = k->b;
    const int64_t size = (int64_t)cpu_type_size(b->ssm_type), row = k->s->ssm->strides[2] * size;
    const int32_t check = mamba_checkpoint(b, k->q, 0);
    char *dst = scan2_slot(k, mamba_column(b, k->q->req, 0), h);
    scan2_token_any(k, h, 0, k->fresh ? NULL : scan2_slot(k, k->q->slot_in, h), dst, row,
                    b->ssm_type);
    for (uint32_t p = 0; check >= 0 && p < b->p; p++)
        memcpy(scan2_slot(k, check, h) + p * row, dst + p * row, b->n * (size_t)size);
}

static void
scan2_sequential(scan2 *k)
{
    for (uint32_t t = 0; t < k->q->num; t += MAMBA_CHUNK) {
        const uint32_t len = k->q->num - t < MAMBA_CHUNK ? k->q->num - t : MAMBA_CHUNK;
        scan2_inputs(k, t, len);
        for (uint32_t h = 0; h < k->num; h++) {
            if (k->q->num == 1)
                scan2_head_once(k, h);
            else
                scan2_head_copy(k, h, t, len);
            scan2_store(k, h, t, len);
        }
    }
}

/* ------------------------------------------------------------ in chunks */

static uint32_t
up16(uint32_t x)
{
    return (x + 15) / 16 * 16;
}

/* Rows of f32 (columns n) as B cells: row pairs along k, zero past num. */
static void
scan2_zip_rows(uint32_t *dst, const float *rows, size_t stride, uint32_t num, uint32_t n,
               uint32_t k_rows)
{
    static const float zero[MAMBA_MAX_DIM] = {0};
    const size_t kc = k_rows / EPC;
    for (uint32_t i = 0; i < k_rows; i += EPC) {
        const float *a = i < num ? rows + i * stride : zero;
        const float *b = i + 1 < num ? rows + (i + 1) * stride : zero;
        for (uint32_t c = 0; c < n; c += GEMM_PANEL) {
            const uint32_t width = n - c < GEMM_PANEL ? n - c : GEMM_PANEL;
            cells_zip_f32(dst + c * kc + i / EPC * width, a + c, b + c, width);
        }
    }
}

/* square = C B^T of the group. */
static void
scan2_square(scan2 *k, uint32_t len)
{
    const uint32_t n = k->b->n, kc = n / EPC, w = up16(len);
    uint32_t row[MAMBA_MAX_DIM];
    for (uint32_t t = 0; t < len; t++) {
        const float *in = k->conv + t * k->stride;
        cells_from_f32(k->c_cells + t * kc, in + k->part[2].at, n);
        cells_from_f32(row, in + k->part[1].at, n);
        for (uint32_t x = 0; x < kc; x++)
            k->panel[x * w + t] = row[x];
    }
    for (uint32_t t = len; t < w; t++)
        for (uint32_t x = 0; x < kc; x++)
            k->panel[x * w + t] = 0;
    const gemm_args g = {.a = k->c_cells,
                         .a_row = kc,
                         .a_k = 1,
                         .b = k->panel,
                         .c = k->square,
                         .c_row = MAMBA_CHUNK,
                         .m = len,
                         .n = w,
                         .k = kc};
    gemm_cells(&g);
}

/* Row i of M as cells. */
static void
scan2_matrix(scan2 *k, uint32_t h, uint32_t len)
{
    const float *dt = k->dt + h * MAMBA_CHUNK, *cum = k->cum + h * MAMBA_CHUNK;
    const float *rest = k->rest + h * MAMBA_CHUNK;
    float row[MAMBA_CHUNK];
    float index[VL];
    for (int i = 0; i < VL; i++)
        index[i] = (float)i;
    for (uint32_t i = 0; i < len; i++) {
        const vf ci = vf_set(cum[i]), ri = vf_set(rest[i]), at = vf_set((float)i);
        const uint32_t end = up16(i + 1);
        for (uint32_t j = 0; j < end; j += VL) {
            const vf by = (ci - vf_load(cum + j)) + (ri - vf_load(rest + j));
            const vf e = mamba_exp(by) * vf_load(dt + j);
            const vi seen = (vi)(vf_load(index) + vf_set((float)j) <= at);
            const vf m = vf_load(k->square + i * MAMBA_CHUNK + j) * e;
            vf_store(row + j, vf_select(seen, m, vf_set(0.0f)));
        }
        cells_from_f32(k->matrix + i * (MAMBA_CHUNK / EPC), row, end);
        memset(k->matrix + i * (MAMBA_CHUNK / EPC) + end / EPC, 0,
               (MAMBA_CHUNK - end) / EPC * sizeof *k->matrix);
    }
}

/* y = e^cum (C h^T) + M X; rows in blocks that end where M does. */
static void
scan2_output(scan2 *k, uint32_t h, uint32_t len)
{
    const uint32_t n = k->b->n, p = k->b->p, kx = up16(len) / EPC;
    const float *cum = k->cum + h * MAMBA_CHUNK;
    if (!k->fresh) {
        const float *state = k->state + (size_t)h * n * p;
        scan2_zip_rows(k->panel, state, p, n, p, n);
        const gemm_args g = {.a = k->c_cells,
                             .a_row = n / EPC,
                             .a_k = 1,
                             .b = k->panel,
                             .b_panel = (ptrdiff_t)(n / EPC) * GEMM_PANEL,
                             .c = k->y,
                             .c_row = p,
                             .m = len,
                             .n = p,
                             .k = n / EPC};
        gemm_cells(&g);
        for (uint32_t t = 0; t < MAMBA_CHUNK; t += VL)
            vf_store(k->scale + t, vf_exp(vf_load(cum + t)));
    }
    for (uint32_t i = 0; i < len; i += 24) {
        const uint32_t rows = len - i < 24 ? len - i : 24;
        const uint32_t depth = up16(i + rows) / EPC;
        const gemm_args g = {.a = k->matrix + i * (MAMBA_CHUNK / EPC),
                             .a_row = MAMBA_CHUNK / EPC,
                             .a_k = 1,
                             .b = k->x,
                             .b_panel = (ptrdiff_t)kx * GEMM_PANEL,
                             .c = k->y + i * p,
                             .c_row = p,
                             .row_scale = k->fresh ? NULL : k->scale + i,
                             .m = rows,
                             .n = p,
                             .k = depth};
        gemm_cells(&g);
    }
}

/* Tokens whose x is not finite, a bit each. M is 0 for the tokens before them, and 0 times NaN is
 * NaN: they stay out of the product. */
static uint64_t
scan2_wild(const scan2 *k, uint32_t h, uint32_t len)
{
    uint64_t wild = 0;
    for (uint32_t t = 0; t < len; t++) {
        const float *x = k->conv + t * k->stride + h * k->b->p;
        vf sum = vf_set(0.0f);
        for (uint32_t p = 0; p < k->b->p; p += VL)
            sum = vf_fma(vf_load(x + p), vf_set(0.0f), sum);
        wild |= (uint64_t)(vf_sum(sum) != 0.0f) << t;
    }
    return wild;
}

/* X as B, rows of wild tokens zero; y is free as yet. */
static void
scan2_zip_tame(scan2 *k, uint32_t h, uint32_t len, uint64_t wild)
{
    const uint32_t p = k->b->p;
    for (uint32_t t = 0; t < len; t++)
        if (wild >> t & 1)
            memset(k->y + t * p, 0, p * sizeof *k->y);
        else
            memcpy(k->y + t * p, k->conv + t * k->stride + h * p, p * sizeof *k->y);
    scan2_zip_rows(k->x, k->y, p, len, p, up16(len));
}

/* What token j gives token i >= j, as the recurrence is written. */
static void
scan2_add(scan2 *k, uint32_t h, uint32_t i, uint32_t j)
{
    const float *cum = k->cum + h * MAMBA_CHUNK, *rest = k->rest + h * MAMBA_CHUNK;
    const float by = (cum[i] - cum[j]) + (rest[i] - rest[j]);
    const float *cc = k->conv + i * k->stride + k->part[2].at;
    const float *in = k->conv + j * k->stride, *bb = in + k->part[1].at;
    float e[VL];
    vf_store(e, vf_exp(vf_set(by)) * vf_set(k->dt[h * MAMBA_CHUNK + j]));
    for (uint32_t p = 0; p < k->b->p; p++) {
        const vf x = vf_set(in[h * k->b->p + p]);
        vf sum = vf_set(0.0f);
        for (uint32_t n = 0; n < k->b->n; n += VL)
            sum = vf_fma(vf_load(bb + n) * x, vf_load(cc + n), sum);
        k->y[i * k->b->p + p] += vf_sum(sum) * e[0];
    }
}

/* y of a chunk some of whose tokens are wild. */
static void
scan2_output_wild(scan2 *k, uint32_t h, uint32_t len, uint64_t wild)
{
    scan2_zip_tame(k, h, len, wild);
    scan2_output(k, h, len);
    for (uint32_t j = 0; j < len; j++)
        for (uint32_t i = j; i < len && wild >> j & 1; i++)
            scan2_add(k, h, i, j);
}

/* The state moves on by one chunk. */
static void
scan2_advance(scan2 *k, uint32_t h, uint32_t len)
{
    const uint32_t n = k->b->n, p = k->b->p, k_rows = up16(len);
    const float *dt = k->dt + h * MAMBA_CHUNK, *cum = k->cum + h * MAMBA_CHUNK;
    const float *rest = k->rest + h * MAMBA_CHUNK;
    const float last = cum[len - 1], last_rest = rest[len - 1];
    float w[MAMBA_CHUNK];
    for (uint32_t t = 0; t < MAMBA_CHUNK; t += VL)
        vf_store(w + t, mamba_exp((vf_set(last) - vf_load(cum + t)) +
                                  (vf_set(last_rest) - vf_load(rest + t))) *
                            vf_load(dt + t));
    for (uint32_t t = 0; t < k_rows; t += EPC) {
        for (uint32_t e = 0; e < EPC; e++) {
            const float *in = k->conv + (t + e) * k->stride + k->part[1].at;
            for (uint32_t i = 0; i < n; i += VL)
                vf_store(k->weighted + e * n + i,
                         t + e < len ? vf_load(in + i) * vf_set(w[t + e]) : vf_set(0.0f));
        }
        cells_zip_f32(k->zipped + t / EPC * n, k->weighted, k->weighted + n, n);
    }
    const vf decay = vf_exp(vf_set(last));
    for (uint32_t i = 0; i < n; i += VL)
        vf_store(k->scale + i, decay);
    const gemm_args g = {.a = k->zipped,
                         .a_row = 1,
                         .a_k = n,
                         .b = k->x,
                         .b_panel = (ptrdiff_t)(k_rows / EPC) * GEMM_PANEL,
                         .c = k->state + (size_t)h * n * p,
                         .c_row = p,
                         .row_scale = k->fresh ? NULL : k->scale,
                         .m = n,
                         .n = p,
                         .k = k_rows / EPC};
    gemm_cells(&g);
}

static void
scan2_load(scan2 *k, uint32_t h)
{
    const uint32_t n = k->b->n, np = k->b->p;
    const int64_t row = k->s->ssm->strides[2] * (int64_t)cpu_type_size(k->b->ssm_type);
    const char *src = scan2_slot(k, k->q->slot_in, h);
    float *dst = k->state + (size_t)h * n * np, line[MAMBA_MAX_DIM];
    for (uint32_t p = 0; p < np; p++) {
        convert_to_f32(line, src + p * row, k->b->ssm_type, n);
        for (uint32_t i = 0; i < n; i++)
            dst[i * np + p] = line[i];
    }
}

static void
scan2_save(const scan2 *k, uint32_t h, int32_t slot)
{
    const uint32_t n = k->b->n, np = k->b->p;
    const int64_t row = k->s->ssm->strides[2] * (int64_t)cpu_type_size(k->b->ssm_type);
    char *dst = scan2_slot(k, slot, h);
    const float *src = k->state + (size_t)h * n * np;
    float line[MAMBA_MAX_DIM];
    for (uint32_t p = 0; p < np; p++) {
        for (uint32_t i = 0; i < n; i++)
            line[i] = src[i * np + p];
        convert_from_f32(dst + p * row, k->b->ssm_type, line, n);
    }
}

/* Tokens from t on that make one chunk: up to a multiple of MAMBA_CHUNK in
 * the sequence, and to a checkpoint. */
static uint32_t
scan2_chunk_len(const scan2 *k, uint32_t t)
{
    const int64_t pos = k->q->context + t;
    uint32_t len = MAMBA_CHUNK - (uint32_t)(pos % MAMBA_CHUNK);
    const attn_ext_state *s = k->b->state;
    if (s && s->max_checkpoints) {
        const uint32_t to = s->checkpoint_interval - (uint32_t)(pos % s->checkpoint_interval);
        len = to < len ? to : len;
    }
    return k->q->num - t < len ? k->q->num - t : len;
}

/* Tokens t.., one chunk, through all heads of the block. */
static void
scan2_chunk(scan2 *k, uint32_t t, uint32_t len)
{
    const int32_t check = mamba_checkpoint(k->b, k->q, t + len - 1);
    const int32_t own = mamba_target(k->b, k->q, t + len - 1);
    scan2_inputs(k, t, len);
    scan2_square(k, len);
    for (uint32_t h = 0; h < k->num; h++) {
        const uint64_t wild = scan2_wild(k, h, len);
        scan2_matrix(k, h, len);
        if (wild)
            scan2_output_wild(k, h, len, wild);
        scan2_zip_rows(k->x, k->conv + h * k->b->p, k->stride, len, k->b->p, up16(len));
        if (!wild)
            scan2_output(k, h, len);
        scan2_store(k, h, t, len);
        scan2_advance(k, h, len);
        if (check >= 0)
            scan2_save(k, h, check);
        if (own >= 0)
            scan2_save(k, h, own);
    }
    k->fresh = 0;
}

#if CELL_BF16
/* Whether a state is stored within MAMBA_EXACT tokens of t. Its largest
 * elements are one product of a late token each, of operands that bf16 rounds:
 * their error is luck, not an average. */
static int
scan2_stored_soon(const scan2 *k, uint32_t t)
{
    const attn_ext_state *s = k->b->state;
    const uint32_t left = k->q->num - t;
    if (left <= MAMBA_EXACT)
        return 1;
    if (!s || !s->max_checkpoints)
        return 0;
    const uint32_t every = s->checkpoint_interval;
    const uint32_t to = every - (uint32_t)((k->q->context + t) % every);
    return to <= MAMBA_EXACT && mamba_checkpoint(k->b, k->q, t + to - 1) >= 0;
}
#endif

static void
scan2_chunked(scan2 *k)
{
    for (uint32_t h = 0; h < k->num && !k->fresh; h++)
        scan2_load(k, h);
    for (uint32_t t = 0, len; t < k->q->num; t += len) {
        len = scan2_chunk_len(k, t);
#if CELL_BF16
        if (scan2_stored_soon(k, t)) {
            mamba_kernels_avx512.chunk(k, t, len);
            continue;
        }
#endif
        scan2_chunk(k, t, len);
    }
}

static void
scan2_task(const mamba_step *s, uint32_t task, char *scratch)
{
    scan2 k;
    scan2_open(&k, s, task, scratch);
    if (k.q->drafts || k.q->num <= MAMBA_SEQUENTIAL)
        scan2_sequential(&k);
    else
        scan2_chunked(&k);
}

#endif /* ATTN_MAMBA_CPU_MAMBA_SCAN2_H */
