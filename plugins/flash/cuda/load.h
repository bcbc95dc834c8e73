/* SPDX-License-Identifier: Apache-2.0 */
/* load.h - rows of the paged cache, and of the queries, into shared memory.
 *
 * A tile in shared memory holds 16-bit elements, rows padded by 16 bytes so that matrix loads meet
 * no bank twice. Columns past the real width and keys past the sequence are zeros: a page's tail
 * may hold anything. fp8 is widened on the way; its scale is applied to scores and outputs. */
#ifndef ATTN_FLASH_CUDA_LOAD_H
#define ATTN_FLASH_CUDA_LOAD_H

#include "flash/cuda/rows.h"

namespace flash
{

template <int D> constexpr int kStride = D * 2 + 16; /* bytes from row to row */

/* Up to eight elements of a row in memory that is aligned to an element only. */
template <class T>
GPU_FN gpu::u32x4
load_slowly(const void *row, int kind, int col, int width)
{
    uint32_t words[4] = {0, 0, 0, 0};
    GPU_UNROLL
    for (int e = 0; e < 8; e++) {
        if (col + e >= width)
            continue;
        const uint32_t half =
            kind == gpu::kKv16
                ? uint32_t{gpu::gload(static_cast<const uint16_t *>(row) + col + e)}
                : gpu::fp8x2_to<T>(gpu::gload(static_cast<const uint8_t *>(row) + col + e),
                                   kind == gpu::kKvE5M2) &
                      0xFFFFu;
        words[e / 2] |= half << (16 * (e % 2));
    }
    return {words[0], words[1], words[2], words[3]};
}

template <class T>
GPU_FN gpu::u32x4
widen8(gpu::u32x2 raw, bool e5m2)
{
    return {gpu::fp8x2_to<T>(raw.x, e5m2), gpu::fp8x2_to<T>(raw.x >> 16, e5m2),
            gpu::fp8x2_to<T>(raw.y, e5m2), gpu::fp8x2_to<T>(raw.y >> 16, e5m2)};
}

/* Where keys of one request and head lie. */
struct Keys {
    const uint8_t *base;  /* of the head in block 0 */
    int64_t block, token; /* bytes */
    const int32_t *table; /* the request's row */
    int32_t block_size, shift;
    int32_t count; /* keys of the sequence */
    int32_t kind, width, vector;

