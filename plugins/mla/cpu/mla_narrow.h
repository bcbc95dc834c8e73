/* SPDX-License-Identifier: Apache-2.0 */
/* mla_narrow.h - tiles of up to 16 rows on 512-bit vectors: a decode step.
 *
 * With so few rows each key is used a few times only, so what surrounds the
 * multiply-adds decides. Four cells of a key are broadcast at once to four
 * groups of lanes, so that one load feeds four multiply-adds (two, of eight
 * rows). Eight rows: a vector of scores holds two keys. Values are paired in
 * registers, on the way from the cache row to the product. Each row sums in
 * the same order whether the tile is 8 or 16 wide. */
#ifndef ATTN_MLA_CPU_MLA_NARROW_H
#define ATTN_MLA_CPU_MLA_NARROW_H

#include "mla/cpu/mla_tile.h"

/* Keys between a row's prefetch and its use. */
#define NARROW_AHEAD 12

#if VL == 16
#define NARROW_KEYS 6

/* a[0..3]: four lanes a group, their sums as [group][a]. */
GEMM_INLINE __m512
narrow_sums(vf a0, vf a1, vf a2, vf a3)
{
    const __m512 s0 = _mm512_unpacklo_ps((__m512)a0, (__m512)a1);
    const __m512 s1 = _mm512_unpackhi_ps((__m512)a0, (__m512)a1);
    const __m512 s2 = _mm512_unpacklo_ps((__m512)a2, (__m512)a3);
    const __m512 s3 = _mm512_unpackhi_ps((__m512)a2, (__m512)a3);
    const __m512 lo = _mm512_add_ps(s0, s1), hi = _mm512_add_ps(s2, s3);
    return _mm512_add_ps(_mm512_shuffle_ps(lo, hi, 0x44), _mm512_shuffle_ps(lo, hi, 0xee));
}

/* Scores of KEYS keys (two at a time where G is 2). Lane 4 h + x of vector g
 * of a step holds cell x of row G h + g; sums over x come last. */
GEMM_INLINE void
narrow_keys(const int KEYS, const int G, const core_tile *t, const char *const *rows,
            const char *const *ahead, float *out)
{
    vf acc[NARROW_KEYS][4];
    const uint32_t *q = t->panel;
    const size_t steps = t->k / 4;
#pragma GCC unroll 6
    for (int i = 0; i < KEYS; i++) {
#pragma GCC unroll 4
        for (int g = 0; g < G; g++)
            acc[i][g] = vf_set(0.0f);
    }
    for (size_t j = 0, x = 0; j < (size_t)KEYS; j++) {
        const char *soon = ahead[j];
        for (const size_t end = (j + 1) * steps / (size_t)KEYS; x < end; x++, q += G * 16) {
            vu qv[4];
#pragma GCC unroll 4
            for (int g = 0; g < G; g++)
                qv[g] = vu_load(q + g * 16);
#pragma GCC unroll 6
            for (int i = 0; i < KEYS; i++) {
                const vu key = (vu)_mm512_broadcast_i32x4(
                    _mm_loadu_si128((const __m128i *)(const void *)(rows[i] + x * 16)));
#pragma GCC unroll 4
                for (int g = 0; g < G; g++)
                    acc[i][g] = cell_dot(acc[i][g], key, qv[g]);
            }
            __builtin_prefetch(soon, 0, 2);
            __builtin_prefetch(soon + KEYS * 8, 0, 2);
            soon += KEYS * 16;
        }
    }
    if (G == 4) {
#pragma GCC unroll 6
        for (int i = 0; i < KEYS; i++)
            vf_store(out + i * 16, (vf)narrow_sums(acc[i][0], acc[i][1], acc[i][2], acc[i][3]));
        return;
    }
    const __m512i order = _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
#pragma GCC unroll 3
    for (int i = 0; i + 1 < KEYS; i += 2) {
        const __m512 two = narrow_sums(acc[i][0], acc[i][1], acc[i + 1][0], acc[i + 1][1]);
        vf_store(out + i * 8, (vf)_mm512_permutexvar_ps(order, two));
    }
}

