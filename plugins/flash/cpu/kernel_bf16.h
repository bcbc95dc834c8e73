/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_bf16.h - the flash kernel on pairs of bf16 with f32 sums, for AVX-512: see kernel.h.
 *
 * A word holds two neighbours: of head_dim in Q and K, of two keys in P and V. Products of
 * bf16 are exact in f32 and fp8 is exact in bf16: only P is rounded. */
#ifndef FLASH_CPU_KERNEL_BF16_H
#define FLASH_CPU_KERNEL_BF16_H

#include "common/cpu/fp8_bf16.h"
#if defined(__AVX512VBMI__)
#include "common/cpu/fp8_vbmi.h"
#define WORDS_TWO(t) ((t) == CPU_E4M3 || (t) == CPU_E5M2)
#else
#define WORDS_TWO(t) ((void)(t), 0)
#endif
#include "common/cpu/simd.h"
#include "flash/cpu/flash.h"

#define WORD_TYPE CPU_BF16
#define WORD_SIZE 2
#define WEIGHT_EXP vf_exp2_short

CPU_INLINE vf
word_dot(vf a, vf b, vf c)
{
    return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
}

CPU_INLINE void
weight_store(float *p, int v, vf e)
{
    _mm256_storeu_si256((__m256i *)(void *)(p + v * (VF_LANES / 2)), vf_to_bf16(e));
}

static void words_of_row(cpu_type t, const void *src, float *dst, uint32_t n);

#ifdef KERNEL_AMX
#include "flash/cpu/kernel_gemm_amx.h"
#define KERNEL_ENTER amx_enter()
#define KERNEL_LEAVE _tile_release()
#else
#include "flash/cpu/kernel_gemm.h"
#endif
#include "flash/cpu/kernel_pack.h"

CPU_INLINE void
fp8_row(const cpu_type t, const void *src, float *dst, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 32) {
        const uint32_t left = n - i;
        const __mmask32 m = left < 32 ? (1u << left) - 1 : ~0u;
        const __m256i c = _mm256_maskz_loadu_epi8(m, (const char *)src + i);
        _mm512_storeu_si512((char *)dst + 2 * (size_t)i, fp8_to_bf16(c, t == CPU_E5M2));
    }
}

static void
words_of_row(cpu_type t, const void *src, float *dst, uint32_t n)
{
    if (t == CPU_E4M3)
        fp8_row(CPU_E4M3, src, dst, n);
    else
        fp8_row(CPU_E5M2, src, dst, n);
}

/* Two value rows into pairs, columns c..c+n-1, n <= VF_LANES. */
CPU_INLINE vf
pair_rows(const void *even, const void *odd, uint32_t c, uint32_t n)
{
    const __mmask16 m = VF_FIRST(n);
    const __m512i a =
        _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, (const uint16_t *)even + c));
    const __m512i b = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, (const uint16_t *)odd + c));
    return _mm512_castsi512_ps(_mm512_or_si512(a, _mm512_slli_epi32(b, 16)));
}

static void
pack_pair(const flash_shape *shape, const void *even, const void *odd, float *at, size_t pitch)
{
    for (uint32_t c = 0; c < shape->dim_v; c += VF_LANES) {
        const uint32_t left = shape->dim_v - c;
        vf_store(at + c / GEMM_COLS * pitch + c % GEMM_COLS,
                 pair_rows(even, odd, c, left < VF_LANES ? left : VF_LANES));
    }
}

static void
values_of_rows(const flash_shape *shape, const void *const *rows, uint32_t keys, float *staging,
               float *panels)
{
    const size_t pitch = (size_t)shape->key_tile / 2 * GEMM_COLS;
    for (uint32_t j = 0; j < keys; j += 2) {
        const void *even = rows[j], *odd = rows[j + 1];
        if (shape->kv_type != CPU_BF16) {
            words_of_row(shape->kv_type, even, staging, shape->dim_v);
            words_of_row(shape->kv_type, odd, staging + FLASH_MAX_DIM, shape->dim_v);
            even = staging;
            odd = staging + FLASH_MAX_DIM;
        }
        pack_pair(shape, even, odd, panels + (size_t)(j / 2) * GEMM_COLS, pitch);
    }
}

/* 32 elements of a row from element e on, n of them real, as bf16. */
CPU_INLINE __m512i
halves_load(const cpu_type t, const void *row, uint32_t e, uint32_t n)
{
    const __mmask32 m = n < 32 ? (1u << n) - 1 : ~0u;
    if (t == CPU_BF16)
        return _mm512_maskz_loadu_epi16(m, (const uint16_t *)row + e);
    return fp8_to_bf16(_mm256_maskz_loadu_epi8(m, (const uint8_t *)row + e), t == CPU_E5M2);
}

CPU_INLINE vf
words_load(const cpu_type t, const void *row, uint32_t w, uint32_t n)
{
    return _mm512_castsi512_ps(halves_load(t, row, 2 * w, 2 * n));
}

#if defined(__AVX512VBMI__)
CPU_INLINE __m512i
codes_load(const void *row, uint32_t n)
{
    return _mm512_maskz_loadu_epi8(n < 64 ? (1ull << n) - 1 : ~0ull, row);
}

