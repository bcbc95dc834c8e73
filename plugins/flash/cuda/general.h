/* SPDX-License-Identifier: Apache-2.0 */
/* general.h - the prefill kernel that takes every case: mma.sync and cp.async, sm_80 and later.
 *
 * Four warps, each with 16 of the tile's 64 rows and all its keys; tiles of keys are double
 * buffered for the block. */
#ifndef ATTN_FLASH_CUDA_GENERAL_H
#define ATTN_FLASH_CUDA_GENERAL_H

#include "flash/cuda/finish.h"
#include "flash/cuda/load.h"
#include "flash/cuda/score.h"

namespace flash
{

template <class T, int DQ, int DV> struct General {
    using Params = Forward;
    static constexpr const char *kName = "flash_prefill";
    static constexpr int kThreads = 128;
    static constexpr int kWide = DQ > DV ? DQ : DV;
    static constexpr int kMinBlocks = kWide <= 128 ? 2 : 1;
    static constexpr int kRows = 64;
    static constexpr int kKeys = kWide > 192 ? 32 : 64; /* of a tile */
    static constexpr int kStages = 2;
    static constexpr bool kKeepQ = DQ <= 128;
    static constexpr int kSteps = DQ / 16, kColumns = DV / 8, kBlocks = kKeys / 8;

    static constexpr uint32_t kWord = 0;
    static constexpr uint32_t kQ = 16;
    static constexpr uint32_t kK = kQ + kRows * kStride<DQ>;
    static constexpr uint32_t kV = kK + kStages * kKeys * kStride<DQ>;
    static constexpr uint32_t kSharedBytes = kV + kStages * kKeys * kStride<DV>;

    struct Work {
        int sub; /* first row within the item's tile */
        Request request;
        Item item;
        Keys k, v;
        Row rows[2];
        Score score;
        int open_from, open_to; /* keys that every row sees */
    };

    struct State {
        float o[kColumns][4];
        float max[2], sum[2];
        uint32_t q[kKeepQ ? kSteps : 1][4];
    };

    static GPU_FN int warp()
    {
        return gpu::tid() / 32;
    }
    static GPU_FN int row_base()
    {
        return warp() * 16;
    }
    using Ids = Pages<kKeys>;

    static GPU_FN void look_up(Ids &ids, const Work &w, int key)
    {
        if (key < w.item.key_to && pages_by_16(w.k))
            find_pages<kKeys>(ids, w.k, key);
    }

    /* Loads the tile at `key`, whose pages are known, and looks up those of the one after. */
    static GPU_FN void load_stage(const Work &w, Ids &ids, int key, int stage)
    {
        const uint32_t k = kK + uint32_t(stage * kKeys * kStride<DQ>);
        const uint32_t v = kV + uint32_t(stage * kKeys * kStride<DV>);
        if (key < w.item.key_to) {
            load_keys<T, DQ, kKeys, kThreads>(k, w.k, ids, key, gpu::tid());
            load_keys<T, DV, kKeys, kThreads>(v, w.v, ids, key, gpu::tid());
        }
        gpu::cp_commit();
        look_up(ids, w, key + kKeys);
    }

    static GPU_FN void load_q(uint32_t (&a)[4], int step)
    {
        gpu::ldmatrix4(a, kQ + uint32_t((row_base() + gpu::lane() % 16) * kStride<DQ> + step * 32 +
                                        gpu::lane() / 16 * 16));
    }

    static GPU_FN void scores(float (&s)[kBlocks][4], State &st, uint32_t k)
    {
        const int l = gpu::lane();
        GPU_UNROLL
        for (int b = 0; b < kBlocks; b++)
            s[b][0] = s[b][1] = s[b][2] = s[b][3] = 0.0f;
        GPU_UNROLL
        for (int step = 0; step < kSteps; step++) {
            uint32_t fresh[4];
            if (!kKeepQ)
                load_q(fresh, step);
            GPU_UNROLL
            for (int b = 0; b < kBlocks; b += 2) {
                uint32_t r[4];
                gpu::ldmatrix4(r, k + uint32_t((b * 8 + l / 16 * 8 + l % 8) * kStride<DQ> +
                                               step * 32 + l / 8 % 2 * 16));
                const uint32_t even[2] = {r[0], r[1]}, odd[2] = {r[2], r[3]};
                const uint32_t(&q)[4] = kKeepQ ? st.q[kKeepQ ? step : 0] : fresh;
                gpu::mma16816<T>(s[b], q, even);
                gpu::mma16816<T>(s[b + 1], q, odd);
            }
        }
    }

    static GPU_FN void shape(float (&s)[kBlocks][4], const Work &w, int key)
    {
        GPU_UNROLL
        for (int b = 0; b < kBlocks; b++)
            GPU_UNROLL
        for (int i = 0; i < 4; i++)
            s[b][i] =
                w.score.shape(s[b][i], w.rows[i / 2], key + b * 8 + gpu::lane() % 4 * 2 + i % 2);
    }

    /* s becomes exp2(scale s - max); o and sum are rescaled. */
    static GPU_FN void soften(float (&s)[kBlocks][4], State &st, float scale)
    {
        GPU_UNROLL
        for (int h = 0; h < 2; h++) {
            float max = FLASH_NONE;
            GPU_UNROLL
            for (int b = 0; b < kBlocks; b++)
                max = fmaxf(max, fmaxf(s[b][2 * h], s[b][2 * h + 1]));
            max = fmaxf(max, gpu::shfl_xor(max, 1));
            max = fmaxf(max, gpu::shfl_xor(max, 2));
            max = fmaxf(max * scale, st.max[h]);
            const float base = max == FLASH_NONE ? 0.0f : max;
            const float keep = gpu::exp2f_(st.max[h] - base);
            st.max[h] = max;
            float sum = 0.0f;
            GPU_UNROLL
            for (int b = 0; b < kBlocks; b++)
                GPU_UNROLL
            for (int e = 2 * h; e < 2 * h + 2; e++) {
                s[b][e] = gpu::exp2f_(s[b][e] * scale - base);
                sum += s[b][e];
            }
            st.sum[h] = st.sum[h] * keep + sum;
            GPU_UNROLL
            for (int c = 0; c < kColumns; c++) {
                st.o[c][2 * h] *= keep;
                st.o[c][2 * h + 1] *= keep;
            }
        }
    }

    static GPU_FN void values(const float (&s)[kBlocks][4], State &st, uint32_t v)
    {
        const int l = gpu::lane();
        GPU_UNROLL
        for (int step = 0; step < kKeys / 16; step++) {
            const float(&lo)[4] = s[2 * step], (&hi)[4] = s[2 * step + 1];
            const uint32_t p[4] = {gpu::pack2<T>(lo[0], lo[1]), gpu::pack2<T>(lo[2], lo[3]),
                                   gpu::pack2<T>(hi[0], hi[1]), gpu::pack2<T>(hi[2], hi[3])};
            GPU_UNROLL
            for (int c = 0; c < kColumns; c += 2) {
                uint32_t r[4];
                gpu::ldmatrix4t(
                    r, v + uint32_t((step * 16 + l % 16) * kStride<DV> + c * 16 + l / 16 * 16));
                const uint32_t even[2] = {r[0], r[1]}, odd[2] = {r[2], r[3]};
                gpu::mma16816<T>(st.o[c], p, even);
                gpu::mma16816<T>(st.o[c + 1], p, odd);
            }
        }
    }

    static GPU_FN void attend(const Work &w, State &st, int key, int stage)
    {
        const uint32_t k = kK + uint32_t(stage * kKeys * kStride<DQ>);
        const uint32_t v = kV + uint32_t(stage * kKeys * kStride<DV>);
        float s[kBlocks][4];
        scores(s, st, k);
        const bool open = key >= w.open_from && key + kKeys - 1 <= w.open_to;
        if (open && !w.score.special) {
            soften(s, st, w.score.scale);
        } else {
            shape(s, w, key);
            soften(s, st, 1.0f);
        }
        values(s, st, v);
    }

    static GPU_FN Work prepare(const Forward &p, const Batch &b, const Item &item, int sub)
    {
        Work w;
        w.sub = sub;
        const Layer &l = p.layer;
        w.item = item;
        w.request = request_in(item);
        w.k = keys_of(l, b, w.request, p.k, item.head, l.d);
        w.v = keys_of(l, b, w.request, p.v, item.head, l.dv);
        w.score = score_of(p, item.head);
        for (int h = 0; h < 2; h++)
            w.rows[h] = row_of(l, b, w.request, p.slopes, item.head,
                               item.row + sub + row_base() + gpu::lane() / 4 + 8 * h);
        open_keys(l, b, w.request, item.row + sub, kRows, w.open_from, w.open_to);
        return w;
    }

    static GPU_FN void main_loop(const Work &w, State &st)
    {
        const int from = w.item.key_from, to = w.item.key_to;
        Ids ids = {};
        look_up(ids, w, from);
        GPU_UNROLL
        for (int i = 0; i < kStages - 1; i++)
            load_stage(w, ids, from + i * kKeys, i);
        int stage = 0;
        for (int key = from; key < to; key += kKeys) {
            gpu::cp_wait<kStages - 2>();
            gpu::barrier();
            const int next = stage == 0 ? kStages - 1 : stage - 1;
            load_stage(w, ids, key + (kStages - 1) * kKeys, next);
            attend(w, st, key, stage);
            stage = stage == kStages - 1 ? 0 : stage + 1;
        }
        gpu::cp_wait<0>();
    }

    static GPU_FN void process(const Forward &p, const Batch &b, const Item &item, int sub)
    {
        const Work w = prepare(p, b, item, sub);
        State st;
        for (int h = 0; h < 2; h++)
            st.max[h] = FLASH_NONE, st.sum[h] = 0.0f;
        GPU_UNROLL
        for (int c = 0; c < kColumns; c++)
            st.o[c][0] = st.o[c][1] = st.o[c][2] = st.o[c][3] = 0.0f;
        load_queries<T, DQ, kRows, kThreads>(kQ, p, w.request, item.head, item.row + sub,
                                             gpu::tid());
        gpu::barrier();
        GPU_UNROLL
        for (int step = 0; kKeepQ && step < kSteps; step++)
            load_q(st.q[kKeepQ ? step : 0], step);
        main_loop(w, st);
        for (int h = 0; h < 2; h++) {
            st.sum[h] += gpu::shfl_xor(st.sum[h], 1);
            st.sum[h] += gpu::shfl_xor(st.sum[h], 2);
        }
        float o[kColumns * 4];
        GPU_UNROLL
        for (int i = 0; i < kColumns * 4; i++)
            o[i] = st.o[i / 4][i % 4];
        const int local = sub + row_base() + gpu::lane() / 4, col = gpu::lane() % 4 * 2;
        write_columns<T, DV, kColumns, 4, 0>(p, w.request, item, local, {st.max[0], st.sum[0]}, o,
                                             col);
        write_columns<T, DV, kColumns, 4, 2>(p, w.request, item, local + 8, {st.max[1], st.sum[1]},
                                             o, col);
    }

    /* A tile of the list may be several of this kernel's, the last one not whole. */
    static GPU_FN void process_all(const Forward &p, const Batch &b, const Item &item)
    {
        for (int sub = 0; sub < p.list.rows; sub += kRows) {
            if (sub)
                gpu::barrier();
            process(p, b, item, sub);
        }
        if (item.splits > 1)
            arrive_and_merge<T, DV, kThreads>(p, request_in(item), item, kWord);
    }

    /* The first item is the block's own number; where that is enough for all, no counter is
     * touched. */
    static GPU_FN void run(const Forward &p)
    {
        const Batch b = *p.batch;
        const int count = gpu::gload(p.list.head);
        int i = gpu::bid();
        while (i < count) {
            process_all(p, b, item_at(p.list, i));
            if (count <= gpu::nblocks())
                return;
            i = gpu::nblocks() + next_ticket(p.list, kWord);
        }
        if (count > gpu::nblocks())
            leave(p.list);
    }
};

} // namespace flash

#endif /* ATTN_FLASH_CUDA_GENERAL_H */
