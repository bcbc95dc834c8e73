/* SPDX-License-Identifier: Apache-2.0 */
/* merge.h - how the decode kernel brings parts of a row together: those of a block's warps, then
 * the splits, by the block that came last: a warp takes a row, a lane four columns of it and the
 * statistics of one split.
 *
 * Written for few instructions: this code runs once a launch, at the speed at which it comes from
 * memory. */
#ifndef ATTN_FLASH_CUDA_MERGE_H
#define ATTN_FLASH_CUDA_MERGE_H

#include "flash/cuda/finish.h"

namespace flash
{

/* Four columns of a row: its statistics and values, from some of the keys. */
struct Part {
    gpu::u32x2 stat;
    gpu::u32x4 four;
};

struct Four {
    float of[4];
};

template <int Count>
GPU_FN void
add_parts(const Part (&part)[Count], Stat &all, Four &four)
{
    float max = all.max;
    GPU_UNROLL
    for (int i = 0; i < Count; i++)
        max = fmaxf(max, gpu::bits_to_float(part[i].stat.x));
    const float base = max == FLASH_NONE ? 0.0f : max, keep = gpu::exp2f_(all.max - base);
    all.max = max;
    all.sum *= keep;
    GPU_UNROLL
    for (int e = 0; e < 4; e++)
        four.of[e] *= keep;
    GPU_UNROLL
    for (int i = 0; i < Count; i++) {
        const float weight = gpu::exp2f_(gpu::bits_to_float(part[i].stat.x) - base);
        all.sum += weight * gpu::bits_to_float(part[i].stat.y);
        four.of[0] += weight * gpu::bits_to_float(part[i].four.x);
        four.of[1] += weight * gpu::bits_to_float(part[i].four.y);
        four.of[2] += weight * gpu::bits_to_float(part[i].four.z);
        four.of[3] += weight * gpu::bits_to_float(part[i].four.w);
    }
}

template <class T>
GPU_FN void
finish_four(const Forward &p, const Request &r, const Item &item, int local, Stat all,
            const Four &four, int col)
{
    const Place at = place_of(p, r, item.head, item.row + local);
    const float scale = finish_row(p, at, all, item.head, col == 0);
    store2<T>(p, at, col, four.of[0] * scale, four.of[1] * scale);
    store2<T>(p, at, col + 2, four.of[2] * scale, four.of[3] * scale);
}

/* mend() of four columns, away from what runs each time. */
template <class T>
GPU_COLD_FN Four
mend_four(const Forward &p, Request r, Item item, int row, float max, Four sums, int col)
{
    mend<T, 4>(
        p, r, item, row, max, [&](int i) GPU_INLINE -> float & { return sums.of[i]; },
        [&](int i) GPU_INLINE { return col + i; });
    return sums;
}

/* Four columns of a tile's row that exists: mended, to the output or to the split's slot. */
template <class T, int DV, int Rows>
GPU_FN void
write_four(const Forward &p, const Request &r, const Item &item, int local, Stat stat, Four four,
           int col)
{
    const float probe =
        four.of[0] * 0.0f + four.of[1] * 0.0f + four.of[2] * 0.0f + four.of[3] * 0.0f;
    if (!(probe == 0.0f))
        four = mend_four<T>(p, r, item, item.row + local, stat.max, four, col);
    if (item.splits == 1) {
        finish_four<T>(p, r, item, local, stat, four, col);
        return;
    }
    const int slot = item.slot + item.split;
    gpu::gstore(reinterpret_cast<gpu::u32x4 *>(partial_row<DV, Rows>(p.list, slot, local) + col),
                gpu::u32x4{gpu::float_to_bits(four.of[0]), gpu::float_to_bits(four.of[1]),
                           gpu::float_to_bits(four.of[2]), gpu::float_to_bits(four.of[3])});
    if (col == 0)
        gpu::gstore(reinterpret_cast<gpu::u32x2 *>(partial_stat<Rows>(p.list, slot, local)),
                    gpu::u32x2{gpu::float_to_bits(stat.max), gpu::float_to_bits(stat.sum)});
}

/* Up to kAtOnce splits of four columns, in one trip to memory. stat: this lane's split. */
template <int Pitch>
GPU_FN void
add_rows(const float *value, const float *stat, int left, Stat &all, Four &four)
{
    gpu::u32x4 v[kAtOnce];
    gpu::u32x2 mine = {gpu::float_to_bits(FLASH_NONE), 0};
    if (gpu::lane() % kAtOnce < left)
        mine = gpu::gload_shared(reinterpret_cast<const gpu::u32x2 *>(stat));
    GPU_UNROLL
    for (int i = 0; i < kAtOnce; i++) {
        v[i] = {0, 0, 0, 0};
        if (i < left)
            v[i] = gpu::gload_shared(reinterpret_cast<const gpu::u32x4 *>(value + i * Pitch));
    }
    float max = gpu::bits_to_float(mine.x);
    GPU_UNROLL
    for (int mask = 1; mask < kAtOnce; mask *= 2)
        max = fmaxf(max, gpu::shfl_xor(max, mask));
    max = fmaxf(max, all.max);
    const float base = max == FLASH_NONE ? 0.0f : max, keep = gpu::exp2f_(all.max - base);
    const float weight = gpu::exp2f_(gpu::bits_to_float(mine.x) - base);
    float sum = weight * gpu::bits_to_float(mine.y);
    GPU_UNROLL
    for (int mask = 1; mask < kAtOnce; mask *= 2)
        sum += gpu::shfl_xor(sum, mask);
    all = {max, all.sum * keep + sum};
    GPU_UNROLL
    for (int e = 0; e < 4; e++)
        four.of[e] *= keep;
    GPU_UNROLL
    for (int i = 0; i < kAtOnce; i++) {
        const float w = gpu::shfl(weight, i);
        four.of[0] += w * gpu::bits_to_float(v[i].x);
        four.of[1] += w * gpu::bits_to_float(v[i].y);
        four.of[2] += w * gpu::bits_to_float(v[i].z);
        four.of[3] += w * gpu::bits_to_float(v[i].w);
    }
}

/* col may lie past the row's end: the lane then only lends a hand. */
template <class T, int DV, int Rows>
GPU_FN void
merge_row(const Forward &p, const Item &item, int row, int col)
{
    const float *value = partial_row<DV, Rows>(p.list, item.slot, row) + min_(col, DV - 4);
    const float *stat = partial_stat<Rows>(p.list, item.slot + gpu::lane() % kAtOnce, row);
    Four four = {{0.0f, 0.0f, 0.0f, 0.0f}};
    Stat all = {FLASH_NONE, 0.0f};
    GPU_ROLLED
    for (int left = item.splits; left > 0; left -= kAtOnce) {
        add_rows<Rows * DV>(value, stat, left, all, four);
        value += kAtOnce * Rows * DV;
        stat += kAtOnce * Rows * 2;
    }
    if (col < DV)
        finish_four<T>(p, request_in(item), item, row, all, four, col);
}

/* Rows of a list's tile, by the block's Warps. */
template <class T, int DV, int Rows, int Warps>
GPU_FN void
merge_rows(const Forward &p, const Item &item)
{
    constexpr int kSpans = (DV + 127) / 128; /* of a row, by one warp each */
    const int rows = min_(Rows, item.q * p.layer.group - item.row);
    GPU_ROLLED
    for (int i = gpu::tid() / 32; i < rows * kSpans; i += Warps)
        merge_row<T, DV, Rows>(p, item, i / kSpans, i % kSpans * 128 + gpu::lane() * 4);
}

} // namespace flash

#endif /* ATTN_FLASH_CUDA_MERGE_H */
