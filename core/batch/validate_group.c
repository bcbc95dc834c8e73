/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/batch.h>
#include <attn/plugin.h>

#include "base/error.h"
#include "batch/batch.h"
#include "batch/divisor.h"

static attn_status
check_layout(const attn_kv_group *group, attn_error *err)
{
    uint32_t state = group->flags & ATTN_KV_STATE;

    if (group->flags & ~ATTN_KV_STATE)
        return attn_error_set(err, ATTN_E_ARG, "group.flags",
                              "flags 0x%x: unknown bits 0x%x", group->flags,
                              group->flags & ~ATTN_KV_STATE);
    if (state && group->block_size)
        return attn_error_set(err, ATTN_E_ARG, "group.block_size",
                              "block_size %u: a state group has 0",
                              group->block_size);
    if (!state && (group->block_size == 0 || group->block_size > INT32_MAX))
        return attn_error_set(err, ATTN_E_ARG, "group.block_size",
                              "block_size %u: 1 to 2147483647",
                              group->block_size);
    if (state && (group->slot_mapping || group->slot_mapping_device))
        return attn_error_set(err, ATTN_E_ARG, "group.slot_mapping",
                              "a state group has no slot_mapping");
    if (group->num_blocks > INT32_MAX)
        return attn_error_set(err, ATTN_E_ARG, "group.num_blocks",
                              "num_blocks %u exceeds 2147483647",
                              group->num_blocks);
    if (group->block_table_stride < (int64_t)group->block_table_cols)
        return attn_error_set(err, ATTN_E_ARG, "group.block_table_stride",
                              "block_table_stride %lld is less than its %u "
                              "columns",
                              (long long)group->block_table_stride,
                              group->block_table_cols);
    return ATTN_OK;
}

static attn_status
check_table_mirror(const attn_kv_group *group, uint32_t rows, attn_error *err)
{
    const attn_tensor *t = group->block_table_device;

    if (!t)
        return ATTN_OK;
    if (t->dtype.code != ATTN_CODE_INT || t->dtype.bits != 32 || t->ndim != 2 ||
        !t->shape || !t->strides || t->shape[0] < (int64_t)rows ||
        t->shape[1] < (int64_t)group->block_table_cols)
        return attn_error_set(err, ATTN_E_ARG, "group.block_table_device",
                              "block_table_device must be int32 [%u, %u]", rows,
                              group->block_table_cols);
    return ATTN_OK;
}

static attn_status
check_slot_mirror(const attn_kv_group *group, uint32_t tokens, attn_error *err)
{
    const attn_tensor *t = group->slot_mapping_device;

    if (!t)
        return ATTN_OK;
    if (t->dtype.code != ATTN_CODE_INT || t->dtype.bits != 64 || t->ndim != 1 ||
        !t->shape || !t->strides || t->shape[0] < (int64_t)tokens)
        return attn_error_set(err, ATTN_E_ARG, "group.slot_mapping_device",
                              "slot_mapping_device must be int64 [%u]", tokens);
    return ATTN_OK;
}

static attn_status
check_head(const attn_kv_group *group, const attn_batch *batch, attn_error *err)
{
    attn_status status;

    if (!group || !batch)
        return attn_error_set(err, ATTN_E_ARG, "group",
                              "group or batch is NULL");
    if (group->struct_size < ATTN_KV_GROUP_SIZE_1_0)
        return attn_error_set(err, ATTN_E_ARG, "group.struct_size",
                              "struct_size %u: at least %u", group->struct_size,
                              ATTN_KV_GROUP_SIZE_1_0);
    status = check_layout(group, err);
    if (!status && batch->num_reqs && !group->block_table &&
        !group->block_table_device)
        return attn_error_set(err, ATTN_E_ARG, "group.block_table",
                              "block_table is absent on the host and on the "
                              "device");
    if (!status)
        status = check_table_mirror(group, batch->num_reqs, err);
    if (!status)
        status = check_slot_mirror(group, batch->num_tokens, err);
    return status;
}

/* ------------------------------------------------------------------- slots */

