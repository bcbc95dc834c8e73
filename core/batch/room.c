/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "batch/room.h"

#include "base/error.h"
#include "base/size.h"

#define ROOM_ALIGN 64u

/* ------------------------------------------------------------------ sizing */

/* Adds count * width bytes, rounded up to the alignment; 0 on overflow. */
static int
add_array(uint64_t *bytes, uint64_t count, uint64_t inner, uint64_t width)
{
    uint64_t size;

    if (__builtin_mul_overflow(count, inner, &size) ||
        __builtin_mul_overflow(size, width, &size) ||
        __builtin_add_overflow(size, ROOM_ALIGN - 1, &size) ||
        __builtin_add_overflow(*bytes, size & ~(uint64_t)(ROOM_ALIGN - 1),
                               bytes))
        return 0;
    return 1;
}

attn_status
attn_batch_room_bytes(const attn_batch_size *size, uint64_t *bytes,
                      attn_error *err)
{
    uint64_t n, total = 0;

    if (!size || !bytes)
        return attn_error_set(err, ATTN_E_ARG, "size", "size or bytes is NULL");
    n = size->num_reqs;
    if (!add_array(&total, n, 1, sizeof(uint32_t)) ||
        !add_array(&total, n + 1, 1, sizeof(int32_t)) ||
        !add_array(&total, n, 1, sizeof(int32_t)) ||
        !add_array(&total, n, 1, sizeof(uint8_t)) ||
        !add_array(&total, n, 1, sizeof(uint8_t)) ||
        !add_array(&total, n, 1, sizeof(int32_t)) ||
        !add_array(&total, n, 1, sizeof(int32_t)) ||
        !add_array(&total, n, size->max_ranges, 2 * sizeof(int32_t)) ||
        !add_array(&total, n, 1, sizeof(uint8_t)) ||
        !add_array(&total, n, 1, sizeof(int32_t)) ||
        !add_array(&total, n, size->max_checkpoints, sizeof(int32_t)) ||
        !add_array(&total, n, size->table_cols, sizeof(int32_t)) ||
        !add_array(&total, size->num_tokens, 1, sizeof(int64_t)))
        return attn_error_set(err, ATTN_E_ARG, "size",
                              "%u requests of %u table columns exceed 64-bit "
                              "sizes",
                              size->num_reqs, size->table_cols);
    *bytes = total;
    return ATTN_OK;
}

static void *
take(char **at, uint64_t count, uint64_t width)
{
    void *array = *at;

    *at += (count * width + ROOM_ALIGN - 1) & ~(uint64_t)(ROOM_ALIGN - 1);
    return array;
}

static void
divide(const attn_batch_size *size, char *at, attn_batch_room *room)
{
    uint64_t n = size->num_reqs;

    room->source = take(&at, n, sizeof(uint32_t));
    room->query_start_loc = take(&at, n + 1, sizeof(int32_t));
    room->seq_lens = take(&at, n, sizeof(int32_t));
    room->is_prefilling = take(&at, n, sizeof(uint8_t));
    room->causal = take(&at, n, sizeof(uint8_t));
    room->num_prompt_tokens = take(&at, n, sizeof(int32_t));
    room->local_seq_lens = take(&at, n, sizeof(int32_t));
    room->ranges = take(&at, n * size->max_ranges, 2 * sizeof(int32_t));
    room->has_initial_state = take(&at, n, sizeof(uint8_t));
    room->num_accepted_tokens = take(&at, n, sizeof(int32_t));
    room->checkpoint_slots =
        take(&at, n * size->max_checkpoints, sizeof(int32_t));
    room->block_table = take(&at, n * size->table_cols, sizeof(int32_t));
    room->slot_mapping = take(&at, size->num_tokens, sizeof(int64_t));
}

attn_status
attn_batch_room_bind(const attn_batch_size *size, void *memory, uint64_t bytes,
                     attn_batch_room *room, attn_error *err)
{
    uint64_t need = 0;
    attn_status status = attn_batch_room_bytes(size, &need, err);

    if (status)
        return status;
    if (!room || !memory || (uintptr_t)memory % ROOM_ALIGN)
        return attn_error_set(err, ATTN_E_WORKSPACE, "memory",
                              "memory %p: needs an address that is a multiple "
                              "of %u",
                              memory, ROOM_ALIGN);
    if (bytes < need)
        return attn_error_set(
            err, ATTN_E_WORKSPACE, "bytes", "%llu bytes given, %llu needed",
            (unsigned long long)bytes, (unsigned long long)need);
    memset(room, 0, sizeof *room);
    room->struct_size = sizeof *room;
    room->size = *size;
    divide(size, memory, room);
    return ATTN_OK;
}

