/* SPDX-License-Identifier: Apache-2.0 */
/* hopper_load.h - the loading warps of the prefill kernel: one makes the list of items known, one
 * each loads queries, keys and values. Each runs ahead of the consumers as far as its ring allows,
 * across items. hopper_widen.h has those of fp8 caches. */
#ifndef ATTN_FLASH_CUDA_HOPPER_LOAD_H
#define ATTN_FLASH_CUDA_HOPPER_LOAD_H

#include "flash/cuda/hopper_shape.h"

namespace flash
{

template <class S> struct HopperLoad {
    using Params = HopperForward;
    static constexpr int BN = S::BN;

    /* ------------------------------------------------------------ the list */

    /* The first item is the block's own number, the others are drawn: whoever is free takes the
     * longest that is left. */
    static GPU_FN int draw(const List &list, int count)
    {
        int ticket = 0;
        if (gpu::lane() == 0 && count > gpu::nblocks())
            ticket = gpu::atomic_add(list.head + 1, 1);
        return count > gpu::nblocks() ? gpu::nblocks() + gpu::shfl(ticket, 0) : count;
    }

    static GPU_FN HopperInfo info_of(const Params &p, const Batch &b, int number)
    {
        const Layer &l = p.forward.layer;
        HopperInfo info = {};
        info.item = item_at(p.forward.list, number);
        const Request r = request_of(l, b, info.item.req);
        info.start = r.start;
        info.q = r.q;
        info.s = r.s;
        info.causal = r.causal;
        info.valid = 1;
        open_keys(l, b, r, info.item.row, p.forward.list.rows, info.open_from, info.open_to);
        return info;
    }

    static GPU_FN void tell(int slot, const HopperInfo &info)
    {
        gpu::u32x4 words[S::kInfoBytes / 16];
        __builtin_memcpy(words, &info, sizeof info);
        if (gpu::lane() == 0) {
            GPU_UNROLL
            for (uint32_t i = 0; i < S::kInfoBytes / 16; i++)
                gpu::sts(S::kInfo + uint32_t(slot * S::kInfoBytes) + 16 * i, words[i]);
            gpu::mbar_arrive(S::kInfoFull + uint32_t(8 * slot));
        }
    }

    /* Calls f(info) for each item that it made known. */
    template <class F> static GPU_FN void list_items(const Params &p, const Batch &b, F f)
    {
        const List &list = p.forward.list;
        const int count = gpu::gload(list.head);
        HopperRing<S::kInfos> at;
        int number = gpu::bid();
        for (bool more = true; more; at.step()) {
            gpu::mbar_wait(S::kInfoEmpty + uint32_t(8 * at.stage), at.parity ^ 1);
            more = number < count;
            if (more) {
                const HopperInfo info = info_of(p, b, number);
                tell(at.stage, info);
                f(info);
                number = draw(list, count);
            } else {
                tell(at.stage, HopperInfo{});
            }
        }
        if (count > gpu::nblocks())
            leave(list);
    }

    /* Calls f(info) for each item. */
    template <class F> static GPU_FN void each_item(F f)
    {
        for (HopperRing<S::kInfos> at;; at.step()) {
            gpu::mbar_wait(S::kInfoFull + uint32_t(8 * at.stage), at.parity);
            const HopperInfo info = S::read_info(at.stage);
            if (!info.valid)
                break;
            f(info);
            S::release(S::kInfoEmpty + uint32_t(8 * at.stage));
        }
    }

    static GPU_FN void expect(uint32_t bar, int bytes)
    {
        if (gpu::lane() == 0)
            gpu::mbar_expect(bar, bytes);
        gpu::syncwarp();
    }

    /* ------------------------------------------------------------- queries */

    static GPU_FN void load_q(const Params &p, const HopperInfo &info, uint32_t to, uint32_t full)
    {
        const Layer &l = p.forward.layer;
        expect(full, S::DQ / 64 * p.forward.list.rows * S::kSlab);
        if (gpu::lane() < S::DQ / 64) {
            const int c[3] = {gpu::lane() * 64, info.item.head * l.group,
                              info.start + info.item.row / l.group};
            gpu::tma_load(to + uint32_t(gpu::lane() * S::kQSlab), &p.q, full, c);
        }
    }

    static GPU_FN void next_q(const Params &p, const HopperInfo &info, HopperRing<S::kQStages> &q)
    {
        if (S::tiles_of(info.item) == 0)
            return;
        const uint32_t at = uint32_t(q.stage);
        gpu::mbar_wait(S::kQEmpty + 8 * at, q.parity ^ 1);
        load_q(p, info, S::kQ + at * S::kQBytes, S::kQFull + 8 * at);
        q.step();
    }

    static GPU_FN void load_queries(const Params &p)
    {
        HopperRing<S::kQStages> q;
        each_item([&](const HopperInfo &info) { next_q(p, info, q); });
    }

    /* --------------------------------------------------- pages of the cache */

    /* Lane i has one of 32 pieces of BN or block_size keys: tiles downwards, pages upwards. */
    struct Pages {
        int block, offset;
    };

    struct Cached {
        const Params &p;
        const Batch &b;
        int rows, pages; /* keys of a piece, pieces of a tile */
    };

    static GPU_FN Cached cached(const Params &p, const Batch &b)
    {
        const int rows = min_(p.forward.layer.block_size, BN);
        return {p, b, rows, BN / rows};
    }

    /* A page past the sequence: any page that is the request's, its keys are masked. */
    static GPU_FN Pages look_up(const Cached &c, const HopperInfo &info, int key)
    {
        const Layer &l = c.p.forward.layer;
        const int lane = gpu::lane(), tile = lane / c.pages;
        const int want = key - tile * BN + (lane - tile * c.pages) * c.rows;
        const int at = max_(0, min_(want, (info.s - 1) / c.rows * c.rows));
        const int entry = l.block_shift >= 0 ? at >> l.block_shift : at / l.block_size;
        return {gpu::gload(c.b.table + c.b.table_stride * info.item.req + entry),
                at - entry * l.block_size};
    }

    /* Calls f(key, page) for each tile, from the last to the first; lane i has page i % pages.
     * Pages are looked up 32 ahead. */
    template <class F> static GPU_FN void each_tile(const Cached &c, const HopperInfo &info, F f)
    {
        const int tiles = S::tiles_of(info.item), ahead = 32 / c.pages;
        int key = info.item.key_from + (tiles - 1) * BN;
        if (tiles == 0)
            return;
        Pages now = look_up(c, info, key);
        while (key >= info.item.key_from) {
            const Pages next = look_up(c, info, key - ahead * BN);
            for (int i = 0; i < ahead && key >= info.item.key_from; i++, key -= BN) {
                const int from = i * c.pages + gpu::lane() % c.pages;
                f(key, Pages{gpu::shfl(now.block, from), gpu::shfl(now.offset, from)});
            }
            now = next;
        }
    }

    /* Copies of one tile: a whole page each, or a page's slab. slab: of the head's first, or -1. */
    static GPU_FN void load_boxes(const Cached &c, const gpu::TensorMap *map, int slabs, int head,
                                  int slab, const Pages &page, uint32_t to, uint32_t full)
    {
        const int bytes = c.rows * S::kSlab;
        if (slab >= 0) {
            const int at[5] = {0, 0, slab, page.offset / 8, page.block};
            if (gpu::lane() < c.pages)
                gpu::tma_load(to + uint32_t(gpu::lane() * bytes * slabs), map, full, at);
            return;
        }
        for (int i = gpu::lane(); i < c.pages * slabs; i += 32) {
            const int s = i / c.pages, at[4] = {s * 64, head, page.offset, page.block};
            gpu::tma_load(to + uint32_t(s * BN * S::kSlab + i % c.pages * bytes), map, full, at);
        }
    }

    /* ----------------------------------------------------- keys and values */

    static GPU_FN int slab_of(const HopperMap &map, int head)
    {
        return map.head_slabs ? head * map.head_slabs : -1;
    }

    static GPU_FN void load_keys(const Params &p, const Batch &b)
    {
        const Cached c = cached(p, b);
        HopperRing<S::kKStages> k;
        each_item([&](const HopperInfo &info) {
            const int head = info.item.head;
            each_tile(c, info, [&](int, const Pages &page) {
                const uint32_t at = uint32_t(k.stage), full = S::kKFull + 8 * at;
                gpu::mbar_wait(S::kKEmpty + 8 * at, k.parity ^ 1);
                expect(full, S::kKBytes);
                load_boxes(c, &p.k.map, S::DQ / 64, head, slab_of(p.k, head), page,
                           S::kK + at * S::kKBytes, full);
                k.step();
            });
        });
    }

    /* Rows first..end-1 of a tile: values of keys past the sequence must be zero: what a page's
     * tail holds may be NaN, and 0 * NaN is NaN. */
    static GPU_FN void clear_tail(const Params &p, uint32_t v, int first, int end)
    {
        for (int i = gpu::lane(); i < (end - first) * (S::DV / 8); i += 32) {
            const int row = first + i % (end - first), chunk = i / (end - first);
            const int at = row / 8 * p.v.group_bytes + chunk / 8 * p.v.slab_bytes;
            gpu::sts(v + uint32_t(at + row % 8 * S::kSlab + (chunk % 8 ^ row % 8) * 16),
                     gpu::u32x4{0, 0, 0, 0});
        }
        gpu::proxy_fence();
        gpu::syncwarp();
    }

    static GPU_FN void load_values(const Params &p, const Batch &b)
    {
        const Cached c = cached(p, b);
        HopperRing<S::kVStages> v;
        int tail_parity = 0;
        each_item([&](const HopperInfo &info) {
            const int head = info.item.head;
            each_tile(c, info, [&](int key, const Pages &page) {
                const uint32_t at = uint32_t(v.stage), full = S::kVFull + 8 * at;
                const uint32_t to = S::kV + at * S::kVBytes;
                const bool tail = key + BN > info.s;
                gpu::mbar_wait(S::kVEmpty + 8 * at, v.parity ^ 1);
                expect(tail ? S::kTail : full, S::kVBytes);
                load_boxes(c, &p.v.map, S::DV / 64, head, slab_of(p.v, head), page, to,
                           tail ? S::kTail : full);
                if (tail) {
                    gpu::mbar_wait(S::kTail, tail_parity);
                    tail_parity ^= 1;
                    clear_tail(p, to, max_(0, info.s - key), BN);
                    if (gpu::lane() == 0)
                        gpu::mbar_arrive(full);
                }
                v.step();
            });
        });
    }

    static GPU_FN void run(const Params &p, const Batch &b)
    {
        const int warp = gpu::shfl(gpu::tid() / 32, 0);
        if (warp == S::kLister)
            list_items(p, b, [](const HopperInfo &) {});
        else if (warp == S::kQueries)
            load_queries(p);
        else if (warp == S::kKeysWarp)
            load_keys(p, b);
        else
            load_values(p, b);
    }
};

} // namespace flash

#endif /* ATTN_FLASH_CUDA_HOPPER_LOAD_H */
