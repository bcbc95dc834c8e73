/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_gemm_amx.h - part of kernel.h: inner products on AMX tiles, in place of kernel_gemm.h.
 *
 * All tiles are 16 rows of 64 bytes: A 16 rows x 16 words, B 16 steps x 16 columns, C 16 rows x 16
 * columns. Tiles 0..3 sum, 4 and 5 hold rows, 6 and 7 columns. Rows past the last one are computed
 * with whatever stands there and go nowhere; steps and columns come in whole tiles. */
#ifndef FLASH_CPU_KERNEL_GEMM_AMX_H
#define FLASH_CPU_KERNEL_GEMM_AMX_H

#define GEMM_COLS (GEMM_VECS * VF_LANES)
#define AMX_STEPS 16

static void
amx_enter(void)
{
    uint8_t config[64] __attribute__((aligned(64))) = {1};
    for (int i = 0; i < 8; i++) {
        config[16 + 2 * i] = 64;
        config[48 + i] = 16;
    }
    _tile_loadconfig(config);
}

/* One or two column tiles, all rows in one or two row tiles. ld in words; c is read where keep. */
CPU_INLINE void
amx_block(const int tall, const int wide, const int keep, const float *a, size_t lda,
          const float *panel, size_t steps, float *c, size_t ldc)
{
    const size_t a_bytes = 4 * lda, b_bytes = 4 * GEMM_COLS, c_bytes = 4 * ldc;
    float *const c1 = c + 16 * ldc;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (keep) {
        _tile_loadd(0, c, c_bytes);
        if (wide)
            _tile_loadd(1, c + 16, c_bytes);
        if (tall)
            _tile_loadd(2, c1, c_bytes);
        if (tall && wide)
            _tile_loadd(3, c1 + 16, c_bytes);
    }
    for (size_t k = 0; k < steps; k += AMX_STEPS) {
        _tile_loadd(4, a + k, a_bytes);
        _tile_loadd(6, panel + k * GEMM_COLS, b_bytes);
        _tile_dpbf16ps(0, 4, 6);
        if (wide) {
            _tile_loadd(7, panel + k * GEMM_COLS + 16, b_bytes);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (tall) {
            _tile_loadd(5, a + 16 * lda + k, a_bytes);
            _tile_dpbf16ps(2, 5, 6);
            if (wide)
                _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, c_bytes);
    if (wide)
        _tile_stored(1, c + 16, c_bytes);
    if (tall)
        _tile_stored(2, c1, c_bytes);
    if (tall && wide)
        _tile_stored(3, c1 + 16, c_bytes);
}

CPU_INLINE void
amx_columns(int rows, int vecs, const int keep, const float *a, size_t lda, const float *panel,
            size_t steps, float *c, size_t ldc)
{
    for (int n = 0; n < vecs; n += 2) {
        const size_t at = (size_t)n * VF_LANES;
        if (rows > 16 && n + 1 < vecs)
            amx_block(1, 1, keep, a, lda, panel + at, steps, c + at, ldc);
        else if (rows > 16)
            amx_block(1, 0, keep, a, lda, panel + at, steps, c + at, ldc);
        else if (n + 1 < vecs)
            amx_block(0, 1, keep, a, lda, panel + at, steps, c + at, ldc);
        else
            amx_block(0, 0, keep, a, lda, panel + at, steps, c + at, ldc);
    }
}

/* S = Q . K; rows of a and of the panel are padded with zeros to whole tiles. */
static void
gemm_scores(int rows, int vecs, const float *a, size_t lda, const float *panel, size_t steps,
            float *c, size_t ldc)
{
    amx_columns(rows, vecs, 0, a, lda, panel, steps, c, ldc);
}

/* O = O * scale + P . V; steps is a multiple of AMX_STEPS. */
static void
gemm_values(int rows, int vecs, const float *scale, const float *a, size_t lda, const float *panel,
            size_t steps, float *c, size_t ldc)
{
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < vecs && scale[r] != 1; n++) {
            float *at = c + (size_t)r * ldc + (size_t)(n * VF_LANES);
            vf_store(at, vf_mul(vf_load(at), vf_set1(scale[r])));
        }
    amx_columns(rows, vecs, 1, a, lda, panel, steps, c, ldc);
}

#endif
