/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_f32.h - the flash kernel in f32 arithmetic, for one level: see kernel.h. */
#ifndef FLASH_CPU_KERNEL_F32_H
#define FLASH_CPU_KERNEL_F32_H

#include "common/cpu/simd.h"
#include "flash/cpu/flash.h"

#define WORD_TYPE CPU_F32
#define WORD_SIZE 1
#define WEIGHT_EXP vf_exp2

CPU_INLINE vf
word_dot(vf a, vf b, vf c)
{
    return vf_fma(a, b, c);
}

CPU_INLINE void
weight_store(float *p, int v, vf e)
{
    vf_store(p + v * VF_LANES, e);
}

static void words_of_row(cpu_type t, const void *src, float *dst, uint32_t n);

#include "flash/cpu/kernel_gemm.h"
#include "flash/cpu/kernel_pack.h"

static void
words_of_row(cpu_type t, const void *src, float *dst,
             uint32_t n){FOR_TYPE(t, row_to_f32(T, src, dst, n))}

CPU_INLINE void values_typed(const cpu_type t, const flash_shape *shape, const void *const *rows,
                             uint32_t keys, float *panels)
{
    const size_t size = cpu_type_size(t), pitch = (size_t)shape->key_tile * GEMM_COLS;
    for (uint32_t j = 0; j < keys; j++)
        for (uint32_t c = 0; c < shape->dim_v; c += GEMM_COLS) {
            const uint32_t left = shape->dim_v - c;
            row_to_f32(t, (const char *)rows[j] + c * size,
                       panels + c / GEMM_COLS * pitch + (size_t)j * GEMM_COLS,
                       left < GEMM_COLS ? left : GEMM_COLS);
        }
}

static void
values_of_rows(const flash_shape *shape, const void *const *rows, uint32_t keys, float *staging,
               float *panels)
{
    (void)staging;
    /* the zero row is as long as the longest row of the widest type */
    FOR_TYPE(shape->kv_type, values_typed(T, shape, rows, keys, panels))
}

CPU_INLINE vf
words_load(const cpu_type t, const void *row, uint32_t w, uint32_t n)
{
    return vf_load_h_n(t, (const char *)row + (size_t)w * cpu_type_size(t), n);
}

CPU_INLINE void
values_load(const cpu_type t, const int vecs, const void *const *rows, size_t head, uint32_t left,
            vf *b)
{
    const char *p = (const char *)rows[0] + head;
    CPU_UNROLL
    for (int n = 0; n < vecs; n++) {
        const uint32_t skip = (uint32_t)(n * VF_LANES);
        b[n] = vf_load_h_n(t, p + skip * cpu_type_size(t),
                           left - skip < VF_LANES ? left - skip : VF_LANES);
    }
}

CPU_INLINE void
values_order(cpu_type t, float *o, uint32_t cols)
{
    (void)t, (void)o, (void)cols;
}

#define values_place place_in_order

#include "flash/cpu/kernel.h"

#endif
