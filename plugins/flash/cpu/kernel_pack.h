/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_pack.h - part of kernel.h: rows of the cache into words and panels.
 *
 * A panel is [steps][GEMM_COLS] words: of keys, a step is one word of head_dim and a column one
 * key, with steps of zeros up to a whole vector of words; of values, a step is one key (or a pair
 * of keys) and a column one element of head_dim_v. */
#ifndef FLASH_CPU_KERNEL_PACK_H
#define FLASH_CPU_KERNEL_PACK_H

/* Runs `call` with T, a constant equal to t. */
#define FOR_TYPE_CASE(t, call) \
    case t: {                  \
        const cpu_type T = t;  \
        call;                  \
        break;                 \
    }
#define FOR_TYPE(t, call)             \
    switch (t) {                      \
        FOR_TYPE_CASE(CPU_F32, call)  \
        FOR_TYPE_CASE(CPU_F16, call)  \
        FOR_TYPE_CASE(CPU_BF16, call) \
        FOR_TYPE_CASE(CPU_E4M3, call) \
        FOR_TYPE_CASE(CPU_E5M2, call) \
    default:                          \
        break;                        \
    }

/* n elements of type t as f32, filled with zeros up to a whole vector. */
CPU_INLINE void
row_to_f32(const cpu_type t, const void *src, float *dst, uint32_t n)
{
    const size_t size = cpu_type_size(t);
    uint32_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES)
        vf_store(dst + i, vf_load_h_n(t, (const char *)src + i * size, VF_LANES));
    if (i < n)
        vf_store(dst + i, vf_load_h_n(t, (const char *)src + i * size, n - i));
}

/* A square of keys x words, turned so that a vector holds one word of each key. */
CPU_INLINE void
pack_square(const void *const *rows, uint32_t word, const uint32_t count, float *panel)
{
    vf r[VF_LANES];
    const size_t at = 4 * (size_t)word;
    CPU_UNROLL
    for (int i = 0; i < VF_LANES; i++)
        r[i] = count == VF_LANES ? vf_load((const char *)rows[i] + at)
                                 : vf_load_n((const char *)rows[i] + at, count);
    vf_transpose(r);
    CPU_UNROLL
    for (int i = 0; i < VF_LANES; i++)
        vf_store(panel + (size_t)(word + (uint32_t)i) * GEMM_COLS, r[i]);
}

/* VF_LANES rows of words into one column strip of a panel. */
static void
pack_strip(const void *const *rows, uint32_t words, float *panel)
{
    uint32_t w = 0;
    for (; w + VF_LANES <= words; w += VF_LANES)
        pack_square(rows, w, VF_LANES, panel);
    if (w < words)
        pack_square(rows, w, words - w, panel);
}

/* Rows of the key cache, `keys` of them (whole vectors), into panels. staging: VF_LANES rows. */
static void
pack_keys(const flash_shape *shape, const void *const *rows, uint32_t keys, float *staging,
          float *panels)
{
    const void *converted[VF_LANES];
    const size_t pitch = FLASH_MAX_DIM;
    for (uint32_t j = 0; j < keys; j += VF_LANES) {
        float *panel = panels + (size_t)(j / GEMM_COLS) * shape->pitch * GEMM_COLS + j % GEMM_COLS;
        const void *const *strip = rows + j;
        if (shape->kv_type != WORD_TYPE) {
            for (uint32_t i = 0; i < VF_LANES; i++) {
                words_of_row(shape->kv_type, rows[j + i], staging + i * pitch, shape->dim);
                converted[i] = staging + i * pitch;
            }
            strip = converted;
        }
        pack_strip(strip, shape->words, panel);
    }
}

#endif
