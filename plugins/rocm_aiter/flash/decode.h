/* SPDX-License-Identifier: Apache-2.0 */
/* decode.h - few rows against many keys: four waves have the same 16 rows and each its own 16 keys
 * of a tile (16x16x16); their results are merged through LDS at the end.
 *
 * Memory is what a decode step waits for: the next tile is on its way in registers while this one
 * is multiplied, and two blocks share a compute unit. */
#ifndef ATTN_ROCM_FLASH_DECODE_H
#define ATTN_ROCM_FLASH_DECODE_H

#include "rocm_aiter/flash/wave.h"

namespace flash
{

template <class T, int DQ, int DV> struct DecodeKernel {
    using Params = Forward;
    static constexpr const char *kName = "flash_decode";
    static constexpr int kThreads = 256, kMinBlocks = 2;
    static constexpr int kWide = DQ > DV ? DQ : DV;
    static constexpr int M = 16, kMine = 16; /* keys a wave multiplies */
    static constexpr int kRows = kDecodeRows;
    static constexpr int kKeys = kWide > 128 ? 32 : 64;
    static constexpr int kBusy = kKeys / kMine; /* waves that multiply */
    using Part = Wave<T, DQ, DV, M, kMine>;
    using State = typename Part::State;
    using KeyLoad = KeyMover<T, DQ, kKeys, kThreads>;
    using ValueLoad = ValueMover<T, DV, kKeys, kThreads>;
    static constexpr int kProducts = Part::kProducts;

    static constexpr uint32_t kK = 0, kV = kKeys * DQ * 2, kEnd = kV + kKeys * DV * 2;
    /* Over the tile: the word of the work list, and the merge of waves. */
    static constexpr uint32_t kWord = 0;
    static constexpr int kSent = Part::kColumns * Part::R + 2;
    static constexpr uint32_t kMergeEnd = kBusy / 2 * kSent * 256;
    static constexpr uint32_t kSharedBytes = kMergeEnd > kEnd ? kMergeEnd : kEnd;
    static_assert(kSharedBytes * kMinBlocks <= 65536, "LDS of a compute unit");

    struct Work {
        Request request;
        Item item;
        Source k, v;
        typename Part::View view;
    };
    static GPU_FN int share()
    {
        return int(uint32_t(gpu::fresh(gpu::tid())) % kThreads);
    }
    struct Passage {
        Cargo<KeyLoad::kPieces, KeyLoad::kSpots> k;
        Cargo<ValueLoad::kPieces, ValueLoad::kSpots> v;
        GPU_FN void look(const Work &w, int key)
        {
            KeyLoad::look(k, w.k, key, share());
            ValueLoad::look(v, w.v, key, share());
        }
        GPU_FN void fetch(const Work &w)
        {
            await(k);
            await(v);
            if (w.k.vector)
                by_kind(w.k, [&](auto narrow) {
                    KeyLoad::template fetch<decltype(narrow)::value>(k, w.k, share());
                    ValueLoad::template fetch<decltype(narrow)::value>(v, w.v, share());
                });
        }
        GPU_FN void put(const Work &w, int key) const
        {
            KeyLoad::put(k, w.k, kK, key, share());
            ValueLoad::put(v, w.v, kV, key, share());
        }
    };

    static GPU_FN int wave()
    {
        return gpu::uniform(gpu::tid() / 64);
    }

    static GPU_FN Work prepare(const Forward &p, const Item &item)
    {
        Work w;
        const Batch b = batch_of(p);
        const Layer &l = p.layer;
        w.item = item;
        w.request = uniform_request(l, b, item.req);
        w.k = source_of(l, b, w.request, p.k, item.head, l.d);
        w.v = source_of(l, b, w.request, p.v, item.head, l.dv);
        w.k.vector = w.v.vector = w.k.vector & w.v.vector;
        w.k.count = w.v.count = min_(w.request.s, item.key_to); /* past it: the last key again */
        w.view.score = uniform_score(p, item.head);
        w.view.row = row_of(l, b, w.request, p.slopes, item.head, item.row + Part::lane() % M);
        open_keys(l, b, w.request, item.row, kRows, w.view.open_from, w.view.open_to);
        return w;
    }

    static GPU_FN void attend(const Work &w, State &st, int key)
    {
        const int mine = wave() * kMine;
        typename Part::Scores s;
        typename Part::Weights weights;
        Part::scores(s, st, kK, mine);
        Part::soften(weights, s, st, w.view, key + mine);
        Part::template values<kKeys>(st, weights, kV, mine);
    }

    static GPU_FN void main_loop(const Work &w, State &st)
    {
        Passage tile;
        const int to = w.item.key_to;
        if (w.item.key_from >= to)
            return;
        tile.look(w, w.item.key_from);
        tile.fetch(w);
        tile.look(w, w.item.key_from + kKeys);
        for (int key = w.item.key_from; key < to; key += kKeys) {
            gpu::barrier(); /* the tile before is no longer read */
            tile.put(w, key);
            gpu::barrier();
            tile.fetch(w);
            tile.look(w, key + 2 * kKeys);
            if (wave() < kBusy)
                attend(w, st, key);
        }
    }

    /* The waves saw different keys; lane and register mean the same in all. */
    static GPU_FN void merge_waves(State &st)
    {
        GPU_UNROLL
        for (int half = kBusy / 2; half > 0; half /= 2) {
            const uint32_t at = uint32_t(wave() % half * kSent * 256);
            gpu::barrier();
            if (wave() >= half && wave() < 2 * half)
                send(st, at);
            gpu::barrier();
            if (wave() < half)
                receive(st, at);
        }
    }
    static GPU_FN uint32_t slot(uint32_t at, int i)
    {
        return at + uint32_t(i * 256 + gpu::lane() * 4);
    }
    static GPU_FN void send(const State &st, uint32_t at)
    {
        GPU_UNROLL
        for (int i = 0; i < kSent - 2; i++)
            gpu::sts(slot(at, i), st.o[i / Part::R][i % Part::R]);
        gpu::sts(slot(at, kSent - 2), st.max);
        gpu::sts(slot(at, kSent - 1), st.sum);
    }
    static GPU_FN void receive(State &st, uint32_t at)
    {
        const float max = gpu::lds<float>(slot(at, kSent - 2));
        const float all = fmaxf(st.max, max), base = all == FLASH_NONE ? 0.0f : all;
        const float mine = gpu::exp2f_(st.max - base), theirs = gpu::exp2f_(max - base);
        st.max = all;
        st.sum = st.sum * mine + gpu::lds<float>(slot(at, kSent - 1)) * theirs;
        GPU_UNROLL
        for (int i = 0; i < kSent - 2; i++) {
            float &o = st.o[i / Part::R][i % Part::R];
            o = o * mine + gpu::lds<float>(slot(at, i)) * theirs;
        }
    }

    static GPU_FN void process(const Forward &p, const Item &item)
    {
        const Work w = prepare(again(p), item);
        const int local = Part::lane() % M;
        State st;
        Part::clear(st);
        Part::load_query(st, again(p), w.request, item.head, item.row + local);
        main_loop(w, st);
        Part::add_lanes(st);
        merge_waves(st);
        if (wave() == 0)
            Part::write(again(p), w.request, item, local, st);
        if (item.splits > 1)
            arrive_and_merge<T, DV, kThreads, FreshBlock>(again(p), w.request, item, kWord);
    }

    static GPU_FN void run(const Forward &p)
    {
        for (int i = gpu::bid(); i >= 0;) {
            const Item item = same(item_at(again(p).list, i));
            if (item.req < 0)
                return;
            process(p, item);
            gpu::barrier(); /* what the merge used is free */
            i = item.next;
        }
    }
};

} // namespace flash

#endif /* ATTN_ROCM_FLASH_DECODE_H */