/* rows: those of the keys and NARROW_AHEAD more. */
static void
narrow_scores(const core_tile *t, const char *const *rows, size_t num)
{
    const char *const *ahead = rows + NARROW_AHEAD;
    float *out = t->scores;
    size_t i = 0;
    if (t->width == 8) {
        for (; i + 6 <= num; i += 6)
            narrow_keys(6, 2, t, rows + i, ahead + i, out + i * 8);
        for (; i + 2 <= num; i += 2)
            narrow_keys(2, 2, t, rows + i, ahead + i, out + i * 8);
        if (i < num) {
            const char *const twice[] = {rows[i], rows[i]};
            narrow_keys(2, 2, t, twice, twice, out + i * 8);
        }
        return;
    }
    for (; i + 6 <= num; i += 6)
        narrow_keys(6, 4, t, rows + i, ahead + i, out + i * 16);
    for (; i + 2 <= num; i += 2)
        narrow_keys(2, 4, t, rows + i, ahead + i, out + i * 16);
    for (; i < num; i++)
        narrow_keys(1, 4, t, rows + i, ahead + i, out + i * 16);
}

/* The halves of a vector change places. */
GEMM_INLINE vf
narrow_swap(vf v)
{
    return (vf)_mm512_shuffle_f32x4((__m512)v, (__m512)v, 0x4e);
}

/* Eight rows: keys a row must not see, and the one past an odd number. */
static void
narrow_mask(const core_tile *t, int32_t key0, size_t num)
{
    vi limit = vi_set(0);
    const int32_t end = key0 + (int32_t)num;
    for (int i = 0; i < 16; i++) {
        const int32_t row = t->limit[i % 8];
        limit[i] = (row < end ? row : end) - (i < 8 ? 0 : 1);
    }
    for (size_t x = 0; x < num; x += 2) {
        float *s = t->scores + x * 8;
        const vi seen = (vi)(vi_set(key0 + (int32_t)x) < limit);
        vf_store(s, vf_select(seen, vf_load(s), vf_set(-__builtin_inff())));
    }
}

/* Probabilities of four keys, lanes [key][row], as cells. */
GEMM_INLINE void
narrow_put(uint32_t *p, vf a, vf b)
{
#if CELL_BF16
    const __m512i order =
        _mm512_set_epi16(31, 23, 30, 22, 29, 21, 28, 20, 27, 19, 26, 18, 25, 17, 24, 16, 15, 7, 14,
                         6, 13, 5, 12, 4, 11, 3, 10, 2, 9, 1, 8, 0);
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a);
    vu_store(p, (vu)_mm512_permutexvar_epi16(order, both));
#else
    vu_store(p, (vu)a);
    vu_store(p + 16, (vu)b);
#endif
}

/* Eight rows: new maximum, factor, sum and probabilities. Lanes of even keys
 * and of odd ones are summed apart. */
static void
narrow_softmax(core_tile *t, int32_t key0, size_t num)
{
    const float *s = t->scores;
    const size_t n = (num + 1) / 2 * 2;
    if (num % 2 || key0 + (int32_t)num > t->least_limit)
        narrow_mask(t, key0, num);
    const vf scale = vf_set(t->scale2), none = vf_set(0.0f), old = vf_load(t->max);
    vf m = vf_load(s);
    for (size_t x = 2; x < n; x += 2)
        m = vf_max(m, vf_load(s + x * 8));
    const vf max = vf_max(old, vf_max(m, narrow_swap(m)) * scale);
    const vf alpha = vf_exp2(vf_max(vf_set(-160.0f), old - max));
    vf sum = vf_load(t->sum) * alpha;
    for (size_t x = 0; x < n; x += 4) {
        const vf a = core_prob(s + x * 8, scale, max);
        const vf b = x + 2 < n ? core_prob(s + (x + 2) * 8, scale, max) : none;
        sum += a;
        sum += b;
        narrow_put(t->probs + x / EPC * 8, a, b);
    }
    const vf low = (vf)_mm512_maskz_mov_ps(0xff, (__m512)(sum + narrow_swap(sum)));
    vf_store(t->max, max);
    vf_store(t->alpha, alpha);
    vf_store(t->sum, low);
}

/* Cells of 32 columns (16: the upper halves are zero) of EPC keys. */
GEMM_INLINE void
narrow_pair(const int NR, const char *const *rows, size_t at, vu *b)
{
#if CELL_BF16
    const __mmask32 half = 0xffff;
    const __m512i x =
        NR == 2 ? _mm512_loadu_si512(rows[0] + at) : _mm512_maskz_loadu_epi16(half, rows[0] + at);
    const __m512i y =
        NR == 2 ? _mm512_loadu_si512(rows[1] + at) : _mm512_maskz_loadu_epi16(half, rows[1] + at);
    b[0] = (vu)_mm512_unpacklo_epi16(x, y);
    b[1] = (vu)_mm512_unpackhi_epi16(x, y);
#else
    const uint32_t *x = (const uint32_t *)(const void *)(rows[0] + at);
    b[0] = vu_load(x);
    if (NR == 2)
        b[1] = vu_load(x + 16);
#endif
}

