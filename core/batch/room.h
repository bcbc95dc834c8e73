/* SPDX-License-Identifier: Apache-2.0 */
/* Filling a room: what the transforms of this directory share. */
#ifndef ATTN_BATCH_ROOM_H
#define ATTN_BATCH_ROOM_H

#include <attn/transform.h>
#include <string.h>

#include "batch/batch.h"

/* ATTN_E_ARG when a pointer is missing; ATTN_E_WORKSPACE when the room holds
 * fewer requests, tokens, columns or ranges than `need`. */
attn_status attn_room_check(const attn_batch_room *room,
                            const attn_batch_size *need, const char *transform,
                            attn_error *err);

/* *out = *in, as much of it as the application knows: its structs of one kind
 * are of one size, which in->struct_size tells. */
void attn_room_copy(const attn_batch *in, attn_batch *out);
void attn_room_copy_group(const attn_kv_group *in, attn_kv_group *out);

/* Sets *out to `in` without mirrors and extensions; arrays still `in`'s. */
void attn_room_begin(const attn_batch *in, attn_batch *out);
void attn_room_begin_group(const attn_kv_group *in, attn_kv_group *out);

/* The room's query_start_loc and seq_lens, filled for out->num_reqs requests,
 * become out's, with its tokens and both maxima. */
void attn_room_take_lengths(attn_batch_room *room, attn_batch *out);

/* The per-request arrays that follow their request, for the out->num_reqs
 * requests of room->source: is_prefilling, num_prompt_tokens, causal and
 * prefix ranges. */
void attn_room_gather(const attn_batch *in, attn_batch_room *room,
                      attn_batch *out);

/* attn_ext_context_parallel for out's own seq_lens, when `in` has one. */
void attn_room_local_lens(const attn_batch *in, attn_batch_room *room,
                          attn_batch *out);

/* attn_ext_state for the requests of room->source, when `in` has one. */
void attn_room_gather_state(const attn_kv_group *in, uint32_t num_reqs,
                            attn_batch_room *room, attn_kv_group *out);

/* room->source = first, first + 1, ... */
static inline void
room_source_range(attn_batch_room *room, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        room->source[i] = first + i;
}

/* Rows of a state table are used whole; of a block table up to the length. */
static inline uint32_t
group_used_cols(const attn_kv_group *group, uint32_t seq_len)
{
    uint64_t used;

    if (group->flags & ATTN_KV_STATE)
        return group->block_table_cols;
    used = ((uint64_t)seq_len + group->block_size - 1) / group->block_size;
    return used < group->block_table_cols ? (uint32_t)used
                                          : group->block_table_cols;
}

#endif /* ATTN_BATCH_ROOM_H */
