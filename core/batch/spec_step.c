/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/spec_decode.h>

#include "base/error.h"
#include "batch/divisor.h"
#include "batch/room.h"

static attn_status
check_step(const attn_batch *batch, const attn_kv_group *group,
           const int32_t *positions, uint32_t max_model_len, attn_error *err)
{
    attn_status status = attn_group_need_table(group, "draft step", err);

    if (status)
        return status;
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        int32_t seq = batch->seq_lens[r];

        if (seq < 1 || positions[r] < 0 || positions[r] > seq - 1)
            return attn_error_set(err, ATTN_E_ARG, "positions",
                                  "request %u: position %d with seq_len %d "
                                  "(no padding requests; at most seq_len - 1)",
                                  r, positions[r], seq);
        if (group &&
            (uint64_t)group->block_table_cols * group->block_size <=
                (uint32_t)positions[r] + 1u &&
            (uint32_t)positions[r] + 1u < max_model_len)
            return attn_error_set(err, ATTN_E_ARG, "group.block_table_cols",
                                  "request %u: position %d is past %u columns "
                                  "of %u positions",
                                  r, positions[r] + 1, group->block_table_cols,
                                  group->block_size);
    }
    return ATTN_OK;
}

static void
step_lengths(const attn_batch *batch, const int32_t *positions, int32_t limit,
             int32_t *new_positions, attn_batch_room *room)
{
    room->query_start_loc[0] = 0;
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        int32_t position = positions[r] + 1;
        int32_t seq = batch->seq_lens[r];
        int32_t grown = seq < limit ? seq + 1 : limit;
        int32_t past = position >= limit;

        room->query_start_loc[r + 1] = (int32_t)r + 1;
        room->seq_lens[r] = past ? 1 : grown;
        new_positions[r] = past ? -1 : position;
    }
}

static void
step_slots(const attn_batch *batch, const attn_kv_group *group,
           const int32_t *positions, int64_t *slots)
{
    divisor block = divisor_of(group->block_size);

    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        const int32_t *row = group->block_table + r * group->block_table_stride;

        slots[r] = positions[r] < 0
                       ? -1
                       : divisor_slot(block, row, (uint32_t)positions[r]);
    }
}

static void
step_prefilling(const attn_batch *out, attn_batch_room *room)
{
    if (!out->is_prefilling || !out->num_prompt_tokens)
        return;
    for (uint32_t r = 0; r < out->num_reqs; r++)
        room->is_prefilling[r] =
            out->seq_lens[r] - 1 < out->num_prompt_tokens[r];
}

static void
finish_step(const attn_batch *batch, uint32_t max_model_len,
            attn_batch_room *room, attn_batch *out)
{
    uint32_t grown = batch->max_seq_len + 1;

    attn_room_begin(batch, out);
    out->num_tokens = batch->num_reqs;
    out->max_query_len = batch->num_reqs != 0;
    out->max_seq_len = grown < max_model_len ? grown : max_model_len;
    out->query_start_loc = room->query_start_loc;
    out->seq_lens = room->seq_lens;
    room_source_range(room, 0, batch->num_reqs);
    attn_room_gather(batch, room, out);
    attn_room_local_lens(batch, room, out);
    step_prefilling(out, room);
}

attn_status
attn_spec_draft_step(const attn_batch *batch, const attn_kv_group *group,
                     const int32_t *positions, uint32_t max_model_len,
                     int32_t *new_positions, attn_batch_room *room,
                     attn_batch *out, attn_kv_group *out_group, attn_error *err)
{
    attn_batch_size need;
    attn_status status;

    if (!batch || !out || (group && !out_group) || max_model_len == 0 ||
        max_model_len > INT32_MAX ||
        (batch->num_reqs && (!positions || !new_positions)))
        return attn_error_set(err, ATTN_E_ARG, "max_model_len",
                              "draft step: max_model_len %u (1 to 2147483647), "
                              "or a NULL argument",
                              max_model_len);
    status = attn_batch_need_host(batch, "draft step", ATTN_UPPER_BOUND, err);
    if (!status)
        status = check_step(batch, group, positions, max_model_len, err);
    if (!status)
        status = attn_batch_size_of(batch, NULL, &need, err);
    if (status)
        return status;
    need.num_tokens = batch->num_reqs;
    status = attn_room_check(room, &need, "draft step", err);
    if (status)
        return status;
    step_lengths(batch, positions, (int32_t)max_model_len, new_positions, room);
    finish_step(batch, max_model_len, room, out);
    if (group) {
        attn_room_begin_group(group, out_group);
        out_group->block_table_device = group->block_table_device;
        if (group->slot_mapping) {
            step_slots(batch, group, new_positions, room->slot_mapping);
            out_group->slot_mapping = room->slot_mapping;
        }
    }
    for (uint32_t r = 0; r < batch->num_reqs; r++)
        if (new_positions[r] < 0)
            new_positions[r] = 0;
    return ATTN_OK;
}
