/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/batch.h>
#include <string.h>

#include "base/error.h"
#include "batch/batch.h"
#include "batch/divisor.h"

typedef struct slot_plan {
    const int32_t *row; /* block table of the request that is mapped */
    uint32_t block_size;
    divisor by_block;  /* block_size * world */
    divisor by_stripe; /* world * interleave */
    uint32_t world, rank, interleave;
} slot_plan;

static attn_status
check_group(const attn_batch *batch, const attn_kv_group *group,
            const int64_t *slots, attn_error *err)
{
    if (!batch || !group || (!slots && batch->num_tokens))
        return attn_error_set(err, ATTN_E_ARG, "slot_mapping",
                              "batch, group or slot_mapping is NULL");
    if (group->flags & ATTN_KV_STATE)
        return attn_error_set(err, ATTN_E_ARG, "group.flags",
                              "slot mapping: a state group has no slots");
    if (group->block_size == 0)
        return attn_error_set(err, ATTN_E_ARG, "group.block_size",
                              "block_size 0: at least 1");
    if (!group->block_table && batch->num_reqs)
        return attn_error_set(err, ATTN_E_ARG, "group.block_table",
                              "block_table is absent on the host: slot "
                              "mapping needs it");
    return attn_batch_need_host(batch, "slot mapping", ATTN_EXACT, err);
}

static attn_status
make_plan(const attn_batch *batch, const attn_kv_group *group, slot_plan *plan,
          attn_error *err)
{
    const attn_ext_context_parallel *cp =
        (const attn_ext_context_parallel *)(const void *)attn_ext_find(
            batch->ext, ATTN_EXT_CONTEXT_PARALLEL);
    uint64_t span;

    plan->block_size = group->block_size;
    plan->world = cp ? cp->world : 1;
    plan->rank = cp ? cp->rank : 0;
    plan->interleave = cp ? cp->interleave : 1;
    if (plan->rank >= plan->world || plan->interleave == 0 ||
        group->block_size % plan->interleave)
        return attn_error_set(err, ATTN_E_ARG, "ext.context_parallel",
                              "context parallel rank %u of %u, interleave %u: "
                              "block_size %u must be a multiple of interleave",
                              plan->rank, plan->world, plan->interleave,
                              group->block_size);
    span = (uint64_t)group->block_size * plan->world;
    if (span > INT32_MAX)
        return attn_error_set(err, ATTN_E_ARG, "group.block_size",
                              "block_size %u times %u ranks exceeds 2147483647",
                              group->block_size, plan->world);
    plan->by_block = divisor_of((uint32_t)span);
    plan->by_stripe = divisor_of(plan->world * plan->interleave);
    return ATTN_OK;
}

static void
map_run(const slot_plan *plan, uint32_t position, uint32_t count,
        int64_t *slots)
{
    uint32_t page = divisor_div(plan->by_block, position);
    uint32_t offset = position - page * plan->block_size;

    while (count) {
        uint32_t room = plan->block_size - offset;
        uint32_t here = count < room ? count : room;
        int64_t base = (int64_t)plan->row[page++] * plan->block_size + offset;

        for (uint32_t i = 0; i < here; i++)
            slots[i] = base + i;
        slots += here;
        count -= here;
        offset = 0;
    }
}

static int64_t
map_striped(const slot_plan *plan, uint32_t position)
{
    uint32_t page = divisor_div(plan->by_block, position);
    uint32_t offset = position - page * plan->by_block.value;
    uint32_t stripe = divisor_div(plan->by_stripe, offset);
    uint32_t inside = offset - stripe * plan->by_stripe.value;

    if (inside / plan->interleave != plan->rank)
        return -1;
    return (int64_t)plan->row[page] * plan->block_size +
           stripe * plan->interleave + inside % plan->interleave;
}

static attn_status
map_request(const slot_plan *plan, const attn_batch *batch, uint32_t r,
            uint32_t cols, int64_t *slots, attn_error *err)
{
    uint32_t count = batch_query_len(batch, r);
    uint32_t end = (uint32_t)batch->seq_lens[r];

    if (end < count || (uint64_t)cols * plan->by_block.value < end)
        return attn_error_set(err, ATTN_E_ARG, "group.block_table_cols",
                              "request %u: seq_len %u with %u new tokens does "
                              "not fit %u columns of %u positions",
                              r, end, count, cols, plan->by_block.value);
    if (plan->world == 1)
        map_run(plan, end - count, count, slots);
    else
        for (uint32_t i = 0; i < count; i++)
            slots[i] = map_striped(plan, end - count + i);
    return ATTN_OK;
}

attn_status
attn_slot_mapping(const attn_batch *batch, const attn_kv_group *group,
                  int64_t *slot_mapping, attn_error *err)
{
    attn_status status = check_group(batch, group, slot_mapping, err);
    slot_plan plan = {0};
    uint64_t capacity;

    if (!status)
        status = make_plan(batch, group, &plan, err);
    if (status)
        return status;
    capacity = (uint64_t)group->block_table_cols * plan.by_block.value;
    if (capacity > INT32_MAX)
        capacity = INT32_MAX;
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        int32_t at = batch->query_start_loc[r];
        uint32_t end = (uint32_t)batch->seq_lens[r];

        plan.row = group->block_table + r * group->block_table_stride;
        /* The hot case: one new token a request, no context parallelism. */
        if (plan.world == 1 && batch->query_start_loc[r + 1] - at == 1 &&
            end - 1 < capacity)
            slot_mapping[at] = divisor_slot(plan.by_block, plan.row, end - 1);
        else
            status = map_request(&plan, batch, r, group->block_table_cols,
                                 slot_mapping + at, err);
        if (status)
            return status;
    }
    for (uint32_t t = batch->num_reqs ? batch_used_tokens(batch) : 0;
         t < batch->num_tokens; t++)
        slot_mapping[t] = -1;
    return ATTN_OK;
}
