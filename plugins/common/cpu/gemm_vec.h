/* SPDX-License-Identifier: Apache-2.0 */
/* gemm_vec.h - vectors of f32 at the level this file is compiled for.
 *
 * A kernel file is compiled once per level with that level's flags; VL, the
 * lanes of a native vector, follows. Nothing here has external linkage, so
 * levels never mix. Loads and stores need no alignment. */
#ifndef ATTN_CPU_GEMM_VEC_H
#define ATTN_CPU_GEMM_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define VL 16
#elif defined(__AVX2__)
#define VL 8
#else
#define VL 4
#endif
#if VL > 4
#include <immintrin.h>
#endif

#define GEMM_INLINE static inline __attribute__((always_inline, unused))

typedef float vf __attribute__((vector_size(4 * VL)));
typedef int32_t vi __attribute__((vector_size(4 * VL)));
typedef uint32_t vu __attribute__((vector_size(4 * VL)));

GEMM_INLINE vf
vf_load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

GEMM_INLINE void
vf_store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

GEMM_INLINE vu
vu_load(const uint32_t *p)
{
    vu v;
    memcpy(&v, p, sizeof v);
    return v;
}

GEMM_INLINE void
vu_store(uint32_t *p, vu v)
{
    memcpy(p, &v, sizeof v);
}

GEMM_INLINE vf
vf_set(float x)
{
    return x - (vf){0};
}

GEMM_INLINE vi
vi_set(int32_t x)
{
    return x - (vi){0};
}

GEMM_INLINE vu
vu_set(uint32_t x)
{
    return x - (vu){0};
}

