/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/error.h"
#include "batch/room.h"

static attn_status
check_cut(const attn_batch *batch, uint32_t reqs, uint32_t tokens,
          attn_error *err)
{
    if (reqs > batch->num_reqs || tokens > batch->num_tokens)
        return attn_error_set(err, ATTN_E_ARG, "num_reqs",
                              "unpad to %u requests and %u tokens of %u and %u",
                              reqs, tokens, batch->num_reqs, batch->num_tokens);
    for (uint32_t r = reqs; r < batch->num_reqs; r++)
        if (batch_query_len(batch, r) || batch->seq_lens[r])
            return attn_error_set(err, ATTN_E_ARG, "num_reqs",
                                  "request %u: query length %u and seq_len %d: "
                                  "no padding request",
                                  r, batch_query_len(batch, r),
                                  batch->seq_lens[r]);
    if (batch->num_reqs && tokens < batch_used_tokens(batch))
        return attn_error_set(err, ATTN_E_ARG, "num_tokens",
                              "num_tokens %u: the requests have %u", tokens,
                              batch_used_tokens(batch));
    return ATTN_OK;
}

attn_status
attn_batch_unpad(const attn_batch *batch, const attn_kv_group *group,
                 uint32_t num_reqs, uint32_t num_tokens, attn_batch *out,
                 attn_kv_group *out_group, attn_error *err)
{
    attn_status status;

    if (!batch || !out || (group && !out_group))
        return attn_error_set(err, ATTN_E_ARG, "out", "unpad: a NULL argument");
    status = attn_batch_need_host(batch, "unpad", ATTN_UPPER_BOUND, err);
    if (!status)
        status = check_cut(batch, num_reqs, num_tokens, err);
    if (status)
        return status;
    attn_room_copy(batch, out);
    out->num_reqs = num_reqs;
    out->num_tokens = num_tokens;
    if (group)
        attn_room_copy_group(group, out_group);
    return ATTN_OK;
}

/* ----------------------------------------------------------------- padding */

static void
pad_lengths(const attn_batch *batch, uint32_t reqs, attn_batch_room *room)
{
    uint32_t n = batch->num_reqs;
    int32_t used = n ? batch->query_start_loc[n] : 0;

    if (n) {
        memcpy(room->query_start_loc, batch->query_start_loc,
               n * sizeof(int32_t));
        memcpy(room->seq_lens, batch->seq_lens, n * sizeof(int32_t));
    }
    for (uint32_t r = n; r <= reqs; r++)
        room->query_start_loc[r] = used;
    for (uint32_t r = n; r < reqs; r++)
        room->seq_lens[r] = 0;
}

static void
pad_optional(uint32_t from, uint32_t reqs, const attn_batch *out,
             attn_batch_room *room)
{
    size_t row = 2 * (size_t)room->prefix_ranges.prefix_ranges.max_ranges;
    size_t count = reqs - from;

    if (out->is_prefilling)
        memset(room->is_prefilling + from, 0, count);
    if (out->num_prompt_tokens)
        memset(room->num_prompt_tokens + from, 0, count * sizeof(int32_t));
    if (out->causal)
        memset(room->causal + from, 1, count);
    if (attn_ext_find(out->ext, ATTN_EXT_PREFIX_RANGES))
        for (size_t i = from * row; i < reqs * row; i++)
            room->ranges[i] = -1;
}

static void
pad_state(uint32_t from, uint32_t reqs, const attn_kv_group *out,
          attn_batch_room *room)
{
    size_t row = room->state.state.max_checkpoints;
    const attn_ext_state *state =
        (const void *)attn_ext_find(out->ext, ATTN_EXT_STATE);

    for (uint32_t r = from; state && r < reqs; r++) {
        if (state->has_initial_state)
            room->has_initial_state[r] = 0;
        if (state->num_accepted_tokens)
            room->num_accepted_tokens[r] = 1;
        for (size_t j = 0; state->checkpoint_slots && j < row; j++)
            room->checkpoint_slots[r * row + j] = -1;
    }
}

