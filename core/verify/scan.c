/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/scan.h"

#include <math.h>

#include "verify/support.h"

/* exp(a dt) for every state; Mamba-2 has one a for all of them. */
static void
decay(const attn_unit *u, size_t t, double *to)
{
    for (size_t i = 0; i < u->states; i++)
        to[i] =
            i && u->a[i] == u->a[i - 1] ? to[i - 1] : exp(u->a[i] * u->dt[t]);
}

static void
gate(const attn_unit *u, size_t t, double *y)
{
    for (size_t p = 0; u->z && p < u->rows; p++) {
        const double z = u->z[t * u->rows + p];
        y[p] *= z / (1 + exp(-z));
    }
}

void
attn_scan_exact(attn_unit *u, size_t from, size_t to)
{
    const size_t n = u->states;
    double factor[n + 1];
    for (size_t t = from; t < to; t++) {
        double *y = u->y + t * u->rows;
        decay(u, t, factor);
        for (size_t p = 0; p < u->rows; p++) {
            const double x = u->x[t * u->rows + p];
            double *h = u->h + p * n;
            for (size_t i = 0; i < n; i++)
                h[i] *= factor[i];
            attn_axpy_f64(h, u->b + t * n, u->dt[t] * x, n);
            y[p] = attn_dot_f64(u->c + t * n, h, n) + u->d * x;
        }
        gate(u, t, y);
    }
}

static void
plain_token(attn_unit *u, size_t t, float *factor)
{
    const size_t n = u->states;
    double *y = u->yf + t * u->rows;
    for (size_t i = 0; i < n; i++)
        factor[i] = i && u->a[i] == u->a[i - 1]
                        ? factor[i - 1]
                        : expf((float)u->a[i] * u->dtf[t]);
    for (size_t p = 0; p < u->rows; p++) {
        const float x = u->xf[t * u->rows + p];
        float *h = u->hf + p * n;
        for (size_t i = 0; i < n; i++)
            h[i] *= factor[i];
        attn_axpy_f32(h, u->bf + t * n, u->dtf[t] * x, n);
        y[p] = (double)(attn_dot_f32(u->cf + t * n, h, n) + (float)u->d * x);
    }
    gate(u, t, y);
}

/* What the chunk's own tokens give each other, and what the state before it
 * gives them. */
static void
chunk_output(attn_unit *u, size_t t0, size_t len, const float *cum)
{
    const size_t n = u->states, rows = u->rows;
    float *m = u->chunk, acc[rows + 1], h[n + 1];
    for (size_t i = 0; i < len; i++) {
        double *y = u->yf + (t0 + i) * rows;
        for (size_t p = 0; p < rows; p++)
            acc[p] = 0;
        for (size_t j = 0; j <= i; j++) {
            m[j] = attn_dot_f32(u->cf + (t0 + i) * n, u->bf + (t0 + j) * n, n) *
                   expf(cum[i] - cum[j]) * u->dtf[t0 + j];
            attn_axpy_f32(acc, u->xf + (t0 + j) * rows,
                          attn_operand_round(m[j], u->kind), rows);
        }
        for (size_t p = 0; p < rows; p++) {
            for (size_t k = 0; k < n; k++)
                h[k] = attn_operand_round(u->hf[p * n + k], u->kind);
            const float in =
                expf(cum[i]) * attn_dot_f32(u->cf + (t0 + i) * n, h, n);
            y[p] = (double)(acc[p] + in +
                            (float)u->d * u->xf[(t0 + i) * rows + p]);
        }
        gate(u, t0 + i, y);
    }
}

static void
chunk_state(attn_unit *u, size_t t0, size_t len, const float *cum)
{
    const size_t n = u->states, rows = u->rows;
    const float whole = expf(cum[len - 1]);
    float b[n + 1];
    for (size_t i = 0; i < rows * n; i++)
        u->hf[i] *= whole;
    for (size_t j = 0; j < len; j++) {
        const float w = expf(cum[len - 1] - cum[j]) * u->dtf[t0 + j];
        for (size_t k = 0; k < n; k++)
            b[k] = attn_operand_round(w * u->bf[(t0 + j) * n + k], u->kind);
        for (size_t p = 0; p < rows; p++)
            attn_axpy_f32(u->hf + p * n, b, u->xf[(t0 + j) * rows + p], n);
    }
}

static void
plain_chunk(attn_unit *u, size_t t0, size_t len)
{
    float *cum = u->chunk + len; /* behind one row of the matrix */
    float sum = 0;
    for (size_t i = 0; i < len; i++) {
        sum += (float)u->a[0] * u->dtf[t0 + i];
        cum[i] = sum;
    }
    chunk_output(u, t0, len, cum);
    chunk_state(u, t0, len, cum);
}

void
attn_scan_plain(attn_unit *u, size_t from, size_t to, int chunked)
{
    if (!chunked || !u->chunk_size) {
        float factor[u->states + 1];
        for (size_t t = from; t < to; t++)
            plain_token(u, t, factor);
        return;
    }
    for (size_t t = from; t < to;) {
        const size_t end = (t / u->chunk_size + 1) * u->chunk_size;
        const size_t len = (end < to ? end : to) - t;
        plain_chunk(u, t, len);
        t += len;
    }
}