/* a*b + c, fused where the level can. */
GEMM_INLINE vf
vf_fma(vf a, vf b, vf c)
{
#if VL == 16
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif VL == 8
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* mask ? a : b, lane by lane; mask lanes are 0 or -1. */
GEMM_INLINE vf
vf_select(vi mask, vf a, vf b)
{
    return (vf)(((vi)a & mask) | ((vi)b & ~mask));
}

GEMM_INLINE vf
vf_max(vf a, vf b)
{
#if VL == 16
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif VL == 8
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return vf_select((vi)(a > b), a, b);
#endif
}

GEMM_INLINE float
vf_sum(vf v)
{
#if VL == 16
    return _mm512_reduce_add_ps((__m512)v);
#else
    float part[VL];
    vf_store(part, v);
    for (int w = VL / 2; w > 0; w /= 2)
        for (int i = 0; i < w; i++)
            part[i] += part[i + w];
    return part[0];
#endif
}

/* 2^x, relative error below 2e-7; 0 below about -126 (-inf included), NaN stays
 * NaN. x must not exceed 127. */
GEMM_INLINE vf
vf_exp2(vf x)
{
#if VL == 16
    const __m512 n = _mm512_roundscale_ps((__m512)x, 0);
    const vf r = x - (vf)n;
#else
    x = vf_max(vf_set(-127.0f), x);
    const vf t = x + vf_set(12582912.0f);
    const vf r = x - (t - vf_set(12582912.0f));
#endif
    vf p = vf_fma(vf_set(0.00132764722f), r, vf_set(0.00967554133f));
    p = vf_fma(p, r, vf_set(0.0555071327f));
    p = vf_fma(p, r, vf_set(0.240221197f));
    p = vf_fma(p, r, vf_set(0.693146967f));
    p = vf_fma(p, r, vf_set(1.0f));
#if VL == 16
    return (vf)_mm512_scalef_ps((__m512)p, n);
#else
    const vf y = (vf)((vi)p + ((vi)t << 23));
    return vf_select((vi)(x < vf_set(-126.0f)), vf_set(0.0f), y);
#endif
}

/* e^x to about half an ulp; 0 and infinity where they are due. */
GEMM_INLINE vf
vf_exp(vf x)
{
#if VL == 16
    x = vf_max(vf_set(-120.0f), x);
    x = (vf)_mm512_min_ps((__m512)vf_set(130.0f), (__m512)x);
    const vf n = (vf)_mm512_roundscale_ps((__m512)(x * vf_set(1.44269504f)), 0);
#else
    x = vf_max(vf_set(-120.0f), x);
    x = vf_select((vi)(x > vf_set(130.0f)), vf_set(130.0f), x);
    const vf t = vf_fma(x, vf_set(1.44269504f), vf_set(12582912.0f));
    const vf n = t - vf_set(12582912.0f);
#endif
    const vf r1 = vf_fma(n, vf_set(-0.693145752f), x); /* exact */
    const vf r2 = n * vf_set(-1.42860677e-06f), r = r1 + r2;
    vf p = vf_fma(vf_set(0.000198575433f), r, vf_set(0.00139334659f));
    p = vf_fma(p, r, vf_set(0.00833336102f));
    p = vf_fma(p, r, vf_set(0.0416664676f));
    p = vf_fma(p, r, vf_set(0.166666665f));
    p = vf_fma(p, r, vf_set(0.500000001f));
    /* 1 + r in two parts: one rounding at the end. */
    const vf top = vf_set(1.0f) + r1, rest = (r1 - (top - vf_set(1.0f))) + r2;
    p = top + vf_fma(p * r, r, rest);
#if VL == 16
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    /* 2^n in two factors, so that the ends of the range round as they must. */
    const vi e = (vi)t - vi_set(0x4b400000), half = e >> 1;
    const vi one = vi_set(127);
    return p * (vf)((half + one) << 23) * (vf)((e - half + one) << 23);
#endif
}

/* ln(1 + u) for 0 <= u <= 1, to about one ulp. */
GEMM_INLINE vf
vf_log1p(vf u)
{
    vf q = vf_fma(vf_set(0.00283597276f), u, vf_set(-0.0173406976f));
    q = vf_fma(q, u, vf_set(0.0496074974f));
    q = vf_fma(q, u, vf_set(-0.0916999633f));
    q = vf_fma(q, u, vf_set(0.130517359f));
    q = vf_fma(q, u, vf_set(-0.163716587f));
    q = vf_fma(q, u, vf_set(0.199580081f));
    q = vf_fma(q, u, vf_set(-0.249968909f));
    q = vf_fma(q, u, vf_set(0.333332425f));
    q = vf_fma(q, u, vf_set(-0.499999996f));
    return vf_fma(q * u, u, u);
}

/* ln(1 + e^x), to about one ulp over the whole range. */
GEMM_INLINE vf
vf_softplus(vf x)
{
    const vf big = vf_max(x, vf_set(0.0f));
    return big + vf_log1p(vf_exp(x - (big + big))); /* e^-|x| */
}

/* x / (1 + e^-x) */
GEMM_INLINE vf
vf_silu(vf x)
{
    const vf one = vf_set(1.0f), minus = vf_set(0.0f) - x;
    const vi negative = (vi)(x < vf_set(0.0f));
    const vf e = vf_exp(vf_select(negative, x, minus)); /* e^-|x| */
    const vf num = vf_select(negative, x * e, x);
    const vf d = one + e, d_rest = e - (d - one);
#if VL == 16
    vf r = (vf)_mm512_rcp14_ps((__m512)d);
    r = vf_fma(r, one - d * r, r);
#else
    const vf r = one / d;
#endif
    const vf y = num * r;
    return vf_fma(r, (num - y * d) - y * d_rest, y);
}

/* The same two for results that are rounded to 16 bits at once. */
GEMM_INLINE vf
vf_exp_short(vf x)
{
    return vf_exp2(vf_max(vf_set(-126.0f), x * vf_set(1.44269504f)));
}

GEMM_INLINE vf
vf_silu_short(vf x)
{
    const vf d = vf_set(1.0f) + vf_exp_short(vf_set(0.0f) - vf_max(x, vf_set(-87.0f)));
#if VL == 16
    const vf r = (vf)_mm512_rcp14_ps((__m512)d);
    return x * vf_fma(r, vf_set(1.0f) - d * r, r);
#else
    return x / d;
#endif
}

#endif /* ATTN_CPU_GEMM_VEC_H */