/* The columns of a row in order: pairing leaves them in quarters. */
GEMM_INLINE void
narrow_order(vf *v)
{
#if CELL_BF16
    const __m512i lo = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i hi = _mm512_add_epi32(lo, _mm512_set1_epi32(8));
    const __m512 a = (__m512)v[0], b = (__m512)v[1];
    v[0] = (vf)_mm512_permutex2var_ps(a, lo, b);
    v[1] = (vf)_mm512_permutex2var_ps(a, hi, b);
#else
    (void)v;
#endif
}

/* MR rows from row on, NR * 16 columns at `at` bytes of the cache rows, keys
 * from..to. scale: C starts as C * alpha; add: as it is. */
GEMM_INLINE void
narrow_block(const int MR, const int NR, const core_tile *t, size_t row, const char *const *rows,
             size_t from, size_t to, size_t at, float *c, int add, int scale)
{
    vf acc[8][2];
    const uint32_t *p = t->probs + from / EPC * t->width + row;
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
        acc[i][0] = acc[i][1] = vf_set(0.0f);
    for (size_t x = from; x < to; x += EPC, p += t->width) {
        vu b[2] = {vu_set(0), vu_set(0)};
        narrow_pair(NR, rows + x, at, b);
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) {
            const vu by = vu_set(p[i]);
            acc[i][0] = cell_dot(acc[i][0], by, b[0]);
            if (NR == 2 || CELL_BF16)
                acc[i][1] = cell_dot(acc[i][1], by, b[1]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++, c += t->out_row) {
        narrow_order(acc[i]);
#pragma GCC unroll 2
        for (int j = 0; j < NR; j++) {
            if (scale)
                acc[i][j] =
                    vf_fma(vf_load(c + j * 16), vf_set(t->alpha[row + (size_t)i]), acc[i][j]);
            else if (add)
                acc[i][j] += vf_load(c + j * 16);
            vf_store(c + j * 16, acc[i][j]);
        }
    }
}

#define NARROW_STEP(MR, NR)                                                              \
    static __attribute__((noinline, unused)) void narrow_##MR##x##NR(                    \
        const core_tile *t, size_t row, const char *const *rows, size_t from, size_t to, \
        size_t at, float *c, int add, int scale)                                         \
    {                                                                                    \
        narrow_block(MR, NR, t, row, rows, from, to, at, c, add, scale);                 \
    }
NARROW_STEP(8, 2)
NARROW_STEP(4, 2)
NARROW_STEP(1, 2)
NARROW_STEP(8, 1)
NARROW_STEP(1, 1)

/* All rows of the tile, columns n.. */
static void
narrow_columns(const core_tile *t, const char *const *rows, size_t from, size_t to, size_t n,
               int wide)
{
    const int add = from != 0, scale = !add && !t->fresh;
    const size_t at = n * 4 / EPC;
    float *c = t->out + n;
    size_t i = 0;
    for (; i + 8 <= t->rows; i += 8, c += 8 * t->out_row)
        (wide ? narrow_8x2 : narrow_8x1)(t, i, rows, from, to, at, c, add, scale);
    for (; wide && i + 4 <= t->rows; i += 4, c += 4 * t->out_row)
        narrow_4x2(t, i, rows, from, to, at, c, add, scale);
    for (; i < t->rows; i++, c += t->out_row)
        (wide ? narrow_1x2 : narrow_1x1)(t, i, rows, from, to, at, c, add, scale);
}

/* After softmax: the latent part of num rows; rows[num] may be overwritten. */
static void
narrow_values(core_tile *t, const char **rows, size_t num)
{
    static const uint32_t zero[512] = {0};
    if (num % EPC)
        rows[num] = (const char *)zero;
    for (size_t n = 0; n < t->vcols; n += 32)
        for (size_t from = 0; from < num; from += GEMM_KBLOCK * EPC) {
            const size_t left = num - from;
            const size_t to = from + (left < GEMM_KBLOCK * EPC ? left : GEMM_KBLOCK * EPC);
            narrow_columns(t, rows, from, to, n, n + 32 <= t->vcols);
        }
}
#endif

#endif /* ATTN_MLA_CPU_MLA_NARROW_H */