CPU_INLINE void
words_two(const cpu_type t, const void *row, uint32_t w, vf *y)
{
    __m512i x[2];
    fp8_to_bf16_wide(codes_load((const char *)row + 2 * (size_t)w, 64), t == CPU_E5M2, x);
    y[0] = _mm512_castsi512_ps(x[0]);
    y[1] = _mm512_castsi512_ps(x[1]);
}

/* Vectors 0 to 3 get the four column pairs 0.., 4.., 8.. and 12.. of each sixteen. */
CPU_INLINE void
values_wide(const cpu_type t, const void *even, const void *odd, uint32_t left, vf *b)
{
    const __m512i e = codes_load(even, left), o = codes_load(odd, left);
    __m512i x[4];
    fp8_to_bf16_wide(_mm512_unpacklo_epi8(e, o), t == CPU_E5M2, x);
    fp8_to_bf16_wide(_mm512_unpackhi_epi8(e, o), t == CPU_E5M2, x + 2);
    CPU_UNROLL
    for (int n = 0; n < 4; n++)
        b[n] = _mm512_castsi512_ps(x[n]);
}
#else
CPU_INLINE void
words_two(const cpu_type t, const void *row, uint32_t w, vf *y)
{
    y[0] = words_load(t, row, w, VF_LANES);
    y[1] = words_load(t, row, w + VF_LANES, VF_LANES);
}

CPU_INLINE void
values_wide(const cpu_type t, const void *even, const void *odd, uint32_t left, vf *b)
{
    (void)t, (void)even, (void)odd, (void)left, (void)b;
}
#endif

CPU_INLINE void
queries_order(float *q, uint32_t words)
{
    for (; words >= 2 * VF_LANES; words -= 2 * VF_LANES, q += 2 * VF_LANES) {
        const vf a = vf_load(q), b = vf_load(q + VF_LANES);
        vf_store(q, _mm512_shuffle_f32x4(a, b, 0x88));
        vf_store(q + VF_LANES, _mm512_shuffle_f32x4(a, b, 0xdd));
    }
}

/* Pairs of columns in the order of two unpacks, which need no index; values_order mends it. */
CPU_INLINE void
values_load(const cpu_type t, const int vecs, const void *const *rows, size_t head, uint32_t left,
            vf *b)
{
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40,
                                         8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const void *first = (const char *)rows[0] + head, *second = (const char *)rows[1] + head;
    if (WORDS_TWO(t) && vecs == 4) {
        values_wide(t, first, second, left, b);
        return;
    }
    CPU_UNROLL
    for (int n = 0; n < vecs; n += 2) {
        const uint32_t skip = (uint32_t)(n * VF_LANES);
        const __m512i even = halves_load(t, first, skip, left - skip);
        const __m512i odd = halves_load(t, second, skip, left - skip);
        if (n + 1 == vecs) {
            b[n] = _mm512_castsi512_ps(_mm512_permutex2var_epi16(even, low, odd));
            continue;
        }
        b[n] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(even, odd));
        b[n + 1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(even, odd));
    }
}

/* values_order takes whole pairs of vectors: a vector left over is in order. */
static uint32_t
values_place(cpu_type t, uint32_t c, uint32_t cols)
{
    const uint32_t square = c / (4 * VF_LANES) * (4 * VF_LANES);
    if (WORDS_TWO(t) && square + 4 * VF_LANES <= cols)
        return square + c % 16 / 4 * VF_LANES + c % 64 / 16 * 4 + c % 4;
    const uint32_t pair = c / (2 * VF_LANES) * (2 * VF_LANES), in = c % (2 * VF_LANES);
    if (pair + 2 * VF_LANES > cols)
        return c;
    return pair + in % 8 / 4 * VF_LANES + in / 8 * 4 + in % 4;
}

/* A square of quarter vectors, transposed. */
CPU_INLINE void
quarters_order(float *o)
{
    vf a[4], b[4];
    CPU_UNROLL
    for (int n = 0; n < 4; n++)
        a[n] = vf_load(o + n * VF_LANES);
    CPU_UNROLL
    for (int n = 0; n < 4; n += 2) {
        b[n] = _mm512_shuffle_f32x4(a[n], a[n + 1], 0x44);
        b[n + 1] = _mm512_shuffle_f32x4(a[n], a[n + 1], 0xee);
    }
    CPU_UNROLL
    for (int n = 0; n < 2; n++) {
        vf_store(o + 2 * n * VF_LANES, _mm512_shuffle_f32x4(b[n], b[n + 2], 0x88));
        vf_store(o + (2 * n + 1) * VF_LANES, _mm512_shuffle_f32x4(b[n], b[n + 2], 0xdd));
    }
}

CPU_INLINE void
values_order(cpu_type t, float *o, uint32_t cols)
{
    for (; WORDS_TWO(t) && cols >= 64; cols -= 64, o += 64)
        quarters_order(o);
    const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    for (; cols >= 2 * VF_LANES; cols -= 2 * VF_LANES, o += 2 * VF_LANES) {
        const vf a = vf_load(o), b = vf_load(o + VF_LANES);
        vf_store(o, _mm512_permutex2var_ps(a, low, b));
        vf_store(o + VF_LANES, _mm512_permutex2var_ps(a, high, b));
    }
}

#include "flash/cpu/kernel.h"

#endif
