/* SPDX-License-Identifier: Apache-2.0 */
/* wave.h - what one wave of 64 lanes does with M packed rows and Keys keys of a tile in LDS.
 *
 * A lane has one row; the other keys of it lie in the lanes l % M of the other groups. */
#ifndef ATTN_ROCM_FLASH_WAVE_H
#define ATTN_ROCM_FLASH_WAVE_H

#include "flash/cuda/finish.h"
#include "flash/cuda/score.h"
#include "rocm_aiter/flash/tiles.h"

namespace flash
{

/* Two weights, rounded to nearest even. A NaN need not survive: it is in the row's sum. */
template <class T>
GPU_FN uint32_t
pack_weights(float lo, float hi)
{
    if constexpr (gpu::Element<T>::is_bf16) {
        const uint32_t l = gpu::float_to_bits(lo), h = gpu::float_to_bits(hi);
        return (l + 0x7FFFu + (l >> 16 & 1u)) >> 16 |
               ((h + 0x7FFFu + (h >> 16 & 1u)) & 0xFFFF0000u);
    } else {
        return gpu::pack2<T>(lo, hi);
    }
}

template <class T, int DQ, int DV, int M, int Keys> struct Wave {
    static constexpr int G = 64 / M, R = Matrix<M>::kRegisters;
    static constexpr int kBlocks = Keys / M, kColumns = DV / M;
    static constexpr int kPairs = DQ / (8 * G); /* instruction pairs of a score */
    static constexpr int kProducts = kBlocks * (kPairs * 2 + R / 4 * kColumns);
    static_assert(DQ % (8 * G) == 0 && DV % M == 0 && Keys % M == 0, "whole instructions");

    typedef float Scores[kBlocks][R];
    typedef uint32_t Weights[kBlocks][R / 2];

    struct State {
        float o[kColumns][R];
        float max, sum;
        uint32_t q[kPairs][4];
    };

    /* What a tile's keys meet: the rows of this wave. */
    struct View {
        Row row;
        Score score;
        int open_from, open_to; /* keys that every row sees */
    };

    /* Computed anew where it is used: registers are dearer. */
    static GPU_FN int lane()
    {
        return int(uint32_t(gpu::fresh(gpu::lane())) % 64u);
    }
    /* Key (column) of register r of a lane group, from the first of a block of M. */
    static GPU_FN int index_of(int group, int r)
    {
        return r / 4 * (4 * G) + 4 * group + r % 4;
    }

    static GPU_FN void clear(State &st)
    {
        st.max = FLASH_NONE;
        st.sum = 0.0f;
        GPU_UNROLL
        for (int i = 0; i < kColumns * R; i++)
            st.o[i / R][i % R] = 0.0f;
    }

    /* Eight elements of a row aligned to an element only; zeros past the width. */
    static GPU_FN gpu::u32x4 one_by_one(const uint16_t *row, int col, int width)
    {
        uint32_t words[4] = {0, 0, 0, 0};
        GPU_UNROLL
        for (int e = 0; e < 8; e++) {
            const uint32_t keep = uint32_t((col + e - width) >> 31);
            const uint32_t half = gpu::gload(row + min_(col + e, width - 1)) & keep;
            words[e / 2] |= half << (16 * (e % 2));
        }
        return {words[0], words[1], words[2], words[3]};
    }

    static GPU_FN void load_query(State &st, const Forward &p, const Request &r, int head,
                                  int packed)
    {
        const Layer &l = p.layer;
        const int token = packed / l.group, group = lane() / M;
        const uint16_t *from = static_cast<const uint16_t *>(p.q) +
                               int64_t{r.start + token} * p.q_token +
                               int64_t{head * l.group + packed % l.group} * p.q_head;
        GPU_UNROLL
        for (int s = 0; s < kPairs; s++) {
            const int col = 8 * G * s + 8 * group;
            gpu::u32x4 v = {0, 0, 0, 0};
            if (token < r.q && col < l.d)
                v = p.q_vector ? gpu::gload(reinterpret_cast<const gpu::u32x4 *>(from + col))
                               : one_by_one(from, col, l.d);
            st.q[s][0] = v.x;
            st.q[s][1] = v.y;
            st.q[s][2] = v.z;
            st.q[s][3] = v.w;
        }
    }

    /* s = K Q^T, keys first..first+Keys-1 of the tile at base. */
    static GPU_FN void scores(Scores &s, const State &st, uint32_t base, int first)
    {
        GPU_UNROLL
        for (int i = 0; i < kBlocks * R; i++)
            s[i / R][i % R] = 0.0f;
        /* Chunk c ^ x is chunk c's address ^ 16 x where the exchange reaches, c + y is + 16 y
         * beyond: one address, and constants. */
        constexpr int kReach = kExchange<DQ> + 1;
        const int l = lane();
        const uint32_t at = base + key_chunk<DQ>(first + l % M, l / M);
        GPU_UNROLL
        for (int pair = 0; pair < kPairs; pair++)
            GPU_UNROLL
        for (int b = 0; b < kBlocks; b++) {
            constexpr uint32_t kBlock = M * DQ * 2;
            const uint32_t c = uint32_t(G * pair);
            const gpu::u32x4 k = gpu::lds<gpu::u32x4>(
                (at ^ c % kReach * 16) + c / kReach * kReach * 16 + uint32_t(b) * kBlock);
            const uint32_t a0[2] = {k.x, k.y}, a1[2] = {k.z, k.w};
            const uint32_t b0[2] = {st.q[pair][0], st.q[pair][1]};
            const uint32_t b1[2] = {st.q[pair][2], st.q[pair][3]};
            Matrix<M>::template multiply<T>(s[b], a0, b0);
            Matrix<M>::template multiply<T>(s[b], a1, b1);
        }
    }

    /* o += V^T P^T of the same keys. */
    template <int TileKeys>
    static GPU_FN void values(State &st, const Weights &w, uint32_t base, int first)
    {
        const int l = lane();
        const uint32_t at = base + value_unit<DV, TileKeys>(l % M, first / 4 + l / M);
        GPU_UNROLL
        for (int b = 0; b < kBlocks; b++)
            GPU_UNROLL
        for (int q = 0; q < R / 4; q++) {
            const uint32_t p[2] = {w[b][2 * q], w[b][2 * q + 1]};
            const uint32_t unit = uint32_t(b * M / 4 + q * G);
            GPU_UNROLL
            for (int c = 0; c < kColumns; c++) {
                const uint32_t x = unit ^ exchange_of_column<DV, TileKeys>(c * M);
                const gpu::u32x2 v =
                    gpu::lds<gpu::u32x2>((at ^ x * 8) + uint32_t(c * M * TileKeys * 2));
                const uint32_t a[2] = {v.x, v.y};
                Matrix<M>::template multiply<T>(st.o[c], a, p);
            }
        }
    }

    /* Scores of keys from `first` to weights 2^(score - max). Sums and values are rescaled only
     * where a tile has a new maximum; a reference that lags behind would cost the largest weight,
     * which is 1, its exactness. */
    static GPU_FN void soften(Weights &w, Scores &s, State &st, const View &v, int first)
    {
        float scale = v.score.scale;
        if (first < v.open_from || first + Keys - 1 > v.open_to || v.score.special) {
            shape(s, v, first);
            scale = 1.0f;
        }
        const float top = largest(s) * scale;
        if (top > st.max)
            rescale(st, top);
        const float base = st.max == FLASH_NONE ? 0.0f : st.max;
        float sum = 0.0f;
        GPU_UNROLL
        for (int b = 0; b < kBlocks; b++)
            GPU_UNROLL
        for (int r = 0; r < R; r += 2) {
            const float lo = gpu::exp2f_(s[b][r] * scale - base);
            const float hi = gpu::exp2f_(s[b][r + 1] * scale - base);
            sum += lo + hi;
            w[b][r / 2] = pack_weights<T>(lo, hi);
        }
        st.sum += sum;
    }
    static GPU_FN void shape(Scores &s, const View &v, int first)
    {
        const int group = lane() / M;
        GPU_UNROLL
        for (int i = 0; i < kBlocks * R; i++)
            s[i / R][i % R] =
                v.score.shape(s[i / R][i % R], v.row, first + i / R * M + index_of(group, i % R));
    }
    /* Of a row: all its lanes get the same. */
    static GPU_FN float largest(const Scores &s)
    {
        float max = FLASH_NONE;
        GPU_UNROLL
        for (int i = 0; i < kBlocks * R; i++)
            max = fmaxf(max, s[i / R][i % R]);
        GPU_UNROLL
        for (int other = M; other < 64; other *= 2)
            max = fmaxf(max, gpu::shfl_xor(max, other));
        return max;
    }
    static GPU_FN void rescale(State &st, float max)
    {
        const float keep = gpu::exp2f_(st.max - max);
        st.max = max;
        st.sum *= keep;
        GPU_UNROLL
        for (int i = 0; i < kColumns * R; i++)
            st.o[i / R][i % R] *= keep;
    }

    /* Sums of a row over its lanes. */
    static GPU_FN void add_lanes(State &st)
    {
        GPU_UNROLL
        for (int other = M; other < 64; other *= 2)
            st.sum += gpu::shfl_xor(st.sum, other);
    }

    static GPU_FN void write_partial(const Forward &p, const Item &item, int local, const State &st)
    {
        const int at = item.slot + item.split;
        float *to = partial_row<DV>(p.list, at, local), *ml = partial_stat(p.list, at, local);
        const int group = lane() / M;
        GPU_UNROLL
        for (int i = 0; i < kColumns * R; i++)
            gpu::gstore(to + i / R * M + index_of(group, i % R), st.o[i / R][i % R]);
        if (group == 0) {
            gpu::gstore(ml, st.max);
            gpu::gstore(ml + 1, st.sum);
        }
    }
    /* local: this lane's row of the item's. */
    static GPU_FN void write(const Forward &p, const Request &r, const Item &item, int local,
                             State &st)
    {
        const int row = item.row + local, group = lane() / M;
        if (row >= r.q * p.layer.group)
            return;
        mend<T, kColumns * R>(
            p, r, item, row, st.max,
            [&](int i) GPU_INLINE -> float & { return st.o[i / R][i % R]; },
            [&](int i) GPU_INLINE { return i / R * M + index_of(gpu::fresh(group), i % R); });
        if (item.splits > 1) {
            write_partial(p, item, local, st);
            return;
        }
        const Place at = place_of(p, r, item.head, row);
        const float scale = finish_row(p, at, {st.max, st.sum}, item.head, group == 0);
        if (p.out_vector && p.layer.dv == DV)
            store_whole(static_cast<uint16_t *>(p.out) + at.out, group, st, scale);
        else
            GPU_UNROLL
        for (int i = 0; i < kColumns * R; i += 2)
            store2<T>(p, at, i / R * M + index_of(group, i % R), st.o[i / R][i % R] * scale,
                      st.o[i / R][i % R + 1] * scale);
    }
    static GPU_FN void store_whole(uint16_t *out, int group, const State &st, float scale)
    {
        GPU_UNROLL
        for (int i = 0; i < kColumns * R; i += 2)
            gpu::gstore(reinterpret_cast<uint32_t *>(out + i / R * M + index_of(group, i % R)),
                        gpu::pack2<T>(st.o[i / R][i % R] * scale, st.o[i / R][i % R + 1] * scale));
    }
};

GPU_FN Request
uniform_request(const Layer &l, const Batch &b, int index)
{
    Request r = request_of(l, b, index);
    r.start = gpu::uniform(r.start);
    r.q = gpu::uniform(r.q);
    r.s = gpu::uniform(r.s);
    r.causal = gpu::uniform(r.causal) != 0;
    return r;
}

GPU_FN Score
uniform_score(const Forward &p, int head)
{
    Score s = score_of(p, head);
    s.scale = same(s.scale);
    s.cap = same(s.cap);
    s.cap_scale = same(s.cap_scale);
    s.special = gpu::uniform(s.special) != 0;
    return s;
}

/* All threads of the block, numbered anew: nothing of the merge is kept through the main loop. */
struct FreshBlock : WholeBlock {
    static GPU_FN int number()
    {
        return int(uint32_t(gpu::fresh(gpu::tid())) % 1024u);
    }
};

/* The next item of the list, the same for all lanes, or -1. The word may lie over the tiles. */
GPU_FN int
next_uniform(const List &list, uint32_t word)
{
    const int i = gpu::uniform(next_item(list, word));
    gpu::barrier();
    return i;
}

} // namespace flash

#endif /* ATTN_ROCM_FLASH_WAVE_H */
