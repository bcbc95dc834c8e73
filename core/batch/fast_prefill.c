/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <attn/plugin.h>

#include "base/error.h"
#include "batch/room.h"

/* Without the repeats of the last index that pad the list. */
static uint32_t
distinct(const uint32_t *indices, uint32_t n)
{
    while (n > 1 && indices[n - 1] == indices[n - 2])
        n--;
    return n;
}

static attn_status
count_rows(const attn_batch *batch, const uint32_t *indices, uint32_t n,
           attn_batch_room *room, uint32_t *longest, attn_error *err)
{
    uint32_t at = 0;

    *longest = 0;
    room->query_start_loc[0] = 0;
    for (uint32_t r = 0; r < batch->num_reqs; r++) {
        uint32_t end = (uint32_t)batch->query_start_loc[r + 1];
        uint32_t from = at, count;

        while (at < n && indices[at] < end)
            at++;
        count = at - from;
        for (uint32_t i = 0; i < count; i++)
            if (indices[from + i] != end - count + i ||
                count > batch_query_len(batch, r))
                return attn_error_set(err, ATTN_E_ARG, "logits_indices",
                                      "request %u: logits index %u is not one "
                                      "of the last %u tokens before %u in "
                                      "ascending order",
                                      r, indices[from + i], count, end);
        room->query_start_loc[r + 1] = (int32_t)at;
        *longest = count > *longest ? count : *longest;
    }
    if (at == n)
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_ARG, "logits_indices",
                          "logits index %u: the requests have %u tokens",
                          indices[at], batch_used_tokens(batch));
}

static void
recompute_prefilling(const attn_batch *batch, attn_batch_room *room,
                     attn_batch *out)
{
    const int32_t *start = room->query_start_loc;

    if (!batch->is_prefilling)
        return;
    memcpy(room->is_prefilling, batch->is_prefilling, batch->num_reqs);
    out->is_prefilling = room->is_prefilling;
    if (!batch->num_prompt_tokens || batch->seq_lens_state != ATTN_EXACT)
        return;
    for (uint32_t r = 0; r < batch->num_reqs; r++)
        room->is_prefilling[r] =
            batch->seq_lens[r] - (start[r + 1] - start[r]) <
            batch->num_prompt_tokens[r];
}

static void
carry_known_ext(const attn_batch *batch, attn_batch_room *room, attn_batch *out)
{
    const attn_ext *ranges = attn_ext_find(batch->ext, ATTN_EXT_PREFIX_RANGES);
    const attn_ext *cp = attn_ext_find(batch->ext, ATTN_EXT_CONTEXT_PARALLEL);

    out->ext = NULL;
    if (ranges) {
        attn_take(&room->prefix_ranges, sizeof(attn_ext_prefix_ranges), ranges);
        room->prefix_ranges.head.next = out->ext;
        out->ext = &room->prefix_ranges.head;
    }
    if (cp) {
        attn_take(&room->context_parallel, sizeof(attn_ext_context_parallel),
                  cp);
        room->context_parallel.head.next = out->ext;
        out->ext = &room->context_parallel.head;
    }
}

attn_status
attn_fast_prefill(const attn_batch *batch, const uint32_t *logits_indices,
                  uint32_t n, attn_batch_room *room, attn_batch *out,
                  attn_error *err)
{
    attn_batch_size need = {.struct_size = sizeof need};
    attn_status status;
    uint32_t used, longest;

    if (!batch || !out || (n && !logits_indices))
        return attn_error_set(err, ATTN_E_ARG, "logits_indices",
                              "fast prefill: a NULL argument");
    if (batch->num_reqs == 0 || batch->max_query_len <= 1) {
        attn_room_copy(batch, out);
        return ATTN_OK;
    }
    need.num_reqs = batch->num_reqs;
    status = attn_batch_need_host(batch, "fast prefill", ATTN_ABSENT, err);
    if (!status)
        status = attn_room_check(room, &need, "fast prefill", err);
    if (status)
        return status;
    used = distinct(logits_indices, n);
    status = count_rows(batch, logits_indices, used, room, &longest, err);
    if (status)
        return status;
    attn_room_copy(batch, out);
    out->num_tokens = n;
    out->max_query_len = longest;
    out->query_start_loc = room->query_start_loc;
    out->query_start_loc_device = NULL;
    recompute_prefilling(batch, room, out);
    carry_known_ext(batch, room, out);
    return ATTN_OK;
}
