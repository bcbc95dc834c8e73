/* SPDX-License-Identifier: Apache-2.0 */
/* wave.h - the flash kernels of gfx942: four waves of 64 lanes.
 *
 * Prefill: each wave has 32 of the block's 128 packed rows and multiplies every key of a tile
 * (32x32x8). Decode: all waves have the same 16 rows and each its own 16 keys of a tile
 * (16x16x16); their results are merged through LDS at the end. A lane has one row; the other keys
 * of it lie in the lanes l % M of the other groups. */
#ifndef ATTN_ROCM_FLASH_WAVE_H
#define ATTN_ROCM_FLASH_WAVE_H

#include "flash/cuda/finish.h"
#include "rocm_aiter/flash/tiles.h"

namespace flash
{

template <class T, int DQ, int DV, bool Decode> struct WaveKernel {
    using Params = Forward;
    static constexpr const char *kName = Decode ? "flash_decode" : "flash_prefill";
    static constexpr int kThreads = 256, kWaves = 4;
    static constexpr int kMinBlocks = 1;
    static constexpr int kWide = DQ > DV ? DQ : DV;
    static constexpr int M = Decode || kWide > 192 ? 16 : 32, G = 64 / M; /* registers */
    static constexpr int kRows = Decode ? kDecodeRows : M * kWaves;
    static constexpr int kKeys = kWide > (Decode ? 192 : 128) ? 32 : 64; /* of a tile */
    static constexpr int kMine = Decode ? 16 : kKeys;             /* keys a wave multiplies */
    static constexpr int kBusy = Decode ? kKeys / kMine : kWaves; /* waves that multiply */
    static constexpr int kBlocks = kMine / M, kColumns = DV / M;
    static constexpr int kPairs = DQ / (8 * G); /* instruction pairs of a score */
    static constexpr int R = Matrix<M>::kRegisters;
    static_assert(DQ % (8 * G) == 0 && DV % M == 0, "whole instructions");

    static constexpr uint32_t kWord = 0;
    static constexpr uint32_t kK = 16;
    static constexpr uint32_t kV = kK + kKeys * DQ * 2;
    static constexpr uint32_t kEnd = kV + kKeys * DV * 2;
    /* The merge of decode waves lies over the tile: two waves' registers at a time. */
    static constexpr uint32_t kMerge = 16;
    static constexpr uint32_t kMergeEnd = kMerge + 2 * (kColumns * R + 2) * 64 * 4;
    static constexpr uint32_t kSharedBytes = Decode && kMergeEnd > kEnd ? kMergeEnd : kEnd;
    static_assert(kSharedBytes <= 65536, "LDS of a compute unit");

    struct Work {
        Request request;
        Item item;
        Keys k, v;
        Row row;
        float scale;            /* of scores, log2 units unless `special` */
        float cap, cap_scale;   /* softcap: cap_scale = 2 log2e / softcap, cap in log2 units */
        bool special;           /* softcap, alibi, or a scale that is not positive */
        int open_from, open_to; /* keys that every row sees */
    };
    struct State {
        float o[kColumns][R];
        float max, sum;
        uint32_t q[kPairs][4];
    };
    using Tile = Passage<T, DQ, DV, kKeys, kThreads>;

    static GPU_FN int wave()
    {
        return gpu::tid() / 64;
    }
    static GPU_FN int group()
    {
        return gpu::lane() / M;
    }
    /* This lane's row of the block's. */
    static GPU_FN int local_row()
    {
        return (Decode ? 0 : wave() * M) + gpu::lane() % M;
    }
    /* Key of register r, from the first of a block of M. */
    static GPU_FN int key_of(int r)
    {
        return r / 4 * (4 * G) + 4 * group() + r % 4;
    }

    static GPU_FN void load_query(State &st, const Forward &p, const Work &w)
    {
        const Layer &l = p.layer;
        const int packed = w.item.row + local_row(), token = packed / l.group;
        const uint16_t *from = static_cast<const uint16_t *>(p.q) +
                               int64_t{w.request.start + token} * p.q_token +
                               int64_t{w.item.head * l.group + packed % l.group} * p.q_head;
        GPU_UNROLL
        for (int s = 0; s < kPairs; s++) {
            const int col = 8 * G * s + 8 * group();
            gpu::u32x4 v = {0, 0, 0, 0};
            if (token < w.request.q && col < l.d)
                v = p.q_vector ? gpu::gload(reinterpret_cast<const gpu::u32x4 *>(from + col))
                               : load_slowly<T>(from, gpu::kKv16, col, l.d);
            st.q[s][0] = v.x;
            st.q[s][1] = v.y;
            st.q[s][2] = v.z;
            st.q[s][3] = v.w;
        }
    }

    static GPU_FN void scores(float (&s)[kBlocks][R], const State &st, int mine)
    {
        GPU_UNROLL
        for (int b = 0; b < kBlocks; b++) {
            GPU_UNROLL
            for (int r = 0; r < R; r++)
                s[b][r] = 0.0f;
            const int row = mine + b * M + gpu::lane() % M;
            GPU_UNROLL
            for (int pair = 0; pair < kPairs; pair++) {
                const gpu::u32x4 k =
                    gpu::lds<gpu::u32x4>(kK + key_chunk<DQ>(row, G * pair + group()));
                const uint32_t a0[2] = {k.x, k.y}, a1[2] = {k.z, k.w};
                const uint32_t b0[2] = {st.q[pair][0], st.q[pair][1]};
                const uint32_t b1[2] = {st.q[pair][2], st.q[pair][3]};
                Matrix<M>::template multiply<T>(s[b], a0, b0);
                Matrix<M>::template multiply<T>(s[b], a1, b1);
            }
        }
    }

    /* Scores to log2 units, with cap, slope and mask. */
    static GPU_FN void shape(float (&s)[kBlocks][R], const Work &w, int first)
    {
        GPU_UNROLL
        for (int b = 0; b < kBlocks; b++)
            GPU_UNROLL
        for (int r = 0; r < R; r++) {
            const int j = first + b * M + key_of(r);
            float x = s[b][r] * w.scale;
            if (w.cap > 0.0f) /* tanh(y) = 1 - 2 / (1 + e^2y) */
                x = w.cap - 2.0f * w.cap * gpu::rcpf_(1.0f + gpu::exp2f_(x * w.cap_scale));
            const int away = w.row.position - j;
            x -= w.row.slope * float(away < 0 ? -away : away);
            s[b][r] = w.row.sees(j) ? x : FLASH_NONE;
        }
    }

    /* s becomes exp2(scale s - max); o and sum are rescaled. */
    static GPU_FN void soften(float (&s)[kBlocks][R], State &st, float scale)
    {
        float max = FLASH_NONE, sum = 0.0f;
        GPU_UNROLL
        for (int b = 0; b < kBlocks; b++)
            GPU_UNROLL
        for (int r = 0; r < R; r++)
            max = fmaxf(max, s[b][r]);
        GPU_UNROLL
        for (int other = M; other < 64; other *= 2)
            max = fmaxf(max, gpu::shfl_xor(max, other));
        max = fmaxf(max * scale, st.max);
        const float base = max == FLASH_NONE ? 0.0f : max;
        const float keep = gpu::exp2f_(st.max - base);
        st.max = max;
        GPU_UNROLL
        for (int b = 0; b < kBlocks; b++)
            GPU_UNROLL
        for (int r = 0; r < R; r++) {
            s[b][r] = gpu::exp2f_(s[b][r] * scale - base);
            sum += s[b][r];
        }
        st.sum = st.sum * keep + sum;
        GPU_UNROLL
        for (int c = 0; c < kColumns; c++)
            GPU_UNROLL
        for (int r = 0; r < R; r++)
            st.o[c][r] *= keep;
    }

    static GPU_FN void values(const float (&s)[kBlocks][R], State &st, int mine)
    {
        GPU_UNROLL
        for (int b = 0; b < kBlocks; b++)
            GPU_UNROLL
        for (int q = 0; q < R / 4; q++) {
            const uint32_t p[2] = {gpu::pack2<T>(s[b][4 * q], s[b][4 * q + 1]),
                                   gpu::pack2<T>(s[b][4 * q + 2], s[b][4 * q + 3])};
            const int unit = (mine + b * M + q * 4 * G) / 4 + group();
            GPU_UNROLL
            for (int c = 0; c < kColumns; c++) {
                const gpu::u32x2 v =
                    gpu::lds<gpu::u32x2>(kV + value_unit<kKeys>(c * M + gpu::lane() % M, unit));
                const uint32_t a[2] = {v.x, v.y};
                Matrix<M>::template multiply<T>(st.o[c], a, p);
            }
        }
    }

    static GPU_FN void attend(const Work &w, State &st, int key)
    {
        const int mine = Decode ? wave() * kMine : 0, first = key + mine;
        float s[kBlocks][R];
        scores(s, st, mine);
        const bool open = first >= w.open_from && first + kMine - 1 <= w.open_to;
        if (open && !w.special) {
            soften(s, st, w.scale);
        } else {
            shape(s, w, first);
            soften(s, st, 1.0f);
        }
        values(s, st, mine);
    }

    static GPU_FN void prepare_scale(Work &w, const Forward &p)
    {
        const Layer &l = p.layer;
        float scale = l.scale;
        if (p.k_scale)
            scale *= gpu::gload(p.k_scale + w.item.head);
        w.cap = l.softcap * kLog2e;
        w.cap_scale = l.softcap > 0.0f ? 2.0f * kLog2e / l.softcap : 0.0f;
        w.scale = l.softcap > 0.0f ? scale : scale * kLog2e;
        w.special = l.softcap > 0.0f || p.slopes || !(scale > 0.0f);
    }

    static GPU_FN Work prepare(const Forward &p, const Item &item)
    {
        Work w;
        const Batch b = *p.batch;
        const Layer &l = p.layer;
        w.item = item;
        w.request = request_of(l, b, item.req);
        w.k = keys_of(l, b, w.request, p.k, item.head, l.d);
        w.v = keys_of(l, b, w.request, p.v, item.head, l.dv);
        prepare_scale(w, p);
        w.row = row_of(l, b, w.request, p.slopes, item.head, item.row + local_row());
        const int last = min_(item.row + kRows, w.request.q * l.group) - 1;
        int ignored;
        interval(l, b, w.request, w.request.position(last / l.group), w.open_from, ignored);
        interval(l, b, w.request, w.request.position(item.row / l.group), ignored, w.open_to);
        return w;
    }

    static GPU_FN void main_loop(const Work &w, State &st)
    {
        Tile tile;
        const int to = w.item.key_to;
        if (w.item.key_from < to)
            tile.fetch(w.k, w.v, w.item.key_from, gpu::tid());
        for (int key = w.item.key_from; key < to; key += kKeys) {
            gpu::barrier(); /* the tile before is no longer read */
            tile.put(kK, kV, gpu::tid());
            gpu::barrier();
            if (key + kKeys < to)
                tile.fetch(w.k, w.v, key + kKeys, gpu::tid());
            if (wave() < kBusy)
                attend(w, st, key);
        }
    }

    /* Decode: the four waves saw different keys; lane and register mean the same in all. */
    static GPU_FN void merge_waves(State &st)
    {
        GPU_UNROLL
        for (int half = 2; half > 0; half /= 2) {
            const uint32_t at = kMerge + uint32_t(wave() % half * (kColumns * R + 2) * 256);
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
        for (int i = 0; i < kColumns * R; i++)
            gpu::sts(slot(at, i), st.o[i / R][i % R]);
        gpu::sts(slot(at, kColumns * R), st.max);
        gpu::sts(slot(at, kColumns * R + 1), st.sum);
    }
    static GPU_FN void receive(State &st, uint32_t at)
    {
        const float max = gpu::lds<float>(slot(at, kColumns * R));
        const float all = fmaxf(st.max, max), base = all == FLASH_NONE ? 0.0f : all;
        const float mine = gpu::exp2f_(st.max - base), theirs = gpu::exp2f_(max - base);
        st.max = all;
        st.sum = st.sum * mine + gpu::lds<float>(slot(at, kColumns * R + 1)) * theirs;
        GPU_UNROLL
        for (int i = 0; i < kColumns * R; i++) {
            float &o = st.o[i / R][i % R];
            o = o * mine + gpu::lds<float>(slot(at, i)) * theirs;
        }
    }

    /* Column of register r of block c. */
    static GPU_FN int column_of(int c, int r)
    {
        return c * M + key_of(r);
    }
    static GPU_FN void write_partial(const Forward &p, const Work &w, const State &st)
    {
        const int at = w.item.slot + w.item.split, local = local_row();
        float *to = partial_row<DV>(p.list, at, local), *ml = partial_stat(p.list, at, local);
        GPU_UNROLL
        for (int c = 0; c < kColumns; c++)
            GPU_UNROLL
        for (int r = 0; r < R; r++)
            gpu::gstore(to + column_of(c, r), st.o[c][r]);
        if (group() == 0) {
            gpu::gstore(ml, st.max);
            gpu::gstore(ml + 1, st.sum);
        }
    }
    static GPU_FN void write(const Forward &p, const Work &w, const State &st)
    {
        const int row = w.item.row + local_row();
        if (row >= w.request.q * p.layer.group)
            return;
        if (w.item.splits > 1) {
            write_partial(p, w, st);
            return;
        }
        const Place at = place_of(p, w.request, w.item.head, row);
        const float scale = finish_row(p, at, {st.max, st.sum}, w.item.head, group() == 0);
        GPU_UNROLL
        for (int c = 0; c < kColumns; c++)
            GPU_UNROLL
        for (int r = 0; r < R; r += 2)
            store2<T>(p, at, column_of(c, r), st.o[c][r] * scale, st.o[c][r + 1] * scale);
    }

    static GPU_FN void process(const Forward &p, const Item &item)
    {
        const Work w = prepare(again(p), item);
        State st;
        st.max = FLASH_NONE;
        st.sum = 0.0f;
        GPU_UNROLL
        for (int i = 0; i < kColumns * R; i++)
            st.o[i / R][i % R] = 0.0f;
        load_query(st, again(p), w);
        main_loop(w, st);
        GPU_UNROLL
        for (int other = M; other < 64; other *= 2)
            st.sum += gpu::shfl_xor(st.sum, other);
        if (Decode)
            merge_waves(st);
        if (!Decode || wave() == 0)
            write(again(p), w, st);
        if (item.splits > 1)
            arrive_and_merge<T, DV, kThreads>(again(p), w.request, item, kWord);
    }

    static GPU_FN void run(const Forward &p)
    {
        for (int i = next_item(again(p).list, kWord); i >= 0; i = next_item(again(p).list, kWord))
            process(p, item_at(again(p).list, i));
        leave(again(p).list);
    }
};

} // namespace flash

#endif /* ATTN_ROCM_FLASH_WAVE_H */
