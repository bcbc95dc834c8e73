/* SPDX-License-Identifier: Apache-2.0 */
/* matrix.h - lane exchange and matrix products of the emulated machine, in the hardware's layouts.
 *
 * Products of 16-bit elements are exact in float; the sum of one instruction is taken in double
 * and rounded to float once with the accumulator (NVIDIA does not document its order). */
#ifndef ATTN_GPU_EMU_MATRIX_H
#define ATTN_GPU_EMU_MATRIX_H

#include "common/gpu/emu/machine.h"

namespace emu
{

uint32_t shuffle_bits(uint32_t value, uint32_t from, Where where);
template <class T>
T
shuffle(T value, uint32_t from, Where where)
{
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    bits = shuffle_bits(bits, from, where);
    __builtin_memcpy(&value, &bits, sizeof bits);
    return value;
}

/* value, which every lane must have. */
int uniform(int value, Where where);

void load_matrix(uint32_t (&r)[4], uint32_t address, bool transpose, Where where);
void mma16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bool bf16,
              Where where);

/* gfx942, 64 lanes: d[4] of 16x16x16 and d[16] of 32x32x8; a, b: four 16-bit elements. */
void mfma_16x16x16(float (&d)[4], const uint32_t (&a)[2], const uint32_t (&b)[2], bool bf16,
                   Where where);
void mfma_32x32x8(float (&d)[16], const uint32_t (&a)[2], const uint32_t (&b)[2], bool bf16,
                  Where where);

/* Element of a product's operand in registers or memory. */
float widen(uint16_t bits, bool bf16);

/* --------------------------------------------------------------- Hopper */

void mbarrier_init(uint32_t address, uint32_t count, Where where);
void mbarrier_expect(uint32_t address, uint32_t bytes, Where where);
void mbarrier_arrive(uint32_t address, Where where);
void mbarrier_wait(uint32_t address, uint32_t parity, Where where);
void proxy_fence();

/* A tensor that bulk copies read: up to 5 dimensions, the first contiguous, 16-bit elements. */
struct TensorMap {
    const void *base;
    uint64_t size[5];
    uint64_t stride[5]; /* bytes; [0] is 2 */
    uint32_t box[5];
    uint32_t dims;
    bool plain; /* no swizzle */
};
/* Copies a box to shared memory; elements out of bounds become zero. */
void bulk_load(uint32_t to, const TensorMap &map, uint32_t barrier, const int32_t *at, Where where);

void product_issue(const AsyncProduct &product);
void product_commit();
void product_wait(uint32_t pending, Where where);

} // namespace emu

#endif /* ATTN_GPU_EMU_MATRIX_H */
