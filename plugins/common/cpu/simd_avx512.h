/* SPDX-License-Identifier: Apache-2.0 */
/* simd_avx512.h - part of simd.h: sixteen lanes of AVX-512 F, BW, DQ, VL. */
#ifndef CPU_SIMD_AVX512_H
#define CPU_SIMD_AVX512_H

#include <immintrin.h>

typedef __m512 vf;
#define VF_LANES 16

#define VF_FIRST(n) ((__mmask16)((1u << (n)) - 1u))

CPU_INLINE vf
vf_load(const void *p)
{
    return _mm512_loadu_ps(p);
}

CPU_INLINE void
vf_store(void *p, vf v)
{
    _mm512_storeu_ps(p, v);
}

CPU_INLINE vf
vf_load_n(const void *p, size_t n)
{
    return _mm512_maskz_loadu_ps(VF_FIRST(n), p);
}

CPU_INLINE void
vf_store_n(void *p, vf v, size_t n)
{
    _mm512_mask_storeu_ps(p, VF_FIRST(n), v);
}

CPU_INLINE vf
vf_set1(float x)
{
    return _mm512_set1_ps(x);
}

CPU_INLINE vf
vf_zero(void)
{
    return _mm512_setzero_ps();
}

CPU_INLINE vf
vf_bcast(const void *p)
{
    return _mm512_broadcastss_ps(_mm_load_ss((const float *)p));
}

CPU_INLINE vf
vf_iota(void)
{
    return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

CPU_INLINE vf
vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

CPU_INLINE vf
vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

CPU_INLINE vf
vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

CPU_INLINE vf
vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

CPU_INLINE vf
vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

CPU_INLINE vf
vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

CPU_INLINE vf
vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

CPU_INLINE vf
vf_neg(vf a)
{
    return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f));
}

CPU_INLINE vf
vf_abs(vf a)
{
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a);
}

CPU_INLINE vf
vf_copysign(vf mag, vf sign)
{
    const vf s = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(s, mag), _mm512_and_ps(s, sign));
}

CPU_INLINE vf
vf_lt_select(vf a, vf b, vf x, vf y)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}

CPU_INLINE vf
vf_keep(vf v, int lo, int hi, vf fill)
{
    const __m512i i = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __mmask16 m = _mm512_mask_cmplt_epi32_mask(
        _mm512_cmpge_epi32_mask(i, _mm512_set1_epi32(lo)), i, _mm512_set1_epi32(hi));
    return _mm512_mask_blend_ps(m, fill, v);
}

CPU_INLINE vf
vf_round(vf x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

CPU_INLINE vf
vf_ldexp(vf x, vf n)
{
    return _mm512_scalef_ps(x, n);
}

CPU_INLINE float
vf_hsum(vf v)
{
    return _mm512_reduce_add_ps(v);
}

CPU_INLINE float
vf_hmax(vf v)
{
    return _mm512_reduce_max_ps(v);
}

CPU_INLINE vf
vf_from_e4m3(__m128i c)
{
    const __m512i w = _mm512_cvtepu8_epi32(c), mag = _mm512_and_si512(w, _mm512_set1_epi32(0x7f));
    const vf x =
        _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32(mag, 20)), _mm512_set1_ps(0x1p120f));
    const __mmask16 nan = _mm512_cmpeq_epi32_mask(mag, _mm512_set1_epi32(0x7f));
    return vf_copysign(_mm512_mask_blend_ps(nan, x, _mm512_set1_ps(NAN)),
                       _mm512_castsi512_ps(_mm512_slli_epi32(w, 24)));
}

CPU_INLINE vf
vf_from_bf16(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

CPU_INLINE __m256i
vf_to_bf16(vf v)
{
#if defined(__AVX512BF16__)
    return (__m256i)_mm512_cvtneps_pbh(v);
#else
    const __m512i u = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    r = _mm512_mask_or_epi32(r, nan, u, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16));
#endif
}

CPU_INLINE vf
vf_load_h_n(cpu_type t, const void *p, size_t n)
{
    const __mmask16 m = VF_FIRST(n);
    switch (t) {
    case CPU_F16:
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, p));
    case CPU_BF16:
        return vf_from_bf16(_mm256_maskz_loadu_epi16(m, p));
    case CPU_E4M3:
        return vf_from_e4m3(_mm_maskz_loadu_epi8(m, p));
    case CPU_E5M2:
        return _mm512_cvtph_ps(
            _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_maskz_loadu_epi8(m, p)), 8));
    default:
        return vf_load_n(p, n);
    }
}

CPU_INLINE void
vf_store_h_n(cpu_type t, void *p, vf v, size_t n)
{
    const __mmask16 m = VF_FIRST(n);
    float x[16];
    switch (t) {
    case CPU_F32:
        vf_store_n(p, v, n);
        return;
    case CPU_F16:
        _mm256_mask_storeu_epi16(p, m,
                                 _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
        return;
    case CPU_BF16:
        _mm256_mask_storeu_epi16(p, m, vf_to_bf16(v));
        return;
    default:
        vf_store(x, v);
        for (size_t i = 0; i < n; i++)
            cpu_put(t, p, i, x[i]);
    }
}

/* Within each quarter a0+a2, b0+b2, a1+a3, b1+b3; of two such, vf_add_pairs_pd makes four sums of
 * the quarter, in order; vf_add_quarters adds a's quarters in pairs, then b's. */
CPU_INLINE vf
vf_add_pairs(vf a, vf b)
{
    return _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
}

CPU_INLINE vf
vf_add_pairs_pd(vf a, vf b)
{
    const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
    return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}

CPU_INLINE vf
vf_add_quarters(vf a, vf b)
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

CPU_INLINE vf
vf_reduce(const vf x[16])
{
    vf y[8], z[4];
    CPU_UNROLL
    for (int i = 0; i < 8; i++)
        y[i] = vf_add_pairs(x[2 * i], x[2 * i + 1]);
    CPU_UNROLL
    for (int i = 0; i < 4; i++)
        z[i] = vf_add_pairs_pd(y[2 * i], y[2 * i + 1]);
    return vf_add_quarters(vf_add_quarters(z[0], z[1]), vf_add_quarters(z[2], z[3]));
}

CPU_INLINE vf
vf_swap(vf v, const int s)
{
    switch (s) {
    case 1:
        return _mm512_permute_ps(v, 0xb1);
    case 2:
        return _mm512_permute_ps(v, 0x4e);
    case 4:
        return _mm512_shuffle_f32x4(v, v, 0xb1);
    default:
        return _mm512_shuffle_f32x4(v, v, 0x4e);
    }
}

CPU_INLINE vf
vf_lane_mod(const int n)
{
    const __m512i i = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_cvtepi32_ps(_mm512_and_si512(i, _mm512_set1_epi32(n - 1)));
}

CPU_INLINE void
vf_transpose(vf r[16])
{
    vf t[16];
    CPU_UNROLL
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    CPU_UNROLL
    for (int i = 0; i < 16; i += 4) {
        const __m512d a = _mm512_castps_pd(t[i]), b = _mm512_castps_pd(t[i + 1]);
        const __m512d c = _mm512_castps_pd(t[i + 2]), d = _mm512_castps_pd(t[i + 3]);
        r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    CPU_UNROLL
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
    CPU_UNROLL
    for (int i = 0; i < 8; i++) {
        r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    }
}

#endif