attn_status
attn_batch_size_of(const attn_batch *batch, const attn_kv_group *group,
                   attn_batch_size *size, attn_error *err)
{
    const attn_ext_prefix_ranges *ranges;
    const attn_ext_state *state;

    if (!batch || !size)
        return attn_error_set(err, ATTN_E_ARG, "size", "batch or size is NULL");
    ranges = (const void *)attn_ext_find(batch->ext, ATTN_EXT_PREFIX_RANGES);
    state =
        group ? (const void *)attn_ext_find(group->ext, ATTN_EXT_STATE) : NULL;
    *size = (attn_batch_size){.struct_size = sizeof *size,
                              .num_reqs = batch->num_reqs,
                              .num_tokens = batch->num_tokens,
                              .table_cols = group ? group->block_table_cols : 0,
                              .max_ranges = ranges ? ranges->max_ranges : 0,
                              .max_checkpoints =
                                  state ? state->max_checkpoints : 0};
    return ATTN_OK;
}

attn_status
attn_room_check(const attn_batch_room *room, const attn_batch_size *need,
                const char *transform, attn_error *err)
{
    const attn_batch_size *have;

    if (!room)
        return attn_error_set(err, ATTN_E_ARG, "room", "%s: room is NULL",
                              transform);
    have = &room->size;
    if (have->num_reqs < need->num_reqs || have->num_tokens < need->num_tokens)
        return attn_error_set(err, ATTN_E_WORKSPACE, "room",
                              "%s: room for %u requests and %u tokens, needs "
                              "%u and %u",
                              transform, have->num_reqs, have->num_tokens,
                              need->num_reqs, need->num_tokens);
    if (have->table_cols < need->table_cols ||
        have->max_ranges < need->max_ranges ||
        have->max_checkpoints < need->max_checkpoints)
        return attn_error_set(err, ATTN_E_WORKSPACE, "room",
                              "%s: room for %u table columns, %u ranges and %u "
                              "checkpoints, needs %u, %u and %u",
                              transform, have->table_cols, have->max_ranges,
                              have->max_checkpoints, need->table_cols,
                              need->max_ranges, need->max_checkpoints);
    return ATTN_OK;
}

/* ----------------------------------------------------------------- filling */

void
attn_room_copy(const attn_batch *in, attn_batch *out)
{
    attn_give(out, in->struct_size, in, sizeof *out);
}

void
attn_room_copy_group(const attn_kv_group *in, attn_kv_group *out)
{
    attn_give(out, in->struct_size, in, sizeof *out);
}

void
attn_room_begin(const attn_batch *in, attn_batch *out)
{
    attn_room_copy(in, out);
    out->query_start_loc_device = NULL;
    out->seq_lens_device = NULL;
    out->causal_device = NULL;
    out->ext = NULL;
}

void
attn_room_take_lengths(attn_batch_room *room, attn_batch *out)
{
    int32_t longest = 0, longest_seq = 0;

    for (uint32_t r = 0; r < out->num_reqs; r++) {
        int32_t query = room->query_start_loc[r + 1] - room->query_start_loc[r];

        longest = query > longest ? query : longest;
        longest_seq =
            room->seq_lens[r] > longest_seq ? room->seq_lens[r] : longest_seq;
    }
    out->num_tokens = (uint32_t)room->query_start_loc[out->num_reqs];
    out->max_query_len = (uint32_t)longest;
    out->max_seq_len = (uint32_t)longest_seq;
    out->query_start_loc = room->query_start_loc;
    out->seq_lens = room->seq_lens;
}

void
attn_room_begin_group(const attn_kv_group *in, attn_kv_group *out)
{
    attn_room_copy_group(in, out);
    out->block_table_device = NULL;
    out->slot_mapping_device = NULL;
    out->ext = NULL;
}

