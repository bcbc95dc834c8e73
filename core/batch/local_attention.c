/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/plugin.h>

#include "base/error.h"
#include "batch/divisor.h"
#include "batch/room.h"

/* The virtual requests of one request. */
typedef struct chunk_plan {
    uint32_t first; /* new tokens in the chunk where the query starts */
    uint32_t tail;  /* keys in the last chunk */
    uint32_t count;
    uint32_t start; /* position where the first chunk starts */
} chunk_plan;

static inline chunk_plan
plan_request(divisor chunk, uint32_t query, uint32_t seq)
{
    uint32_t context = seq - query;
    uint32_t floor = divisor_div(chunk, context) * chunk.value;
    uint32_t room = chunk.value - (context - floor);
    chunk_plan plan = {.first = room < query ? room : query, .start = floor};

    plan.count = 1 + divisor_ceil(chunk, query - plan.first);
    plan.tail = seq - floor - (plan.count - 1) * chunk.value;
    return plan;
}

static attn_status
check_input(const attn_batch *batch, const attn_kv_group *group, uint32_t chunk,
            attn_error *err)
{
    if (!batch)
        return attn_error_set(err, ATTN_E_ARG, "batch", "batch is NULL");
    if (chunk == 0 || chunk > INT32_MAX / 2)
        return attn_error_set(err, ATTN_E_ARG, "chunk",
                              "chunk %u: 1 to 1073741823", chunk);
    if (group && (group->flags & ATTN_KV_STATE))
        return attn_error_set(err, ATTN_E_UNSUPPORTED, "group.flags",
                              "local attention of a state group");
    if (group && (group->block_size == 0 || chunk % group->block_size))
        return attn_error_set(err, ATTN_E_ARG, "chunk",
                              "chunk %u is not a multiple of block_size %u",
                              chunk, group->block_size);
    if (batch->flags & ATTN_BATCH_CROSS)
        return attn_error_set(err, ATTN_E_UNSUPPORTED, "batch.flags",
                              "local attention over another sequence");
    if (attn_ext_find(batch->ext, ATTN_EXT_PREFIX_RANGES) ||
        attn_ext_find(batch->ext, ATTN_EXT_CONTEXT_PARALLEL))
        return attn_error_set(err, ATTN_E_UNSUPPORTED, "batch.ext",
                              "local attention with prefix ranges or context "
                              "parallelism");
    return attn_batch_need_host(batch, "local attention", ATTN_EXACT, err);
}

static uint64_t
count_virtual(const attn_batch *batch, divisor chunk)
{
    uint64_t total = 0;

    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        uint32_t query = batch_query_len(batch, r);

        if (query)
            total +=
                plan_request(chunk, query, (uint32_t)batch->seq_lens[r]).count;
    }
    return total;
}

attn_status
attn_local_attention_size(const attn_batch *batch, const attn_kv_group *group,
                          uint32_t chunk, attn_batch_size *size,
                          attn_error *err)
{
    attn_status status = check_input(batch, group, chunk, err);

    if (!status && !size)
        return attn_error_set(err, ATTN_E_ARG, "size", "size is NULL");
    if (status)
        return status;
    *size = (attn_batch_size){
        .struct_size = sizeof *size,
        .num_reqs = (uint32_t)count_virtual(batch, divisor_of(chunk)),
        .table_cols = group ? chunk / group->block_size : 0};
    return ATTN_OK;
}

uint32_t
attn_local_attention_bound(uint32_t num_reqs, uint32_t num_tokens,
                           uint32_t chunk)
{
    uint64_t bound = 2 * (uint64_t)num_reqs + (chunk ? num_tokens / chunk : 0);

    return bound < num_tokens ? (uint32_t)bound : num_tokens;
}

typedef struct virtual_writer {
    attn_batch_room *room;
    divisor chunk;
    uint32_t count;
    uint32_t longest_query, longest_seq;
    uint32_t token; /* where the next virtual query starts */
    const attn_kv_group *group;
    divisor block;
    uint32_t cols;
} virtual_writer;

