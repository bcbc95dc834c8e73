/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h - one block turns the step's metadata into the work lists.
 *
 * It reads the device's truth, so host arrays may be absent. Requests of at most kDecodeRows packed
 * rows go to the decode list (line.h); the others to the prefill list, longest tiles first, split
 * only when there are fewer tiles than blocks. */
#ifndef ATTN_FLASH_CUDA_PLAN_H
#define ATTN_FLASH_CUDA_PLAN_H

#include "flash/cuda/line.h"

namespace flash
{

struct PlanKernel {
    using Params = Plan;
    static constexpr int kThreads = kPlanThreads, kMinBlocks = 1;
    static constexpr const char *kName = "flash_plan";
    static constexpr int kBuckets = 64, kSections = 16;
    static constexpr int kSectionBytes = 40 << 20;

    /* Shared words. */
    enum : uint32_t {
        kDecodeTiles = 0,
        kPrefillTiles = 4,
        kPrefillCost = 8,
        kPrefillCount = 12,
        kPrefillSlots = 16,
        kLongest = 20,
        kBucket = 32,
        kScan = kBucket + 4 * kBuckets * kSections,
        kLine = kScan + 4 * kThreads,
        kSharedBytes = kLine + 4 * DecodeLine::kWords * kThreads
    };

    /* Calls f(request, row, tile) for each tile of this thread: 32 threads take a request, each of
     * them some of its tiles. */
    template <class F> static GPU_FN void each_prefill_tile(const Plan &p, F f)
    {
        for (int i = gpu::tid() / 32; i < p.batch.num_reqs; i += kThreads / 32) {
            const Request r = request_of(p.layer, p.batch, i);
            if (r.q == 0 || is_decode(p.layer, r))
                continue;
            const int tiles = (r.q * p.layer.group + p.prefill.rows - 1) / p.prefill.rows;
            for (int t = gpu::tid() % 32; t < tiles; t += 32)
                f(r, t * p.prefill.rows,
                  tile_of(p.layer, p.batch, r, t * p.prefill.rows, p.prefill));
        }
    }

    static GPU_FN int bucket_of(int keys, int longest)
    {
        return kBuckets - 1 - min_(kBuckets - 1, keys * kBuckets / (longest + 1));
    }

    /* Splits of `keys` tiles by at most `chunk`, none of them empty. */
    static GPU_FN int splits_of(int keys, int chunk)
    {
        const int splits = (keys + chunk - 1) / chunk, each = (keys + splits - 1) / splits;
        return (keys + each - 1) / each;
    }

    /* The splits of one tile for some heads, at items[at]. */
    static GPU_FN void place(const List &list, uint32_t count, const Request &r, int row,
                             const Tile &t, int splits, int head, int heads)
    {
        const int each = (t.keys + splits - 1) / splits * list.keys;
        const int at = gpu::shared_add(count, heads * splits);
        const int slot = splits > 1 ? gpu::shared_add(kPrefillSlots, heads * splits) : 0;
        for (int i = 0; i < heads * splits; i++) {
            const int s = i % splits, from = t.from + s * each;
            write_item(list, at + i,
                       {r.index,
                        head + i / splits,
                        row,
                        from,
                        min_(t.to, from + each),
                        s,
                        splits,
                        slot + i / splits * splits,
                        r.start,
                        r.q,
                        r.s,
                        r.causal,
                        -1,
                        {0, 0, 0}});
        }
    }

    static GPU_FN void count(const Plan &p)
    {
        const int heads = p.layer.num_kv_heads;
        for (int i = gpu::tid(); i < p.batch.num_reqs; i += kThreads) {
            const Request r = request_of(p.layer, p.batch, i);
            gpu::shared_add(kDecodeTiles, DecodeLine::tiles_of(p, r) * heads);
            gpu::shared_max(kLongest, r.s / p.prefill.keys + 1);
        }
        each_prefill_tile(p, [&](const Request &, int, const Tile &t) {
            gpu::shared_add(kPrefillTiles, heads);
            gpu::shared_add(kPrefillCost, t.keys * heads);
        });
        gpu::barrier();
    }

    static GPU_FN int prefill_chunk(const Plan &p)
    {
        const int tiles = shared_int(kPrefillTiles);
        if (p.prefill.max_slots == 0 || tiles == 0 || tiles >= p.prefill.grid)
            return 1 << 30;
        return max_(4, (shared_int(kPrefillCost) + p.prefill.grid - 1) / p.prefill.grid);
    }

    /* Heads are worked on in sections, so that their keys and values stay close in the L2. */
    static GPU_FN int sections_of(const Plan &p, int longest)
    {
        const int size = p.layer.kv_kind == gpu::kKv16 ? 2 : 1;
        const int bytes = (p.layer.d + p.layer.dv) * size * p.prefill.keys;
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

    /* Each bucket's count becomes the number of its first item. */
    static GPU_FN void start_buckets()
    {
        constexpr int kEach = kBuckets * kSections / kThreads;
        const uint32_t first = kBucket + uint32_t(4 * kEach * gpu::tid());
        int sum = 0, all;
        for (uint32_t i = 0; i < kEach; i++)
            sum += shared_int(first + 4 * i);
        int before = sum_before(sum, kScan, &all);
        if (gpu::tid() == 0)
            gpu::sts<int32_t>(kPrefillCount, all);
        for (uint32_t i = 0; i < kEach; i++) {
            const int n = shared_int(first + 4 * i);
            gpu::sts<int32_t>(first + 4 * i, before);
            before += n;
        }
        gpu::barrier();
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
        start_buckets();
        each_prefill_tile(p, [&](const Request &r, int row, const Tile &t) GPU_INLINE {
            each_section(p, t.keys, longest, [&](uint32_t word, int head, int heads) GPU_INLINE {
                place(p.prefill, word, r, row, t, splits_of(t.keys, chunk), head, heads);
            });
        });
    }

    static GPU_FN void run(const Plan &p)
    {
        for (uint32_t i = uint32_t(gpu::tid()); i < kScan / 4; i += kThreads)
            gpu::sts<int32_t>(4 * i, 0);
        for (int i = gpu::tid(); i < p.decode.max_slots; i += kThreads)
            gpu::gstore(p.decode.arrived + i, 0);
        for (int i = gpu::tid(); i < p.prefill.max_slots; i += kThreads)
            gpu::gstore(p.prefill.arrived + i, 0);
        gpu::barrier();
        count(p);
        const int tiles = shared_int(kDecodeTiles);
        const int share = max_(1, (tiles + p.decode.grid - 1) / p.decode.grid);
        DecodeLine{p, tiles, share, kScan, kLine}.write();
        if (shared_int(kPrefillTiles) > 0)
            list_prefill(p);
        gpu::barrier();
        if (gpu::tid() == 0) {
            gpu::gstore<int32_t>(p.prefill.head, shared_int(kPrefillCount));
            gpu::gstore<int32_t>(p.prefill.head + 1, 0);
            gpu::gstore<int32_t>(p.prefill.head + 2, 0);
            gpu::copy_struct(p.batch_out, p.batch);
        }
        gpu::publish();
    }
};

} // namespace flash

#endif /* ATTN_FLASH_CUDA_PLAN_H */
