/* SPDX-License-Identifier: Apache-2.0 */
/* hopper_out.h - rows of a warpgroup's sums to the output, sixteen bytes a lane. */
#ifndef ATTN_FLASH_CUDA_HOPPER_OUT_H
#define ATTN_FLASH_CUDA_HOPPER_OUT_H

#include "flash/cuda/finish.h"

namespace flash
{

/* Four lanes hold a row, each two columns of every eight. They trade words, so that each of them
 * has eight columns of every 32: word i of lane l becomes word l % 4 of lane i. */
GPU_FN void
trade_words(uint32_t (&w)[4])
{
    const bool odd = gpu::lane() & 1, high = gpu::lane() & 2;
    GPU_UNROLL
    for (int i = 0; i < 4; i += 2) {
        const uint32_t got = gpu::shfl_xor(odd ? w[i] : w[i + 1], 1);
        w[i] = odd ? got : w[i];
        w[i + 1] = odd ? w[i + 1] : got;
    }
    GPU_UNROLL
    for (int i = 0; i < 2; i++) {
        const uint32_t got = gpu::shfl_xor(high ? w[i] : w[i + 2], 2);
        w[i] = high ? got : w[i];
        w[i + 2] = high ? w[i + 2] : got;
    }
}

/* Row `local` of the item, whose sums are o[4 j + 2 H] and the one after it. */
template <class T, int DV, int H, int N>
GPU_FN void
write_row(const Forward &p, const Request &r, const Item &item, int local, Stat stat, float (&o)[N])
{
    const int quad = gpu::lane() % 4;
    if (item.splits > 1 || p.out_vector < 8) {
        write_columns<T, DV, DV / 8, 4, 2 * H>(p, r, item, local, stat, o, quad * 2);
        return;
    }
    const int row = item.row + local;
    const bool there = local < p.list.rows && row < r.q * p.layer.group;
    const Place at = place_of(p, r, item.head, row);
    const float scale = there ? finish_row(p, at, stat, item.head, quad == 0) : 0.0f;
    if (there)
        mend<T, DV / 4>(
            p, r, item, row, stat.max,
            [&](int i) GPU_INLINE -> float & { return o[i / 2 * 4 + 2 * H + i % 2]; },
            [&](int i) GPU_INLINE { return quad * 2 + i / 2 * 8 + i % 2; });
    GPU_UNROLL
    for (int i = 0; i < DV / 32; i++) {
        uint32_t w[4];
        GPU_UNROLL
        for (int j = 0; j < 4; j++)
            w[j] = gpu::pack2<T>(o[16 * i + 4 * j + 2 * H] * scale,
                                 o[16 * i + 4 * j + 2 * H + 1] * scale);
        trade_words(w);
        const int col = 32 * i + 8 * quad;
        uint16_t *to = static_cast<uint16_t *>(p.out) + at.out + col;
        if (there && col < p.layer.dv)
            gpu::gstore(reinterpret_cast<gpu::u32x4 *>(to), gpu::u32x4{w[0], w[1], w[2], w[3]});
    }
}

} // namespace flash

#endif /* ATTN_FLASH_CUDA_HOPPER_OUT_H */
