/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/batch.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "batch/batch.h"

/* A longer chain is taken for a cycle. */
#define MAX_CHAIN 64

const attn_ext *
attn_ext_find(const attn_ext *chain, const char *id)
{
    for (uint32_t i = 0; chain && i < MAX_CHAIN; i++, chain = chain->next)
        if (chain->id && strcmp(chain->id, id) == 0)
            return chain;
    return NULL;
}

static attn_status
check_chain(const attn_ext *chain, attn_error *err)
{
    uint32_t length = 0;

    for (; chain; chain = chain->next, length++) {
        if (length == MAX_CHAIN)
            return attn_error_set(err, ATTN_E_ARG, "ext",
                                  "the extension chain has more than %d blocks "
                                  "or a cycle",
                                  MAX_CHAIN);
        if (chain->struct_size < sizeof(attn_ext) || !chain->id)
            return attn_error_set(err, ATTN_E_ARG, "ext",
                                  "extension %u: id %s, struct_size %u: at "
                                  "least %zu",
                                  length, chain->id ? chain->id : "NULL",
                                  chain->struct_size, sizeof(attn_ext));
    }
    return ATTN_OK;
}

static attn_status
check_size(const attn_ext *ext, size_t size, attn_error *err)
{
    if (ext->struct_size >= size)
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_ARG, "ext",
                          "%s: struct_size %u: at least %zu", ext->id,
                          ext->struct_size, size);
}

/* ----------------------------------------------------------- prefix ranges */

static attn_status
check_ranges(const int32_t *ranges, uint32_t n, uint32_t r, attn_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        const int32_t *a = ranges + 2 * i;

        if (a[0] == -1 && a[1] == -1)
            continue;
        if (a[0] < 0 || a[1] < a[0])
            return attn_error_set(err, ATTN_E_ARG, "ext.prefix_ranges",
                                  "request %u: range %u is [%d, %d]", r, i,
                                  a[0], a[1]);
        for (uint32_t j = 0; j < i; j++) {
            const int32_t *b = ranges + 2 * j;
            if (a[0] <= b[1] && b[0] <= a[1])
                return attn_error_set(err, ATTN_E_ARG, "ext.prefix_ranges",
                                      "request %u: ranges [%d, %d] and [%d, "
                                      "%d] overlap",
                                      r, b[0], b[1], a[0], a[1]);
        }
    }
    return ATTN_OK;
}

static attn_status
check_prefix_ranges(const attn_batch *batch, const attn_ext *ext,
                    attn_error *err)
{
    const attn_ext_prefix_ranges *p = (const void *)ext;
    attn_status status =
        check_size(ext, ATTN_UP_TO(attn_ext_prefix_ranges, ranges_device), err);

    if (!status && !p->ranges && !p->ranges_device && p->max_ranges)
        return attn_error_set(err, ATTN_E_ARG, "ext.prefix_ranges",
                              "ranges are absent on the host and on the "
                              "device");
    for (uint32_t r = 0; !status && p->ranges && r < batch->num_reqs; r++)
        status = check_ranges(p->ranges + 2 * (size_t)r * p->max_ranges,
                              p->max_ranges, r, err);
    return status;
}

/* -------------------------------------------------------- context parallel */

static attn_status
check_context_parallel(const attn_batch *batch, const attn_ext *ext,
                       attn_error *err)
{
    const attn_ext_context_parallel *p = (const void *)ext;
    attn_status status = check_size(
        ext, ATTN_UP_TO(attn_ext_context_parallel, local_seq_lens_device), err);

    if (status)
        return status;
    if (p->rank >= p->world || p->interleave == 0 ||
        (uint64_t)p->world * p->interleave > INT32_MAX)
        return attn_error_set(err, ATTN_E_ARG, "ext.context_parallel",
                              "rank %u of %u with interleave %u", p->rank,
                              p->world, p->interleave);
    if (!p->local_seq_lens || batch->seq_lens_state != ATTN_EXACT)
        return ATTN_OK;
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        int32_t local = attn_context_parallel_local(
            batch->seq_lens[r], p->world, p->rank, p->interleave);
        if (p->local_seq_lens[r] != local)
            return attn_error_set(err, ATTN_E_ARG, "ext.context_parallel",
                                  "request %u: local_seq_len %d: rank %u of "
                                  "%u owns %d of %d positions",
                                  r, p->local_seq_lens[r], p->rank, p->world,
                                  local, batch->seq_lens[r]);
    }
    return ATTN_OK;
}

attn_status
attn_batch_ext_validate(const attn_batch *batch, attn_error *err)
{
    attn_status status = check_chain(batch->ext, err);

    for (const attn_ext *e = batch->ext; !status && e; e = e->next) {
        if (strcmp(e->id, ATTN_EXT_PREFIX_RANGES) == 0)
            status = check_prefix_ranges(batch, e, err);
        else if (strcmp(e->id, ATTN_EXT_CONTEXT_PARALLEL) == 0)
            status = check_context_parallel(batch, e, err);
    }
    return status;
}

/* ------------------------------------------------------------------- state */

static attn_status
check_accepted(const attn_batch *batch, const attn_kv_group *group,
               const int32_t *accepted, attn_error *err)
{
    for (uint32_t r = 0; accepted && r < batch->num_reqs; r++)
        if (accepted[r] < 1 || (uint32_t)accepted[r] > group->block_table_cols)
            return attn_error_set(err, ATTN_E_ARG, "ext.state",
                                  "request %u: num_accepted_tokens %d: 1 to "
                                  "the %u state columns",
                                  r, accepted[r], group->block_table_cols);
    return ATTN_OK;
}

static attn_status
check_checkpoints(const attn_batch *batch, const attn_kv_group *group,
                  const attn_ext_state *state, attn_error *err)
{
    uint32_t n = state->max_checkpoints;

    if (n && state->checkpoint_interval == 0)
        return attn_error_set(err, ATTN_E_ARG, "ext.state",
                              "checkpoint_interval 0 with %u checkpoint "
                              "columns",
                              n);
    for (size_t i = 0;
         state->checkpoint_slots && i < (size_t)n * batch->num_reqs; i++) {
        int32_t slot = state->checkpoint_slots[i];
        if (slot < -1 || (slot >= 0 && (uint32_t)slot >= group->num_blocks))
            return attn_error_set(err, ATTN_E_ARG, "ext.state",
                                  "request %zu: checkpoint slot %d: -1 to %u",
                                  i / n, slot, group->num_blocks - 1);
    }
    return ATTN_OK;
}

static attn_status
check_initial(const attn_batch *batch, const uint8_t *initial, attn_error *err)
{
    for (uint32_t r = 0; initial && r < batch->num_reqs; r++)
        if (initial[r] > 1)
            return attn_error_set(err, ATTN_E_ARG, "ext.state",
                                  "request %u: has_initial_state %u: 0 or 1", r,
                                  initial[r]);
    return ATTN_OK;
}

attn_status
attn_group_ext_validate(const attn_kv_group *group, const attn_batch *batch,
                        attn_error *err)
{
    attn_status status = check_chain(group->ext, err);
    const attn_ext *ext =
        status ? NULL : attn_ext_find(group->ext, ATTN_EXT_STATE);
    const attn_ext_state *state = (const void *)ext;

    if (!state)
        return status;
    status = check_size(
        ext, ATTN_UP_TO(attn_ext_state, checkpoint_slots_device), err);
    if (!status)
        status = check_initial(batch, state->has_initial_state, err);
    if (!status)
        status = check_accepted(batch, group, state->num_accepted_tokens, err);
    if (!status)
        status = check_checkpoints(batch, group, state, err);
    return status;
}