static attn_status
explain_slots(const attn_kv_group *group, const attn_batch *batch,
              uint32_t used, attn_error *err)
{
    int64_t limit = (int64_t)group->num_blocks * group->block_size;

    for (uint32_t t = 0; t < batch->num_tokens; t++) {
        int64_t slot = group->slot_mapping[t];

        if (slot < -1 || slot >= limit)
            return attn_error_set(err, ATTN_E_ARG, "group.slot_mapping",
                                  "token %u: slot %lld: -1 to %lld (%u blocks "
                                  "of %u)",
                                  t, (long long)slot, (long long)limit - 1,
                                  group->num_blocks, group->block_size);
        if (t >= used && slot != -1)
            return attn_error_set(err, ATTN_E_ARG, "group.slot_mapping",
                                  "token %u: slot %lld, but tokens from %u on "
                                  "are padding: -1",
                                  t, (long long)slot, used);
    }
    return ATTN_OK;
}

static attn_status
check_slots(const attn_kv_group *group, const attn_batch *batch,
            attn_error *err)
{
    const int64_t *slots = group->slot_mapping;
    uint64_t most = (uint64_t)group->num_blocks * group->block_size - 1;
    uint64_t outside = 0;
    uint32_t total = batch->num_tokens, bad = 0;
    uint32_t used = batch->query_start_loc_state == ATTN_EXACT
                        ? batch_used_tokens(batch)
                        : total;

    /* Both differences are >= 0 for a slot from -1 to most; otherwise the top
     * bit of one is set. No comparison, so any vector unit can do it. */
    for (uint32_t t = 0; t < used; t++)
        outside |= ((uint64_t)slots[t] + 1) | (most - (uint64_t)slots[t]);
    for (uint32_t t = used; t < total; t++)
        bad |= (uint32_t)(slots[t] != -1);
    bad |= (uint32_t)(outside >> 63);
    return bad ? explain_slots(group, batch, used, err) : ATTN_OK;
}

/* --------------------------------------------------------------- block ids */

typedef struct table_check {
    const attn_kv_group *group;
    divisor span; /* positions that a block covers */
    attn_error *err;
} table_check;

static attn_status
explain_block(const table_check *check, uint32_t r, uint32_t from, uint32_t to)
{
    const attn_kv_group *group = check->group;
    const int32_t *row = group->block_table + r * group->block_table_stride;

    for (uint32_t c = from; c < to; c++)
        if (row[c] < 0 || (uint32_t)row[c] >= group->num_blocks)
            return attn_error_set(check->err, ATTN_E_ARG, "group.block_table",
                                  "request %u: block_table[%u][%u] is %d: 0 to "
                                  "num_blocks - 1 = %lld",
                                  r, r, c, row[c],
                                  (long long)group->num_blocks - 1);
    return ATTN_OK;
}

static inline attn_status
check_blocks(const table_check *check, uint32_t r, uint32_t from, uint32_t to)
{
    const attn_kv_group *group = check->group;
    const int32_t *row = group->block_table + r * group->block_table_stride;
    uint32_t bad = 0;

    for (uint32_t c = from; c < to; c++)
        bad |= (uint32_t)((uint32_t)row[c] >= group->num_blocks);
    return bad ? explain_block(check, r, from, to) : ATTN_OK;
}

static attn_status
explain_columns(const table_check *check, uint32_t r, uint32_t seq)
{
    return attn_error_set(
        check->err, ATTN_E_ARG, "group.block_table_cols",
        "request %u: seq_len %u needs %u blocks of %u positions; the table has "
        "%u columns",
        r, seq, divisor_ceil(check->span, seq), check->span.value,
        check->group->block_table_cols);
}

static attn_status
check_request(const table_check *check, const attn_batch *batch, uint32_t r,
              uint32_t whole)
{
    uint64_t positions =
        (uint64_t)check->group->block_table_cols * check->span.value;
    uint32_t seq = (uint32_t)batch->seq_lens[r];
    uint32_t query = whole ? seq : batch_query_len(batch, r);

    if (seq > positions)
        return explain_columns(check, r, seq);
    if (query == 0 || !check->group->block_table)
        return ATTN_OK;
    return check_blocks(check, r, divisor_div(check->span, seq - query),
                        divisor_div(check->span, seq - 1) + 1);
}

