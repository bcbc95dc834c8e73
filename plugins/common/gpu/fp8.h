/* SPDX-License-Identifier: Apache-2.0 */
/* fp8.h - codes of an fp8 cache to the kernel's type; gfx942 and its emulation run this very text.
 *
 * The caches hold the OCP encodings. gfx942's own conversions are FNUZ, bias one higher: they would
 * read half the value, 0x80 as NaN, and 0x7F and 0xFF as numbers. */
#ifndef ATTN_GPU_FP8_H
#define ATTN_GPU_FP8_H

#include "common/gpu/types.h"

namespace gpu
{

/* Two codes (low byte first) to two T, exact: float holds them all, bf16 is its upper half. */
template <class T>
GPU_FN uint32_t
fp8x2_to(uint32_t codes, bool e5m2)
{
    const uint32_t m = e5m2 ? 2 : 3;
    const float lo = fp8_to_float(codes & 255u, m), hi = fp8_to_float(codes >> 8 & 255u, m);
    if constexpr (Element<T>::is_bf16)
        return float_to_bits(lo) >> 16 | (float_to_bits(hi) & 0xFFFF0000u);
    else
        return pack2<T>(lo, hi);
}

} // namespace gpu

#endif /* ATTN_GPU_FP8_H */
