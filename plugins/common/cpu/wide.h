/* SPDX-License-Identifier: Apache-2.0 */
/* wide.h - vectors of f64 at the level this file is compiled for, and their inner product. */
#ifndef CPU_WIDE_H
#define CPU_WIDE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define WD_LANES 8
#define WD_VECS 4
#elif defined(__AVX2__)
#define WD_LANES 4
#define WD_VECS 2
#else
#define WD_LANES 2
#define WD_VECS 2
#endif
#if WD_LANES == 8
#include <immintrin.h>
#endif
#define WD_STEP (WD_VECS * WD_LANES) /* columns of a step of wd_gemm; at most 32 */
#define WD_ROWS 4
#define WD_LOG2E 1.4426950408889634
#define WD_INLINE static inline __attribute__((always_inline, unused))

typedef double wd __attribute__((vector_size(8 * WD_LANES)));
typedef int64_t wl __attribute__((vector_size(8 * WD_LANES)));
typedef float wd_half __attribute__((vector_size(4 * WD_LANES)));

WD_INLINE wd
wd_load(const double *p)
{
    wd v;
    memcpy(&v, p, sizeof v);
    return v;
}

WD_INLINE void
wd_store(double *p, wd v)
{
    memcpy(p, &v, sizeof v);
}

WD_INLINE wd
wd_set(double x)
{
    return x - (wd){0};
}

/* WD_LANES floats. */
WD_INLINE wd
wd_widen(const float *p)
{
    wd_half v;
    memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, wd);
}

WD_INLINE void
wd_narrow(float *p, wd v)
{
    const wd_half f = __builtin_convertvector(v, wd_half);
    memcpy(p, &f, sizeof f);
}

WD_INLINE double
wd_sum(wd v)
{
#if WD_LANES == 8
    return _mm512_reduce_add_pd((__m512d)v);
#else
    double sum = 0;
    for (int i = 0; i < WD_LANES; i++)
        sum += v[i];
    return sum;
#endif
}

/* 2^f for f of [-1/2, 1/2], relative error 1e-10. */
WD_INLINE wd
wd_exp2_part(wd f)
{
    wd p = wd_set(1.5297323760701075e-05) * f + wd_set(0.0001546144469856913);
    p = p * f + wd_set(0.001333350238616277);
    p = p * f + wd_set(0.009618056678524637);
    p = p * f + wd_set(0.055504108839096185);
    p = p * f + wd_set(0.24022650922288757);
    p = p * f + wd_set(0.6931471805599453);
    return p * f + wd_set(1.0);
}

/* 2^x for x <= 0, relative error 1e-10; 0 below -1000, NaN stays NaN. */
WD_INLINE wd
wd_exp2(wd x)
{
    const wl deep = (wl)(x < wd_set(-1000.0));
    const wd y = (wd)(((wl)wd_set(-1000.0) & deep) | ((wl)x & ~deep));
    const wd t = y + wd_set(0x1.8p52), f = y - (t - wd_set(0x1.8p52));
    const wd p = wd_exp2_part(f);
    return (wd)(((wl)p + ((wl)t << 52)) & ~deep);
}

/* c = a b: rows x k times k x n, rows at most WD_ROWS and a constant, n in whole steps. Each
 * element is summed in ascending k. */
WD_INLINE void
wd_gemm(const int rows, const double *a, size_t lda, const double *b, size_t ldb, size_t k,
        size_t n, double *c, size_t ldc)
{
    for (size_t j = 0; j < n; j += WD_STEP) {
        wd acc[WD_ROWS][WD_VECS];
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
            for (int i = 0; i < WD_VECS; i++)
                acc[r][i] = wd_set(0);
        }
        for (size_t x = 0; x < k; x++) {
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++) {
                const wd by = wd_set(a[(size_t)r * lda + x]);
#pragma GCC unroll 4
                for (int i = 0; i < WD_VECS; i++)
                    acc[r][i] = by * wd_load(b + x * ldb + j + (size_t)i * WD_LANES) + acc[r][i];
            }
        }
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
            for (int i = 0; i < WD_VECS; i++)
                wd_store(c + (size_t)r * ldc + j + (size_t)i * WD_LANES, acc[r][i]);
        }
    }
}

/* The weights of one row: s [n], scores with -inf where nothing is seen, become e^(s - top); n in
 * whole vectors. Returns their sum. */
WD_INLINE double
wd_softmax(double *s, size_t n, double top)
{
    wd sum = wd_set(0);
    for (size_t j = 0; j < n; j += WD_LANES) {
        const wd e = wd_exp2((wd_load(s + j) - wd_set(top)) * wd_set(WD_LOG2E));
        sum += e;
        wd_store(s + j, e);
    }
    return wd_sum(sum);
}

#endif
