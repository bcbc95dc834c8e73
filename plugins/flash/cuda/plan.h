/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h - one block turns the step's metadata into the work lists.
 *
 * It reads the device's truth, so host arrays may be absent. Requests of at most kDecodeRows packed
 * rows go to the decode list, split by keys so that the grid's blocks get equal shares; the others
 * to the prefill list, longest tiles first, split only when there are fewer tiles than blocks. */
#ifndef ATTN_FLASH_CUDA_PLAN_H
#define ATTN_FLASH_CUDA_PLAN_H

#include "common/gpu/tile.h"
#include "flash/cuda/rows.h"

namespace flash
{

struct PlanKernel {
    using Params = Plan;
    static constexpr int kThreads = 256, kMinBlocks = 1;
    static constexpr const char *kName = "flash_plan";
    static constexpr int kBuckets = 64, kSections = 16;
    static constexpr int kSectionBytes = 40 << 20;

    /* Shared words. */
    enum : uint32_t {
        kDecodeTiles = 0,
        kPrefillTiles = 4,
        kPrefillCost = 8,
        kDecodeCount = 12,
        kPrefillCount = 16,
        kDecodeSlots = 20,
        kPrefillSlots = 24,
        kLongest = 28,
        kBucket = 32,
        kSharedBytes = kBucket + 4 * kBuckets * kSections
    };

    static GPU_FN int shared_int(uint32_t at)
    {
        return gpu::lds<int32_t>(at);
    }

    struct Tile {
        int from, to, keys; /* keys in tiles of list.keys */
    };

    static GPU_FN Tile tile_of(const Layer &l, const Batch &b, const Request &r, int row,
                               const List &list)
    {
        const int last = min_(row + list.rows, r.q * l.group) - 1;
        int from, to;
        key_range(l, b, r, r.position(row / l.group), r.position(last / l.group), from, to);
        from = from / list.keys * list.keys;
        return {from, to, max_(1, (to - from + list.keys - 1) / list.keys)};
    }

    static GPU_FN bool is_decode(const Plan &p, const Request &r)
    {
        return r.q * p.layer.group <= kDecodeRows;
    }

    /* Calls f(request, row, tile) for each tile of this thread: 32 threads take a request, each of
     * them some of its tiles. */
    template <class F> static GPU_FN void each_prefill_tile(const Plan &p, F f)
    {
        for (int i = gpu::tid() / 32; i < p.batch.num_reqs; i += kThreads / 32) {
            const Request r = request_of(p.layer, p.batch, i);
            if (r.q == 0 || is_decode(p, r))
                continue;
            const int tiles = (r.q * p.layer.group + p.prefill.rows - 1) / p.prefill.rows;
            for (int t = gpu::tid() % 32; t < tiles; t += 32)
                f(r, t * p.prefill.rows,
                  tile_of(p.layer, p.batch, r, t * p.prefill.rows, p.prefill));
        }
    }

    template <class F> static GPU_FN void each_decode(const Plan &p, F f)
    {
        for (int i = gpu::tid(); i < p.batch.num_reqs; i += kThreads) {
            const Request r = request_of(p.layer, p.batch, i);
            if (r.q > 0 && is_decode(p, r))
                f(r, tile_of(p.layer, p.batch, r, 0, p.decode));
        }
    }

    /* Keys of a split, in tiles. Few tiles a block: split to use all blocks. Many: a few rounds of
     * smaller splits even out the end. */
    static GPU_FN int decode_chunk(int tiles, int grid)
    {
        const int share = (tiles + grid - 1) / grid;
        return share <= 16 ? max_(2, share) : max_(16, (share + 2) / 3);
    }

    static GPU_FN int bucket_of(int keys, int longest)
    {
        return kBuckets - 1 - min_(kBuckets - 1, keys * kBuckets / (longest + 1));
    }

    /* Writes the splits of one tile for one head at items[at]. */
    static GPU_FN void emit(const List &list, int at, const Request &r, int head, int row,
                            const Tile &t, int splits, int slot)
    {
        const int each = (t.keys + splits - 1) / splits * list.keys;
        for (int s = 0; s < splits; s++) {
            const int from = t.from + s * each;
            const Item item = {r.index, head, row, from, min_(t.to, from + each), s, splits, slot};
            gpu::u32x4 words[2];
            __builtin_memcpy(words, &item, sizeof item);
            gpu::u32x4 *to = reinterpret_cast<gpu::u32x4 *>(list.items + at + s);
            gpu::gstore(to, words[0]);
            gpu::gstore(to + 1, words[1]);
        }
    }

    /* Splits of `keys` tiles by at most `chunk`, none of them empty. */
    static GPU_FN int splits_of(int keys, int chunk)
    {
        const int splits = (keys + chunk - 1) / chunk, each = (keys + splits - 1) / splits;
        return (keys + each - 1) / each;
    }

    static GPU_FN void place(const List &list, uint32_t count, uint32_t slots, const Request &r,
                             int row, const Tile &t, int splits, int head, int heads)
    {
        const int at = gpu::shared_add(count, heads * splits);
        int slot = 0;
        if (splits > 1)
            slot = gpu::shared_add(slots, heads * splits);
        for (int h = 0; h < heads; h++)
            emit(list, at + h * splits, r, head + h, row, t, splits, slot + h * splits);
    }

