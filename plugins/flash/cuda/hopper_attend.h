/* SPDX-License-Identifier: Apache-2.0 */
/* hopper_attend.h - a consumer warpgroup of the prefill kernel: 64 packed rows against an item's
 * keys.
 *
 * Within a warpgroup the product of the next tile's scores runs beside the softmax of this one (P
 * stays in registers: the accumulator's layout is that of operand A). The warpgroups take turns at
 * the tensor cores (named barriers kTurn), so that one's softmax hides behind another's products.
 */
#ifndef ATTN_FLASH_CUDA_HOPPER_ATTEND_H
#define ATTN_FLASH_CUDA_HOPPER_ATTEND_H

#include "flash/cuda/hopper_out.h"
#include "flash/cuda/hopper_scale.h"
#include "flash/cuda/hopper_shape.h"

namespace flash
{

template <class S> struct HopperAttend {
    using T = typename S::T;
    using Out = typename S::Out;
    static constexpr int BN = S::BN, DQ = S::DQ, DV = S::DV;

    /* What a thread keeps in registers. */
    struct State {
        float o[DV / 2];
        float s[BN / 2];
        uint32_t p[BN / 16][4];
        float max[2], sum[2], keep[2];
    };

    struct Consumer {
        const HopperForward &p;
        const Batch &b;
        int group;
        HopperRing<S::kInfos> info;
        HopperRing<S::kQStages> q;
        HopperRing<S::kKStages> k;
        HopperRing<S::kVStages> v;
        Row rows[2];
        Score score;
        float factor[2]; /* of products, where queries were scaled */
        int open_from, open_to;
        bool cut; /* a row's keys are an interval, and nothing else shapes its scores */
    };

    struct Consumers {
        static GPU_FN void meet()
        {
            gpu::barrier(S::kMeet, S::kConsumers);
        }
        static GPU_FN int number()
        {
            return gpu::tid() - S::kFirst;
        }
    };

    static GPU_FN int local_row() /* first row of this thread within the tile */
    {
        return (gpu::tid() - S::kFirst) / 32 * 16 + gpu::lane() / 4;
    }

    static GPU_FN void take_turn(const Consumer &w)
    {
        gpu::barrier(S::kTurn + w.group, 256);
    }
    static GPU_FN void give_turn(const Consumer &w)
    {
        gpu::barrier_arrive(S::kTurn + (w.group + 1 == S::kGroups ? 0 : w.group + 1), 256);
    }

    /* ------------------------------------------------------------ products */

    static GPU_FN void issue_scores(const Consumer &w, State &st)
    {
        const uint32_t q =
            gpu::desc_low(S::kQ + uint32_t(w.q.stage * S::kQBytes + w.group * 64 * S::kSlab), 16);
        uint32_t k = gpu::desc_low(S::kK + uint32_t(w.k.stage * S::kKBytes), 16);
        const uint32_t group = uint32_t(w.p.k.group_bytes), slab = uint32_t(w.p.k.slab_bytes) / 16;
        gpu::wgmma_fence();
        GPU_UNROLL
        for (uint32_t i = 0; i < DQ / 16; i++) {
            gpu::Wgmma<T, BN, false>::ss(st.s,
                                         gpu::desc(q + i / 4 * (S::kQSlab / 16) + i % 4 * 2, 1024),
                                         gpu::desc(k + i % 4 * 2, group), i > 0);
            if (i % 4 == 3)
                k += slab;
        }
        gpu::wgmma_commit();
    }

    static GPU_FN void issue_values(const Consumer &w, State &st)
    {
        uint32_t v =
            gpu::desc_low(S::kV + uint32_t(w.v.stage * S::kVBytes), uint32_t(w.p.v.slab_bytes));
        const uint32_t group = uint32_t(w.p.v.group_bytes);
        gpu::wgmma_fence();
        GPU_UNROLL
        for (int i = 0; i < BN / 16; i++) {
            gpu::Wgmma<T, DV, true>::rs(st.o, st.p[i], gpu::desc(v, group), true);
            v += group / 8;
        }
        gpu::wgmma_commit();
    }

    /* ------------------------------------------------------------- softmax */

    static GPU_FN float product(const Consumer &w, float x, int h)
    {
        return S::kScaled ? x * w.factor[h] : x;
    }

    static GPU_FN void shape(const Consumer &w, State &st, int key)
    {
        GPU_UNROLL
        for (int i = 0; i < BN / 2; i++)
            st.s[i] = w.score.shape(product(w, st.s[i], i / 2 % 2), w.rows[i / 2 % 2],
                                    key + i / 4 * 8 + gpu::lane() % 4 * 2 + i % 2);
    }

    /* What is outside a row's interval becomes -inf, the rest stays a product. */
    static GPU_FN void cut(const Consumer &w, State &st, int key)
    {
        GPU_UNROLL
        for (int h = 0; h < 2; h++) {
            const Row &row = w.rows[h];
            const uint32_t first = uint32_t(key + gpu::lane() % 4 * 2 - row.from);
            const uint32_t seen = uint32_t(max_(0, row.to - row.from + 1));
            GPU_UNROLL
            for (int i = 0; i < BN / 4; i++) {
                float &x = st.s[4 * (i / 2) + 2 * h + i % 2];
                x = first + uint32_t(i / 2 * 8 + i % 2) < seen ? x : FLASH_NONE;
            }
        }
    }

    /* s becomes exp2(scale[row] s - max); keep is what o has to be multiplied by. Row by row: the
     * second's maximum is found beside the first's exponentials. */
    static GPU_FN void soften(State &st, const float (&scales)[2])
    {
        GPU_UNROLL
        for (int h = 0; h < 2; h++) {
            const float scale = scales[h];
            float max = FLASH_NONE;
            GPU_UNROLL
            for (int i = 0; i < BN / 8; i++)
                max = fmaxf(max, fmaxf(st.s[4 * i + 2 * h], st.s[4 * i + 2 * h + 1]));
            max = fmaxf(max, gpu::shfl_xor(max, 1));
            max = fmaxf(max, gpu::shfl_xor(max, 2));
            max = fmaxf(max * scale, st.max[h]);
            const float base = max == FLASH_NONE ? 0.0f : max;
            st.keep[h] = gpu::exp2f_(st.max[h] - base);
            st.max[h] = max;
            float sum = 0.0f;
            GPU_UNROLL
            for (int i = 0; i < BN / 4; i++) {
                float &x = st.s[4 * (i / 2) + 2 * h + i % 2];
                x = gpu::exp2f_(x * scale - base);
                sum += x;
            }
            st.sum[h] = st.sum[h] * st.keep[h] + sum;
        }
    }

    /* Three copies of soften, each in a branch of its own: in a block shared with the wait for the
     * values' product the compiler moves the softmax behind the wait. */
    static GPU_FN void softmax(const Consumer &w, State &st, int key)
    {
        if (!w.score.special && key >= w.open_from && key + BN - 1 <= w.open_to) {
            soften(st, {product(w, w.score.scale, 0), product(w, w.score.scale, 1)});
        } else if (w.cut) {
            cut(w, st, key);
            soften(st, {product(w, w.score.scale, 0), product(w, w.score.scale, 1)});
        } else {
            shape(w, st, key);
            soften(st, {1.0f, 1.0f});
        }
    }

    static GPU_FN void pack(State &st)
    {
        GPU_UNROLL
        for (int i = 0; i < BN / 16; i++)
            GPU_UNROLL
        for (int j = 0; j < 4; j++)
            st.p[i][j] = gpu::pack2<T>(st.s[8 * i + 2 * j], st.s[8 * i + 2 * j + 1]);
    }

    /* Mostly the maximum has settled and there is nothing to do. */
    static GPU_FN void rescale(State &st)
    {
        if (gpu::warp_all(st.keep[0] == 1.0f && st.keep[1] == 1.0f))
            return;
        GPU_UNROLL
        for (int i = 0; i < DV / 2; i++)
            st.o[i] *= st.keep[i / 2 % 2];
    }

    /* --------------------------------------------------------------- tiles */

    static GPU_FN void wait_keys(const Consumer &w)
    {
        gpu::mbar_wait(S::kKFull + uint32_t(8 * w.k.stage), w.k.parity);
    }
    static GPU_FN void wait_values(const Consumer &w)
    {
        gpu::mbar_wait(S::kVFull + uint32_t(8 * w.v.stage), w.v.parity);
    }
    static GPU_FN void release_keys(Consumer &w)
    {
        S::release(S::kKEmpty + uint32_t(8 * w.k.stage));
        w.k.step();
    }
    static GPU_FN void release_values(Consumer &w)
    {
        S::release(S::kVEmpty + uint32_t(8 * w.v.stage));
        w.v.step();
    }

    static GPU_FN void scale_queries(Consumer &w)
    {
        const uint32_t at = S::kQ + uint32_t(w.q.stage * S::kQBytes + local_row() * S::kSlab);
        GPU_UNROLL
        for (uint32_t h = 0; h < 2; h++)
            w.factor[h] = hopper_scale_row<Out, DQ, S::kQSlab>(at + 8 * h * S::kSlab);
        gpu::proxy_fence();
        gpu::barrier(S::kOwn + w.group, 128);
    }

    static GPU_FN void first_scores(Consumer &w, State &st)
    {
        gpu::mbar_wait(S::kQFull + uint32_t(8 * w.q.stage), w.q.parity);
        if constexpr (S::kScaled)
            scale_queries(w);
        wait_keys(w);
        take_turn(w);
        issue_scores(w, st);
        give_turn(w);
        gpu::wgmma_wait<0>(st.s);
        release_keys(w);
    }

    static GPU_FN void last_values(Consumer &w, State &st)
    {
        S::release(S::kQEmpty + uint32_t(8 * w.q.stage));
        w.q.step();
        wait_values(w);
        issue_values(w, st);
        gpu::wgmma_wait<0>(st.o);
        release_values(w);
    }

    /* Scores of the next tile, values of this one, softmax of the next between them. */
    static GPU_FN void overlap(Consumer &w, State &st, int key)
    {
        wait_keys(w);
        take_turn(w);
        issue_scores(w, st);
        wait_values(w);
        issue_values(w, st);
        give_turn(w);
        gpu::wgmma_wait<S::kBeside ? 1 : 0>(st.s);
        release_keys(w);
        softmax(w, st, key);
        gpu::wgmma_wait<0>(st.o);
        release_values(w);
        rescale(st);
        pack(st);
    }

    static GPU_FN void attend(Consumer &w, State &st, const Item &item)
    {
        int key = item.key_from + (S::tiles_of(item) - 1) * BN;
        first_scores(w, st);
        softmax(w, st, key);
        pack(st);
        while ((key -= BN) >= item.key_from)
            overlap(w, st, key);
        last_values(w, st);
    }

    /* --------------------------------------------------------------- items */

    static GPU_FN void begin(Consumer &w, State &st, const HopperInfo &info)
    {
        const Forward &f = w.p.forward;
        const Request r = info.request();
        GPU_UNROLL
        for (int h = 0; h < 2; h++) {
            w.rows[h] = row_of(f.layer, w.b, r, f.slopes, info.item.head,
                               info.item.row + local_row() + 8 * h);
            st.max[h] = FLASH_NONE;
            st.sum[h] = 0.0f;
        }
        w.score = score_of(f, info.item.head);
        w.open_from = info.open_from;
        w.open_to = info.open_to;
        w.cut = !w.score.special && !w.b.ranges;
        GPU_UNROLL
        for (int i = 0; i < DV / 2; i++)
            st.o[i] = 0.0f;
    }

    static GPU_FN void finish(const Consumer &w, State &st, const HopperInfo &info)
    {
        const Forward &f = w.p.forward;
        const Request r = info.request();
        GPU_UNROLL
        for (int h = 0; h < 2; h++) {
            st.sum[h] += gpu::shfl_xor(st.sum[h], 1);
            st.sum[h] += gpu::shfl_xor(st.sum[h], 2);
        }
        write_row<Out, DV, 0>(f, r, info.item, local_row(), {st.max[0], st.sum[0]}, st.o);
        write_row<Out, DV, 1>(f, r, info.item, local_row() + 8, {st.max[1], st.sum[1]}, st.o);
        if (info.item.splits > 1)
            arrive_and_merge<Out, DV, S::kConsumers, Consumers>(f, r, info.item, S::kWord);
    }

    static GPU_FN void run(const HopperForward &p, const Batch &b)
    {
        Consumer w = {p, b,    (gpu::tid() - S::kFirst) / 128, {}, {}, {}, {}, {}, {}, {}, 0,
                      0, false};
        if (w.group == S::kGroups - 1)
            give_turn(w);
        for (;; w.info.step()) {
            gpu::mbar_wait(S::kInfoFull + uint32_t(8 * w.info.stage), w.info.parity);
            const HopperInfo info = S::read_info(w.info.stage);
            if (!info.valid)
                break;
            State st;
            begin(w, st, info);
            if (S::tiles_of(info.item) > 0)
                attend(w, st, info.item);
            finish(w, st, S::read_info(w.info.stage));
            S::release(S::kInfoEmpty + uint32_t(8 * w.info.stage));
        }
    }
};

} // namespace flash

#endif /* ATTN_FLASH_CUDA_HOPPER_ATTEND_H */
