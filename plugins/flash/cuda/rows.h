/* SPDX-License-Identifier: Apache-2.0 */
/* rows.h - requests, and which keys a query sees: an interval, and perhaps a prefix range. */
#ifndef ATTN_FLASH_CUDA_ROWS_H
#define ATTN_FLASH_CUDA_ROWS_H

#include "common/gpu/tile.h"
#include "flash/cuda/params.h"

namespace flash
{

GPU_HOST_FN int
min_(int a, int b)
{
    return a < b ? a : b;
}
GPU_HOST_FN int
max_(int a, int b)
{
    return a > b ? a : b;
}

struct Request {
    int index, start, q, s;
    bool causal;
    GPU_FN int position(int token) const
    {
        return s - q + token;
    }
};

GPU_FN Request
request_of(const Layer &l, const Batch &b, int index)
{
    Request r;
    r.index = index;
    r.start = gpu::gload(b.query_start + index);
    r.q = gpu::gload(b.query_start + index + 1) - r.start;
    r.s = gpu::gload(b.seq_lens + index);
    r.causal = b.causal ? gpu::gload(b.causal + index) != 0 : l.causal != 0;
    return r;
}

/* The keys [from, to] that position p sees by causality and window; from > to: none. */
GPU_FN void
interval(const Layer &l, const Batch &b, const Request &r, int p, int &from, int &to)
{
    from = 0;
    to = r.s - 1;
    if (b.cross)
        return;
    if (r.causal)
        to = min_(to, p);
    if (l.window_right >= 0)
        to = min_(to, p + l.window_right);
    if (l.window_left >= 0)
        from = max_(0, p - l.window_left);
}

/* The prefix range of position p; first > last when it has none. */
GPU_FN void
prefix_range(const Batch &b, const Request &r, int p, int &first, int &last)
{
    first = 1;
    last = 0;
    const int32_t *pairs = b.ranges + int64_t{r.index} * b.num_ranges * 2;
    for (int i = 0; b.ranges && i < b.num_ranges; i++) {
        const int lo = gpu::gload(pairs + 2 * i), hi = gpu::gload(pairs + 2 * i + 1);
        if (lo >= 0 && lo <= p && p <= hi)
            first = lo, last = min_(hi, r.s - 1);
    }
}

/* The keys [from, to) that any of the positions first..last sees. */
GPU_FN void
key_range(const Layer &l, const Batch &b, const Request &r, int first, int last, int &from, int &to)
{
    int ignored;
    interval(l, b, r, first, from, ignored);
    interval(l, b, r, last, ignored, to);
    to++;
    const int32_t *pairs = b.ranges + int64_t{r.index} * b.num_ranges * 2;
    for (int i = 0; b.ranges && i < b.num_ranges; i++) {
        const int lo = gpu::gload(pairs + 2 * i), hi = gpu::gload(pairs + 2 * i + 1);
        if (lo < 0 || lo > last || hi < first)
            continue;
        from = min_(from, lo);
        to = max_(to, min_(r.s, hi + 1));
    }
    from = min_(from, max_(to, 0));
    to = max_(to, from);
}

/* What one row of a tile needs to know. */
struct Row {
    int from, to, first, last; /* interval, prefix range */
    int position;
    float slope; /* log2 units */
    GPU_FN bool sees(int key) const
    {
        return ((key >= from) & (key <= to)) | ((key >= first) & (key <= last));
    }
};

/* A row past the tile's end sees nothing. */
GPU_FN Row
row_of(const Layer &l, const Batch &b, const Request &r, const float *slopes, int head, int row)
{
    Row out = {1, 0, 1, 0, 0, 0.0f};
    const int token = row / l.group;
    if (token >= r.q)
        return out;
    out.position = r.position(token);
    interval(l, b, r, out.position, out.from, out.to);
    if (b.ranges)
        prefix_range(b, r, out.position, out.first, out.last);
    if (slopes)
        out.slope = gpu::gload(slopes + head * l.group + row % l.group) * kLog2e;
    return out;
}

} // namespace flash

#endif /* ATTN_FLASH_CUDA_ROWS_H */
