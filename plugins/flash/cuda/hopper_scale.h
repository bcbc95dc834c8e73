/* SPDX-License-Identifier: Apache-2.0 */
/* hopper_scale.h - a row of queries in shared memory to f16, in place. */
#ifndef ATTN_FLASH_CUDA_HOPPER_SCALE_H
#define ATTN_FLASH_CUDA_HOPPER_SCALE_H

#include "flash/cuda/scale.h"

namespace flash
{

template <class T>
GPU_FN uint32_t
exponent_of(const gpu::u32x4 &x)
{
    return larger(larger(exponent_of<T>(x.x), exponent_of<T>(x.y)),
                  larger(exponent_of<T>(x.z), exponent_of<T>(x.w)));
}

/* `at`: the row in the first of its swizzled slabs; four lanes a row, eight rows a warp. Times
 * what up_of says of its largest exponent. Gives the factor that takes products back. */
template <class T, int D, int SlabBytes>
GPU_FN float
hopper_scale_row(uint32_t at)
{
    constexpr uint32_t kChunks = D / 32;
    gpu::u32x4 x[kChunks];
    uint32_t most = 0;
    at += uint32_t(gpu::lane() % 4 ^ gpu::lane() / 4) * 16;
    GPU_UNROLL
    for (uint32_t i = 0; i < kChunks; i++) {
        x[i] = gpu::lds<gpu::u32x4>((at ^ i % 2 * 64) + i / 2 * SlabBytes);
        most = larger(most, exponent_of<T>(x[i]));
    }
    most = larger(most, gpu::shfl_xor(most, 1));
    most = larger(most, gpu::shfl_xor(most, 2));
    const uint32_t up = up_of(most);
    const float scale = gpu::bits_to_float(up << 23);
    GPU_UNROLL
    for (uint32_t i = 0; i < kChunks; i++)
        gpu::sts((at ^ i % 2 * 64) + i / 2 * SlabBytes,
                 gpu::u32x4{to_f16_times<T>(x[i].x, scale), to_f16_times<T>(x[i].y, scale),
                            to_f16_times<T>(x[i].z, scale), to_f16_times<T>(x[i].w, scale)});
    return gpu::bits_to_float((254 - up) << 23);
}

} // namespace flash

#endif /* ATTN_FLASH_CUDA_HOPPER_SCALE_H */
