/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_heads.h - part of kernel.h: the KV heads of a decode task, tile by tile.
 *
 * Two ways lead through a tile. Where the cache lies head by head in pages long enough, the tile is
 * streamed: kernel_stream.h. Else it is read head by head, and the next one is asked of memory
 * meanwhile: kernel_decode.h, kernel_fetch.h. */
#ifndef FLASH_CPU_KERNEL_HEADS_H
#define FLASH_CPU_KERNEL_HEADS_H

#include "flash/cpu/kernel_decode.h"
#if WORD_SIZE == 2
#include "flash/cpu/kernel_stream.h"
#endif

/* A KV head of the block, and its rows in chunks. */
typedef struct decode_head {
    work w;
    decode_chunk chunks[FLASH_DECODE_ROWS / 4 + 1];
    uint32_t num;
} decode_head;

/* apart: its weights stay while other heads are at work. */
static void
head_open(decode_head *h, const flash_job *job, const flash_block *block, uint32_t kv_head,
          char *scratch, uint32_t first_row, int apart)
{
    const size_t weights = FLASH_STREAM_KEYS / WORD_SIZE;
    work_open(&h->w, job, block, kv_head, scratch, first_row);
    h->num = 0;
#ifdef WORDS_TWO
    for (uint32_t r = 0; WORDS_TWO(job->shape->kv_type) && r < h->w.rows; r++)
        queries_order(h->w.q + (size_t)r * job->shape->pitch, job->shape->words);
#endif
    for (uint32_t r = 0; r < h->w.rows; r += 4, h->num++) {
        chunk_open(&h->w, &h->chunks[h->num], r);
        h->chunks[h->num].p = h->w.p + (apart ? (first_row + r) * weights : 0);
    }
}

/* The head's keys lo.. begin this far from the rows that all heads share. */
static void
head_place(work *w, int32_t lo, int32_t keys)
{
    w->tile_lo = lo;
    w->tile_keys = keys;
    w->key_head = (size_t)(w->kv_head * w->job->k.stride[2]);
    w->value_head = (size_t)(w->kv_head * w->job->v.stride[2]);
    w->hidden = 0;
}

/* What the head reads of the tile: the rows that all heads share, or, where the tile has an edge,
 * its own. */
static void
head_tile(work *w, const work *tile)
{
    const int32_t lo = tile->tile_lo, keys = tile->tile_keys;
    head_place(w, lo, keys);
    if (keys % KEY_ALIGN == 0 && lo >= w->all_lo && lo + keys <= w->all_hi)
        return;
    w->key_head = w->value_head = 0;
    tile_rows(w, lo, keys);
    hidden_take(w);
}

static void
tile_pass(decode_head *heads, uint32_t count, work *tile, int32_t lo, int32_t keys, fetch *next)
{
    tile_rows(tile, lo, keys);
    for (uint32_t i = 0; i < count; i++) {
        decode_head *h = &heads[i];
        head_tile(&h->w, tile);
        for (uint32_t n = 0; n < h->num; n++)
            decode_tile_any(&h->w, &h->chunks[n], n == 0 ? next : NULL);
    }
}

/* All heads side by side where the cache lies token by token, else one after the other. */
static void
task_fetch(const flash_job *job, const flash_task *task, decode_head *heads, work *tile)
{
    const flash_block *block = task->block;
    const int32_t step = (int32_t)job->shape->decode_tile;
    const uint32_t count = task->count, beside = fetch_apart(job) ? 1 : count;
    fetch next = {.job = job};
    for (uint32_t i = 0; i < count; i += beside)
        for (int32_t lo = block->lo; lo < block->hi; lo += step) {
            if (block->hi - lo > step)
                fetch_tile(&next, block, task->kv_head + i, beside, lo + step);
            else if (i + beside < count)
                fetch_tile(&next, block, task->kv_head + i + beside, beside, block->lo);
            else if (task->next)
                fetch_tile(&next, task->next, task->next_head, beside, task->next->lo);
            else
                fetch_nothing(&next);
            tile_pass(heads + i, beside, tile, lo, block->hi - lo < step ? block->hi - lo : step,
                      &next);
        }
}

#if WORD_SIZE == 2
/* Keys of all heads, then values of all heads. */
static void
piece_pass(decode_head *heads, uint32_t count, work *tile, int32_t lo, int32_t keys)
{
    const flash_shape *shape = tile->shape;
    tile_rows(tile, lo, 1);
    for (uint32_t i = 0; i < count; i++) {
        decode_head *h = &heads[i];
        head_place(&h->w, lo, keys);
        for (uint32_t n = 0; n < h->num; n++)
            stream_chunk(stream_scores_any, shape->dim, &h->w, &h->chunks[n]);
    }
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t n = 0; n < heads[i].num; n++)
            stream_chunk(stream_values_any, shape->dim_v, &heads[i].w, &heads[i].chunks[n]);
}

/* Pieces of pages; between them, and where rows do not see the same, tiles. */
static void
task_stream(const flash_job *job, const flash_task *task, decode_head *heads, work *tile)
{
    const int32_t hi = task->block->hi, most = (int32_t)job->shape->decode_tile;
    for (int32_t lo = task->block->lo, keys; lo < hi; lo += keys) {
        keys = stream_piece(tile, lo, hi);
        if (keys) {
            piece_pass(heads, task->count, tile, lo, keys);
            continue;
        }
        keys = lo < tile->all_lo || tile->all_hi - lo < VF_LANES ? most : VF_LANES;
        keys = hi - lo < keys ? hi - lo : keys;
        tile_pass(heads, task->count, tile, lo, keys, NULL);
    }
}
#endif

/* The heads of the task. What a head computes does not depend on the others. */
static void
kernel_decode(const flash_job *job, const flash_task *task, char *scratch)
{
    const flash_block *block = task->block;
    const uint32_t padded = (block->count * job->shape->group + 3) / 4 * 4;
    decode_head heads[FLASH_DECODE_HEADS];
#if WORD_SIZE == 2
    int streams = stream_fits(job);
#else
    const int streams = 0;
#endif
    uint32_t i = 0;
    do
        head_open(&heads[i], job, block, task->kv_head + i, scratch, i * padded, streams);
    while (++i < task->count); /* there is one */
    work tile = heads[0].w;
    tile.kv_head = 0;
#if WORD_SIZE == 2
    streams = streams && 2 * (tile.all_hi - tile.all_lo) >= block->hi - block->lo;
    if (streams)
        task_stream(job, task, heads, &tile);
    else
#endif
        task_fetch(job, task, heads, &tile);
    for (i = 0; i < task->count; i++) {
        for (uint32_t n = 0; n < heads[i].num; n++)
            chunk_close(&heads[i].w, &heads[i].chunks[n]);
        work_finish(&heads[i].w);
    }
}

#endif
