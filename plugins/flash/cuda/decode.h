/* SPDX-License-Identifier: Apache-2.0 */
/* decode.h - few queries against many keys, sm_80 and later: bound by the reading of the cache.
 *
 * Four warps, each with its own keys of every tile and its own stages: no barrier while keys are
 * read. Scores are taken transposed, keys by queries: a product of 16 keys has eight queries, so
 * that a group of at most eight costs one product, not two. An fp8 cache lies raw in the stages and
 * is widened to f16, exactly, in registers; the queries are scaled by a power of two to suit.
 *
 * While an item's warps are merged, the first keys of the block's next item are on their way. */
#ifndef ATTN_FLASH_CUDA_DECODE_H
#define ATTN_FLASH_CUDA_DECODE_H

#include "flash/cuda/merge.h"
#include "flash/cuda/scale.h"
#include "flash/cuda/score.h"
#include "flash/cuda/stage.h"

#include <type_traits>

namespace flash
{

/* What a thread keeps of one item: queries 8 n + 2 (lane % 4) + e, and as an operand query
 * 8 n + lane / 4. N: groups of eight queries. */
template <int DQ, int DV, int N> struct DecodeState {
    float o[DV / 16][N][4];
    float max[N][2], sum[N][2];
    float factor[N][2]; /* of products, where queries were scaled */
    uint32_t q[DQ / 16][N][2];
    Row rows[N][2];
    Score score;
    int open_from, open_to; /* keys that every row sees */
};

template <class T, int DQ, int DV, int Kind> struct Decode {
    using Params = Forward;
    static constexpr const char *kName = "flash_decode";
    static constexpr bool kBytes = Kind != gpu::kKv16, kOverlap = true;
    using M = std::conditional_t<kBytes, gpu::f16, T>; /* what is multiplied */
    static constexpr int kSize = kBytes ? 1 : 2;
    static constexpr int kThreads = 128, kWarps = 4;
    static constexpr int kMine = kBytes ? 32 : 16, kKeys = kMine * kWarps;
    static constexpr int kRows = kDecodeRows;
    using KRows = Rows<DQ, kSize, kMine>;
    using VRows = Rows<DV, kSize, kMine>;

    static constexpr int kVAt = kMine * KRows::kBytes, kStage = kVAt + kMine * VRows::kBytes;
    static constexpr int kMergeStride = DV + 4;
    static constexpr uint32_t kWord = 0, kStat = 16;
    static constexpr uint32_t kMerge = kStat + kWarps * 8 * 8;
    /* Copies of 16 bytes run a seventh slower into stages that do not start at a line. */
    static constexpr uint32_t kStages = (kMerge + kWarps * 8 * kMergeStride * 4 + 127) / 128 * 128;
    static constexpr int kFit = (int(115712) - int(kStages)) / (kWarps * kStage);
    static constexpr int kDepth = kFit < 2 ? 2 : kFit > 4 ? 4 : kFit;
    static constexpr uint32_t kSharedBytes = kStages + uint32_t(kWarps * kDepth * kStage);
    static constexpr int kMinBlocks = 2 * kSharedBytes > 227 * 1024 ? 1 : 2;

    static_assert(kStage % 128 == 0, "all stages start at lines");

    static GPU_FN int warp()
    {
        return gpu::tid() / 32;
    }
    static GPU_FN uint32_t stage_at(int stage)
    {
        return kStages + uint32_t((warp() * kDepth + stage) * kStage);
    }

    /* ------------------------------------------------------------- reading */

    /* Pages are looked up a batch ahead, 32 at a time: a look-up waits behind all copies that were
     * asked for before it. Where keys are read one by one, a batch is one step. */
    static constexpr int kGroups = kMine / 16, kBatch = 32 / kGroups;

    static GPU_FN int entry_of(const Layer &l, int key)
    {
        return l.block_shift >= 0 ? key >> l.block_shift : key / l.block_size;
    }

    /* This lane's page for the batch that starts at key `from`. */
    static GPU_FN int look_up(const Reader &r, const Layer &l, int from)
    {
        const int lane = gpu::lane();
        const int key =
            from + (r.paged ? lane / kGroups * kKeys + lane % kGroups * 16 : lane % kMine);
        return gpu::gload_shared(r.table + entry_of(l, max_(0, min_(key, r.count - 1))));
    }

    static GPU_FN int batch_keys(const Reader &r)
    {
        return r.paged ? kBatch * kKeys : kKeys;
    }

    static GPU_FN Reader reader_of(const Forward &p, const Batch &b, const Item &item)
    {
        Reader r;
        r.k = static_cast<const uint8_t *>(p.k.data) + item.head * p.k.head * kSize;
        r.v = static_cast<const uint8_t *>(p.v.data) + item.head * p.v.head * kSize;
        r.table = b.table + b.table_stride * item.req;
        r.key = item.key_from + warp() * kMine;
        r.to = item.key_to;
        r.count = item.s;
        r.paged = p.layer.block_size % 16 == 0 && in_chunks(p);
        r.page = r.later = r.step = 0;
        if (r.key < r.to)
            r.page = look_up(r, p.layer, r.key);
        if (r.key + batch_keys(r) < r.to)
            r.later = look_up(r, p.layer, r.key + batch_keys(r));
        return r;
    }

    static GPU_FN void step_on(const Layer &l, Reader &r)
    {
        r.key += kKeys;
        if (r.paged && ++r.step < kBatch)
            return;
        r.step = 0;
        r.page = r.later;
        if (r.key + batch_keys(r) < r.to)
            r.later = look_up(r, l, r.key + batch_keys(r));
    }

    static GPU_FN int offset_of(const Reader &r, const Layer &l, int key)
    {
        key = max_(0, min_(key, r.count - 1));
        return key - entry_of(l, key) * l.block_size;
    }

    static GPU_COLD_FN void read_any(const Forward &p, Reader r, uint32_t to)
    {
        const int valid = r.count - r.key;
        const int offset = offset_of(r, p.layer, r.key + gpu::lane() % kMine);
        if constexpr (KRows::kSteady && VRows::kSteady)
            if (in_chunks(p) && p.layer.d == DQ && p.layer.dv == DV) {
                const int64_t k = r.page * p.k.block + offset * p.k.token;
                const int64_t v = r.page * p.v.block + offset * p.v.token;
                KRows::copy_rows(to, r.k, k * kSize, valid);
                VRows::copy_rows(to + kVAt, r.v, v * kSize, valid);
                return;
            }
        KRows::copy_any(to, r.k, p.k, p.layer.d, valid, r.page, offset);
        VRows::copy_any(to + kVAt, r.v, p.v, p.layer.dv, valid, r.page, offset);
    }

    static GPU_COLD_FN void read_part(const Forward &p, Reader r, uint32_t to)
    {
        const int valid = r.count - r.key;
        int page[kGroups], offset[kGroups];
        pages_of(p.layer, r, page, offset);
        KRows::copy(to, r.k, p.k, p.layer.d, valid, page, offset);
        VRows::copy(to + kVAt, r.v, p.v, p.layer.dv, valid, page, offset);
    }

    static GPU_FN void pages_of(const Layer &l, const Reader &r, int (&page)[kGroups],
                                int (&offset)[kGroups])
    {
        GPU_UNROLL
        for (int g = 0; g < kGroups; g++) {
            page[g] = gpu::shfl(r.page, r.step * kGroups + g);
            offset[g] = offset_of(r, l, r.key + 16 * g);
        }
    }

    static GPU_FN void read_pages(const Forward &p, const Reader &r, uint32_t to)
    {
        if constexpr (KRows::kSteady && VRows::kSteady) {
            if (r.count - r.key >= kMine && p.layer.d == DQ && p.layer.dv == DV) {
                int page[kGroups], offset[kGroups];
                pages_of(p.layer, r, page, offset);
                KRows::copy_whole(to, r.k, p.k, page, offset);
                VRows::copy_whole(to + kVAt, r.v, p.v, page, offset);
                return;
            }
        }
        read_part(p, r, to);
    }

    static GPU_FN bool in_chunks(const Forward &p)
    {
        return whole_chunks(p.k, p.layer.d, kSize) && whole_chunks(p.v, p.layer.dv, kSize);
    }

    /* The warp's next keys into `stage`. */
    static GPU_FN void read(const Forward &p, Reader &r, int stage)
    {
        if (r.paged)
            read_pages(p, r, stage_at(stage));
        else
            read_any(p, r, stage_at(stage));
        gpu::cp_commit();
        step_on(p.layer, r);
    }

    /* At most `ahead` - 1 of this warp's reads are still under way. */
    static GPU_FN void wait(int ahead)
    {
        if (kDepth > 3 && ahead > 2)
            gpu::cp_wait<2>();
        else if (kDepth > 2 && ahead > 1)
            gpu::cp_wait<1>();
        else
            gpu::cp_wait<0>();
        gpu::syncwarp();
    }

    /* The warp's ring of stages. */
    struct Ring {
        Reader reader;
        int next; /* the block's next item, or -1 */
        int into = 0, from = 0, ahead = 0;
        bool rolled = false; /* the reader is at the next item */
    };

    /* Keeps one stage free: the one that is worked on. */
    static GPU_FN void read_on(const Forward &p, const Batch &b, Ring &ring)
    {
        if (ring.reader.key >= ring.reader.to && !ring.rolled && ring.next >= 0) {
            ring.reader = reader_of(p, b, item_at(p.list, ring.next));
            ring.rolled = true;
        }
        if (ring.reader.key >= ring.reader.to)
            return;
        read(p, ring.reader, ring.into);
        ring.into = ring.into == kDepth - 1 ? 0 : ring.into + 1;
        ring.ahead++;
    }

    /* ------------------------------------------------------------- queries */

    template <int N> using State = DecodeState<DQ, DV, N>;

    /* Two elements of a query's row. */
    template <bool Aligned> static GPU_FN uint32_t pair_of(const uint16_t *at)
    {
        if (Aligned)
            return gpu::gload(reinterpret_cast<const uint32_t *>(at));
        return gpu::gload(at) | uint32_t{gpu::gload(at + 1)} << 16;
    }

    /* This lane's rows; NULL past the item's end. */
    template <int N>
    static GPU_FN void query_rows(const Forward &p, const Item &item, const uint16_t *(&rows)[N])
    {
        GPU_UNROLL
        for (int n = 0; n < N; n++) {
            const int packed = item.row + 8 * n + gpu::lane() / 4, token = packed / p.layer.group;
            const int head = item.head * p.layer.group + packed % p.layer.group;
            rows[n] = static_cast<const uint16_t *>(p.q) + int64_t{item.start + token} * p.q_token +
                      head * p.q_head;
            if (token >= item.q)
                rows[n] = nullptr;
        }
    }

    /* Zeros past the width, which is even. */
    template <bool Aligned, int N>
    static GPU_FN void load_queries(const Forward &p, const uint16_t *const (&rows)[N],
                                    State<N> &st)
    {
        const int c = gpu::lane() % 4;
        GPU_UNROLL
        for (int n = 0; n < N; n++) {
            const uint16_t *row = rows[n];
            const bool there = row != nullptr;
            GPU_UNROLL
            for (int step = 0; step < DQ / 16; step++)
                GPU_UNROLL
            for (int i = 0; i < 2; i++) {
                const int col = step * 16 + (kBytes ? 4 * c + 2 * i : 2 * c + 8 * i);
                st.q[step][n][i] = there && col < p.layer.d ? pair_of<Aligned>(row + col) : 0;
            }
        }
    }

    /* To f16, times what up_of says of the row's largest exponent. Gives the factor that takes
     * products back. */
    static GPU_FN float scale_row(uint32_t (&q)[2 * DQ / 16], int parts)
    {
        uint32_t most = 0;
        GPU_UNROLL
        for (int i = 0; i < 2 * DQ / 16; i++)
            most = larger(exponent_of<T>(q[i]), most);
        for (int mask = 1; mask < parts; mask *= 2)
            most = larger(gpu::shfl_xor(most, mask), most);
        const uint32_t up = up_of(most);
        const float scale = gpu::bits_to_float(up << 23);
        GPU_UNROLL
        for (int i = 0; i < 2 * DQ / 16; i++)
            q[i] = to_f16_times<T>(q[i], scale);
        return gpu::bits_to_float((254 - up) << 23);
    }

    template <int N> static GPU_FN void scale_queries(State<N> &st)
    {
        GPU_UNROLL
        for (int n = 0; n < N; n++) {
            uint32_t row[2 * DQ / 16];
            GPU_UNROLL
            for (int i = 0; i < 2 * DQ / 16; i++)
                row[i] = st.q[i / 2][n][i % 2];
            const float factor = scale_row(row, 4);
            GPU_UNROLL
            for (int i = 0; i < 2 * DQ / 16; i++)
                st.q[i / 2][n][i % 2] = row[i];
            GPU_UNROLL
            for (int e = 0; e < 2; e++)
                st.factor[n][e] = gpu::shfl(factor, gpu::lane() % 4 * 8 + 4 * e);
        }
    }

    /* All but the queries. */
    template <int N>
    static GPU_FN void prepare(const Forward &p, const Batch &b, const Item &item, State<N> &st)
    {
        const Request r = request_in(item);
        GPU_UNROLL
        for (int n = 0; n < N; n++)
            GPU_UNROLL
        for (int e = 0; e < 2; e++) {
            st.rows[n][e] = row_of(p.layer, b, r, p.slopes, item.head,
                                   item.row + 8 * n + gpu::lane() % 4 * 2 + e);
            st.max[n][e] = FLASH_NONE;
            st.sum[n][e] = 0.0f;
            st.factor[n][e] = 1.0f;
        }
        open_keys(p.layer, b, r, item.row, kRows, st.open_from, st.open_to);
        GPU_UNROLL
        for (int t = 0; t < DV / 16; t++)
            GPU_UNROLL
        for (int n = 0; n < N; n++)
            st.o[t][n][0] = st.o[t][n][1] = st.o[t][n][2] = st.o[t][n][3] = 0.0f;
    }

    /* ------------------------------------------------------------ products */

    template <int N> using Scores = float[kGroups][N][4];

    static GPU_FN uint32_t low(uint32_t codes)
    {
        return gpu::fp8x2_to<M>(codes, Kind == gpu::kKvE5M2);
    }
    static GPU_FN uint32_t high(uint32_t codes)
    {
        return gpu::fp8x2_to<M>(codes >> 16, Kind == gpu::kKvE5M2);
    }

    /* Operand of sixteen keys and sixteen columns. Of an fp8 row a lane gets columns 4 c to 4 c + 3
     * (c = lane % 4): the queries' columns are dealt out alike. */
    template <int N>
    static GPU_FN void scores_of_16(float (&s)[N][4], const State<N> &st, uint32_t k, int row)
    {
        const int l = gpu::lane();
        GPU_UNROLL
        for (int step = 0; step < DQ / 16; step += kBytes ? 2 : 1) {
            uint32_t r[4];
            gpu::ldmatrix4(
                r, k + chunk_at<KRows::kBytes>(row + l % 16, (kBytes ? step : 2 * step) + l / 16));
            GPU_UNROLL
            for (int half = 0; half < (kBytes ? 2 : 1); half++) {
                const uint32_t x = r[2 * half], y = r[2 * half + 1];
                const uint32_t a[4] = {kBytes ? low(x) : r[0], kBytes ? low(y) : r[1],
                                       kBytes ? high(x) : r[2], kBytes ? high(y) : r[3]};
                GPU_UNROLL
                for (int n = 0; n < N; n++)
                    gpu::mma16816<M>(s[n], a, st.q[step + half][n]);
            }
        }
    }

    /* Where value t, half of a thread lies in the output row. */
    static GPU_FN int column_of(int t, int half)
    {
        return 16 * t + (kBytes ? gpu::lane() / 4 * 2 + half : gpu::lane() / 4 + 8 * half);
    }

    /* Bytes (key 0: v0 v1, key 1: v0 v1) to pairs of keys. */
    static GPU_FN uint32_t by_value(uint32_t x)
    {
        return (x & 0xFF0000FFu) | (x >> 8 & 0xFF00u) | (x << 8 & 0xFF0000u);
    }

    template <int N>
    static GPU_FN void values_of_16(State<N> &st, const uint32_t (&weight)[N][2], uint32_t v,
                                    int row)
    {
        const int l = gpu::lane();
        GPU_UNROLL
        for (int t = 0; t < DV / 16; t += kBytes ? 2 : 1) {
            uint32_t r[4];
            if constexpr (kBytes) {
                gpu::ldmatrix4t(r, v + chunk_at<VRows::kBytes>(row + l % 16, t + l / 16));
                GPU_UNROLL
                for (int half = 0; half < 2; half++) {
                    const uint32_t x = by_value(r[2 * half]), y = by_value(r[2 * half + 1]);
                    const uint32_t wide[4] = {low(x), high(x), low(y), high(y)};
                    GPU_UNROLL
                    for (int n = 0; n < N; n++)
                        gpu::mma16816<M>(st.o[t + half][n], wide, weight[n]);
                }
            } else {
                gpu::ldmatrix4t(
                    r, v + chunk_at<VRows::kBytes>(row + l / 16 * 8 + l % 8, 2 * t + l / 8 % 2));
                GPU_UNROLL
                for (int n = 0; n < N; n++)
                    gpu::mma16816<M>(st.o[t][n], r, weight[n]);
            }
        }
    }

    /* ------------------------------------------------------------- softmax */

    template <int N> static GPU_FN void shape(Scores<N> &s, const State<N> &st, int key)
    {
        GPU_UNROLL
        for (int m = 0; m < kMine / 16; m++)
            GPU_UNROLL
        for (int n = 0; n < N; n++)
            GPU_UNROLL
        for (int i = 0; i < 4; i++)
            s[m][n][i] = st.score.shape(s[m][n][i] * st.factor[n][i % 2], st.rows[n][i % 2],
                                        key + m * 16 + gpu::lane() / 4 + i / 2 * 8);
    }

    /* The largest score of each of the thread's queries, among its own keys. */
    template <int N> static GPU_FN float largest(const Scores<N> &s, int n, int e)
    {
        float top = FLASH_NONE;
        GPU_UNROLL
        for (int m = 0; m < kMine / 16; m++)
            top = fmaxf(top, fmaxf(s[m][n][e], s[m][n][2 + e]));
        return top;
    }

    template <int N> static GPU_FN void raise(State<N> &st, int n, int e, float top)
    {
        GPU_UNROLL
        for (int mask = 4; mask < 32; mask *= 2)
            top = fmaxf(top, gpu::shfl_xor(top, mask));
        const float max = fmaxf(st.max[n][e], top), base = max == FLASH_NONE ? 0.0f : max;
        const float keep = gpu::exp2f_(st.max[n][e] - base);
        st.max[n][e] = max;
        st.sum[n][e] *= keep;
        GPU_UNROLL
        for (int t = 0; t < DV / 16; t++) {
            st.o[t][n][e] *= keep;
            st.o[t][n][2 + e] *= keep;
        }
    }

    /* s becomes exp2(scale s - max). Mostly no maximum moves, and nothing is to be rescaled. */
    template <int N>
    static GPU_FN void soften(Scores<N> &s, State<N> &st, const float (&scale)[N][2])
    {
        float top[N][2];
        bool settled = true;
        GPU_UNROLL
        for (int n = 0; n < N; n++)
            GPU_UNROLL
        for (int e = 0; e < 2; e++) {
            top[n][e] = largest<N>(s, n, e) * scale[n][e];
            settled &= top[n][e] <= st.max[n][e];
        }
        if (!gpu::warp_all(settled)) {
            GPU_UNROLL
            for (int n = 0; n < N; n++)
                GPU_UNROLL
            for (int e = 0; e < 2; e++)
                raise(st, n, e, top[n][e]);
        }
        GPU_UNROLL
        for (int n = 0; n < N; n++)
            GPU_UNROLL
        for (int e = 0; e < 2; e++) {
            const float base = st.max[n][e] == FLASH_NONE ? 0.0f : st.max[n][e];
            GPU_UNROLL
            for (int i = 0; i < kMine / 8; i++) {
                float &x = s[i / 2][n][i % 2 * 2 + e];
                x = gpu::exp2f_(x * scale[n][e] - base);
                st.sum[n][e] += x;
            }
        }
    }

    template <int N> static GPU_FN void attend(State<N> &st, int key, uint32_t stage)
    {
        Scores<N> s;
        float scale[N][2];
        GPU_UNROLL
        for (int m = 0; m < kMine / 16; m++) {
            GPU_UNROLL
            for (int n = 0; n < N; n++)
                s[m][n][0] = s[m][n][1] = s[m][n][2] = s[m][n][3] = 0.0f;
            scores_of_16<N>(s[m], st, stage, m * 16);
        }
        const bool open = key >= st.open_from && key + kMine - 1 <= st.open_to;
        const bool plain = open && !st.score.special;
        if (!plain)
            shape<N>(s, st, key);
        GPU_UNROLL
        for (int i = 0; i < 2 * N; i++)
            scale[i / 2][i % 2] = plain ? st.score.scale * st.factor[i / 2][i % 2] : 1.0f;
        soften<N>(s, st, scale);
        GPU_UNROLL
        for (int m = 0; m < kMine / 16; m++) {
            uint32_t weight[N][2];
            GPU_UNROLL
            for (int n = 0; n < N; n++)
                GPU_UNROLL
            for (int i = 0; i < 2; i++)
                weight[n][i] = gpu::transpose8(gpu::pack2<M>(s[m][n][2 * i], s[m][n][2 * i + 1]));
            values_of_16<N>(st, weight, stage + kVAt, m * 16);
        }
    }

    /* --------------------------------------------------------------- merge */

    static GPU_FN uint32_t merge_at(int w, int row, int col)
    {
        return kMerge + uint32_t(((w * 8 + row) * kMergeStride + col) * 4);
    }
    static GPU_FN uint32_t stat_at(int w, int row)
    {
        return kStat + uint32_t((w * 8 + row) * 8);
    }

    /* This warp's part of eight queries, of which `rows` exist. */
    template <int N> static GPU_FN void lay_down(const State<N> &st, int n, int rows)
    {
        GPU_UNROLL
        for (int e = 0; e < 2; e++) {
            const int row = gpu::lane() % 4 * 2 + e;
            float sum = st.sum[n][e];
            GPU_UNROLL
            for (int mask = 4; mask < 32; mask *= 2)
                sum += gpu::shfl_xor(sum, mask);
            if (row >= rows)
                continue;
            GPU_UNROLL
            for (int i = 0; i < DV / 8; i++)
                gpu::sts(merge_at(warp(), row, column_of(i / 2, i % 2)),
                         st.o[i / 2][n][i % 2 * 2 + e]);
            if (gpu::lane() < 4) {
                gpu::sts(stat_at(warp(), row), st.max[n][e]);
                gpu::sts(stat_at(warp(), row) + 4, sum);
            }
        }
    }

    /* A thread takes four columns of a row. */
    static GPU_FN void add_up(const Forward &p, const Item &item, int first, int rows)
    {
        const Request r = request_in(item);
        GPU_ROLLED
        for (int i = gpu::tid(); i < rows * (DV / 4); i += kThreads) {
            const int row = i / (DV / 4), col = i % (DV / 4) * 4;
            Part part[kWarps];
            GPU_UNROLL
            for (int w = 0; w < kWarps; w++) {
                part[w].stat = gpu::lds<gpu::u32x2>(stat_at(w, row));
                part[w].four = gpu::lds<gpu::u32x4>(merge_at(w, row, col));
            }
            Stat all = {FLASH_NONE, 0.0f};
            Four four = {{0.0f, 0.0f, 0.0f, 0.0f}};
            add_parts(part, all, four);
            write_four<T, DV, kRows>(p, r, item, first + row, all, four, col);
        }
    }

    /* ---------------------------------------------------------------- items */

    /* One stage is worked on while all others are under way. One place reads and one attends: a
     * short item's time is that of its instructions' way from memory. */
    template <int N>
    static GPU_FN void attend_all(const Forward &p, const Batch &b, const Item &item, Ring &ring,
                                  State<N> &st)
    {
        constexpr bool kScaled = kBytes && gpu::Element<T>::is_bf16;
        constexpr bool kFirst = DQ + DV > 256; /* the loop has no registers to spare */
        if constexpr (kScaled && kFirst)
            scale_queries(st);
        int key = item.key_from + warp() * kMine;
        GPU_ROLLED
        for (int i = ring.ahead - (kDepth - 1); key < item.key_to; i++) {
            if (i >= 0)
                wait(ring.ahead);
            read_on(p, b, ring);
            if (i < 0)
                continue;
            if constexpr (kScaled && !kFirst)
                if (i == 0)
                    scale_queries(st);
            attend(st, key, stage_at(ring.from));
            ring.from = ring.from == kDepth - 1 ? 0 : ring.from + 1;
            ring.ahead--;
            key += kKeys;
        }
    }

    template <int N>
    static GPU_FN void process(const Forward &p, const Batch &b, const Item &item, bool first,
                               Ring &ring)
    {
        State<N> st;
        const uint16_t *query[N];
        query_rows(p, item, query);
        prepare(p, b, item, st);
        if (first)
            start(p, ring.reader);
        if (p.q_vector)
            load_queries<true>(p, query, st);
        else
            load_queries<false>(p, query, st);
        st.score = score_of(p, item.head);
        attend_all(p, b, item, ring, st);
        const int rows = min_(kRows, item.q * p.layer.group - item.row);
        GPU_UNROLL
        for (int n = 0; n < N; n++) {
            gpu::barrier();
            lay_down(st, n, rows - 8 * n);
            gpu::barrier();
            add_up(p, item, 8 * n, min_(8, rows - 8 * n));
        }
    }

    /* Asks for the warp's first keys and waits for the kernel ahead. */
    static GPU_FN void start(const Forward &p, const Reader &r)
    {
        const int mine = gpu::lane() % kMine, page = gpu::shfl(r.page, r.paged ? mine / 16 : mine);
        if (r.key < r.to && r.key + mine < r.count && in_chunks(p)) {
            const int offset = offset_of(r, p.layer, r.key + mine);
            const int64_t k = page * p.k.block + offset * p.k.token;
            const int64_t v = page * p.v.block + offset * p.v.token;
            if (kMine == 32 || gpu::lane() < 16)
                gpu::prefetch(r.k + k * kSize, p.layer.d * kSize);
            if (kMine == 32 || gpu::lane() >= 16)
                gpu::prefetch(r.v + v * kSize, p.layer.dv * kSize);
        }
        gpu::grid_wait();
        gpu::grid_release();
    }

    /* What the plan wrote is read before the kernel ahead in the stream has ended, which cannot be
     * the plan itself: it lets nobody start early. */
    static GPU_FN void run(const Forward &p)
    {
        Item item = item_at(p.list, gpu::bid());
        const Batch b = struct_at(p.batch);
        if (item.req < 0) {
            gpu::grid_wait();
            return;
        }
        Ring ring;
        ring.reader = reader_of(p, b, item);
        for (bool first = true;; first = false) {
            ring.next = item.next;
            ring.rolled = false;
            if (item.q * p.layer.group - item.row <= 8)
                process<1>(p, b, item, first, ring);
            else
                process<2>(p, b, item, first, ring);
            if (item.splits > 1 && arrive(p, item, kWord))
                merge_rows<T, DV, kRows, kWarps>(p, item);
            if (ring.next < 0)
                return;
            item = item_at(p.list, ring.next);
            if (!ring.rolled)
                ring.reader = reader_of(p, b, item);
        }
    }
};

} // namespace flash

#endif /* ATTN_FLASH_CUDA_DECODE_H */
