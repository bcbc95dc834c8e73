/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_gemm.h - part of kernel.h: the register-blocked inner product.
 *
 * rows x vecs accumulators; per step one word of each row, repeated, meets vecs vectors of words.
 * A panel holds GEMM_VECS * VF_LANES columns; its rows follow each other. */
#ifndef FLASH_CPU_KERNEL_GEMM_H
#define FLASH_CPU_KERNEL_GEMM_H

#define GEMM_COLS (GEMM_VECS * VF_LANES)

CPU_INLINE void
gemm_inner(const int rows, const int vecs, vf acc[GEMM_ROWS][GEMM_VECS], const float *a, size_t lda,
           const float *panel, size_t steps)
{
    for (size_t k = 0; k < steps; k++) {
        vf b[GEMM_VECS];
        CPU_UNROLL
        for (int n = 0; n < vecs; n++)
            b[n] = vf_load(panel + k * GEMM_COLS + (size_t)(n * VF_LANES));
        CPU_UNROLL
        for (int r = 0; r < rows; r++) {
            const vf x = vf_bcast(a + (size_t)r * lda + k);
            CPU_UNROLL
            for (int n = 0; n < vecs; n++)
                acc[r][n] = word_dot(x, b[n], acc[r][n]);
        }
    }
}

/* c = a . panel, or c * scale[row] + a . panel. */
CPU_INLINE void
gemm_fixed(const int rows, const int vecs, const float *scale, const float *a, size_t lda,
           const float *panel, size_t steps, float *c, size_t ldc)
{
    vf acc[GEMM_ROWS][GEMM_VECS];
    CPU_UNROLL
    for (int r = 0; r < rows; r++) {
        CPU_UNROLL
        for (int n = 0; n < vecs; n++)
            acc[r][n] = scale ? vf_mul(vf_load(c + (size_t)r * ldc + (size_t)(n * VF_LANES)),
                                       vf_set1(scale[r]))
                              : vf_zero();
    }
    gemm_inner(rows, vecs, acc, a, lda, panel, steps);
    CPU_UNROLL
    for (int r = 0; r < rows; r++) {
        CPU_UNROLL
        for (int n = 0; n < vecs; n++)
            vf_store(c + (size_t)r * ldc + (size_t)(n * VF_LANES), acc[r][n]);
    }
}

#define GEMM_CASE(r, n)                                                                       \
    case (r)*8 + (n):                                                                         \
        if ((r) <= GEMM_ROWS && (n) <= GEMM_VECS)                                             \
            gemm_fixed((r) <= GEMM_ROWS ? (r) : 1, (n) <= GEMM_VECS ? (n) : 1, scale, a, lda, \
                       panel, steps, c, ldc);                                                 \
        break;
#define GEMM_CASES(r) GEMM_CASE(r, 1) GEMM_CASE(r, 2) GEMM_CASE(r, 3) GEMM_CASE(r, 4)
#define GEMM_SWITCH                                                                         \
    switch (rows * 8 + vecs) {                                                              \
        GEMM_CASES(1) GEMM_CASES(2) GEMM_CASES(3) GEMM_CASES(4) GEMM_CASES(5) GEMM_CASES(6) \
    }

/* S = Q . K for rows 1..GEMM_ROWS, vecs 1..GEMM_VECS. */
static void
gemm_scores(int rows, int vecs, const float *a, size_t lda, const float *panel, size_t steps,
            float *c, size_t ldc)
{
    const float *const scale = NULL;
    GEMM_SWITCH
}

/* O = O * scale + P . V. */
static void
gemm_values(int rows, int vecs, const float *scale, const float *a, size_t lda, const float *panel,
            size_t steps, float *c, size_t ldc)
{
    GEMM_SWITCH
}

#endif
