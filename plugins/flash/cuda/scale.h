/* SPDX-License-Identifier: Apache-2.0 */
/* scale.h - queries for fp8 caches, whose elements become f16: each row times a power of two. */
#ifndef ATTN_FLASH_CUDA_SCALE_H
#define ATTN_FLASH_CUDA_SCALE_H

#include "common/gpu/tile.h"

namespace flash
{

GPU_FN uint32_t
larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* The exponents of two elements, the larger one. */
template <class T>
GPU_FN uint32_t
exponent_of(uint32_t two)
{
    float lo, hi;
    gpu::unpack2<T>(two, lo, hi);
    return larger(gpu::float_to_bits(lo) >> 23 & 255u, gpu::float_to_bits(hi) >> 23 & 255u);
}

template <class T>
GPU_FN uint32_t
to_f16_times(uint32_t two, float scale)
{
    float lo, hi;
    gpu::unpack2<T>(two, lo, hi);
    return gpu::pack2<gpu::f16>(lo * scale, hi * scale);
}

/* The exponent of the factor for a row whose largest element has this one: brings it to 1..2, or to
 * 2..4 where it is the largest that there is, so what is lost lies 2^-24 under it. A row of zeros,
 * or with what is not finite, stays. 254 - up is the factor's that takes products back. */
GPU_FN uint32_t
up_of(uint32_t most)
{
    return most == 0 || most == 255 ? 127 : most == 254 ? 1 : 254 - most;
}

} // namespace flash

#endif /* ATTN_FLASH_CUDA_SCALE_H */
