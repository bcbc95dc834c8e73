/* SPDX-License-Identifier: Apache-2.0 */
/* hopper.h - the prefill kernel of sm_90a: bulk copies, memory barriers, warpgroup products.
 *
 * Three warpgroups of 128 threads: one loads, two have 64 of the tile's 128 packed rows each. Keys
 * and values are double buffered; tiles of keys go from the last to the first, so that the masked
 * ones come first. Within a warpgroup the product of the next tile's scores runs beside the softmax
 * of this one (P stays in registers: the accumulator's layout is that of operand A). The two
 * warpgroups take turns at the tensor cores (named barriers kTurn), so that one's softmax hides
 * behind the other's products.
 *
 * Takes bf16 and f16, widths a multiple of 8 (bulk copies fill up with zeros), pages of a multiple
 * of 8 keys that divide a tile or are a multiple of it, groups that divide 128. */
#ifndef ATTN_FLASH_CUDA_HOPPER_H
#define ATTN_FLASH_CUDA_HOPPER_H

#include "common/gpu/hopper.h"
#include "flash/cuda/kernels.h"
#include "flash/cuda/score.h"

namespace flash
{

/* The part of the kernel that a consumer warpgroup's thread keeps in registers. */
template <int BN, int DV> struct HopperState {
    float o[DV / 2];
    float s[BN / 2];
    uint32_t p[BN / 16][4];
    float max[2], sum[2], keep[2];
};

template <class T, int DQ, int DV, int BN> struct Hopper {
    using Params = HopperForward;
    using State = HopperState<BN, DV>;
    static constexpr const char *kName = "flash_hopper";
    static constexpr int kThreads = 384, kMinBlocks = 1;
    static constexpr int kRows = 128, kKeys = BN, kStages = 2;

    static constexpr int kSlab = 128; /* bytes of a swizzled row: 64 elements */
    static constexpr int kQSlab = kRows * kSlab, kKSlab = BN * kSlab;
    static constexpr int kKStage = DQ / 64 * kKSlab, kVStage = DV / 64 * kKSlab;
    static constexpr uint32_t kWord = 0;
    static constexpr uint32_t kItem = 4, kQFull = 16, kQEmpty = 24, kTail = 32;
    static constexpr uint32_t kKFull = 40, kKEmpty = 56, kVFull = 72, kVEmpty = 88;
    static constexpr uint32_t kQ = 1024;
    static constexpr uint32_t kK = kQ + DQ / 64 * kQSlab;
    static constexpr uint32_t kV = kK + kStages * kKStage;
    static constexpr uint32_t kSharedBytes = kV + kStages * kVStage;
    /* Named barriers: 1 and 2 whose turn it is, 3 of both consumers. */
    static constexpr int kTurn = 1, kConsumers = 3;

    /* A ring position: which stage, and the parity of its use. */
    struct Ring {
        int stage = 0, parity = 0;
        GPU_FN void step()
        {
            stage ^= 1;
            parity ^= stage == 0;
        }
    };

    static GPU_FN int tiles_of(const Item &item)
    {
        return (item.key_to - item.key_from + BN - 1) / BN;
    }

    static GPU_FN void start()
    {
        if (gpu::tid() == 0) {
            gpu::mbar_init(kQFull, 1);
            gpu::mbar_init(kQEmpty, 8);
            gpu::mbar_init(kTail, 1);
            for (uint32_t i = 0; i < kStages; i++) {
                gpu::mbar_init(kKFull + 8 * i, 1);
                gpu::mbar_init(kKEmpty + 8 * i, 8);
                gpu::mbar_init(kVFull + 8 * i, 1);
                gpu::mbar_init(kVEmpty + 8 * i, 8);
            }
            gpu::mbar_fence();
        }
        gpu::barrier();
    }

    /* ------------------------------------------------------- the loading warp */

    struct Loader {
        const Params &p;
        const Batch &b;
        Ring k, v;
        int q_parity = 1, tail_parity = 0;
    };

    /* The page each lane's boxes come from, looked up a tile ahead. */
    struct Page {
        int block, offset;
    };

    static GPU_FN Page look_up(const Loader &w, const Request &r, int key)
    {
        const Layer &l = w.p.forward.layer;
        const int rows = min_(l.block_size, BN);
        /* A page past the sequence: any page that is the request's, its keys are masked. */
        const int at =
            max_(0, min_(key + gpu::lane() % (BN / rows) * rows, (r.s - 1) / rows * rows));
        const int entry = l.block_shift >= 0 ? at >> l.block_shift : at / l.block_size;
        return {gpu::gload(w.b.table + w.b.table_stride * r.index + entry),
                at - entry * l.block_size};
    }

    /* Boxes of one tile of keys, spread over the lanes: lane i has page i % pages. */
    static GPU_FN void load_boxes(const Loader &w, const gpu::TensorMap *map, int slabs, int head,
                                  const Page &page, uint32_t to, uint32_t full)
    {
        const int rows = min_(w.p.forward.layer.block_size, BN), pages = BN / rows;
        for (int i = gpu::lane(); i < pages * slabs; i += 32) {
            const int slab = i / pages;
            const int c[4] = {slab * 64, head, page.offset, page.block};
            gpu::tma_load(to + uint32_t(slab * kKSlab + i % pages * rows * kSlab), map, full, c);
        }
    }

    static GPU_FN void expect(uint32_t bar, int bytes)
    {
        if (gpu::lane() == 0)
            gpu::mbar_expect(bar, bytes);
        gpu::syncwarp();
    }

    /* Tells the consumers which item comes next (-1: none), and loads its queries. */
    static GPU_FN void announce(Loader &w, int number)
    {
        gpu::mbar_wait(kQEmpty, w.q_parity);
        w.q_parity ^= 1;
        if (gpu::lane() == 0)
            gpu::sts<int32_t>(kItem, number);
    }

    static GPU_FN void load_q(const Loader &w, const Request &r, const Item &item)
    {
        const Layer &l = w.p.forward.layer;
        expect(kQFull, DQ / 64 * kQSlab);
        if (gpu::lane() < DQ / 64) {
            const int c[3] = {gpu::lane() * 64, item.head * l.group, r.start + item.row / l.group};
            gpu::tma_load(kQ + uint32_t(gpu::lane() * kQSlab), &w.p.q, kQFull, c);
        }
    }

    static GPU_FN void load_k(Loader &w, const Item &item, const Page &page)
    {
        const uint32_t at = uint32_t(w.k.stage);
        gpu::mbar_wait(kKEmpty + 8 * at, w.k.parity ^ 1);
        expect(kKFull + 8 * at, kKStage);
        load_boxes(w, &w.p.k, DQ / 64, item.head, page, kK + at * kKStage, kKFull + 8 * at);
        w.k.step();
    }

    /* Values of keys past the sequence must be zero: what a page's tail holds may be NaN, and
     * 0 * NaN is NaN. */
    static GPU_FN void clear_tail(uint32_t v, int valid)
    {
        for (int i = gpu::lane(); i < (BN - valid) * (DV / 8); i += 32) {
            const int row = valid + i % (BN - valid), chunk = i / (BN - valid);
            gpu::sts(v + uint32_t(chunk / 8 * kKSlab + row * kSlab + (chunk % 8 ^ row % 8) * 16),
                     gpu::u32x4{0, 0, 0, 0});
        }
        gpu::proxy_fence();
        gpu::syncwarp();
    }

    static GPU_FN void load_v(Loader &w, const Request &r, const Item &item, int key,
                              const Page &page)
    {
        const uint32_t at = uint32_t(w.v.stage), full = kVFull + 8 * at, to = kV + at * kVStage;
        const bool tail = key + BN > r.s;
        gpu::mbar_wait(kVEmpty + 8 * at, w.v.parity ^ 1);
        expect(tail ? kTail : full, kVStage);
        load_boxes(w, &w.p.v, DV / 64, item.head, page, to, tail ? kTail : full);
        if (tail) {
            gpu::mbar_wait(kTail, w.tail_parity);
            w.tail_parity ^= 1;
            clear_tail(to, max_(0, r.s - key));
            if (gpu::lane() == 0)
                gpu::mbar_arrive(full);
        }
        w.v.step();
    }

    static GPU_FN void load_item(Loader &w, const Item &item)
    {
        const Request r = request_of(w.p.forward.layer, w.b, item.req);
        int key = item.key_from + (tiles_of(item) - 1) * BN;
        Page now = look_up(w, r, key), next = now;
        load_q(w, r, item);
        load_k(w, item, now);
        for (; key >= item.key_from; key -= BN, now = next) {
            if (key > item.key_from) {
                next = look_up(w, r, key - BN);
                load_k(w, item, next);
            }
            load_v(w, r, item, key, now);
        }
    }

    /* The first item is the block's own number, the others are drawn: whoever is free takes the
     * longest that is left. */
    static GPU_FN int draw(const List &list, int count)
    {
        int ticket = 0;
        if (gpu::lane() == 0 && count > gpu::nblocks())
            ticket = gpu::atomic_add(list.head + 1, 1);
        return count > gpu::nblocks() ? gpu::nblocks() + gpu::shfl(ticket, 0) : count;
    }

    static GPU_FN void load_all(const Params &p, const Batch &b)
    {
        Loader w = {p, b, {}, {}, 1, 0};
        const List &list = p.forward.list;
        const int count = gpu::gload(list.head);
        for (int i = gpu::bid(); i < count; i = draw(list, count)) {
            const Item item = item_at(list, i);
            announce(w, i);
            if (tiles_of(item) > 0)
                load_item(w, item);
            else if (gpu::lane() == 0)
                gpu::mbar_arrive(kQFull);
        }
        announce(w, -1);
        if (gpu::lane() == 0)
            gpu::mbar_arrive(kQFull);
        if (count > gpu::nblocks())
            leave(list);
    }

    /* -------------------------------------------------------- the consumers */

    struct Consumer {
        const Forward &p;
        int group; /* 0 or 1 */
        Ring k, v;
        int q_parity = 0;
        Row rows[2];
        Score score;
        int open_from, open_to;
    };

    struct Consumers {
        static GPU_FN void meet()
        {
            gpu::barrier(kConsumers, 256);
        }
        static GPU_FN int number()
        {
            return gpu::tid() - 128;
        }
    };

    static GPU_FN int warp_row() /* first row of this warp within the tile */
    {
        return (gpu::tid() / 32 - 4) * 16;
    }

    static GPU_FN void release(uint32_t bar)
    {
        gpu::syncwarp();
        if (gpu::lane() == 0)
            gpu::mbar_arrive(bar);
    }

    static GPU_FN void take_turn(const Consumer &w)
    {
        gpu::barrier(kTurn + w.group, 256);
    }
    static GPU_FN void give_turn(const Consumer &w)
    {
        gpu::barrier_arrive(kTurn + 1 - w.group, 256);
    }

    static GPU_FN void issue_scores(const Consumer &w, State &st)
    {
        const uint32_t q = kQ + uint32_t(w.group * 64 * kSlab);
        const uint32_t k = kK + uint32_t(w.k.stage * kKStage);
        gpu::wgmma_fence();
        GPU_UNROLL
        for (int i = 0; i < DQ / 16; i++) {
            const uint32_t in_slab = uint32_t(i % 4 * 32);
            gpu::Wgmma<T, BN, false>::ss(st.s, gpu::desc_k(q + uint32_t(i / 4 * kQSlab) + in_slab),
                                         gpu::desc_k(k + uint32_t(i / 4 * kKSlab) + in_slab),
                                         i > 0);
        }
        gpu::wgmma_commit();
    }

    static GPU_FN void issue_values(const Consumer &w, State &st)
    {
        const uint32_t v = kV + uint32_t(w.v.stage * kVStage);
        gpu::wgmma_fence();
        GPU_UNROLL
        for (int i = 0; i < BN / 16; i++)
            gpu::Wgmma<T, DV, true>::rs(
                st.o, st.p[i], gpu::desc_mn(v + uint32_t(i * 16 * kSlab), uint32_t(kKSlab)), true);
        gpu::wgmma_commit();
    }

    static GPU_FN void shape(const Consumer &w, State &st, int key)
    {
        GPU_UNROLL
        for (int i = 0; i < BN / 2; i++)
            st.s[i] = w.score.shape(st.s[i], w.rows[i / 2 % 2],
                                    key + i / 4 * 8 + gpu::lane() % 4 * 2 + i % 2);
    }

    /* s becomes exp2(scale s - max); keep is what o has to be multiplied by. */
    static GPU_FN void soften(State &st, float scale)
    {
        GPU_UNROLL
        for (int h = 0; h < 2; h++) {
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

    static GPU_FN void softmax(const Consumer &w, State &st, int key)
    {
        if (key >= w.open_from && key + BN - 1 <= w.open_to && !w.score.special) {
            soften(st, w.score.scale);
        } else {
            shape(w, st, key);
            soften(st, 1.0f);
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

    /* Scores of the next tile, values of this one, softmax of the next between them. */
    static GPU_FN void overlap(Consumer &w, State &st, int key)
    {
        gpu::mbar_wait(kKFull + uint32_t(8 * w.k.stage), w.k.parity);
        take_turn(w);
        issue_scores(w, st);
        gpu::mbar_wait(kVFull + uint32_t(8 * w.v.stage), w.v.parity);
        issue_values(w, st);
        give_turn(w);
        gpu::wgmma_wait<1>(st.s);
        release(kKEmpty + uint32_t(8 * w.k.stage));
        w.k.step();
        softmax(w, st, key);
        gpu::wgmma_wait<0>(st.o);
        release(kVEmpty + uint32_t(8 * w.v.stage));
        w.v.step();
        rescale(st);
        pack(st);
    }

    static GPU_FN void attend(Consumer &w, State &st, const Item &item)
    {
        const int tiles = tiles_of(item);
        gpu::mbar_wait(kKFull + uint32_t(8 * w.k.stage), w.k.parity);
        take_turn(w);
        issue_scores(w, st);
        give_turn(w);
        gpu::wgmma_wait<0>(st.s);
        release(kKEmpty + uint32_t(8 * w.k.stage));
        w.k.step();
        softmax(w, st, item.key_from + (tiles - 1) * BN);
        pack(st);
        for (int t = tiles - 2; t >= 0; t--)
            overlap(w, st, item.key_from + t * BN);
        release(kQEmpty);
        gpu::mbar_wait(kVFull + uint32_t(8 * w.v.stage), w.v.parity);
        issue_values(w, st);
        gpu::wgmma_wait<0>(st.o);
        release(kVEmpty + uint32_t(8 * w.v.stage));
        w.v.step();
    }

    static GPU_FN void process(Consumer &w, const Batch &b, const Item &item)
    {
        const Forward &p = w.p;
        const Request r = request_of(p.layer, b, item.req);
        const int local = warp_row() + gpu::lane() / 4;
        for (int h = 0; h < 2; h++)
            w.rows[h] = row_of(p.layer, b, r, p.slopes, item.head, item.row + local + 8 * h);
        w.score = score_of(p, item.head);
        open_keys(p.layer, b, r, item.row, kRows, w.open_from, w.open_to);
        State st;
        GPU_UNROLL
        for (int i = 0; i < DV / 2; i++)
            st.o[i] = 0.0f;
        for (int h = 0; h < 2; h++)
            st.max[h] = FLASH_NONE, st.sum[h] = 0.0f;
        if (tiles_of(item) > 0)
            attend(w, st, item);
        else
            release(kQEmpty);
        GPU_UNROLL
        for (int h = 0; h < 2; h++) {
            st.sum[h] += gpu::shfl_xor(st.sum[h], 1);
            st.sum[h] += gpu::shfl_xor(st.sum[h], 2);
        }
        const int col = gpu::lane() % 4 * 2;
        write_columns<T, DV, DV / 8, 4, 0>(p, r, item, local, {st.max[0], st.sum[0]}, st.o, col);
        write_columns<T, DV, DV / 8, 4, 2>(p, r, item, local + 8, {st.max[1], st.sum[1]}, st.o,
                                           col);
        if (item.splits > 1)
            arrive_and_merge<T, DV, 256, Consumers>(p, r, item, kWord);
    }

    static GPU_FN void consume_all(const Params &p, const Batch &b)
    {
        Consumer w = {p.forward, gpu::tid() / 128 - 1, {}, {}, 0, {}, {}, 0, 0};
        if (w.group == 1)
            give_turn(w);
        for (;; w.q_parity ^= 1) {
            gpu::mbar_wait(kQFull, w.q_parity);
            const int i = gpu::shfl(gpu::lane() == 0 ? gpu::lds<int32_t>(kItem) : 0, 0);
            if (i < 0)
                break;
            process(w, b, item_at(p.forward.list, i));
        }
    }

    static GPU_FN void run(const Params &p)
    {
#if defined(GPU_HOPPER)
        const Batch b = *p.forward.batch;
        start();
        if (gpu::tid() < 128) {
            gpu::regs_give<40>();
            if (gpu::tid() < 32)
                load_all(p, b);
        } else {
            gpu::regs_take<232>();
            consume_all(p, b);
        }
#endif
    }
};

} // namespace flash

#endif /* ATTN_FLASH_CUDA_HOPPER_H */
