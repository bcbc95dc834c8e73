/* SPDX-License-Identifier: Apache-2.0 */
#include "flash/cpu/flash.h"

#include <stdio.h>

#define COST_BUCKETS 320

static attn_status
beyond(attn_error *err, const char *where, uint64_t value, uint64_t limit)
{
    char text[96];
    snprintf(text, sizeof text, "%llu: the builder's limit is %llu", (unsigned long long)value,
             (unsigned long long)limit);
    return attn_fail(err, ATTN_E_ARG, where, text);
}

static attn_status
check_batch(const attn_builder *b, const attn_batch *batch, const attn_kv_group *group,
            attn_error *err)
{
    if (batch->query_start_loc_state != ATTN_EXACT || batch->seq_lens_state != ATTN_EXACT)
        return attn_fail(err, ATTN_E_ARG, "batch.seq_lens_state",
                         "a CPU backend needs exact host arrays");
    if (batch->num_reqs > b->limits.max_reqs)
        return beyond(err, "batch.num_reqs", batch->num_reqs, b->limits.max_reqs);
    if (batch->num_tokens > b->limits.max_tokens)
        return beyond(err, "batch.num_tokens", batch->num_tokens, b->limits.max_tokens);
    if (!group || !group->block_table)
        return attn_fail(err, ATTN_E_ARG, "group.block_table", "missing on the host");
    if (group->block_size != b->shape.block_size)
        return beyond(err, "group.block_size", group->block_size, b->shape.block_size);
    return ATTN_OK;
}

static void
set_job(attn_builder *b, const attn_batch *batch, const attn_kv_group *group)
{
    flash_job *job = &b->job;
    const attn_ext *ext = attn_ext_find(batch->ext, ATTN_EXT_PREFIX_RANGES);
    const attn_ext_prefix_ranges *ranges = (const void *)ext;
    *job = (flash_job){.shape = &b->shape, .layout = &b->layout};
    job->query_start_loc = batch->query_start_loc;
    job->seq_lens = batch->seq_lens;
    job->causal = batch->causal;
    job->cross = batch->flags & ATTN_BATCH_CROSS;
    job->block_table = group->block_table;
    job->block_table_stride = group->block_table_stride;
    if (ranges && ranges->ranges) {
        job->ranges = ranges->ranges;
        job->num_ranges = ranges->max_ranges;
    }
    job->partial_out = b->partial_out;
    job->partial_stat = b->partial_stat;
    b->slot_mapping = group->slot_mapping;
    b->num_cache_blocks = group->num_blocks;
    b->num_tokens = batch->num_tokens;
}

/* Keys that some of the block's tokens see, and their number over all of them. */
static void
measure(const flash_job *job, flash_block *block)
{
    int32_t lo, hi, lo1, hi1;
    const uint32_t last = block->first + block->count - 1;
    flash_visible(job, block->req, block->first, &lo, &hi);
    uint64_t seen = (uint64_t)(hi > lo ? hi - lo : 0);
    block->lo = lo;
    block->hi = hi;
    /* without ranges both bounds rise with the token: the two ends tell all */
    for (uint32_t i = job->num_ranges ? block->first : last; i <= last; i++) {
        flash_visible(job, block->req, i, &lo1, &hi1);
        block->lo = lo1 < block->lo ? lo1 : block->lo;
        block->hi = hi1 > block->hi ? hi1 : block->hi;
    }
    seen = (seen + (uint64_t)(hi1 > lo1 ? hi1 - lo1 : 0)) / 2 * block->count;
    block->cost = seen > UINT32_MAX - 64 ? UINT32_MAX - 64 : (uint32_t)seen;
    if (block->lo >= block->hi)
        block->lo = block->hi = 0;
}

/* One block of all the request's tokens, cut along its keys. */
static void
add_split(attn_builder *b, flash_block block, uint32_t splits, uint32_t *partials)
{
    const int32_t keys = block.hi - block.lo, tile = 64;
    const int32_t each = ((keys + (int32_t)splits - 1) / (int32_t)splits + tile - 1) / tile * tile;
    const uint32_t rows = block.count * b->shape.heads;
    const int32_t end = block.hi;
    flash_merge *merge = &b->merges[b->num_merges++];
    *merge = (flash_merge){.req = block.req, .partial = *partials};
    for (int32_t lo = block.lo; lo < end; lo += each) {
        block.lo = lo;
        block.hi = end - lo < each ? end : lo + each;
        block.partial = (int32_t)*partials;
        block.cost = (uint32_t)(block.hi - lo) * block.count;
        b->blocks[b->num_blocks++] = block;
        *partials += rows;
        merge->splits++;
    }
}

static void
add_request(attn_builder *b, uint32_t req, uint32_t *partials)
{
    const int32_t *start = b->job.query_start_loc + req;
    const uint32_t tokens = (uint32_t)(start[1] - start[0]), step = b->shape.tokens;
    const int wide = flash_is_wide(&b->shape, b->job.seq_lens[req]);
    flash_block block = {.req = req, .partial = -1};
    for (uint32_t i = 0; i < tokens; i += step) {
        block.first = i;
        block.count = tokens - i < step ? tokens - i : step;
        measure(&b->job, &block);
        const uint32_t keys = (uint32_t)(block.hi - block.lo);
        const uint32_t splits = wide ? 1 : flash_splits(&b->shape, &b->options, tokens, keys);
        if (splits > 1)
            add_split(b, block, splits, partials);
        else
            b->blocks[b->num_blocks++] = block;
    }
}

/* Costs in eighths of an octave, greatest first. */
static uint32_t
cost_bucket(uint32_t cost)
{
    const uint32_t code = cpu_f32_bits((float)(cost + 1)) >> 20;
    return COST_BUCKETS - 1 - (code - (127u << 3));
}

static void
sort_blocks(attn_builder *b)
{
    uint32_t start[COST_BUCKETS + 1] = {0};
    for (uint32_t i = 0; i < b->num_blocks; i++)
        start[cost_bucket(b->blocks[i].cost) + 1]++;
    for (uint32_t i = 0; i < COST_BUCKETS; i++)
        start[i + 1] += start[i];
    for (uint32_t i = 0; i < b->num_blocks; i++)
        b->sorted[start[cost_bucket(b->blocks[i].cost)]++] = b->blocks[i];
}

/* All KV heads together, as they lie in the cache, unless workers would go without. */
static uint32_t
heads_of_a_task(const attn_builder *b)
{
    const uint32_t heads = b->shape.kv_heads, wanted = 2 * b->limits.num_threads;
    uint32_t n = flash_decode_heads(&b->shape);
    while (n > 1 && (uint64_t)b->num_blocks * ((heads + n - 1) / n) < wanted)
        n = (n + 1) / 2;
    return n;
}

attn_status
flash_build(attn_builder *b, const attn_batch *batch, const attn_kv_group *group,
            const attn_stream *stream, attn_error *err)
{
    (void)stream;
    uint32_t partials = 0;
    if (!b->scratch)
        return attn_fail(err, ATTN_E_WORKSPACE, "builder", "build before bind");
    b->built = 0;
    const attn_status status = check_batch(b, batch, group, err);
    if (status)
        return status;
    set_job(b, batch, group);
    b->num_blocks = b->num_merges = 0;
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        if ((uint32_t)batch->seq_lens[r] > b->limits.max_seq_len)
            return beyond(err, "batch.seq_lens", (uint64_t)batch->seq_lens[r],
                          b->limits.max_seq_len);
        add_request(b, r, &partials);
    }
    sort_blocks(b);
    b->decode_heads = heads_of_a_task(b);
    b->built = 1;
    return ATTN_OK;
}
