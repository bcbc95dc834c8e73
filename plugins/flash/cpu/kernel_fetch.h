/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_fetch.h - part of kernel.h: asking memory for the next tile while this one is computed.
 *
 * Requests go out in the order of memory, whatever order the kernel reads in: memory is fast only
 * when whole rows of it are asked for in a row. A run is a piece of the cache without gaps: of
 * whole tokens, or of one head. Keys and values are asked for in turns, a few lines each: while one
 * run begins, with a page that no one has touched, the other is under way. The second-level cache
 * is near enough, and the first has too few miss buffers to hold these and the loads. */
#ifndef FLASH_CPU_KERNEL_FETCH_H
#define FLASH_CPU_KERNEL_FETCH_H

#define FETCH_LINE 64   /* bytes */
#define FETCH_PIECE 512 /* bytes of a turn */

/* K or V of the tile. */
typedef struct fetch_side {
    const flash_view *view;
    const char *at, *end; /* what is left of the run */
    int32_t row;          /* bytes */
    int32_t key;          /* the next run's first */
} fetch_side;

typedef struct fetch {
    const char *at, *end; /* what is left of the piece */
    const flash_job *job;
    const int32_t *table;
    uint32_t kv_head, heads; /* first, and how many side by side */
    int32_t hi;              /* of the tile */
    uint32_t turn;           /* whose the piece is */
    fetch_side sides[2];
} fetch;

/* Keys of a head follow each other: [block, head, token, dim]. */
static int
fetch_apart(const flash_job *job)
{
    return job->k.stride[2] >= job->k.stride[1];
}

static void
fetch_nothing(fetch *f)
{
    f->sides[0].key = f->sides[1].key = f->hi;
    f->at = f->end = f->sides[0].at = f->sides[0].end = f->sides[1].at = f->sides[1].end =
        (const char *)f;
}

static void
fetch_run(const fetch *f, fetch_side *s)
{
    const flash_view *v = s->view;
    const int32_t size = (int32_t)f->job->shape->block_size;
    const int32_t page = s->key / size, offset = s->key % size;
    const int32_t left = f->hi - s->key, in = left < size - offset ? left : size - offset;
    const int whole = f->heads * v->stride[2] == v->stride[1];
    const int32_t keys = f->heads == 1 || whole ? in : 1;
    s->at =
        v->data + f->table[page] * v->stride[0] + offset * v->stride[1] + f->kv_head * v->stride[2];
    s->end = s->at + (keys - 1) * v->stride[1] + (f->heads - 1) * v->stride[2] + s->row;
    s->key += keys;
}

/* The next piece: the other side's, unless all of it was asked for. */
static __attribute__((noinline)) void
fetch_turn(fetch *f)
{
    for (int i = 0; i < 2; i++) {
        fetch_side *s = &f->sides[f->turn ^= 1];
        if (s->at >= s->end && s->key < f->hi)
            fetch_run(f, s);
        if (s->at >= s->end)
            continue;
        f->at = s->at;
        f->end = s->end - s->at < FETCH_PIECE ? s->end : s->at + FETCH_PIECE;
        s->at = f->end;
        return;
    }
    fetch_nothing(f);
}

static fetch_side
side_open(const flash_job *job, const flash_view *view, uint32_t dim, int32_t lo)
{
    return (fetch_side){
        .view = view, .row = (int32_t)(dim * cpu_type_size(job->shape->kv_type)), .key = lo};
}

/* From now on the tile of this block that begins at key lo, `heads` heads of it. */
static void
fetch_tile(fetch *f, const flash_block *block, uint32_t kv_head, uint32_t heads, int32_t lo)
{
    const flash_job *job = f->job;
    const int32_t step = (int32_t)job->shape->decode_tile;
    f->table = job->block_table + (int64_t)block->req * job->block_table_stride;
    f->kv_head = kv_head;
    f->heads = heads;
    f->hi = block->hi - lo < step ? block->hi : lo + step;
    f->sides[0] = side_open(job, &job->k, job->shape->dim, lo);
    f->sides[1] = side_open(job, &job->v, job->shape->dim_v, lo);
    f->turn = 1;
    fetch_turn(f);
}

/* The requests that belong beside a read of so many bytes, part by part, and the step over all.
 * Beside a read each: a burst finds the miss buffers full, and what finds no buffer is dropped. */
CPU_INLINE void
fetch_at(const fetch *f, const size_t from, const size_t bytes)
{
    if (f)
        for (size_t i = (from + FETCH_LINE - 1) / FETCH_LINE * FETCH_LINE; i < from + bytes;
             i += FETCH_LINE)
            __builtin_prefetch(f->at + i, 0, 2);
}

CPU_INLINE void
fetch_step(fetch *f, const size_t bytes)
{
    if (!f)
        return;
    f->at += bytes;
    if (f->at >= f->end)
        fetch_turn(f);
}

#endif
