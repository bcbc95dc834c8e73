/* SPDX-License-Identifier: Apache-2.0 */
/* gemm_cells.h - matrix products on cells.
 *
 * A cell is 32 bits along the reduction: one f32, or (CELL_BF16) two bf16
 * neighbours, the lower index in the lower half. Both kinds share layouts and
 * loops; only the multiply-add differs.
 *
 * A (m x k cells) is read by broadcast from any two strides. B (k x n, n a
 * multiple of 16) stands in panels of up to 64 columns: [panel][k][width].
 * Each C element is summed in ascending k whatever m and n are, so a row's
 * bits do not depend on its neighbours. */
#ifndef ATTN_CPU_GEMM_CELLS_H
#define ATTN_CPU_GEMM_CELLS_H

#include "common/cpu/gemm_vec.h"

#ifndef CELL_BF16
#define CELL_BF16 0
#endif
/* Elements per cell. */
#define EPC (CELL_BF16 ? 2 : 1)
#define GEMM_PANEL 64
/* Cells summed in one go before they are added to C. bf16: what of B stays in
 * L1; f32: short, since a long chain of f32 additions loses more than the
 * partial sums of a plain dot product do. */
#define GEMM_KBLOCK (CELL_BF16 ? 96 : 32)

typedef struct gemm_args {
    const uint32_t *a;
    ptrdiff_t a_row, a_k; /* strides in cells */
    const uint32_t *b;
    ptrdiff_t b_panel; /* cells from panel to panel */
    float *c;
    ptrdiff_t c_row;
    const float *row_scale; /* C starts as C * row_scale[m]; NULL: as 0 */
    int add;                /* 1: C starts as it is */
    size_t m, n, k;
    /* Memory wanted soon, m x k x prefetch_bytes long: brought closer evenly
     * over the work. NULL: none. n must be at most one panel. */
    const char *prefetch;
    size_t prefetch_bytes;
} gemm_args;

/* acc + a b, lane by lane. */
GEMM_INLINE vf
cell_dot(vf acc, vu a, vu b)
{
#if CELL_BF16
    return (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)(__m512i)a, (__m512bh)(__m512i)b);
#else
    return vf_fma((vf)a, (vf)b, acc);
#endif
}

GEMM_INLINE vf
cell_fma(vf acc, uint32_t a, vu b)
{
    return cell_dot(acc, vu_set(a), b);
}

/* MR rows x NR native vectors; constants after inlining. scale NULL: C is
 * overwritten; one: C is added to. */
GEMM_INLINE void
gemm_tile(const int MR, const int NR, size_t k, const uint32_t *a, ptrdiff_t a_row, ptrdiff_t a_k,
          const uint32_t *b, ptrdiff_t b_k, float *c, ptrdiff_t c_row, const int load,
          const float *scale, const int fetch, const char *soon, size_t soon_step)
{
    vf acc[16][4];
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < NR; j++)
            acc[i][j] = vf_set(0.0f);
    }
    for (size_t x = 0; x < k; x++) {
        vu bv[4];
#pragma GCC unroll 4
        for (int j = 0; j < NR; j++)
            bv[j] = vu_load(b + j * VL);
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) {
            const uint32_t av = a[i * a_row];
#pragma GCC unroll 4
            for (int j = 0; j < NR; j++)
                acc[i][j] = cell_fma(acc[i][j], av, bv[j]);
        }
        a += a_k;
        b += b_k;
        if (fetch) {
            __builtin_prefetch(soon, 0, 2);
            soon += soon_step;
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < NR; j++) {
            float *at = c + i * c_row + j * VL;
            if (load && scale)
                acc[i][j] = vf_fma(vf_load(at), vf_set(scale[i]), acc[i][j]);
            else if (load)
                acc[i][j] += vf_load(at);
            vf_store(at, acc[i][j]);
        }
    }
}

typedef struct gemm_strip {
    const uint32_t *a;
    ptrdiff_t a_row, a_k;
    const uint32_t *b;
    ptrdiff_t b_k;
    float *c;
    ptrdiff_t c_row;
    const float *scale;
    size_t m, k;
    int load;
    const char *soon;
    size_t soon_bytes; /* per row and cell */
} gemm_strip;

#define GEMM_CALL(MR, NR, LOAD, SCALE, FETCH)                                                   \
    gemm_tile(MR, NR, s->k, a, s->a_row, s->a_k, s->b, s->b_k, c, s->c_row, LOAD, SCALE, FETCH, \
              soon, (MR)*s->soon_bytes)

#define GEMM_STEP(MR, NR)                                                                         \
    static __attribute__((noinline, unused)) void gemm_##MR##x##NR(const gemm_strip *s, size_t i) \
    {                                                                                             \
        const uint32_t *a = s->a + (ptrdiff_t)i * s->a_row;                                       \
        float *c = s->c + (ptrdiff_t)i * s->c_row;                                                \
        const char *soon = s->soon + i * s->k * s->soon_bytes;                                    \
        if (s->load && s->scale)                                                                  \
            GEMM_CALL(MR, NR, 1, s->scale + i, 0);                                                \
        else if (s->load && s->soon)                                                              \
            GEMM_CALL(MR, NR, 1, NULL, 1);                                                        \
        else if (s->load)                                                                         \
            GEMM_CALL(MR, NR, 1, NULL, 0);                                                        \
        else if (s->soon)                                                                         \
            GEMM_CALL(MR, NR, 0, NULL, 1);                                                        \
        else                                                                                      \
            GEMM_CALL(MR, NR, 0, NULL, 0);                                                        \
    }

