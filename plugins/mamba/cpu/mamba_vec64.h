/* SPDX-License-Identifier: Apache-2.0 */
/* mamba_vec64.h - vectors of f64 beside those of gemm_vec.h: as many bytes,
 * half the lanes. The functions are right to 1e-10, far below what f32 shows. */
#ifndef ATTN_MAMBA_CPU_MAMBA_VEC64_H
#define ATTN_MAMBA_CPU_MAMBA_VEC64_H

#include "common/cpu/gemm_vec.h"

#define VD (VL / 2)
#define VD_LOG2E 1.4426950408889634

typedef double vd __attribute__((vector_size(8 * VD)));
typedef int64_t vl __attribute__((vector_size(8 * VD)));
typedef float vh __attribute__((vector_size(4 * VD)));

GEMM_INLINE vd
vd_load(const double *p)
{
    vd v;
    memcpy(&v, p, sizeof v);
    return v;
}

GEMM_INLINE void
vd_store(double *p, vd v)
{
    memcpy(p, &v, sizeof v);
}

/* VD floats. */
GEMM_INLINE vd
vd_widen(const float *p)
{
    vh v;
    memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, vd);
}

GEMM_INLINE void
vd_narrow(float *p, vd v)
{
    const vh f = __builtin_convertvector(v, vh);
    memcpy(p, &f, sizeof f);
}

GEMM_INLINE vd
vd_set(double x)
{
    return x - (vd){0};
}

/* mask ? a : b, lane by lane; mask lanes are 0 or -1. */
GEMM_INLINE vd
vd_select(vl mask, vd a, vd b)
{
    return (vd)(((vl)a & mask) | ((vl)b & ~mask));
}

/* 2^x; beyond the range of f64 its ends, which f32 sees as 0 and infinity. */
GEMM_INLINE vd
vd_exp2(vd x)
{
#if VL == 16
    const vd n = (vd)_mm512_roundscale_pd((__m512d)x, 0);
    const vd f = (vd)_mm512_reduce_pd((__m512d)x, 0); /* x - n; 0 at infinity */
#else
    x = vd_select((vl)(x < vd_set(-1021.0)), vd_set(-1021.0), x);
    x = vd_select((vl)(x > vd_set(1023.0)), vd_set(1023.0), x);
    const vd t = x + vd_set(6755399441055744.0), n = t - vd_set(6755399441055744.0);
    const vd f = x - n;
#endif
    vd p = vd_set(1.5297323760701075e-05) * f + vd_set(0.0001546144469856913);
    p = p * f + vd_set(0.001333350238616277);
    p = p * f + vd_set(0.009618056678524637);
    p = p * f + vd_set(0.055504108839096185);
    p = p * f + vd_set(0.24022650922288757);
    p = p * f + vd_set(0.6931471805599453);
    p = p * f + vd_set(1.0);
#if VL == 16
    return (vd)_mm512_scalef_pd((__m512d)p, (__m512d)n);
#else
    return (vd)((vl)p + ((vl)t << 52));
#endif
}

/* ln(1 + e^x) as max(x, 0) + ln(1 + u), u = e^-|x|, the latter as
 * 2 atanh(u / (2 + u)). */
GEMM_INLINE vd
vd_softplus(vd x)
{
    const vl positive = (vl)(x > vd_set(0.0));
    const vd big = vd_select(positive, x, vd_set(0.0));
    const vd u = vd_exp2((x - (big + big)) * vd_set(VD_LOG2E));
    const vd s = u / (vd_set(2.0) + u), w = s * s;
    vd q = vd_set(0.2186056831430696) * w + vd_set(0.1712253666729019);
    q = q * w + vd_set(0.22305127385582954);
    q = q * w + vd_set(0.2856814575820109);
    q = q * w + vd_set(0.4000006142120794);
    q = q * w + vd_set(0.6666666623792175);
    q = q * w + vd_set(2.000000000004866);
    return big + q * s;
}

/* x / (1 + e^-x) */
GEMM_INLINE vd
vd_silu(vd x)
{
    return x / (vd_set(1.0) + vd_exp2(x * vd_set(-VD_LOG2E)));
}

#endif /* ATTN_MAMBA_CPU_MAMBA_VEC64_H */