/* The last page of a request with one new token; anything that is not plain
 * is left to check_request. */
static inline int
last_page_is_good(const table_check *check, const int32_t *table,
                  uint64_t positions, uint32_t r, uint32_t seq)
{
    const attn_kv_group *group = check->group;
    uint32_t page = divisor_div(check->span, seq - 1);

    return seq - 1 < positions &&
           (uint32_t)table[r * group->block_table_stride + page] <
               group->num_blocks;
}

static attn_status
check_requests(const table_check *check, const attn_batch *batch,
               uint32_t whole)
{
    const attn_kv_group *group = check->group;
    const int32_t *start = batch->query_start_loc, *lens = batch->seq_lens;
    uint64_t positions = (uint64_t)group->block_table_cols * check->span.value;
    attn_status status = ATTN_OK;

    if (positions > INT32_MAX)
        positions = INT32_MAX;
    for (uint32_t r = 0; !status && r < batch->num_reqs; r++) {
        if (!whole && group->block_table && start[r + 1] - start[r] == 1 &&
            last_page_is_good(check, group->block_table, positions, r,
                              (uint32_t)lens[r]))
            continue;
        status = check_request(check, batch, r, whole);
    }
    return status;
}

/* Where seq_lens may be bounds, nobody knows which entries are garbage. */
static attn_status
check_table(const attn_kv_group *group, const attn_batch *batch, uint32_t depth,
            attn_error *err)
{
    const attn_ext_context_parallel *cp =
        (const void *)attn_ext_find(batch->ext, ATTN_EXT_CONTEXT_PARALLEL);
    uint64_t span = (uint64_t)group->block_size * (cp ? cp->world : 1);
    table_check check = {.group = group, .err = err};
    uint32_t cross = batch->flags & ATTN_BATCH_CROSS;

    if (batch->seq_lens_state != ATTN_EXACT ||
        (depth == ATTN_CHECK_PAGES &&
         batch->query_start_loc_state != ATTN_EXACT))
        return ATTN_OK;
    if (span > INT32_MAX)
        return attn_error_set(err, ATTN_E_ARG, "group.block_size",
                              "block_size %u times %u ranks exceeds 2147483647",
                              group->block_size, cp ? cp->world : 1);
    check.span = divisor_of((uint32_t)span);
    return check_requests(&check, batch, depth == ATTN_CHECK_TABLE || cross);
}

static attn_status
check_states(const attn_kv_group *group, const attn_batch *batch,
             attn_error *err)
{
    uint32_t cols = group->block_table_cols;

    if (cols == 0)
        return attn_error_set(err, ATTN_E_ARG, "group.block_table_cols",
                              "block_table_cols 0: a state group has at least "
                              "1");
    for (uint32_t r = 0; group->block_table && r < batch->num_reqs; r++) {
        const int32_t *row = group->block_table + r * group->block_table_stride;

        for (uint32_t c = 0; c < cols; c++)
            if (row[c] < -1 ||
                (row[c] >= 0 && (uint32_t)row[c] >= group->num_blocks))
                return attn_error_set(
                    err, ATTN_E_ARG, "group.block_table",
                    "request %u: state index %d in column %u: -1 to %lld", r,
                    row[c], c, (long long)group->num_blocks - 1);
    }
    return attn_group_ext_validate(group, batch, err);
}

attn_status
attn_kv_group_validate(const attn_kv_group *group, const attn_batch *batch,
                       uint32_t depth, attn_error *err)
{
    attn_status status = check_head(group, batch, err);

    if (status)
        return status;
    if (depth > ATTN_CHECK_TABLE)
        return attn_error_set(err, ATTN_E_ARG, "depth", "depth %u: at most %u",
                              depth, ATTN_CHECK_TABLE);
    if (group->flags & ATTN_KV_STATE)
        return check_states(group, batch, err);
    if (group->slot_mapping)
        status = check_slots(group, batch, err);
    if (!status)
        status = check_table(group, batch, depth, err);
    return status;
}
