/* SPDX-License-Identifier: Apache-2.0 */
/* mla_wide.h - short requests, in f64.
 *
 * Where a row has few keys, nothing averages the roundings of its sums: the worst output hangs
 * on a few of them. Here queries go into latent space as in mla_absorbed.h, four heads to a task
 * and four rows (token, head) at a time over the piece's cache rows, and each output is rounded
 * once. */
#ifndef ATTN_MLA_CPU_MLA_WIDE_H
#define ATTN_MLA_CPU_MLA_WIDE_H

#include "common/cpu/wide.h"
#include "mla/cpu/mla_core.h"

#define WIDE_HEADS 4

typedef struct wide {
    const mla_step *step;
    const attn_builder *b;
    uint32_t req, head0, heads, tok0, first_token;
    uint32_t keys, width; /* width: of a cache row, c + dr */
    int32_t limit[WD_ROWS];
    int finite;                       /* all latents are: 0 times one is 0 */
    double *rows, *q, *s, *lat, *out; /* [keys][width], [4][width], [4][MLA_WIDE_KEYS], [4][width],
                                         [dv] */
} wide;

static void
wide_open(wide *x, const mla_step *step, const mla_piece *piece, uint32_t head0, char *scratch)
{
    const attn_builder *b = step->b;
    const int32_t last = mla_limit(b, piece->req, piece->tok0 + piece->num - 1);
    x->step = step;
    x->b = b;
    x->req = piece->req;
    x->head0 = head0;
    x->heads = b->heads - head0 < WIDE_HEADS ? b->heads - head0 : WIDE_HEADS;
    x->tok0 = piece->tok0;
    x->first_token = (uint32_t)b->batch->query_start_loc[piece->req] + piece->tok0;
    x->keys = last > 0 ? (uint32_t)last : 0;
    x->width = b->c + b->dr;
    x->rows = (double *)(void *)scratch;
    x->q = x->rows + (size_t)MLA_WIDE_KEYS * x->width;
    x->s = x->q + (size_t)WD_ROWS * x->width;
    x->lat = x->s + (size_t)WD_ROWS * MLA_WIDE_KEYS;
    x->out = x->lat + (size_t)WD_ROWS * x->width;
}

static void
wide_load(wide *x)
{
    const attn_builder *b = x->b;
    const char *rows[MLA_WIDE_KEYS];
    float line[1152];
    wd sum = wd_set(0);
    core_rows(b, x->step->args->kv_cache, x->req, 0, x->keys, rows);
    for (uint32_t j = 0; j < x->keys; j++) {
        double *to = x->rows + (size_t)j * x->width;
        convert_to_f32(line, rows[j], b->kv_type, x->width);
        for (uint32_t i = 0; i < x->width; i += WD_LANES) {
            const wd e = wd_widen(line + i);
            wd_store(to + i, e);
            sum += e * wd_set(0);
        }
    }
    x->finite = wd_sum(sum) == 0;
}

typedef uint32_t wide_line __attribute__((vector_size(4 * WD_LANES)));

/* Element half of WD_LANES cells. */
static inline wd
wide_cells(const uint32_t *b, size_t half)
{
    wide_line x;
    memcpy(&x, b, sizeof x);
    if (EPC == 2)
        x = half ? x & 0xffff0000u : x << 16;
    return __builtin_convertvector((wd_half)x, wd);
}

/* to = a B, one row: B as gemm_cells.h has it, [k / EPC][n] in panels. */
static void
wide_project(const double *a, const uint32_t *b, size_t k, size_t n, double *to)
{
    for (size_t n0 = 0; n0 < n; n0 += GEMM_PANEL, b += k / EPC * GEMM_PANEL) {
        const size_t width = n - n0 < GEMM_PANEL ? n - n0 : GEMM_PANEL;
        for (size_t j = 0; j < width; j += 16) {
            wd acc[16 / WD_LANES];
#pragma GCC unroll 8
            for (int i = 0; i < 16 / WD_LANES; i++)
                acc[i] = wd_set(0);
            for (size_t x = 0; x < k; x++) {
                const wd by = wd_set(a[x]);
#pragma GCC unroll 8
                for (int i = 0; i < 16 / WD_LANES; i++)
                    acc[i] =
                        by * wide_cells(b + x / EPC * width + j + (size_t)i * WD_LANES, x % EPC) +
                        acc[i];
            }
#pragma GCC unroll 8
            for (int i = 0; i < 16 / WD_LANES; i++)
                wd_store(to + n0 + j + (size_t)i * WD_LANES, acc[i]);
        }
    }
}

/* Row r of the task: its token and head. */
static uint32_t
wide_token(const wide *x, uint32_t r)
{
    return x->first_token + r / x->heads;
}

/* n elements of a query; rooms of a vector are written whole. */
static void
wide_take(double *to, const char *from, cpu_type type, uint32_t n)
{
    float x[256];
    convert_to_f32(x, from, type, n);
    for (uint32_t i = 0; i < n; i += WD_LANES)
        wd_store(to + i, wd_widen(x + i));
}

