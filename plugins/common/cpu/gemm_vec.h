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

/* 2^x, relative error below 2e-7; 0 below about -126 (-inf included). x must
 * not exceed 127. */
GEMM_INLINE vf
vf_exp2(vf x)
{
#if VL == 16
    const __m512 n = _mm512_roundscale_ps((__m512)x, 0);
    const vf r = x - (vf)n;
#else
    x = vf_max(x, vf_set(-127.0f));
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
    return vf_select((vi)(x > vf_set(-126.0f)), y, vf_set(0.0f));
#endif
}

/* e^x to about one ulp, 0 far below -87. x must not exceed 88. */
GEMM_INLINE vf
vf_exp(vf x)
{
    x = vf_max(vf_set(-120.0f), x);
#if VL == 16
    const vf n = (vf)_mm512_roundscale_ps((__m512)(x * vf_set(1.44269504f)), 0);
#else
    const vf t = vf_fma(x, vf_set(1.44269504f), vf_set(12582912.0f));
    const vf n = t - vf_set(12582912.0f);
#endif
    vf r = vf_fma(n, vf_set(-0.693145752f), x);
    r = vf_fma(n, vf_set(-1.42860677e-06f), r);
    vf p = vf_fma(vf_set(0.00139012875f), r, vf_set(0.00836314634f));
    p = vf_fma(p, r, vf_set(0.0416668534f));
    p = vf_fma(p, r, vf_set(0.166665773f));
    p = vf_fma(p, r, vf_set(0.499999996f));
    p = vf_fma(p * r, r, r) + vf_set(1.0f);
#if VL == 16
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    const vf y = (vf)((vi)p + ((vi)t << 23));
    return vf_select((vi)(n > vf_set(-126.0f)), y, vf_set(0.0f));
#endif
}

/* ln x for normal positive x, relative error of a few ulp. */
GEMM_INLINE vf
vf_log(vf x)
{
    const vi bits = (vi)x - vi_set(0x3f3504f3);
    const vi e = bits >> 23;
    const vf t = (vf)((bits & vi_set(0x7fffff)) + vi_set(0x3f3504f3)) - vf_set(1.0f);
    vf p = vf_fma(vf_set(-0.0762112114f), t, vf_set(0.129046638f));
    p = vf_fma(p, t, vf_set(-0.132434607f));
    p = vf_fma(p, t, vf_set(0.141818344f));
    p = vf_fma(p, t, vf_set(-0.166090128f));
    p = vf_fma(p, t, vf_set(0.200019685f));
    p = vf_fma(p, t, vf_set(-0.250015866f));
    p = vf_fma(p, t, vf_set(0.33333326f));
    p = vf_fma(p, t, vf_set(-0.499999883f));
    const vf ef = __builtin_convertvector(e, vf);
    const vf lo = vf_fma(p, t * t, ef * vf_set(9.05800061e-06f));
    return vf_fma(ef, vf_set(0.693138123f), t + lo);
}

/* ln(1 + e^x), exact to a few ulp over the whole range. */
GEMM_INLINE vf
vf_softplus(vf x)
{
    const vf big = vf_max(x, vf_set(0.0f));
    const vf u = vf_exp(x - (big + big)); /* e^-|x| */
    const vf w = u + vf_set(1.0f);
    return big + (vf_log(w) + (u - (w - vf_set(1.0f))) / w);
}

/* x / (1 + e^-x) */
GEMM_INLINE vf
vf_silu(vf x)
{
    const vf m = vf_max(x, vf_set(-87.0f));
    const vf e = vf_exp(vf_set(0.0f) - m);
    const vf y = x / (vf_set(1.0f) + e);
    return y;
}

#endif /* ATTN_CPU_GEMM_VEC_H */