static void
pad_table(const attn_batch *batch, const attn_kv_group *group, uint32_t reqs,
          int32_t *table)
{
    uint32_t cols = group->block_table_cols;
    int32_t nothing = group->flags & ATTN_KV_STATE ? -1 : 0;

    for (uint32_t r = 0; r < reqs; r++) {
        int32_t *row = table + (size_t)r * cols;
        uint32_t used = 0;

        if (r < batch->num_reqs) {
            used = group_used_cols(group, (uint32_t)batch->seq_lens[r]);
            memcpy(row, group->block_table + r * group->block_table_stride,
                   used * sizeof *row);
        }
        for (uint32_t c = used; c < cols; c++)
            row[c] = nothing;
    }
}

static void
pad_group(const attn_batch *batch, const attn_kv_group *group, uint32_t reqs,
          uint32_t tokens, attn_batch_room *room, attn_kv_group *out)
{
    attn_room_begin_group(group, out);
    out->block_table_stride = group->block_table_cols;
    if (group->block_table) {
        pad_table(batch, group, reqs, room->block_table);
        out->block_table = room->block_table;
    }
    if (group->slot_mapping) {
        memcpy(room->slot_mapping, group->slot_mapping,
               batch->num_tokens * sizeof(int64_t));
        for (uint32_t t = batch->num_tokens; t < tokens; t++)
            room->slot_mapping[t] = -1;
        out->slot_mapping = room->slot_mapping;
    }
    attn_room_gather_state(group, batch->num_reqs, room, out);
    pad_state(batch->num_reqs, reqs, out, room);
}

static attn_status
check_pad(const attn_batch *batch, const attn_kv_group *group, uint32_t reqs,
          uint32_t tokens, const attn_batch_room *room, attn_error *err)
{
    attn_batch_size need;
    attn_status status =
        attn_batch_need_host(batch, "pad", ATTN_UPPER_BOUND, err);

    if (!status && (reqs < batch->num_reqs || tokens < batch->num_tokens ||
                    reqs >= INT32_MAX || tokens > INT32_MAX))
        return attn_error_set(err, ATTN_E_ARG, "num_reqs",
                              "pad %u requests and %u tokens to %u and %u",
                              batch->num_reqs, batch->num_tokens, reqs, tokens);
    if (!status)
        status = attn_batch_size_of(batch, group, &need, err);
    if (status)
        return status;
    need.num_reqs = reqs;
    need.num_tokens = tokens;
    return attn_room_check(room, &need, "pad", err);
}

attn_status
attn_batch_pad(const attn_batch *batch, const attn_kv_group *group,
               uint32_t num_reqs, uint32_t num_tokens, attn_batch_room *room,
               attn_batch *out, attn_kv_group *out_group, attn_error *err)
{
    attn_status status;

    if (!batch || !out || (group && !out_group))
        return attn_error_set(err, ATTN_E_ARG, "out", "pad: a NULL argument");
    status = check_pad(batch, group, num_reqs, num_tokens, room, err);
    if (status)
        return status;
    attn_room_begin(batch, out);
    pad_lengths(batch, num_reqs, room);
    room_source_range(room, 0, batch->num_reqs);
    attn_room_gather(batch, room, out);
    pad_optional(batch->num_reqs, num_reqs, out, room);
    out->query_start_loc = room->query_start_loc;
    out->seq_lens = room->seq_lens;
    out->query_start_loc_state = ATTN_EXACT;
    if (batch->num_reqs == 0)
        out->seq_lens_state = ATTN_EXACT;
    out->num_reqs = num_reqs;
    out->num_tokens = num_tokens;
    attn_room_local_lens(batch, room, out);
    if (group)
        pad_group(batch, group, num_reqs, num_tokens, room, out_group);
    return ATTN_OK;
}