    static GPU_FN void count(const Plan &p)
    {
        const int heads = p.layer.num_kv_heads;
        each_decode(p, [&](const Request &, const Tile &t) {
            gpu::shared_add(kDecodeTiles, t.keys * heads);
        });
        each_prefill_tile(p, [&](const Request &, int, const Tile &t) {
            gpu::shared_add(kPrefillTiles, heads);
            gpu::shared_add(kPrefillCost, t.keys * heads);
        });
        for (int i = gpu::tid(); i < p.batch.num_reqs; i += kThreads)
            gpu::shared_max(kLongest, gpu::gload(p.batch.seq_lens + i) / p.prefill.keys + 1);
        gpu::barrier();
    }

    static GPU_FN int prefill_chunk(const Plan &p)
    {
        const int tiles = shared_int(kPrefillTiles);
        if (tiles == 0 || tiles >= p.prefill.grid)
            return 1 << 30;
        return max_(4, (shared_int(kPrefillCost) + p.prefill.grid - 1) / p.prefill.grid);
    }

    static GPU_FN void list_decode(const Plan &p)
    {
        const int chunk = decode_chunk(shared_int(kDecodeTiles), p.decode.grid);
        each_decode(p, [&](const Request &r, const Tile &t) {
            place(p.decode, kDecodeCount, kDecodeSlots, r, 0, t, splits_of(t.keys, chunk), 0,
                  p.layer.num_kv_heads);
        });
    }

    /* Heads are worked on in sections, so that their keys and values stay close in the L2. */
    static GPU_FN int sections_of(const Plan &p, int longest)
    {
        const int bytes = (p.layer.d + p.layer.dv) * 2 * p.prefill.keys;
        const int fit = max_(1, kSectionBytes / bytes / longest), heads = p.layer.num_kv_heads;
        return min_((heads + fit - 1) / fit, kSections);
    }

    /* Calls f(bucket word, first head, heads) for each section of a tile. */
    template <class F> static GPU_FN void each_section(const Plan &p, int keys, int longest, F f)
    {
        const int sections = sections_of(p, longest), heads = p.layer.num_kv_heads;
        const int bucket = bucket_of(keys, longest);
        for (int i = 0; i < sections; i++) {
            const int head = heads * i / sections, end = heads * (i + 1) / sections;
            f(kBucket + 4 * uint32_t(i * kBuckets + bucket), head, end - head);
        }
    }

    /* Counts the items of each section's buckets of lengths, then places them: section by section,
     * longest first. */
    static GPU_FN void list_prefill(const Plan &p)
    {
        const int chunk = prefill_chunk(p), longest = shared_int(kLongest);
        each_prefill_tile(p, [&](const Request &, int, const Tile &t) {
            each_section(p, t.keys, longest, [&](uint32_t word, int, int heads) {
                gpu::shared_add(word, heads * splits_of(t.keys, chunk));
            });
        });
        gpu::barrier();
        if (gpu::tid() == 0) {
            int at = 0;
            for (uint32_t b = 0; b < kBuckets * kSections; b++) {
                const int n = shared_int(kBucket + 4 * b);
                gpu::sts<int32_t>(kBucket + 4 * b, at);
                at += n;
            }
            gpu::sts<int32_t>(kPrefillCount, at);
        }
        gpu::barrier();
        each_prefill_tile(p, [&](const Request &r, int row, const Tile &t) {
            each_section(p, t.keys, longest, [&](uint32_t word, int head, int heads) {
                place(p.prefill, word, kPrefillSlots, r, row, t, splits_of(t.keys, chunk), head,
                      heads);
            });
        });
    }

    static GPU_FN void open(const List &list, int items)
    {
        gpu::gstore<int32_t>(list.head, items);
        gpu::gstore<int32_t>(list.head + 1, 0);
        gpu::gstore<int32_t>(list.head + 2, 0);
    }

    static GPU_FN void run(const Plan &p)
    {
        for (uint32_t i = uint32_t(gpu::tid()); i < kSharedBytes / 4; i += kThreads)
            gpu::sts<int32_t>(4 * i, 0);
        for (int i = gpu::tid(); i < p.decode.max_slots; i += kThreads)
            gpu::gstore<int32_t>(p.decode.arrived + i, 0);
        for (int i = gpu::tid(); i < p.prefill.max_slots; i += kThreads)
            gpu::gstore<int32_t>(p.prefill.arrived + i, 0);
        gpu::barrier();
        count(p);
        list_decode(p);
        if (shared_int(kPrefillTiles) > 0)
            list_prefill(p);
        gpu::barrier();
        if (gpu::tid() == 0) {
            open(p.decode, shared_int(kDecodeCount));
            open(p.prefill, shared_int(kPrefillCount));
            gpu::copy_struct(p.batch_out, p.batch);
        }
    }
};

} // namespace flash

#endif /* ATTN_FLASH_CUDA_PLAN_H */
