/* SPDX-License-Identifier: Apache-2.0 */
/* mfma.h - the matrix words of gfx942. a and b hold four 16-bit elements of one row (column), k =
 * 4 (l / M) + e; d[r] is row 8(r/4) + 4(l/32) + r%4 (M = 32) or 4(l/16) + r (M = 16), column l%M.
 *
 * d of S^T = K Q^T is therefore the b operand of O^T = V^T P^T: P never crosses lanes. */
#ifndef ATTN_GPU_MFMA_H
#define ATTN_GPU_MFMA_H

#include "common/gpu/types.h"

#if defined(GPU_EMU)
#include "common/gpu/emu/matrix.h"

namespace gpu
{

template <class T>
void
mfma16x16x16(float (&d)[4], const uint32_t (&a)[2], const uint32_t (&b)[2], emu::Where w = EMU_HERE)
{
    emu::mfma_16x16x16(d, a, b, Element<T>::is_bf16, w);
}
template <class T>
void
mfma32x32x8(float (&d)[16], const uint32_t (&a)[2], const uint32_t (&b)[2], emu::Where w = EMU_HERE)
{
    emu::mfma_32x32x8(d, a, b, Element<T>::is_bf16, w);
}

} // namespace gpu

#elif defined(GPU_HIP)

namespace gpu
{

typedef short s16x4 __attribute__((ext_vector_type(4)));
typedef _Float16 h16x4 __attribute__((ext_vector_type(4)));
typedef float f32x4 __attribute__((ext_vector_type(4)));
typedef float f32x16 __attribute__((ext_vector_type(16)));

template <class T>
GPU_FN void
mfma16x16x16(float (&d)[4], const uint32_t (&a)[2], const uint32_t (&b)[2])
{
    f32x4 c = *reinterpret_cast<f32x4 *>(d);
    if constexpr (Element<T>::is_bf16)
        c = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(__builtin_bit_cast(s16x4, a),
                                                      __builtin_bit_cast(s16x4, b), c, 0, 0, 0);
    else
        c = __builtin_amdgcn_mfma_f32_16x16x16f16(__builtin_bit_cast(h16x4, a),
                                                  __builtin_bit_cast(h16x4, b), c, 0, 0, 0);
    *reinterpret_cast<f32x4 *>(d) = c;
}
template <class T>
GPU_FN void
mfma32x32x8(float (&d)[16], const uint32_t (&a)[2], const uint32_t (&b)[2])
{
    f32x16 c = *reinterpret_cast<f32x16 *>(d);
    if constexpr (Element<T>::is_bf16)
        c = __builtin_amdgcn_mfma_f32_32x32x8bf16_1k(__builtin_bit_cast(s16x4, a),
                                                     __builtin_bit_cast(s16x4, b), c, 0, 0, 0);
    else
        c = __builtin_amdgcn_mfma_f32_32x32x8f16(__builtin_bit_cast(h16x4, a),
                                                 __builtin_bit_cast(h16x4, b), c, 0, 0, 0);
    *reinterpret_cast<f32x16 *>(d) = c;
}

} // namespace gpu
#endif

#endif /* ATTN_GPU_MFMA_H */
