/* SPDX-License-Identifier: Apache-2.0 */
/* line.h - the decode list: all tiles of keys, request by request and head by head, are one line
 * that is cut into equal shares, one a block.
 *
 * The piece that starts share c is item c; items up to the grid that start no share have req == -1.
 * A piece that starts within a share, and so starts its head, is item grid + the head's number in
 * the line. Each item names the next of its share, or -1. A head with n cuts has n + 1 splits and
 * 2 n slots. Without splitting a head counts as one tile. */
#ifndef ATTN_FLASH_CUDA_LINE_H
#define ATTN_FLASH_CUDA_LINE_H

#include "flash/cuda/lists.h"

namespace flash
{

struct DecodeLine {
    const Plan &p;
    int all, share; /* tiles of the line, of a block */
    uint32_t scan;  /* shared: a word a thread */
    uint32_t kept;  /* shared: kWords words a thread */

    static constexpr int kWords = 10;

    /* One request's part of the line. */
    struct Part {
        int start, tiles; /* of its first head; of each head */
        int rank;         /* requests of the line before it */
        int from, to;     /* keys */
        Request r;
    };

    GPU_FN void keep(const Part &x) const
    {
        const int words[kWords] = {x.start,   x.tiles,   x.rank, x.from, x.to,
                                   x.r.index, x.r.start, x.r.q,  x.r.s,  x.r.causal};
        GPU_UNROLL
        for (int i = 0; i < kWords; i++)
            gpu::sts<int32_t>(kept + uint32_t((gpu::tid() * kWords + i) * 4), words[i]);
    }

    GPU_FN Part part_of(int owner) const
    {
        int w[kWords];
        GPU_UNROLL
        for (int i = 0; i < kWords; i++)
            w[i] = shared_int(kept + uint32_t((owner * kWords + i) * 4));
        return {w[0], w[1], w[2], w[3], w[4], {w[5], w[6], w[7], w[8], w[9] != 0}};
    }

    static GPU_FN int tiles_of(const Plan &p, const Request &r)
    {
        if (r.q <= 0 || !is_decode(p.layer, r))
            return 0;
        return p.decode.max_slots ? tile_of(p.layer, p.batch, r, 0, p.decode).keys : 1;
    }

    /* Piece s of a head whose tiles are [start, end) of the line. */
    GPU_FN void write_piece(const Part &x, int head, int s) const
    {
        const List &list = p.decode;
        const int number = x.rank * p.layer.num_kv_heads + head;
        const int start = x.start + head * x.tiles, end = start + x.tiles;
        const int first = start / share, block = first + s;
        const int a = max_(start, block * share), e = min_(end, (block + 1) * share);
        const bool split = list.max_slots != 0;
        Item item = {
            x.r.index, head,      0,     x.from, x.to,       s,  (end - 1) / share - first + 1,
            2 * first, x.r.start, x.r.q, x.r.s,  x.r.causal, -1, {0, 0, 0}};
        if (split) {
            item.key_from = x.from + (a - start) * list.keys;
            item.key_to = min_(x.to, x.from + (e - start) * list.keys);
        }
        if (e == end && end < all && end % share)
            item.next = list.grid + number + 1;
        write_item(list, a == block * share ? block : list.grid + number, item);
    }

    /* Threads to a head: one long request shall not leave most of them idle. */
    static GPU_FN int team_of(int heads)
    {
        int team = 32;
        while (team > 1 && team * heads > kPlanThreads)
            team /= 2;
        return team;
    }

    GPU_FN void write_parts(int owners) const
    {
        const int heads = p.layer.num_kv_heads, team = team_of(owners * heads);
        for (int j = gpu::tid() / team; j < owners * heads; j += kPlanThreads / team) {
            const Part x = part_of(j / heads);
            const int start = x.start + j % heads * x.tiles, end = start + x.tiles;
            const int pieces = x.tiles ? (end - 1) / share - start / share + 1 : 0;
            for (int s = gpu::tid() % team; s < pieces; s += team)
                write_piece(x, j % heads, s);
        }
    }

    GPU_FN void write() const
    {
        int start = 0, rank = 0;
        for (int base = 0; base < p.batch.num_reqs; base += kPlanThreads) {
            const int i = base + gpu::tid();
            Part mine = {};
            if (i < p.batch.num_reqs) {
                mine.r = request_of(p.layer, p.batch, i);
                const Tile t = tile_of(p.layer, p.batch, mine.r, 0, p.decode);
                mine.from = t.from;
                mine.to = t.to;
                mine.tiles = tiles_of(p, mine.r);
            }
            int tiles, ranks;
            mine.start = start + p.layer.num_kv_heads * sum_before(mine.tiles, scan, &tiles);
            mine.rank = rank + sum_before(mine.tiles > 0, scan, &ranks);
            start += p.layer.num_kv_heads * tiles;
            rank += ranks;
            keep(mine);
            gpu::barrier();
            write_parts(min_(kPlanThreads, p.batch.num_reqs - base));
            gpu::barrier();
        }
        for (int i = (all + share - 1) / share + gpu::tid(); i < p.decode.grid; i += kPlanThreads)
            gpu::gstore(&p.decode.items[i].req, -1);
    }
};

} // namespace flash

#endif /* ATTN_FLASH_CUDA_LINE_H */
