/* SPDX-License-Identifier: Apache-2.0 */
/* gemm_convert.h - rows of elements to f32, to cells, and back, at the level
 * this file is compiled for. Include after CELL_BF16 is set. */
#ifndef ATTN_CPU_GEMM_CONVERT_H
#define ATTN_CPU_GEMM_CONVERT_H

#include "common/cpu/gemm_cells.h"
#include "common/cpu/number.h"
#if CELL_BF16
#include "common/cpu/fp8_bf16.h"
#endif

#if VL == 16
GEMM_INLINE vf
convert_load16(const uint16_t *p, cpu_type t)
{
    const __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);
    if (t == CPU_F16)
        return (vf)_mm512_cvtph_ps(h);
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16);
}

GEMM_INLINE vi
convert_load8(const uint8_t *p)
{
    return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}
#elif VL == 8
GEMM_INLINE vf
convert_load16(const uint16_t *p, cpu_type t)
{
    const __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
    if (t == CPU_F16)
        return (vf)_mm256_cvtph_ps(h);
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16);
}

GEMM_INLINE vi
convert_load8(const uint8_t *p)
{
    return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
#endif

#if VL > 4
/* Codes have no arithmetic meaning above 0x7f: sign, exponent and mantissa
 * move into place and one multiplication repairs the bias, subnormals
 * included. */
GEMM_INLINE vf
convert_fp8(vi c, cpu_type t)
{
    const vi sign = (c & vi_set(0x80)) << 24, em = c & vi_set(0x7f);
    const vi shifted = t == CPU_E4M3 ? em << 20 : em << 21;
    const vf x = (vf)shifted * vf_set(t == CPU_E4M3 ? 0x1p120f : 0x1p112f);
    const vi special = t == CPU_E4M3 ? (vi)(em == vi_set(0x7f)) & vi_set(0x7fc00000)
                                     : (vi)(em >= vi_set(0x7c)) & vi_set(0x7f800000);
    return (vf)((vi)x | sign | special);
}
#endif

GEMM_INLINE vf
convert_get(const void *p, cpu_type t, size_t i)
{
    if (t == CPU_F32)
        return vf_load((const float *)p + i);
#if VL > 4
    if (t == CPU_F16 || t == CPU_BF16)
        return convert_load16((const uint16_t *)p + i, t);
    return convert_fp8(convert_load8((const uint8_t *)p + i), t);
#else
    float x[VL];
    for (size_t j = 0; j < VL; j++)
        x[j] = cpu_get(t, p, i + j);
    return vf_load(x);
#endif
}

GEMM_INLINE void
convert_put(void *p, cpu_type t, size_t i, vf x)
{
    if (t == CPU_F32) {
        vf_store((float *)p + i, x);
        return;
    }
#if VL == 16
    if (t == CPU_F16) {
        const __m256i h = _mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT);
        _mm256_storeu_si256((__m256i *)(void *)((uint16_t *)p + i), h);
        return;
    }
#if CELL_BF16
    if (t == CPU_BF16) {
        _mm256_storeu_si256((__m256i *)(void *)((uint16_t *)p + i),
                            (__m256i)_mm512_cvtneps_pbh((__m512)x));
        return;
    }
#endif
    if (t == CPU_BF16) {
        const vu u = (vu)x;
        const vu r = (u + vu_set(0x7fff) + (u >> 16 & vu_set(1))) >> 16;
        const vi nan = (vi)(x != x);
        const vu y = (vu)((vi)(u >> 16 | vu_set(0x40)) & nan) | (r & (vu)~nan);
        _mm256_storeu_si256((__m256i *)(void *)((uint16_t *)p + i),
                            _mm512_cvtepi32_epi16((__m512i)y));
        return;
    }
#endif
    float v[VL];
    vf_store(v, x);
    for (size_t j = 0; j < VL; j++)
        cpu_put(t, p, i + j, v[j]);
}

/* n elements to f32. */
static inline __attribute__((unused)) void
convert_to_f32(float *dst, const void *src, cpu_type t, size_t n)
{
    size_t i = 0;
    if (t == CPU_F32) {
        memcpy(dst, src, n * sizeof *dst);
        return;
    }
    if (t == CPU_BF16) {
        for (; i + VL <= n; i += VL)
            vf_store(dst + i, convert_get(src, CPU_BF16, i));
    } else {
        for (; i + VL <= n; i += VL)
            vf_store(dst + i, convert_get(src, t, i));
    }
    for (; i < n; i++)
        dst[i] = cpu_get(t, src, i);
}

