/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/recurrent.h>
#include <string.h>

#include "batch/divisor.h"
#include "batch/plan.h"

static attn_status
check_table(const attn_batch *batch, const attn_kv_group *group,
            const int32_t *states, attn_error *err)
{
    if (!batch || !group || (batch->num_reqs && !states))
        return attn_error_set(err, ATTN_E_ARG, "group",
                              "state table: a NULL argument");
    if (group->flags & ATTN_KV_STATE || group->block_size == 0 ||
        group->block_size > INT32_MAX ||
        (batch->num_reqs && !group->block_table))
        return attn_error_set(err, ATTN_E_ARG, "group",
                              "state table: needs a host block table with "
                              "block_size %u from 1 to 2147483647",
                              group->block_size);
    return attn_batch_need_host(batch, "state table", ATTN_EXACT, err);
}

attn_status
attn_state_table(const attn_batch *batch, const attn_kv_group *group,
                 uint32_t num_drafts, int32_t *states, attn_error *err)
{
    attn_status status = check_table(batch, group, states, err);
    size_t width = (size_t)num_drafts + 1;
    divisor block;

    if (status)
        return status;
    block = divisor_of(group->block_size);
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        int32_t seq = batch->seq_lens[r];
        uint32_t column = seq > 0 ? divisor_div(block, (uint32_t)seq - 1) : 0;

        if (column + width > group->block_table_cols)
            return attn_error_set(err, ATTN_E_ARG, "group.block_table_cols",
                                  "request %u: seq_len %d and %u drafts need "
                                  "%zu columns, the table has %u",
                                  r, seq, num_drafts, column + width,
                                  group->block_table_cols);
        memcpy(states + r * width,
               group->block_table + r * group->block_table_stride + column,
               width * sizeof *states);
    }
    return ATTN_OK;
}

attn_status
attn_state_blocks(const attn_batch *batch, uint32_t block_size,
                  int32_t *last_computed, int32_t *first_scheduled,
                  int32_t *last_scheduled, attn_error *err)
{
    attn_status status;
    divisor block;

    if (!batch || block_size == 0 || block_size > INT32_MAX)
        return attn_error_set(err, ATTN_E_ARG, "block_size",
                              "state blocks: block_size %u: 1 to 2147483647",
                              block_size);
    status = attn_batch_need_host(batch, "state blocks", ATTN_EXACT, err);
    if (status)
        return status;
    block = divisor_of(block_size);
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        uint32_t seq = (uint32_t)batch->seq_lens[r];
        uint32_t context = seq - batch_query_len(batch, r);

        if (last_computed)
            last_computed[r] =
                context ? (int32_t)divisor_div(block, context - 1) : 0;
        if (first_scheduled)
            first_scheduled[r] = (int32_t)divisor_div(block, context);
        if (last_scheduled)
            last_scheduled[r] = seq ? (int32_t)divisor_div(block, seq - 1) : 0;
    }
    return ATTN_OK;
}
