/* SPDX-License-Identifier: Apache-2.0 */
#include "verify/support.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CLONES      \
    __attribute__(( \
        target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

/* Cloned functions are static: their resolvers are exported otherwise. */
#define LANES 16

CLONES static double
dot_f64(const double *a, const double *b, size_t n)
{
    double acc[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            acc[k] += a[i + k] * b[i + k];
    for (; i < n; i++)
        sum += a[i] * b[i];
    for (size_t k = 0; k < LANES; k++)
        sum += acc[k];
    return sum;
}

float
attn_dot_f32(const float *a, const float *b, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

CLONES static void
axpy_f64(double *restrict y, const double *restrict x, double w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i] * w;
}

CLONES static void
axpy_f32(float *restrict y, const float *restrict x, float w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i] * w;
}

CLONES static void
tile_f32(float *restrict y0, float *restrict y1, float *restrict y2,
         float *restrict y3, const float *restrict x0, const float *restrict x1,
         const float *restrict w, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        y0[j] = (y0[j] + x0[j] * w[0]) + x1[j] * w[1];
        y1[j] = (y1[j] + x0[j] * w[2]) + x1[j] * w[3];
        y2[j] = (y2[j] + x0[j] * w[4]) + x1[j] * w[5];
        y3[j] = (y3[j] + x0[j] * w[6]) + x1[j] * w[7];
    }
}

double
attn_dot_f64(const double *a, const double *b, size_t n)
{
    return dot_f64(a, b, n);
}

void
attn_axpy_f64(double *restrict y, const double *restrict x, double w, size_t n)
{
    axpy_f64(y, x, w, n);
}

void
attn_axpy_f32(float *restrict y, const float *restrict x, float w, size_t n)
{
    axpy_f32(y, x, w, n);
}

void
attn_axpy4_f32(float *restrict y, const float *restrict x, const float *w,
               size_t stride, size_t count, size_t n)
{
    size_t i = 0;
    for (; i + 2 <= count; i += 2) {
        const float *a = w + i, *b = a + stride, *c = b + stride,
                    *d = c + stride;
        const float eight[] = {a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]};
        tile_f32(y, y + n, y + 2 * n, y + 3 * n, x + i * n, x + (i + 1) * n,
                 eight, n);
    }
    for (; i < count; i++)
        for (size_t k = 0; k < 4; k++)
            axpy_f32(y + k * n, x + i * n, w[k * stride + i], n);
}

void
attn_narrow(float *dst, const double *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = (float)src[i];
}