static void
gather_ranges(const attn_ext_prefix_ranges *in, attn_batch_room *room,
              attn_batch *out)
{
    size_t row = 2 * (size_t)in->max_ranges;

    for (uint32_t i = 0; i < out->num_reqs; i++)
        memcpy(room->ranges + i * row, in->ranges + room->source[i] * row,
               row * sizeof(int32_t));
    room->prefix_ranges.prefix_ranges =
        (attn_ext_prefix_ranges){.head = {sizeof(attn_ext_prefix_ranges), 0,
                                          ATTN_EXT_PREFIX_RANGES, out->ext},
                                 .max_ranges = in->max_ranges,
                                 .ranges = room->ranges};
    out->ext = &room->prefix_ranges.head;
}

void
attn_room_gather(const attn_batch *in, attn_batch_room *room, attn_batch *out)
{
    const attn_ext_prefix_ranges *ranges =
        (const void *)attn_ext_find(in->ext, ATTN_EXT_PREFIX_RANGES);
    const uint32_t *source = room->source;

    if (in->is_prefilling) {
        for (uint32_t i = 0; i < out->num_reqs; i++)
            room->is_prefilling[i] = in->is_prefilling[source[i]];
        out->is_prefilling = room->is_prefilling;
    }
    if (in->num_prompt_tokens) {
        for (uint32_t i = 0; i < out->num_reqs; i++)
            room->num_prompt_tokens[i] = in->num_prompt_tokens[source[i]];
        out->num_prompt_tokens = room->num_prompt_tokens;
    }
    if (in->causal) {
        for (uint32_t i = 0; i < out->num_reqs; i++)
            room->causal[i] = in->causal[source[i]];
        out->causal = room->causal;
    }
    if (ranges && ranges->ranges)
        gather_ranges(ranges, room, out);
}

void
attn_room_local_lens(const attn_batch *in, attn_batch_room *room,
                     attn_batch *out)
{
    const attn_ext_context_parallel *cp =
        (const void *)attn_ext_find(in->ext, ATTN_EXT_CONTEXT_PARALLEL);

    if (!cp || !out->seq_lens)
        return;
    for (uint32_t i = 0; i < out->num_reqs; i++)
        room->local_seq_lens[i] = attn_context_parallel_local(
            out->seq_lens[i], cp->world, cp->rank, cp->interleave);
    room->context_parallel.context_parallel = (attn_ext_context_parallel){
        .head = {sizeof(attn_ext_context_parallel), 0,
                 ATTN_EXT_CONTEXT_PARALLEL, out->ext},
        .world = cp->world,
        .rank = cp->rank,
        .interleave = cp->interleave,
        .local_seq_lens = room->local_seq_lens};
    out->ext = &room->context_parallel.head;
}

void
attn_room_gather_state(const attn_kv_group *in, uint32_t num_reqs,
                       attn_batch_room *room, attn_kv_group *out)
{
    const attn_ext_state *state =
        (const void *)attn_ext_find(in->ext, ATTN_EXT_STATE);
    attn_ext_state *made = &room->state.state;
    size_t row;

    if (!state)
        return;
    row = state->max_checkpoints;
    *made = (attn_ext_state){
        .head = {sizeof *made, 0, ATTN_EXT_STATE, out->ext},
        .max_checkpoints = state->max_checkpoints,
        .checkpoint_interval = state->checkpoint_interval,
        .has_initial_state =
            state->has_initial_state ? room->has_initial_state : NULL,
        .num_accepted_tokens =
            state->num_accepted_tokens ? room->num_accepted_tokens : NULL,
        .checkpoint_slots =
            state->checkpoint_slots ? room->checkpoint_slots : NULL};
    for (uint32_t i = 0; i < num_reqs; i++) {
        uint32_t from = room->source[i];

        if (state->has_initial_state)
            room->has_initial_state[i] = state->has_initial_state[from];
        if (state->num_accepted_tokens)
            room->num_accepted_tokens[i] = state->num_accepted_tokens[from];
        if (state->checkpoint_slots)
            memcpy(room->checkpoint_slots + i * row,
                   state->checkpoint_slots + from * row, row * sizeof(int32_t));
    }
    out->ext = &made->head;
}