static void
wide_query(const wide *x, uint32_t r, double *q)
{
    const attn_builder *b = x->b;
    const attn_tensor *n = x->step->args->q_nope, *p = x->step->args->q_pe;
    const int64_t token = wide_token(x, r), head = x->head0 + r % x->heads;
    const int64_t size = (int64_t)cpu_type_size(b->q_type);
    const uint32_t *uk = x->step->args->layer->uk_absorb;
    double nope[256];
    wide_take(nope, cpu_data(n) + (token * n->strides[0] + head * n->strides[1]) * size, b->q_type,
              b->dn);
    wide_project(nope, uk + (size_t)head * (b->dn / EPC) * b->c, b->dn, b->c, q);
    wide_take(q + b->c, cpu_data(p) + (token * p->strides[0] + head * p->strides[1]) * size,
              b->q_type, b->dr);
}

/* Scores of four rows against every key. */
static void
wide_scores(const wide *x)
{
    const double scale = (double)x->b->layer.scale * (double)x->step->kv_scale;
    for (uint32_t j = 0; j < x->keys; j++) {
        const double *row = x->rows + (size_t)j * x->width;
        wd acc[WD_ROWS] = {wd_set(0), wd_set(0), wd_set(0), wd_set(0)};
        for (uint32_t i = 0; i < x->width; i += WD_LANES) {
            const wd k = wd_load(row + i);
#pragma GCC unroll 4
            for (uint32_t r = 0; r < WD_ROWS; r++)
                acc[r] = wd_load(x->q + r * x->width + i) * k + acc[r];
        }
        for (uint32_t r = 0; r < WD_ROWS; r++)
            x->s[r * MLA_WIDE_KEYS + j] = scale * wd_sum(acc[r]);
    }
}

/* Scores of one row into weights; returns their sum. */
static double
wide_softmax(const wide *x, double *s, int32_t limit, double *top)
{
    double max = -(double)__builtin_inff();
    for (int32_t j = 0; j < limit; j++)
        max = s[j] > max ? s[j] : max;
    for (int32_t j = limit; j < (int32_t)(x->keys + WD_LANES - 1) / WD_LANES * WD_LANES; j++)
        s[j] = -(double)__builtin_inff();
    *top = max;
    if (limit > 0)
        return wd_softmax(s, (x->keys + WD_LANES - 1) / WD_LANES * WD_LANES, max);
    memset(s, 0, sizeof *s * x->keys);
    return 0;
}

/* Weights times latents. Where one is not finite, no row meets one that it does not see. */
static void
wide_latents(const wide *x)
{
    const size_t n = (x->b->c + WD_STEP - 1) / WD_STEP * WD_STEP;
    if (x->finite) {
        wd_gemm(WD_ROWS, x->s, MLA_WIDE_KEYS, x->rows, x->width, x->keys, n, x->lat, x->width);
        return;
    }
    for (uint32_t r = 0; r < WD_ROWS; r++)
        wd_gemm(1, x->s + r * MLA_WIDE_KEYS, MLA_WIDE_KEYS, x->rows, x->width, (size_t)x->limit[r],
                n, x->lat + r * x->width, x->width);
}

static void
wide_store(const wide *x, uint32_t r, const double *lat, double max, double sum)
{
    const attn_builder *b = x->b;
    const uint32_t head = x->head0 + r % x->heads, token = wide_token(x, r);
    const uint32_t *uv = x->step->args->layer->uv + (size_t)head * (b->c / EPC) * b->dv;
    attn_tensor *l = x->step->args->lse;
    const double factor = sum == 0 ? 0 : (double)x->step->kv_scale / sum;
    float out[256], row[256];
    wide_project(lat, uv, b->c, b->dv, x->out);
    for (uint32_t i = 0; i < b->dv; i++)
        out[i] = (float)(x->out[i] * factor);
    core_store_out(x->step, token, head, out, 1.0f, row);
    if (l)
        ((float *)(void *)cpu_data(l))[token * l->strides[0] + head * l->strides[1]] =
            sum == 0 ? -__builtin_inff() : (float)(max + log(sum));
}

/* Rows row.., at most four, of the piece's total. */
static void
wide_four(wide *x, uint32_t row, uint32_t total)
{
    const uint32_t rows = total - row < WD_ROWS ? total - row : WD_ROWS;
    double max[WD_ROWS], sum[WD_ROWS];
    for (uint32_t r = 0; r < WD_ROWS; r++) {
        const uint32_t at = row + (r < rows ? r : rows - 1);
        const int32_t limit = mla_limit(x->b, x->req, x->tok0 + at / x->heads);
        x->limit[r] = limit > 0 ? limit : 0;
        wide_query(x, at, x->q + r * x->width);
    }
    wide_scores(x);
    for (uint32_t r = 0; r < WD_ROWS; r++)
        sum[r] = wide_softmax(x, x->s + r * MLA_WIDE_KEYS, x->limit[r], &max[r]);
    wide_latents(x);
    for (uint32_t r = 0; r < rows; r++)
        wide_store(x, row + r, x->lat + r * x->width, max[r], sum[r]);
}

static void
wide_task(const mla_step *step, const mla_piece *piece, uint32_t head, char *scratch)
{
    wide x;
    if (head % WIDE_HEADS)
        return;
    wide_open(&x, step, piece, head, scratch);
    wide_load(&x);
    for (uint32_t r = 0; r < piece->num * x.heads; r += WD_ROWS)
        wide_four(&x, r, piece->num * x.heads);
}

#endif /* ATTN_MLA_CPU_MLA_WIDE_H */
