/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/spec_decode.h>

#include "base/error.h"
#include "base/size.h"
#include "batch/divisor.h"
#include "batch/room.h"

static inline uint32_t
count_of(const attn_spec_extend_params *params, uint32_t r)
{
    return params->counts ? (uint32_t)params->counts[r] : params->count;
}

static attn_status
check_request(const attn_batch *batch, const attn_kv_group *group,
              const attn_spec_extend_params *params, uint32_t r,
              attn_error *err)
{
    uint32_t query = batch_query_len(batch, r), count = count_of(params, r);
    int32_t rejected = params->num_rejected ? params->num_rejected[r] : 0;
    uint64_t end = (uint64_t)(uint32_t)batch->seq_lens[r] + count;
    uint64_t written =
        end < params->max_model_len ? end : params->max_model_len;

    if (count > INT32_MAX || end > INT32_MAX)
        return attn_error_set(err, ATTN_E_ARG, "counts",
                              "request %u: seq_len %d grown by %d exceeds "
                              "32-bit lengths",
                              r, batch->seq_lens[r], (int32_t)count);
    if (rejected < 0 || (uint32_t)rejected > query)
        return attn_error_set(err, ATTN_E_ARG, "num_rejected",
                              "request %u: %d rejected of %u tokens", r,
                              rejected, query);
    if (group && group->slot_mapping && count &&
        (uint64_t)group->block_table_cols * group->block_size < written)
        return attn_error_set(err, ATTN_E_ARG, "group.block_table_cols",
                              "request %u: %llu positions do not fit %u "
                              "columns of %u",
                              r, (unsigned long long)written,
                              group->block_table_cols, group->block_size);
    return ATTN_OK;
}

static attn_status
check_extend(const attn_batch *batch, const attn_kv_group *group,
             const attn_spec_extend_params *params, attn_error *err)
{
    const size_t least = ATTN_UP_TO(attn_spec_extend_params, max_model_len);
    uint32_t lens = ATTN_UPPER_BOUND;
    attn_status status;

    if (!batch || !params)
        return attn_error_set(err, ATTN_E_ARG, "params",
                              "extend: batch or params is NULL");
    if (params->struct_size < least)
        return attn_error_params(err, params->struct_size, least);
    status = attn_group_need_table(group, "extend", err);
    if (status)
        return status;
    if (group && group->slot_mapping)
        lens = ATTN_EXACT;
    return attn_batch_need_host(batch, "extend", lens, err);
}

attn_status
attn_spec_extend_size(const attn_batch *batch, const attn_kv_group *group,
                      const attn_spec_extend_params *params,
                      attn_batch_size *size, attn_error *err)
{
    attn_status status = check_extend(batch, group, params, err);
    attn_batch_size need;
    uint64_t tokens;

    if (!status && !size)
        return attn_error_set(err, ATTN_E_ARG, "size", "size is NULL");
    if (!status)
        status = attn_batch_size_of(batch, NULL, &need, err);
    if (status)
        return status;
    tokens = batch->num_reqs ? batch_used_tokens(batch) : 0;
    for (uint32_t r = 0; !status && r < batch->num_reqs; r++) {
        status = check_request(batch, group, params, r, err);
        tokens += count_of(params, r);
    }
    if (!status && tokens > INT32_MAX)
        return attn_error_set(err, ATTN_E_ARG, "counts",
                              "extended to %llu tokens: at most 2147483647",
                              (unsigned long long)tokens);
    if (status)
        return status;
    *size = need;
    size->num_tokens = (uint32_t)tokens;
    return ATTN_OK;
}

static void
extend_lengths(const attn_batch *batch, const attn_spec_extend_params *params,
               attn_batch_room *room, attn_batch *out)
{
    int32_t *starts = room->query_start_loc;

    starts[0] = 0;
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        int32_t count = (int32_t)count_of(params, r);

        starts[r + 1] = starts[r] + (int32_t)batch_query_len(batch, r) + count;
        room->seq_lens[r] = batch->seq_lens[r] + count;
    }
    attn_room_take_lengths(room, out);
}

static void
extend_slots(const attn_batch *batch, const attn_kv_group *group,
             const attn_spec_extend_params *params, attn_batch_room *room)
{
    divisor block = divisor_of(group->block_size);

    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        const int32_t *row = group->block_table + r * group->block_table_stride;
        int64_t *slots = room->slot_mapping + room->query_start_loc[r];
        uint32_t old = batch_query_len(batch, r), count = count_of(params, r);
        uint32_t rejected =
            params->num_rejected ? (uint32_t)params->num_rejected[r] : 0;
        uint32_t position = (uint32_t)batch->seq_lens[r];
        const int64_t *from = group->slot_mapping + batch->query_start_loc[r];

        memcpy(slots, from, (old - rejected) * sizeof *slots);
        for (uint32_t i = old - rejected; i < old; i++)
            slots[i] = -1;
        for (uint32_t i = 0; i < count; i++, position++) {
            slots[old + i] = position < params->max_model_len
                                 ? divisor_slot(block, row, position)
                                 : -1;
        }
    }
}

attn_status
attn_spec_extend(const attn_batch *batch, const attn_kv_group *group,
                 const attn_spec_extend_params *params, attn_batch_room *room,
                 attn_batch *out, attn_kv_group *out_group, attn_error *err)
{
    attn_batch_size need;
    attn_status status =
        attn_spec_extend_size(batch, group, params, &need, err);

    if (!status)
        status = attn_room_check(room, &need, "extend", err);
    if (!status && (!out || (group && !out_group)))
        return attn_error_set(err, ATTN_E_ARG, "out",
                              "out or out_group is NULL");
    if (status)
        return status;
    attn_room_begin(batch, out);
    extend_lengths(batch, params, room, out);
    room_source_range(room, 0, batch->num_reqs);
    attn_room_gather(batch, room, out);
    attn_room_local_lens(batch, room, out);
    if (!group)
        return ATTN_OK;
    attn_room_begin_group(group, out_group);
    out_group->block_table_device = group->block_table_device;
    if (group->slot_mapping) {
        extend_slots(batch, group, params, room);
        out_group->slot_mapping = room->slot_mapping;
    }
    return ATTN_OK;
}
