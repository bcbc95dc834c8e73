/* SPDX-License-Identifier: Apache-2.0 */
/* prefill.h - many rows: eight waves in two halves that take turns at the matrix units.
 *
 * Each wave has M rows of the block's and every key of a tile. Two waves share one of the four
 * units of a compute unit, one of each half: while one multiplies (values of a tile, scores of the
 * next), the other makes weights of its scores. Time is cut into phases by barriers; tile i:
 *
 *   phase     2i               2i+1             2i+2                 2i+3
 *   half 0    scores(i)        soften(i), V(i)  values(i) scores(i+1)
 *   half 1    ..., K(i+1)      scores(i)        soften(i), K(i+2)    values(i) scores(i+1)
 *
 * Half 0 brings the values, half 1 the keys, each into one of two buffers that nobody reads in
 * those phases; what comes next is meanwhile on its way in registers. */
#ifndef ATTN_ROCM_FLASH_PREFILL_H
#define ATTN_ROCM_FLASH_PREFILL_H

#include "rocm_aiter/flash/wave.h"

namespace flash
{

template <class T, int DQ, int DV> struct PrefillKernel {
    using Params = Forward;
    static constexpr const char *kName = "flash_prefill";
    static constexpr int kThreads = 512, kMinBlocks = 1, kHalf = 256;
    static constexpr int kWide = DQ > DV ? DQ : DV;
    static constexpr int M = kWide > 192 ? 16 : 32;
    static constexpr int kRows = 8 * M;
    static constexpr int kKeys = kWide > 128 ? 32 : 64; /* of a tile */
    using Part = Wave<T, DQ, DV, M, kKeys>;
    using State = typename Part::State;
    static constexpr int kProducts = Part::kProducts;

    static constexpr uint32_t kKeyBytes = kKeys * DQ * 2, kValueBytes = kKeys * DV * 2;
    static constexpr uint32_t kK = 0, kV = 2 * kKeyBytes;
    static constexpr uint32_t kSharedBytes = kV + 2 * kValueBytes;
    static constexpr uint32_t kWord = 0; /* of the work list, over the tiles */
    static_assert(kSharedBytes <= 65536, "LDS of a compute unit");

    struct Work {
        Source source; /* of what this half brings */
        typename Part::View view;
        int live_from, live_to; /* keys that any row of this wave sees */
        int key_from, tiles;
    };
    /* What each half brings, and where to. */
    struct Values : ValueMover<T, DV, kKeys, kHalf> {
        static constexpr bool kFirst = true; /* this half multiplies first */
        static constexpr uint32_t kBase = kV, kBytes = kValueBytes;
    };
    struct KeysOf : KeyMover<T, DQ, kKeys, kHalf> {
        static constexpr bool kFirst = false;
        static constexpr uint32_t kBase = kK, kBytes = kKeyBytes;
    };

    /* A thread's share of the tile `next`. Past the last tile it is some of the last key. */
    template <class Load> struct Passage {
        Cargo<Load::kPieces, Load::kSpots> cargo;
        int next;
        GPU_FN void look(const Work &w, int tile)
        {
            Load::look(cargo, w.source, first_key(w, tile), share());
        }
        GPU_FN void fetch(const Work &w, int tile)
        {
            next = tile;
            await(cargo);
            if (w.source.vector)
                by_kind(w.source, [&](auto narrow) {
                    Load::template fetch<decltype(narrow)::value>(cargo, w.source, share());
                });
        }
        GPU_FN void put(const Work &w) const
        {
            if (next < w.tiles)
                Load::put(cargo, w.source, Load::kBase + uint32_t(next % 2) * Load::kBytes,
                          first_key(w, next), share());
        }
    };

    static GPU_FN int wave()
    {
        return gpu::uniform(gpu::tid() / 64);
    }
    /* This thread's number in its half. */
    static GPU_FN int share()
    {
        return int(uint32_t(gpu::fresh(gpu::tid())) % kHalf);
    }
    static GPU_FN int local_row()
    {
        return wave() * M + Part::lane() % M;
    }
    static GPU_FN int first_key(const Work &w, int tile)
    {
        return w.key_from + tile * kKeys;
    }

    static GPU_FN void find_live(Work &w, const Layer &l, const Batch &b, const Request &r,
                                 int first)
    {
        const int row = first + wave() * M, end = r.q * l.group;
        open_keys(l, b, r, row, M, w.view.open_from, w.view.open_to);
        w.live_from = w.live_to = 0;
        if (row < end)
            key_range(l, b, r, r.position(row / l.group),
                      r.position((min_(row + M, end) - 1) / l.group), w.live_from, w.live_to);
        w.live_from = gpu::uniform(w.live_from);
        w.live_to = gpu::uniform(w.live_to);
    }

    template <class Load> static GPU_FN Work prepare(const Forward &p, const Item &item, State &st)
    {
        Work w;
        const Batch b = batch_of(p);
        const Layer &l = p.layer;
        const Request r = uniform_request(l, b, item.req);
        w.key_from = item.key_from;
        w.tiles = (item.key_to - item.key_from + kKeys - 1) / kKeys;
        w.source =
            source_of(l, b, r, Load::kFirst ? p.v : p.k, item.head, Load::kFirst ? l.dv : l.d);
        w.source.count = min_(r.s, item.key_to);
        w.view.score = uniform_score(p, item.head);
        w.view.row = row_of(l, b, r, p.slopes, item.head, item.row + local_row());
        find_live(w, l, b, r, item.row);
        Part::clear(st);
        Part::load_query(st, p, r, item.head, item.row + local_row());
        return w;
    }

    static GPU_FN bool live(const Work &w, int tile)
    {
        const int first = first_key(w, tile);
        return (tile < w.tiles) & (first < w.live_to) & (first + kKeys > w.live_from);
    }

    /* Before the first phase: the first keys are there, the next share is on its way. */
    template <class Load> static GPU_FN void begin(const Work &w, Passage<Load> &t)
    {
        t.look(w, 0);
        t.fetch(w, 0);
        if (!Load::kFirst) {
            t.put(w);
            t.look(w, 1);
            t.fetch(w, 1);
        }
        gpu::barrier();
        if (!Load::kFirst) {
            t.look(w, 2);
            t.put(w);
            t.fetch(w, 2);
            gpu::barrier();
        }
    }

    template <class Load> static GPU_FN void main_loop(const Work &w, State &st)
    {
        Passage<Load> tile;
        typename Part::Scores s;
        typename Part::Weights weights;
        begin(w, tile);
        if (live(w, 0))
            Part::scores(s, st, kK, 0);
        gpu::barrier();
        for (int i = 0; i < w.tiles; i++) {
            tile.look(w, tile.next + 1);
            if (live(w, i))
                Part::soften(weights, s, st, w.view, first_key(w, i));
            tile.put(w);
            tile.fetch(w, tile.next + 1);
            gpu::barrier();
            gpu::priority<1>();
            if (live(w, i))
                Part::template values<kKeys>(st, weights, kV + uint32_t(i % 2) * kValueBytes, 0);
            if (live(w, i + 1))
                Part::scores(s, st, kK + uint32_t((i + 1) % 2) * kKeyBytes, 0);
            gpu::priority<0>();
            if (Load::kFirst || i + 1 < w.tiles)
                gpu::barrier();
        }
    }

    /* The item is read again for the end: its numbers are not kept through the main loop. */
    static GPU_FN void finish(const Forward &p, const Item &item, State &st)
    {
        const Request r = uniform_request(p.layer, batch_of(p), item.req);
        Part::write(p, r, item, local_row(), st);
        if (item.splits > 1)
            arrive_and_merge<T, DV, kThreads, FreshBlock>(again(p), r, item, kWord);
    }

    template <class Load> static GPU_FN void process(const Forward &p, int i)
    {
        State st;
        const Work w = prepare<Load>(again(p), same(item_at(again(p).list, i)), st);
        if (w.tiles > 0)
            main_loop<Load>(w, st);
        Part::add_lanes(st);
        finish(again(p), same(item_at(again(p).list, i)), st);
    }

    /* A program for each half: registers that one needs are free in the other. */
    template <class Load> static GPU_FN void work(const Forward &p)
    {
        for (int i = next_uniform(again(p).list, kWord); i >= 0;
             i = next_uniform(again(p).list, kWord))
            process<Load>(p, i);
    }

    static GPU_FN void run(const Forward &p)
    {
        if (wave() < 4)
            work<Values>(p);
        else
            work<KeysOf>(p);
        leave(again(p).list);
    }
};

} // namespace flash

#endif /* ATTN_ROCM_FLASH_PREFILL_H */