/* Every entry of the source that is copied covers a position of seq. */
static inline void
write_row(const virtual_writer *w, const int32_t *row, uint32_t start,
          uint32_t keys)
{
    int32_t *to = w->room->block_table + (size_t)w->count * w->cols;
    uint32_t used = divisor_ceil(w->block, keys);

    memcpy(to, row + divisor_div(w->block, start), used * sizeof *to);
    memset(to + used, 0, (w->cols - used) * sizeof *to);
}

static void
write_virtual(virtual_writer *w, uint32_t r, uint32_t query, uint32_t seq,
              const int32_t *row)
{
    chunk_plan plan = plan_request(w->chunk, query, seq);
    uint32_t left = query - plan.first;
    uint32_t here = plan.first;

    for (uint32_t i = 0; i < plan.count; i++) {
        uint32_t keys = i + 1 == plan.count ? plan.tail : w->chunk.value;

        w->room->source[w->count] = r;
        w->token += here;
        w->room->query_start_loc[w->count + 1] = (int32_t)w->token;
        w->room->seq_lens[w->count] = (int32_t)keys;
        if (row)
            write_row(w, row, plan.start + i * w->chunk.value, keys);
        w->count++;
        if (here > w->longest_query)
            w->longest_query = here;
        if (keys > w->longest_seq)
            w->longest_seq = keys;
        here = left < w->chunk.value ? left : w->chunk.value;
        left -= here;
    }
}

static attn_status
write_requests(virtual_writer *w, const attn_batch *batch, attn_error *err)
{
    const attn_kv_group *group = w->group;
    uint64_t positions =
        group ? (uint64_t)group->block_table_cols * group->block_size : 0;

    w->room->query_start_loc[0] = 0;
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        uint32_t query = batch_query_len(batch, r);
        uint32_t seq = (uint32_t)batch->seq_lens[r];
        const int32_t *row = NULL;

        if (query == 0)
            continue;
        if (group && seq > positions)
            return attn_error_set(err, ATTN_E_ARG, "group.block_table_cols",
                                  "request %u: seq_len %u does not fit %u "
                                  "columns of %u positions",
                                  r, seq, group->block_table_cols,
                                  group->block_size);
        if (group && group->block_table)
            row = group->block_table + r * group->block_table_stride;
        write_virtual(w, r, query, seq, row);
    }
    return ATTN_OK;
}

static void
finish_batch(const virtual_writer *w, const attn_batch *batch, attn_batch *out)
{
    attn_batch plain;

    attn_take(&plain, sizeof plain, batch);
    plain.num_prompt_tokens = NULL;
    attn_room_begin(&plain, out);
    out->num_reqs = w->count;
    out->max_query_len = w->longest_query;
    out->max_seq_len = w->longest_seq;
    out->query_start_loc_state = ATTN_EXACT;
    out->seq_lens_state = ATTN_EXACT;
    out->query_start_loc = w->room->query_start_loc;
    out->seq_lens = w->room->seq_lens;
    attn_room_gather(&plain, w->room, out);
}

static void
finish_group(const virtual_writer *w, const attn_kv_group *group,
             attn_kv_group *out)
{
    attn_room_begin_group(group, out);
    out->slot_mapping_device = group->slot_mapping_device;
    out->block_table_cols = w->cols;
    out->block_table_stride = w->cols;
    out->block_table = group->block_table ? w->room->block_table : NULL;
}

attn_status
attn_local_attention(const attn_batch *batch, const attn_kv_group *group,
                     uint32_t chunk, attn_batch_room *room, attn_batch *out,
                     attn_kv_group *out_group, attn_error *err)
{
    attn_batch_size need;
    attn_status status =
        attn_local_attention_size(batch, group, chunk, &need, err);
    virtual_writer w = {.room = room, .group = group};

    if (!status)
        status = attn_room_check(room, &need, "local attention", err);
    if (!status && (!out || (group && !out_group)))
        return attn_error_set(err, ATTN_E_ARG, "out",
                              "out or out_group is NULL");
    if (status)
        return status;
    w.chunk = divisor_of(chunk);
    w.block = divisor_of(group ? group->block_size : 1);
    w.cols = need.table_cols;
    status = write_requests(&w, batch, err);
    if (status)
        return status;
    finish_batch(&w, batch, out);
    if (group)
        finish_group(&w, group, out_group);
    return ATTN_OK;
}
