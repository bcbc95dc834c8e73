/* SPDX-License-Identifier: Apache-2.0 */
/* verify/support.h - random numbers and the vector loops of the oracle. */
#ifndef ATTN_VERIFY_SUPPORT_H
#define ATTN_VERIFY_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

/* A small generator of pseudo-random numbers, the same everywhere. */
typedef struct attn_random {
    uint64_t state;
} attn_random;

static inline uint64_t
attn_random_next(attn_random *r)
{
    uint64_t z = (r->state += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

/* Uniform in 0..n-1, n > 0. */
static inline uint32_t
attn_random_below(attn_random *r, uint32_t n)
{
    return (uint32_t)(((attn_random_next(r) >> 32) * n) >> 32);
}

/* Mean 0, deviation 1, within +-3.5; four uniforms, no libm. */
static inline double
attn_random_normal(attn_random *r)
{
    const uint64_t u = attn_random_next(r);
    const double s = (double)(u & 0xFFFF) + (double)(u >> 16 & 0xFFFF) +
                     (double)(u >> 32 & 0xFFFF) + (double)(u >> 48);
    return (s / 65536.0 - 2.0) * 1.7320508;
}

/* [any] Sum of a[i] * b[i] in any order. */
double attn_dot_f64(const double *a, const double *b, size_t n);
/* [any] The same as a plain loop sums: one after the other, each rounded. */
float attn_dot_f32(const float *a, const float *b, size_t n);
/* [any] y[i] += x[i] * w. */
void attn_axpy_f64(double *restrict y, const double *restrict x, double w,
                   size_t n);
void attn_axpy_f32(float *restrict y, const float *restrict x, float w,
                   size_t n);

/* [any] Four rows y[4, n], each as attn_axpy_f32 once for each of x[count, n]
 * in order, to the bit; row k takes the factors w[k * stride] and on. */
void attn_axpy4_f32(float *restrict y, const float *restrict x, const float *w,
                    size_t stride, size_t count, size_t n);

/* [any] Narrow n doubles that floats hold exactly. */
void attn_narrow(float *dst, const double *src, size_t n);

#endif