/* n values from f32. */
static inline __attribute__((unused)) void
convert_from_f32(void *dst, cpu_type t, const float *src, size_t n)
{
    size_t i = 0;
    for (; i + VL <= n; i += VL)
        convert_put(dst, t, i, vf_load(src + i));
    for (; i < n; i++)
        cpu_put(t, dst, i, src[i]);
}

#if CELL_BF16
GEMM_INLINE __m256i
cell_round(vf x)
{
    return (__m256i)_mm512_cvtneps_pbh((__m512)x);
}

/* Cells whose lower halves are lo, upper halves hi, lane by lane. */
GEMM_INLINE vu
cell_pair(vf lo, vf hi)
{
    const __m512i idx = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)hi, (__m512)lo);
    return (vu)_mm512_permutexvar_epi16(idx, both);
}
#endif

/* n f32 values (a multiple of 16) to a row of n / EPC cells. */
static inline __attribute__((unused)) void
cells_from_f32(uint32_t *dst, const float *src, size_t n)
{
#if CELL_BF16
    for (size_t i = 0; i < n; i += 16)
        _mm256_storeu_si256((__m256i *)(void *)(dst + i / 2), cell_round(vf_load(src + i)));
#else
    memcpy(dst, src, n * sizeof *dst);
#endif
}

#if CELL_BF16
/* What rounding n f32 values to cells has lost, as cells. */
static inline __attribute__((unused)) void
cells_from_rest(uint32_t *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        const vf x = vf_load(src + i);
        const __m512i up = _mm512_slli_epi32(_mm512_cvtepu16_epi32(cell_round(x)), 16);
        _mm256_storeu_si256((__m256i *)(void *)(dst + i / 2), cell_round(x - (vf)up));
    }
}
#endif

#if CELL_BF16
/* Whole vectors of n codes to cells; returns how many codes that were. */
GEMM_INLINE size_t
cells_from_fp8(uint32_t *dst, const uint8_t *src, const int e5m2, size_t n)
{
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        const __m256i codes = _mm256_loadu_si256((const __m256i *)(const void *)(src + i));
        _mm512_storeu_si512(dst + i / 2, fp8_to_bf16(codes, e5m2));
    }
    return i;
}
#endif

/* n elements (a multiple of 16) to cells. */
static inline __attribute__((unused)) void
cells_from(uint32_t *dst, const void *src, cpu_type t, size_t n)
{
#if CELL_BF16
    size_t i = 0;
    if (t == CPU_BF16) {
        memcpy(dst, src, n * 2);
        return;
    }
    if (t == CPU_E4M3)
        i = cells_from_fp8(dst, src, 0, n);
    else if (t == CPU_E5M2)
        i = cells_from_fp8(dst, src, 1, n);
    for (; i < n; i += 16)
        _mm256_storeu_si256((__m256i *)(void *)(dst + i / 2), cell_round(convert_get(src, t, i)));
#else
    convert_to_f32((float *)(void *)dst, src, t, n);
#endif
}

/* Rows a and b of n f32 (n a multiple of 16) as the B cells of one k pair:
 * lower halves a, upper halves b (EPC 1: b is unused). */
static inline __attribute__((unused)) void
cells_zip_f32(uint32_t *dst, const float *a, const float *b, size_t n)
{
#if CELL_BF16
    for (size_t i = 0; i < n; i += 16)
        vu_store(dst + i, cell_pair(vf_load(a + i), vf_load(b + i)));
#else
    (void)b;
    memcpy(dst, a, n * sizeof *dst);
#endif
}

/* The same from two rows of cells. */
static inline __attribute__((unused)) void
cells_zip(uint32_t *dst, const uint32_t *a, const uint32_t *b, size_t n)
{
#if CELL_BF16
    const __m512i lo = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40,
                                        8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i hi = _mm512_add_epi16(lo, _mm512_set1_epi16(16));
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        const __m512i x = (__m512i)vu_load(a + i / 2), y = (__m512i)vu_load(b + i / 2);
        vu_store(dst + i, (vu)_mm512_permutex2var_epi16(x, lo, y));
        vu_store(dst + i + 16, (vu)_mm512_permutex2var_epi16(x, hi, y));
    }
    for (; i < n; i += 16) {
        const __m512i x =
            _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)(a + i / 2)));
        const __m512i y =
            _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)(b + i / 2)));
        vu_store(dst + i, (vu)_mm512_permutex2var_epi16(x, lo, y));
    }
#else
    (void)b;
    memcpy(dst, a, n * sizeof *dst);
#endif
}

#endif /* ATTN_CPU_GEMM_CONVERT_H */
