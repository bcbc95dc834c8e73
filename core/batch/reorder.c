/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/error.h"
#include "batch/room.h"

enum { DECODE, SHORT_EXTEND, LONG_EXTEND, PREFILL, NUM_REGIONS };

static uint32_t
region_of(int32_t scheduled, int32_t computed, int32_t prompt,
          uint32_t threshold)
{
    if (computed == 0)
        return PREFILL;
    if ((uint32_t)scheduled > threshold)
        return LONG_EXTEND;
    return computed < prompt ? SHORT_EXTEND : DECODE;
}

static attn_status
sort_out(const int32_t *scheduled, const int32_t *computed,
         const int32_t *prompt, uint32_t n, uint32_t threshold,
         uint32_t *regions, uint32_t ends[NUM_REGIONS], attn_error *err)
{
    memset(ends, 0, NUM_REGIONS * sizeof *ends);
    for (uint32_t r = 0; r < n; r++) {
        if (scheduled[r] < 0 || computed[r] < 0 || prompt[r] < 0)
            return attn_error_set(err, ATTN_E_ARG, "scheduled",
                                  "request %u: %d scheduled, %d computed, %d "
                                  "prompt tokens: none may be negative",
                                  r, scheduled[r], computed[r], prompt[r]);
        regions[r] = region_of(scheduled[r], computed[r], prompt[r], threshold);
        ends[regions[r]]++;
    }
    for (uint32_t k = 1; k < NUM_REGIONS; k++)
        ends[k] += ends[k - 1];
    return ATTN_OK;
}

/* Positions that hold a request of another region, and the requests that
 * stand outside their region, are equally many; both in ascending order (the
 * requests by region first) they are matched one to one. */
attn_status
attn_reorder_plan(const int32_t *scheduled, const int32_t *computed,
                  const int32_t *prompt, uint32_t n, uint32_t decode_threshold,
                  uint32_t *order, uint32_t *scratch, uint32_t *modified,
                  attn_error *err)
{
    uint32_t ends[NUM_REGIONS], begin = 0, position = 0, moved = 0;
    attn_status status;

    if (!modified ||
        (n && (!scheduled || !computed || !prompt || !order || !scratch)))
        return attn_error_set(err, ATTN_E_ARG, "order",
                              "reorder: a NULL argument");
    status = sort_out(scheduled, computed, prompt, n, decode_threshold, scratch,
                      ends, err);
    if (status)
        return status;
    for (uint32_t r = 0; r < n; r++)
        order[r] = r;
    for (uint32_t k = 0; k < NUM_REGIONS; begin = ends[k++]) {
        for (uint32_t r = 0; r < n; r++) {
            uint32_t target = 0;

            if (scratch[r] != k || (r >= begin && r < ends[k]))
                continue;
            for (;; position++) {
                while (position >= ends[target])
                    target++;
                if (scratch[position] != target)
                    break;
            }
            order[position++] = r;
            moved++;
        }
    }
    *modified = moved != 0;
    return ATTN_OK;
}

/* ---------------------------------------------------------------- applying */

static attn_status
check_order(const attn_batch *batch, const uint32_t *order,
            attn_batch_room *room, attn_error *err)
{
    int32_t *seen = room->seq_lens;

    memset(seen, 0, batch->num_reqs * sizeof *seen);
    for (uint32_t i = 0; i < batch->num_reqs; i++) {
        if (order[i] >= batch->num_reqs || seen[order[i]])
            return attn_error_set(err, ATTN_E_ARG, "order",
                                  "order[%u] is %u: each of the %u requests "
                                  "once",
                                  i, order[i], batch->num_reqs);
        seen[order[i]] = 1;
    }
    return ATTN_OK;
}

static void
copy_row(const attn_kv_group *group, uint32_t from, uint32_t to,
         uint32_t seq_len, int32_t *table)
{
    uint32_t cols = group->block_table_cols;
    uint32_t used = group_used_cols(group, seq_len);
    int32_t *row = table + (size_t)to * cols;

    memcpy(row, group->block_table + from * group->block_table_stride,
           used * sizeof *row);
    memset(row + used, 0, (cols - used) * sizeof *row);
}

static void
reorder_lengths(const attn_batch *batch, attn_batch_room *room,
                uint32_t *tokens)
{
    int32_t at = 0;

    room->query_start_loc[0] = 0;
    for (uint32_t i = 0; i < batch->num_reqs; i++) {
        uint32_t from = room->source[i];
        int32_t len = (int32_t)batch_query_len(batch, from);

        for (int32_t t = 0; tokens && t < len; t++)
            tokens[at + t] = (uint32_t)(batch->query_start_loc[from] + t);
        at += len;
        room->query_start_loc[i + 1] = at;
        room->seq_lens[i] = batch->seq_lens[from];
    }
    for (uint32_t t = (uint32_t)at; tokens && t < batch->num_tokens; t++)
        tokens[t] = t;
}

static void
reorder_slots(const attn_batch *batch, const int64_t *slots,
              attn_batch_room *room)
{
    uint32_t used = batch->num_reqs ? batch_used_tokens(batch) : 0;

    for (uint32_t i = 0; i < batch->num_reqs; i++) {
        uint32_t from = room->source[i];

        memcpy(room->slot_mapping + room->query_start_loc[i],
               slots + batch->query_start_loc[from],
               batch_query_len(batch, from) * sizeof *slots);
    }
    memcpy(room->slot_mapping + used, slots + used,
           (batch->num_tokens - used) * sizeof *slots);
}

static void
reorder_group(const attn_batch *batch, const attn_kv_group *group,
              attn_batch_room *room, attn_kv_group *out)
{
    attn_room_begin_group(group, out);
    out->block_table_stride = group->block_table_cols;
    if (group->block_table) {
        for (uint32_t i = 0; i < batch->num_reqs; i++)
            copy_row(group, room->source[i], i, (uint32_t)room->seq_lens[i],
                     room->block_table);
        out->block_table = room->block_table;
    }
    if (group->slot_mapping) {
        reorder_slots(batch, group->slot_mapping, room);
        out->slot_mapping = room->slot_mapping;
    }
    attn_room_gather_state(group, batch->num_reqs, room, out);
}

attn_status
attn_batch_reorder(const attn_batch *batch, const attn_kv_group *group,
                   const uint32_t *order, uint32_t *tokens,
                   attn_batch_room *room, attn_batch *out,
                   attn_kv_group *out_group, attn_error *err)
{
    attn_batch_size need;
    attn_status status;

    if (!batch || !order || !out || (group && !out_group))
        return attn_error_set(err, ATTN_E_ARG, "order",
                              "reorder: a NULL argument");
    status = attn_batch_need_host(batch, "reorder", ATTN_UPPER_BOUND, err);
    if (!status)
        status = attn_batch_size_of(batch, group, &need, err);
    if (!status)
        status = attn_room_check(room, &need, "reorder", err);
    if (!status)
        status = check_order(batch, order, room, err);
    if (status)
        return status;
    memcpy(room->source, order, batch->num_reqs * sizeof *order);
    attn_room_begin(batch, out);
    reorder_lengths(batch, room, tokens);
    out->query_start_loc = room->query_start_loc;
    out->seq_lens = room->seq_lens;
    attn_room_gather(batch, room, out);
    attn_room_local_lens(batch, room, out);
    if (group)
        reorder_group(batch, group, room, out_group);
    return ATTN_OK;
}
