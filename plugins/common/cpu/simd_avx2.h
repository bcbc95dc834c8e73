/* SPDX-License-Identifier: Apache-2.0 */
/* simd_avx2.h - part of simd.h: eight lanes of AVX2, FMA, F16C. */
#ifndef CPU_SIMD_AVX2_H
#define CPU_SIMD_AVX2_H

#include <immintrin.h>

typedef __m256 vf;
#define VF_LANES 8

CPU_INLINE __m256i
vf_first(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

CPU_INLINE vf
vf_load(const void *p)
{
    return _mm256_loadu_ps((const float *)p);
}

CPU_INLINE void
vf_store(void *p, vf v)
{
    _mm256_storeu_ps((float *)p, v);
}

CPU_INLINE vf
vf_load_n(const void *p, size_t n)
{
    return _mm256_maskload_ps((const float *)p, vf_first(n));
}

CPU_INLINE void
vf_store_n(void *p, vf v, size_t n)
{
    _mm256_maskstore_ps((float *)p, vf_first(n), v);
}

CPU_INLINE vf
vf_set1(float x)
{
    return _mm256_set1_ps(x);
}

CPU_INLINE vf
vf_zero(void)
{
    return _mm256_setzero_ps();
}

CPU_INLINE vf
vf_bcast(const void *p)
{
    return _mm256_broadcast_ss((const float *)p);
}

CPU_INLINE vf
vf_iota(void)
{
    return _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
}

CPU_INLINE vf
vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}

CPU_INLINE vf
vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}

CPU_INLINE vf
vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}

CPU_INLINE vf
vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}

CPU_INLINE vf
vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

CPU_INLINE vf
vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}

CPU_INLINE vf
vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}

CPU_INLINE vf
vf_neg(vf a)
{
    return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f));
}

CPU_INLINE vf
vf_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}

CPU_INLINE vf
vf_copysign(vf mag, vf sign)
{
    const vf s = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(s, mag), _mm256_and_ps(s, sign));
}

CPU_INLINE vf
vf_lt_select(vf a, vf b, vf x, vf y)
{
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

CPU_INLINE vf
vf_keep(vf v, int lo, int hi, vf fill)
{
    const __m256i i = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i m = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(lo), i),
                                          _mm256_cmpgt_epi32(_mm256_set1_epi32(hi), i));
    return _mm256_blendv_ps(fill, v, _mm256_castsi256_ps(m));
}

CPU_INLINE vf
vf_round(vf x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

CPU_INLINE vf
vf_ldexp(vf x, vf n)
{
    const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    const vf scale = _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
    /* a NaN in n came with a NaN in x: there the product must not be cleared */
    const vf keep = _mm256_cmp_ps(n, _mm256_set1_ps(-126.0f), _CMP_NLT_UQ);
    const vf y = _mm256_and_ps(keep, _mm256_mul_ps(x, scale));
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

CPU_INLINE float
vf_hsum(vf v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

CPU_INLINE float
vf_hmax(vf v)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

CPU_INLINE vf
vf_from_e4m3(__m128i c)
{
    const __m256i w = _mm256_cvtepu8_epi32(c), mag = _mm256_and_si256(w, _mm256_set1_epi32(0x7f));
    const vf x =
        _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(mag, 20)), _mm256_set1_ps(0x1p120f));
    const __m256i nan = _mm256_cmpeq_epi32(mag, _mm256_set1_epi32(0x7f));
    return vf_copysign(_mm256_blendv_ps(x, _mm256_set1_ps(NAN), _mm256_castsi256_ps(nan)),
                       _mm256_castsi256_ps(_mm256_slli_epi32(w, 24)));
}

CPU_INLINE __m128i
vf_to_bf16(vf v)
{
    const __m256i u = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    r = _mm256_srli_epi32(_mm256_blendv_epi8(r, quiet, nan), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}

CPU_INLINE vf
vf_load_h_n(cpu_type t, const void *p, size_t n)
{
    __m128i h = _mm_setzero_si128();
    switch (t) {
    case CPU_F32:
        return vf_load_n(p, n);
    case CPU_F16:
    case CPU_BF16:
        if (n == 8)
            h = _mm_loadu_si128((const __m128i *)p);
        else
            memcpy(&h, p, 2 * n);
        if (t == CPU_F16)
            return _mm256_cvtph_ps(h);
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
    default:
        if (n == 8)
            h = _mm_loadl_epi64((const __m128i *)p);
        else
            memcpy(&h, p, n);
        if (t == CPU_E4M3)
            return vf_from_e4m3(h);
        return _mm256_cvtph_ps(_mm_slli_epi16(_mm_cvtepu8_epi16(h), 8));
    }
}

CPU_INLINE void
vf_store_h_n(cpu_type t, void *p, vf v, size_t n)
{
    float x[8];
    __m128i h;
    switch (t) {
    case CPU_F32:
        vf_store_n(p, v, n);
        return;
    case CPU_F16:
    case CPU_BF16:
        h = t == CPU_BF16 ? vf_to_bf16(v)
                          : _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        if (n == 8)
            _mm_storeu_si128((__m128i *)p, h);
        else
            memcpy(p, &h, 2 * n);
        return;
    default:
        vf_store(x, v);
        for (size_t i = 0; i < n; i++)
            cpu_put(t, p, i, x[i]);
    }
}

CPU_INLINE vf
vf_reduce(const vf x[8])
{
    vf y[4], z[2];
    CPU_UNROLL
    for (int i = 0; i < 4; i++)
        y[i] = _mm256_add_ps(_mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]),
                             _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]));
    CPU_UNROLL
    for (int i = 0; i < 2; i++)
        z[i] = _mm256_add_ps(_mm256_shuffle_ps(y[2 * i], y[2 * i + 1], 0x44),
                             _mm256_shuffle_ps(y[2 * i], y[2 * i + 1], 0xee));
    return _mm256_add_ps(_mm256_permute2f128_ps(z[0], z[1], 0x20),
                         _mm256_permute2f128_ps(z[0], z[1], 0x31));
}

CPU_INLINE vf
vf_swap(vf v, const int s)
{
    if (s == 4)
        return _mm256_permute2f128_ps(v, v, 1);
    return s == 1 ? _mm256_permute_ps(v, 0xb1) : _mm256_permute_ps(v, 0x4e);
}

CPU_INLINE vf
vf_lane_mod(const int n)
{
    const __m256i i = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cvtepi32_ps(_mm256_and_si256(i, _mm256_set1_epi32(n - 1)));
}

CPU_INLINE void
vf_transpose(vf r[8])
{
    vf t[8];
    CPU_UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    CPU_UNROLL
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    CPU_UNROLL
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    CPU_UNROLL
    for (int i = 0; i < 8; i++)
        r[i] = t[i];
}

#endif
