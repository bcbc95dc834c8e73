/* SPDX-License-Identifier: Apache-2.0 */
/* finish.h - from (maximum, sum, weighted values) of a row to its output, and the merge of splits.
 *
 * Splits of a tile leave partial results in their slots; the block that comes last merges them in
 * the order of the splits, so the result does not depend on who came last. */
#ifndef ATTN_FLASH_CUDA_FINISH_H
#define ATTN_FLASH_CUDA_FINISH_H

#include "flash/cuda/mend.h"

namespace flash
{

/* max in log2 units, -inf and sum 0 when the row saw nothing. */
struct Stat {
    float max, sum;
};

/* Where packed row `row` of an item lies in out, and its head. */
struct Place {
    int64_t out, lse;
    int head;
};

GPU_FN Place
place_of(const Forward &p, const Request &r, int kv_head, int row)
{
    const int token = r.start + row / p.layer.group;
    const int head = kv_head * p.layer.group + row % p.layer.group;
    return {token * p.out_token + head * p.out_head, token * p.lse_token + head * p.lse_head, head};
}

/* The factor of the row's weighted values. Writes lse if asked (one thread a row does). */
GPU_FN float
finish_row(const Forward &p, const Place &at, Stat s, int kv_head, bool write_lse)
{
    float scale = 0.0f, lse = FLASH_NONE;
    if (s.sum != 0.0f) { /* a NaN goes on */
        float max = s.max, sum = s.sum;
        if (p.sinks) {
            const float sink = gpu::gload(p.sinks + at.head) * kLog2e;
            max = fmaxf(s.max, sink);
            sum = s.sum * gpu::exp2f_(s.max - max) + gpu::exp2f_(sink - max);
        }
        scale = gpu::exp2f_(s.max - max) / sum;
        if (p.v_scale)
            scale *= gpu::gload(p.v_scale + kv_head);
        lse = (max + gpu::log2f_(sum)) * kLn2;
    }
    if (write_lse && p.lse)
        gpu::gstore(p.lse + at.lse, lse);
    return scale;
}

template <class T>
GPU_FN void
store2(const Forward &p, const Place &at, int col, float lo, float hi)
{
    uint16_t *out = static_cast<uint16_t *>(p.out) + at.out + col;
    const uint32_t two = gpu::pack2<T>(lo, hi);
    if (p.out_vector && col + 1 < p.layer.dv) {
        gpu::gstore(reinterpret_cast<uint32_t *>(out), two);
        return;
    }
    if (col < p.layer.dv)
        gpu::gstore(out, uint16_t(two));
    if (col + 1 < p.layer.dv)
        gpu::gstore(out + 1, uint16_t(two >> 16));
}

/* Rows of a list's tiles: Rows where a kernel knows it, else 0. */
template <int Rows>
GPU_FN int
rows_of(const List &list)
{
    return Rows ? Rows : list.rows;
}

/* One partial row of values, and its statistics. */
template <int DV, int Rows = 0>
GPU_FN float *
partial_row(const List &list, int slot, int row)
{
    return list.partial + (int64_t{slot} * rows_of<Rows>(list) + row) * DV;
}

template <int Rows = 0>
GPU_FN float *
partial_stat(const List &list, int slot, int row)
{
    return list.partial_ml + (int64_t{slot} * rows_of<Rows>(list) + row) * 2;
}

constexpr int kAtOnce = 16; /* splits whose numbers are under way together */

/* Adds splits s, s + 1, ... of four columns of a row: one trip to memory. */
template <int DV>
GPU_FN void
add_splits(const Forward &p, const Item &item, int s, int row, int col, Stat &all, float (&four)[4])
{
    gpu::u32x4 value[kAtOnce];
    gpu::u32x2 stat[kAtOnce];
    GPU_UNROLL
    for (int i = 0; i < kAtOnce; i++) {
        stat[i] = {gpu::float_to_bits(FLASH_NONE), 0};
        value[i] = {0, 0, 0, 0};
        if (s + i >= item.splits)
            continue;
        const int slot = item.slot + s + i;
        stat[i] = gpu::gload_shared(
            reinterpret_cast<const gpu::u32x2 *>(partial_stat(p.list, slot, row)));
        value[i] = gpu::gload_shared(
            reinterpret_cast<const gpu::u32x4 *>(partial_row<DV>(p.list, slot, row) + col));
    }
    float max = all.max;
    GPU_UNROLL
    for (int i = 0; i < kAtOnce; i++)
        max = fmaxf(max, gpu::bits_to_float(stat[i].x));
    const float base = max == FLASH_NONE ? 0.0f : max, keep = gpu::exp2f_(all.max - base);
    all.max = max;
    all.sum *= keep;
    GPU_UNROLL
    for (int e = 0; e < 4; e++)
        four[e] *= keep;
    GPU_UNROLL
    for (int i = 0; i < kAtOnce; i++) {
        const float weight = gpu::exp2f_(gpu::bits_to_float(stat[i].x) - base);
        all.sum += weight * gpu::bits_to_float(stat[i].y);
        four[0] += weight * gpu::bits_to_float(value[i].x);
        four[1] += weight * gpu::bits_to_float(value[i].y);
        four[2] += weight * gpu::bits_to_float(value[i].z);
        four[3] += weight * gpu::bits_to_float(value[i].w);
    }
}

/* The merge, by all threads of the block that came last: a thread takes four columns of a row. */
template <class T, int DV, int Threads>
GPU_FN void
merge_splits(const Forward &p, const Request &r, const Item &item, int t)
{
    const int rows = min_(p.list.rows, r.q * p.layer.group - item.row);
    GPU_ROLLED
    for (int i = t; i < rows * (DV / 4); i += Threads) {
        const int row = i / (DV / 4), col = i % (DV / 4) * 4;
        float four[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        Stat all = {FLASH_NONE, 0.0f};
        GPU_ROLLED
        for (int s = 0; s < item.splits; s += kAtOnce)
            add_splits<DV>(p, item, s, row, col, all, four);
        const Place at = place_of(p, r, item.head, item.row + row);
        const float scale = finish_row(p, at, all, item.head, col == 0);
        store2<T>(p, at, col, four[0] * scale, four[1] * scale);
        store2<T>(p, at, col + 2, four[2] * scale, four[3] * scale);
    }
}

/* Count pairs of columns col, col + 8, ... of a tile's row: to the output, or to the split's slot.
 * o holds a pair every Pitch values, from First; it is mended first. */
template <class T, int DV, int Count, int Pitch, int First, int N>
GPU_FN void
write_columns(const Forward &p, const Request &r, const Item &item, int local, Stat stat,
              float (&o)[N], int col)
{
    const int row = item.row + local;
    if (local >= p.list.rows || row >= r.q * p.layer.group)
        return;
    mend<T, 2 * Count>(
        p, r, item, row, stat.max,
        [&](int i) GPU_INLINE -> float & { return o[i / 2 * Pitch + First + i % 2]; },
        [&](int i) GPU_INLINE { return col + i / 2 * 8 + i % 2; });
    if (item.splits > 1) {
        const int slot = item.slot + item.split;
        float *to = partial_row<DV>(p.list, slot, local) + col;
        GPU_UNROLL
        for (int c = 0; c < Count; c++) {
            gpu::gstore(to + 8 * c, o[c * Pitch + First]);
            gpu::gstore(to + 8 * c + 1, o[c * Pitch + First + 1]);
        }
        if (col == 0) {
            gpu::gstore(partial_stat(p.list, slot, local), stat.max);
            gpu::gstore(partial_stat(p.list, slot, local) + 1, stat.sum);
        }
        return;
    }
    const Place at = place_of(p, r, item.head, row);
    const float scale = finish_row(p, at, stat, item.head, col == 0);
    GPU_UNROLL
    for (int c = 0; c < Count; c++)
        store2<T>(p, at, col + 8 * c, o[c * Pitch + First] * scale,
                  o[c * Pitch + First + 1] * scale);
}

/* All threads of the block meet here. */
struct WholeBlock {
    static GPU_FN void meet()
    {
        gpu::barrier();
    }
    static GPU_FN int number()
    {
        return gpu::tid();
    }
};

/* Called by a Team once its part of a split item is written: whether all others are there. word: a
 * shared word of its own. */
template <class Team = WholeBlock>
GPU_FN bool
arrive(const Forward &p, const Item &item, uint32_t word)
{
    gpu::hand_over();
    Team::meet();
    if (Team::number() == 0) {
        const int before = gpu::atomic_add_ordered(p.list.arrived + item.slot, 1);
        const bool last = before == item.splits - 1;
        if (last)
            gpu::gstore<int32_t>(p.list.arrived + item.slot, 0);
        gpu::sts<int32_t>(word, last);
    }
    Team::meet();
    const int last = gpu::lds<int32_t>(word);
    Team::meet();
    if (last)
        gpu::take_over();
    return last != 0;
}

/* The same by the Threads threads of a Team that merge what has arrived. */
template <class T, int DV, int Threads, class Team = WholeBlock>
GPU_FN void
arrive_and_merge(const Forward &p, const Request &r, const Item &item, uint32_t word)
{
    if (arrive<Team>(p, item, word))
        merge_splits<T, DV, Threads>(p, r, item, Team::number());
}

/* The next ticket of the list, for the whole block. Both barriers are needed: the word is read by
 * all before it is written again. */
GPU_FN int
next_ticket(const List &list, uint32_t word)
{
    gpu::barrier();
    if (gpu::tid() == 0)
        gpu::sts<int32_t>(word, gpu::atomic_add(list.head + 1, 1));
    gpu::barrier();
    return gpu::lds<int32_t>(word);
}

/* The next item, or -1. */
GPU_FN int
next_item(const List &list, uint32_t word)
{
    const int i = next_ticket(list, word);
    return i < gpu::gload(list.head) ? i : -1;
}

/* A struct that another kernel wrote, perhaps while this one was already there: not through the L1.
 */
template <class S>
GPU_FN S
struct_at(const S *from)
{
    static_assert(sizeof(S) % 16 == 0, "whole words");
    gpu::u32x4 words[sizeof(S) / 16];
    GPU_UNROLL
    for (int i = 0; i < int(sizeof(S) / 16); i++)
        words[i] = gpu::gload_shared(reinterpret_cast<const gpu::u32x4 *>(from) + i);
    S out;
    __builtin_memcpy(&out, words, sizeof out);
    return out;
}

GPU_FN Item
item_at(const List &list, int i)
{
    return struct_at(list.items + i);
}

GPU_FN Request
request_in(const Item &item)
{
    return {item.req, item.start, item.q, item.s, item.causal != 0};
}

/* The last block out makes the list ready for the next forward of this step. */
GPU_FN void
leave(const List &list)
{
    if (gpu::tid() != 0)
        return;
    if (gpu::atomic_add(list.head + 2, 1) == gpu::nblocks() - 1) {
        gpu::gstore<int32_t>(list.head + 1, 0);
        gpu::gstore<int32_t>(list.head + 2, 0);
    }
}

} // namespace flash

#endif /* ATTN_FLASH_CUDA_FINISH_H */
