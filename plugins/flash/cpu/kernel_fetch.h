/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_fetch.h - part of kernel.h: asking memory for the next tile while this one is computed.
 *
 * Requests go out in the order of memory, whatever order the kernel reads in: memory is fast only
 * when whole rows of it are asked for in a row, and the hardware then asks ahead too. A run is a
 * piece of the cache without gaps: of whole tokens, or of one head. The second-level cache is near
 * enough, and the first has too few miss buffers to hold these and the loads. */
#ifndef FLASH_CPU_KERNEL_FETCH_H
#define FLASH_CPU_KERNEL_FETCH_H

#define FETCH_LINE 64 /* bytes */

typedef struct fetch {
    const char *at, *end; /* what is left of the run */
    const flash_job *job;
    const flash_view *view; /* K, then V; NULL: all was asked for */
    const int32_t *table;
    uint32_t kv_head, heads, head; /* first, how many side by side, the run's */
    int32_t lo, hi, key;           /* of the tile; the run's first */
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
    f->view = NULL;
    f->at = f->end = (const char *)f;
}

static void
fetch_run(fetch *f)
{
    const flash_view *v = f->view;
    const flash_shape *shape = f->job->shape;
    const int32_t size = (int32_t)shape->block_size, page = f->key / size, offset = f->key % size;
    const int32_t left = f->hi - f->key, in = left < size - offset ? left : size - offset;
    const int64_t row =
        (int64_t)((v == &f->job->k ? shape->dim : shape->dim_v) * cpu_type_size(shape->kv_type));
    const int whole = f->heads * v->stride[2] == v->stride[1];
    const int32_t keys = f->heads == 1 || whole ? in : 1;
    const char *at =
        v->data + f->table[page] * v->stride[0] + offset * v->stride[1] + f->kv_head * v->stride[2];
    f->at = at;
    f->end = at + (keys - 1) * v->stride[1] + (f->heads - 1) * v->stride[2] + row;
    f->key += keys;
}

static __attribute__((noinline)) void
fetch_turn(fetch *f)
{
    if (f->view && f->key >= f->hi) {
        f->view = f->view == &f->job->k ? &f->job->v : NULL;
        f->key = f->lo;
    }
    if (f->view)
        fetch_run(f);
    else
        fetch_nothing(f);
}

/* From now on the tile of this block that begins at key lo, `heads` heads of it. */
static void
fetch_tile(fetch *f, const flash_block *block, uint32_t kv_head, uint32_t heads, int32_t lo)
{
    const flash_job *job = f->job;
    const int32_t step = (int32_t)job->shape->decode_tile;
    f->view = lo < block->hi ? &job->k : NULL;
    f->table = job->block_table + (int64_t)block->req * job->block_table_stride;
    f->kv_head = kv_head;
    f->heads = heads;
    f->lo = f->key = lo;
    f->hi = block->hi - lo < step ? block->hi : lo + step;
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
