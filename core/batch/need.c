/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/error.h"
#include "batch/batch.h"

static attn_status
check_tokens(const attn_batch *batch, const char *transform, attn_error *err)
{
    if (batch->num_reqs >= INT32_MAX || batch->num_tokens > INT32_MAX)
        return attn_error_set(err, ATTN_E_ARG, "batch",
                              "%s: %u requests and %u tokens exceed 32-bit "
                              "lengths",
                              transform, batch->num_reqs, batch->num_tokens);
    if (batch->num_reqs && batch_used_tokens(batch) > batch->num_tokens)
        return attn_error_set(err, ATTN_E_ARG, "batch.query_start_loc",
                              "%s: query_start_loc[%u] is %u: more than "
                              "num_tokens %u",
                              transform, batch->num_reqs,
                              batch_used_tokens(batch), batch->num_tokens);
    return ATTN_OK;
}

attn_status
attn_batch_need_host(const attn_batch *batch, const char *transform,
                     uint32_t seq_lens, attn_error *err)
{
    uint32_t state = batch->seq_lens_state;

    if (batch->num_reqs == 0)
        return check_tokens(batch, transform, err);
    if (batch->query_start_loc_state != ATTN_EXACT || !batch->query_start_loc)
        return attn_error_set(err, ATTN_E_ARG, "batch.query_start_loc",
                              "%s: query_start_loc is absent on the host",
                              transform);
    if (seq_lens != ATTN_ABSENT && (state == ATTN_ABSENT || !batch->seq_lens))
        return attn_error_set(err, ATTN_E_ARG, "batch.seq_lens",
                              "%s: seq_lens is absent on the host", transform);
    if (seq_lens == ATTN_EXACT && state == ATTN_UPPER_BOUND)
        return attn_error_set(err, ATTN_E_ARG, "batch.seq_lens",
                              "%s: seq_lens is an upper bound; exact lengths "
                              "are needed",
                              transform);
    return check_tokens(batch, transform, err);
}

attn_status
attn_group_need_table(const attn_kv_group *group, const char *transform,
                      attn_error *err)
{
    if (group && (group->flags & ATTN_KV_STATE || group->block_size == 0 ||
                  group->block_size > INT32_MAX ||
                  (group->slot_mapping && !group->block_table)))
        return attn_error_set(err, ATTN_E_ARG, "group",
                              "%s: block_size %u, or no host block table to "
                              "map slots by",
                              transform, group->block_size);
    return ATTN_OK;
}
