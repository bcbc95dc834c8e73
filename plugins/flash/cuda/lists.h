/* SPDX-License-Identifier: Apache-2.0 */
/* lists.h - what both work lists of plan.h need: tiles of a request, items, sums over a block. */
#ifndef ATTN_FLASH_CUDA_LISTS_H
#define ATTN_FLASH_CUDA_LISTS_H

#include "common/gpu/tile.h"
#include "flash/cuda/rows.h"

namespace flash
{

constexpr int kPlanThreads = 256;

GPU_FN int
shared_int(uint32_t at)
{
    return gpu::lds<int32_t>(at);
}

/* The keys that a tile of rows sees; keys: how many, in tiles of list.keys. */
struct Tile {
    int from, to, keys;
};

GPU_FN Tile
tile_of(const Layer &l, const Batch &b, const Request &r, int row, const List &list)
{
    const int last = min_(row + list.rows, r.q * l.group) - 1;
    int from, to;
    key_range(l, b, r, r.position(row / l.group), r.position(last / l.group), from, to);
    from = from / list.keys * list.keys;
    return {from, to, max_(1, (to - from + list.keys - 1) / list.keys)};
}

GPU_FN bool
is_decode(const Layer &l, const Request &r)
{
    return r.q * l.group <= kDecodeRows;
}

GPU_FN void
write_item(const List &list, int at, const Item &item)
{
    gpu::u32x4 words[sizeof item / 16];
    __builtin_memcpy(words, &item, sizeof item);
    gpu::u32x4 *to = reinterpret_cast<gpu::u32x4 *>(list.items + at);
    GPU_UNROLL
    for (int i = 0; i < int(sizeof item / 16); i++)
        gpu::gstore(to + i, words[i]);
}

/* The sum of the threads before this one; all: of all threads. scratch: a shared word a thread. */
GPU_FN int
sum_before(int mine, uint32_t scratch, int *all)
{
    const uint32_t at = scratch + uint32_t(4 * gpu::tid());
    int sum = mine;
    gpu::sts<int32_t>(at, sum);
    for (int step = 1; step < kPlanThreads; step *= 2) {
        gpu::barrier();
        const int more = gpu::tid() >= step ? shared_int(at - uint32_t(4 * step)) : 0;
        gpu::barrier();
        sum += more;
        gpu::sts<int32_t>(at, sum);
    }
    gpu::barrier();
    *all = shared_int(scratch + 4 * (kPlanThreads - 1));
    gpu::barrier();
    return sum - mine;
}

} // namespace flash

#endif /* ATTN_FLASH_CUDA_LISTS_H */
