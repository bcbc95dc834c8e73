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
attn_narrow(float *dst, const double *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = (float)src[i];
}