    GPU_FN const uint8_t *row(int key) const
    {
        const int page = shift >= 0 ? key >> shift : key / block_size;
        const int offset = key - page * block_size;
        return base + int64_t{gpu::gload(table + page)} * block + offset * token;
    }
};

GPU_FN Keys
keys_of(const Layer &l, const Batch &b, const Request &r, const Cache &c, int head, int width)
{
    const int64_t bytes = l.kv_kind == gpu::kKv16 ? 2 : 1;
    return {static_cast<const uint8_t *>(c.data) + c.head * head * bytes,
            c.block * bytes,
            c.token * bytes,
            b.table + b.table_stride * r.index,
            l.block_size,
            l.block_shift,
            r.s,
            l.kv_kind,
            width,
            c.vector};
}

/* Sixteen keys share a page when pages hold a multiple of sixteen: one look at the table for all,
 * made one tile ahead. */
template <int Rows> struct Pages {
    int32_t id[Rows / 16];
    int32_t offset[Rows / 16];
};

GPU_FN bool
pages_by_16(const Keys &k)
{
    return k.block_size % 16 == 0;
}

template <int Rows>
GPU_FN void
find_pages(Pages<Rows> &pages, const Keys &k, int key)
{
    GPU_UNROLL
    for (int g = 0; g < Rows / 16; g++) {
        const int at = max_(0, min_(key + 16 * g, (k.count - 1) / 16 * 16));
        const int entry = k.shift >= 0 ? at >> k.shift : at / k.block_size;
        pages.id[g] = gpu::gload(k.table + entry);
        pages.offset[g] = at - entry * k.block_size;
    }
}

template <class T, int D, int Rows, int Threads>
GPU_FN void
load_one_by_one(uint32_t to, const Keys &k, int key, int t)
{
    constexpr int kChunks = D / 8;
    for (int i = t; i < Rows * kChunks; i += Threads) {
        const int row = i / kChunks, col = i % kChunks * 8;
        const bool valid = key + row < k.count && col < k.width;
        const uint32_t at = to + uint32_t(row * kStride<D> + col * 2);
        const uint8_t *from = valid ? k.row(key + row) : k.base;
        if (k.vector && k.kind == gpu::kKv16)
            gpu::cp_async16(at, from + col * (valid ? 2 : 0), valid);
        else if (!valid)
            gpu::sts(at, gpu::u32x4{0, 0, 0, 0});
        else if (k.vector)
            gpu::sts(at,
                     widen8<T>(gpu::gload_stream(reinterpret_cast<const gpu::u32x2 *>(from + col)),
                               k.kind == gpu::kKvE5M2));
        else
            gpu::sts(at, load_slowly<T>(from, k.kind, col, k.width));
    }
}

/* Address of row `row` (its sixteen's page is known), column col. */
template <int Rows>
GPU_FN const uint8_t *
address_of(const Keys &k, const Pages<Rows> &pages, int row, int col)
{
    int32_t id = pages.id[0], offset = pages.offset[0];
    GPU_UNROLL
    for (int g = 1; g < Rows / 16; g++)
        if (row / 16 == g)
            id = pages.id[g], offset = pages.offset[g];
    return k.base + int64_t{id} * k.block + (offset + row % 16) * k.token +
           col * (k.kind == gpu::kKv16 ? 2 : 1);
}

template <class T, int D, int Rows, int Threads>
GPU_FN void
load_16_bit(uint32_t to, const Keys &k, const Pages<Rows> &pages, int key, int t)
{
    constexpr int kChunks = D / 8, kPasses = Rows * kChunks / Threads;
    static_assert(Rows * kChunks % Threads == 0, "whole passes");
    const bool whole = key + Rows <= k.count && k.width == D;
    GPU_UNROLL
    for (int pass = 0; pass < kPasses; pass++) {
        const int i = pass * Threads + t, row = i / kChunks, col = i % kChunks * 8;
        const uint32_t at = to + uint32_t(row * kStride<D> + col * 2);
        const bool valid = whole || (key + row < k.count && col < k.width);
        gpu::cp_async16(at, valid ? address_of<Rows>(k, pages, row, col) : k.base, valid);
    }
}

/* All reads first, so that they are under way together. */
template <class T, int D, int Rows, int Threads>
GPU_FN void
load_8_bit(uint32_t to, const Keys &k, const Pages<Rows> &pages, int key, int t)
{
    constexpr int kChunks = D / 8, kPasses = Rows * kChunks / Threads;
    gpu::u32x2 raw[kPasses];
    GPU_UNROLL
    for (int pass = 0; pass < kPasses; pass++) {
        const int i = pass * Threads + t, row = i / kChunks, col = i % kChunks * 8;
        raw[pass] = {0, 0};
        if (key + row < k.count && col < k.width)
            raw[pass] = gpu::gload_stream(
                reinterpret_cast<const gpu::u32x2 *>(address_of<Rows>(k, pages, row, col)));
    }
    GPU_UNROLL
    for (int pass = 0; pass < kPasses; pass++) {
        const int i = pass * Threads + t, row = i / kChunks, col = i % kChunks * 8;
        gpu::sts(to + uint32_t(row * kStride<D> + col * 2),
                 widen8<T>(raw[pass], k.kind == gpu::kKvE5M2));
    }
}

/* Rows keys key..key+Rows-1, D columns, by Threads threads of which this is number t. 16-bit rows
 * come asynchronously (cp_commit and cp_wait are the caller's). */
template <class T, int D, int Rows, int Threads>
GPU_FN void
load_keys(uint32_t to, const Keys &k, const Pages<Rows> &pages, int key, int t)
{
    if (!k.vector || !pages_by_16(k))
        load_one_by_one<T, D, Rows, Threads>(to, k, key, t);
    else if (k.kind == gpu::kKv16)
        load_16_bit<T, D, Rows, Threads>(to, k, pages, key, t);
    else
        load_8_bit<T, D, Rows, Threads>(to, k, pages, key, t);
}

/* Packed rows row..row+Rows-1 of the queries for one KV head. */
template <class T, int D, int Rows, int Threads>
GPU_FN void
load_queries(uint32_t to, const Forward &p, const Request &r, int head, int row, int t)
{
    constexpr int kChunks = D / 8;
    const Layer &l = p.layer;
    for (int i = t; i < Rows * kChunks; i += Threads) {
        const int local = i / kChunks, col = i % kChunks * 8;
        const int packed = row + local, token = packed / l.group;
        const uint32_t at = to + uint32_t(local * kStride<D> + col * 2);
        if (token >= r.q || col >= l.d) {
            gpu::sts(at, gpu::u32x4{0, 0, 0, 0});
            continue;
        }
        const uint16_t *from = static_cast<const uint16_t *>(p.q) +
                               int64_t{r.start + token} * p.q_token +
                               int64_t{head * l.group + packed % l.group} * p.q_head;
        gpu::sts(at, p.q_vector ? gpu::gload(reinterpret_cast<const gpu::u32x4 *>(from + col))
                                : load_slowly<T>(from, gpu::kKv16, col, l.d));
    }
}

} // namespace flash

#endif /* ATTN_FLASH_CUDA_LOAD_H */
