/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/spec_decode.h>

#include "base/error.h"
#include "batch/room.h"

static attn_status
check_rejected(const attn_batch *batch, const int32_t *rejected,
               attn_error *err)
{
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        uint32_t query = batch_query_len(batch, r);

        if (rejected[r] < 0 ||
            (query ? (uint32_t)rejected[r] >= query : rejected[r] != 0))
            return attn_error_set(err, ATTN_E_ARG, "num_rejected",
                                  "request %u: %d rejected of %u tokens", r,
                                  rejected[r], query);
    }
    return ATTN_OK;
}

static void
compact_lengths(const attn_batch *batch, const int32_t *rejected,
                attn_batch_room *room, attn_batch *out)
{
    int32_t *starts = room->query_start_loc;

    starts[0] = 0;
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        starts[r + 1] =
            starts[r] + (int32_t)batch_query_len(batch, r) - rejected[r];
        room->seq_lens[r] = batch->seq_lens[r] - rejected[r];
    }
    attn_room_take_lengths(room, out);
}

static void
count_up(uint32_t *to, uint32_t from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        to[i] = from + i;
}

static void
compact_tokens(const attn_batch *batch, const int32_t *starts,
               const int64_t *slots, int64_t *kept, uint32_t *indices)
{
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        int32_t first = batch->query_start_loc[r], to = starts[r];
        uint32_t count = (uint32_t)(starts[r + 1] - to);

        if (indices)
            count_up(indices + to, (uint32_t)first, count);
        if (slots)
            memcpy(kept + to, slots + first, count * sizeof *kept);
    }
}

attn_status
attn_spec_compact(const attn_batch *batch, const attn_kv_group *group,
                  const int32_t *num_rejected, uint32_t *token_indices,
                  attn_batch_room *room, attn_batch *out,
                  attn_kv_group *out_group, attn_error *err)
{
    attn_batch_size need;
    attn_status status;

    if (!batch || !out || (group && !out_group) ||
        (batch->num_reqs && !num_rejected))
        return attn_error_set(err, ATTN_E_ARG, "num_rejected",
                              "spec compact: a NULL argument");
    status = attn_batch_need_host(batch, "spec compact", ATTN_UPPER_BOUND, err);
    if (!status)
        status = check_rejected(batch, num_rejected, err);
    if (!status)
        status = attn_batch_size_of(batch, group, &need, err);
    if (status)
        return status;
    need.table_cols = 0;
    status = attn_room_check(room, &need, "spec compact", err);
    if (status)
        return status;
    attn_room_begin(batch, out);
    compact_lengths(batch, num_rejected, room, out);
    room_source_range(room, 0, batch->num_reqs);
    attn_room_gather(batch, room, out);
    attn_room_local_lens(batch, room, out);
    compact_tokens(batch, room->query_start_loc,
                   group ? group->slot_mapping : NULL, room->slot_mapping,
                   token_indices);
    if (!group)
        return ATTN_OK;
    attn_room_begin_group(group, out_group);
    out_group->block_table_device = group->block_table_device;
    if (group->slot_mapping)
        out_group->slot_mapping = room->slot_mapping;
    attn_room_gather_state(group, batch->num_reqs, room, out_group);
    return ATTN_OK;
}