#define GEMM_WHILE(MR, NR)              \
    for (; i + (MR) <= s->m; i += (MR)) \
    gemm_##MR##x##NR(s, i)

/* Register blocks: as many accumulators as the level has registers for, and
 * at least as many as the latency of a multiply-add asks for. */
#if VL == 16
GEMM_STEP(6, 4)
GEMM_STEP(4, 4)
GEMM_STEP(2, 4)
GEMM_STEP(1, 4)
GEMM_STEP(8, 3)
GEMM_STEP(4, 3)
GEMM_STEP(2, 3)
GEMM_STEP(1, 3)
GEMM_STEP(8, 2)
GEMM_STEP(4, 2)
GEMM_STEP(2, 2)
GEMM_STEP(1, 2)
GEMM_STEP(16, 1)
GEMM_STEP(8, 1)
GEMM_STEP(4, 1)
GEMM_STEP(2, 1)
GEMM_STEP(1, 1)

static void
gemm_strip4(const gemm_strip *s)
{
    size_t i = 0;
    GEMM_WHILE(6, 4);
    GEMM_WHILE(4, 4);
    GEMM_WHILE(2, 4);
    GEMM_WHILE(1, 4);
}

static void
gemm_strip3(const gemm_strip *s)
{
    size_t i = 0;
    GEMM_WHILE(8, 3);
    GEMM_WHILE(4, 3);
    GEMM_WHILE(2, 3);
    GEMM_WHILE(1, 3);
}

static void
gemm_strip2(const gemm_strip *s)
{
    size_t i = 0;
    GEMM_WHILE(8, 2);
    GEMM_WHILE(4, 2);
    GEMM_WHILE(2, 2);
    GEMM_WHILE(1, 2);
}

static void
gemm_strip1(const gemm_strip *s)
{
    size_t i = 0;
    GEMM_WHILE(16, 1);
    GEMM_WHILE(8, 1);
    GEMM_WHILE(4, 1);
    GEMM_WHILE(2, 1);
    GEMM_WHILE(1, 1);
}

static void
gemm_columns(gemm_strip *s, size_t width)
{
    if (width == 64)
        gemm_strip4(s);
    else if (width == 48)
        gemm_strip3(s);
    else if (width == 32)
        gemm_strip2(s);
    else
        gemm_strip1(s);
}
#elif VL == 8
GEMM_STEP(6, 2)
GEMM_STEP(4, 2)
GEMM_STEP(2, 2)
GEMM_STEP(1, 2)

static void
gemm_columns(gemm_strip *s, size_t width)
{
    const gemm_strip whole = *s;
    for (size_t j = 0; j < width; j += 16) {
        size_t i = 0;
        s->b = whole.b + j;
        s->c = whole.c + j;
        GEMM_WHILE(6, 2);
        GEMM_WHILE(4, 2);
        GEMM_WHILE(2, 2);
        GEMM_WHILE(1, 2);
    }
}
#else
GEMM_STEP(2, 4)
GEMM_STEP(1, 4)

static void
gemm_columns(gemm_strip *s, size_t width)
{
    const gemm_strip whole = *s;
    for (size_t j = 0; j < width; j += 16) {
        size_t i = 0;
        s->b = whole.b + j;
        s->c = whole.c + j;
        GEMM_WHILE(2, 4);
        GEMM_WHILE(1, 4);
    }
}
#endif

/* C = A B, or C = C * row_scale + A B, or C = C + A B. */
static __attribute__((unused)) void
gemm_cells(const gemm_args *g)
{
    for (size_t n0 = 0, p = 0; n0 < g->n; n0 += GEMM_PANEL, p++) {
        const size_t width = g->n - n0 < GEMM_PANEL ? g->n - n0 : GEMM_PANEL;
        for (size_t k0 = 0; k0 < g->k || k0 == 0; k0 += GEMM_KBLOCK) {
            const size_t left = g->k - k0;
            gemm_strip s = {
                .a = g->a + (ptrdiff_t)k0 * g->a_k,
                .a_row = g->a_row,
                .a_k = g->a_k,
                .b = g->b + (ptrdiff_t)p * g->b_panel + k0 * width,
                .b_k = (ptrdiff_t)width,
                .c = g->c + n0,
                .c_row = g->c_row,
                .scale = k0 ? NULL : g->row_scale,
                .m = g->m,
                .k = left < GEMM_KBLOCK ? left : GEMM_KBLOCK,
                .soon = g->prefetch ? g->prefetch + k0 * g->m * g->prefetch_bytes : NULL,
                .soon_bytes = g->prefetch_bytes,
                .load = k0 || g->row_scale || g->add,
            };
            gemm_columns(&s, width);
        }
    }
}

/* Where cell (k, n) of a B of kc cells and nn columns stands. */
GEMM_INLINE size_t
gemm_b_index(size_t kc, size_t nn, size_t k, size_t n)
{
    const size_t n0 = n / GEMM_PANEL * GEMM_PANEL;
    const size_t width = nn - n0 < GEMM_PANEL ? nn - n0 : GEMM_PANEL;
    return n0 * kc + k * width + (n - n0);
}

#endif /* ATTN_CPU_GEMM_CELLS_H */
