/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/error.h"
#include "batch/room.h"

/* The first index in start[0..n] whose value is at least (or above) token. */
static uint32_t
first_at_least(const int32_t *start, uint32_t n, uint32_t token, int above)
{
    uint32_t lo = 0, hi = n + 1;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        uint32_t value = (uint32_t)start[mid];

        if (above ? value > token : value >= token)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

attn_status
attn_microbatch_plan(const attn_batch *batch, uint32_t n, uint32_t split_point,
                     attn_batch_slice *slices, uint32_t *count, attn_error *err)
{
    attn_status status;
    uint32_t reqs, tokens;

    if (!batch || !slices || !count || n < 2)
        return attn_error_set(err, ATTN_E_ARG, "n",
                              "microbatches: %u slices (at least 2), or a NULL "
                              "argument",
                              n);
    status = attn_batch_need_host(batch, "microbatches", ATTN_ABSENT, err);
    if (status)
        return status;
    reqs = batch->num_reqs;
    tokens = batch->num_tokens;
    if (split_point == 0)
        split_point = tokens / n;
    *count = 1;
    slices[0] = (attn_batch_slice){0, reqs, 0, tokens};
    if (reqs == 0 || split_point == 0 ||
        (uint64_t)split_point * (n - 1) >= batch_used_tokens(batch))
        return ATTN_OK;
    *count = n;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t from = i * split_point, to = from + split_point;

        slices[i].first_token = from;
        slices[i].last_token = i + 1 == n ? tokens : to;
        slices[i].first_req =
            first_at_least(batch->query_start_loc, reqs, from, 1) - 1;
        slices[i].last_req =
            i + 1 == n ? reqs
                       : first_at_least(batch->query_start_loc, reqs, to, 0);
    }
    return ATTN_OK;
}

/* How a slice lies in its first and last request. */
typedef struct slice_cut {
    uint32_t count;   /* requests */
    uint32_t skipped; /* tokens of the first request before the slice */
    uint32_t cut;     /* tokens of the last request behind it */
    uint32_t end;     /* last_token without padding */
} slice_cut;

static attn_status
bad_slice(const attn_batch_slice *slice, const char *why, attn_error *err)
{
    return attn_error_set(err, ATTN_E_ARG, "slice",
                          "requests [%u, %u) with tokens [%u, %u): %s",
                          slice->first_req, slice->last_req, slice->first_token,
                          slice->last_token, why);
}

static attn_status
measure(const attn_batch *batch, const attn_batch_slice *slice, slice_cut *m,
        attn_error *err)
{
    const int32_t *start = batch->query_start_loc;
    uint32_t used = batch->num_reqs ? batch_used_tokens(batch) : 0;
    uint32_t last = slice->last_req;

    if (slice->first_req >= last || last > batch->num_reqs ||
        slice->first_token >= slice->last_token ||
        slice->last_token > batch->num_tokens)
        return bad_slice(slice, "empty or outside the batch", err);
    if (slice->first_token < (uint32_t)start[slice->first_req] ||
        slice->first_token >= (uint32_t)start[slice->first_req + 1])
        return bad_slice(slice, "the first token is not of the first request",
                         err);
    m->end = slice->last_token < used ? slice->last_token : used;
    if (m->end > (uint32_t)start[last] ||
        (m->end < (uint32_t)start[last] && m->end <= (uint32_t)start[last - 1]))
        return bad_slice(slice, "the last token is not of the last request",
                         err);
    m->count = last - slice->first_req;
    m->skipped = slice->first_token - (uint32_t)start[slice->first_req];
    m->cut = (uint32_t)start[last] - m->end;
    return ATTN_OK;
}

static void
write_lengths(const attn_batch *batch, const attn_batch_slice *slice,
              const slice_cut *m, attn_batch_room *room, attn_batch *out)
{
    const int32_t *start = batch->query_start_loc + slice->first_req;
    int32_t from = (int32_t)slice->first_token, end = (int32_t)m->end;
    int32_t longest = 0;

    for (uint32_t i = 0; i <= m->count; i++) {
        int32_t at = start[i] < from ? from : start[i];
        room->query_start_loc[i] = (at > end ? end : at) - from;
    }
    for (uint32_t i = 0; i < m->count; i++) {
        int32_t len = room->query_start_loc[i + 1] - room->query_start_loc[i];
        longest = len > longest ? len : longest;
    }
    memcpy(room->seq_lens, batch->seq_lens + slice->first_req,
           m->count * sizeof(int32_t));
    room->seq_lens[m->count - 1] -= (int32_t)m->cut;
    out->query_start_loc = room->query_start_loc;
    out->seq_lens = room->seq_lens;
    out->num_reqs = m->count;
    out->num_tokens = slice->last_token - slice->first_token;
    if (longest)
        out->max_query_len = (uint32_t)longest;
}

/* Behind a cut more of the prompt is computed. */
static void
recompute_prefilling(const attn_batch *out, attn_batch_room *room)
{
    int32_t context = out->seq_lens[0] - out->query_start_loc[1];

    if (out->is_prefilling && out->num_prompt_tokens &&
        out->seq_lens_state == ATTN_EXACT)
        room->is_prefilling[0] = context < out->num_prompt_tokens[0];
}

/* The first request continues: its state is there, and the checkpoints that
 * fell into the part before the slice are not repeated. */
static void
continue_state(const attn_batch *batch, const attn_batch_slice *slice,
               const slice_cut *m, attn_batch_room *room)
{
    attn_ext_state *state = &room->state.state;
    uint32_t n = state->max_checkpoints;
    uint32_t before, passed;

    if (state->has_initial_state)
        room->has_initial_state[0] = 1;
    if (state->num_accepted_tokens)
        room->num_accepted_tokens[0] = 1;
    if (!state->checkpoint_slots || !state->checkpoint_interval)
        return;
    before = (uint32_t)batch->seq_lens[slice->first_req] -
             batch_query_len(batch, slice->first_req);
    passed = (before + m->skipped) / state->checkpoint_interval -
             before / state->checkpoint_interval;
    for (uint32_t j = 0; j < n; j++)
        room->checkpoint_slots[j] =
            passed < n - j ? room->checkpoint_slots[j + passed] : -1;
}

static void
slice_group(const attn_batch *batch, const attn_kv_group *group,
            const attn_batch_slice *slice, const slice_cut *m,
            attn_batch_room *room, attn_kv_group *out)
{
    attn_room_begin_group(group, out);
    if (group->block_table)
        out->block_table =
            group->block_table + slice->first_req * group->block_table_stride;
    if (group->slot_mapping)
        out->slot_mapping = group->slot_mapping + slice->first_token;
    attn_room_gather_state(group, m->count, room, out);
    if (m->skipped && out->ext)
        continue_state(batch, slice, m, room);
}

static attn_status
check_group(const attn_kv_group *group, const slice_cut *m, attn_error *err)
{
    if (!group || !(group->flags & ATTN_KV_STATE) ||
        group->block_table_cols <= 1 || (!m->skipped && !m->cut))
        return ATTN_OK;
    return attn_error_set(err, ATTN_E_UNSUPPORTED, "group",
                          "a slice cuts a request whose drafts have %u state "
                          "columns",
                          group->block_table_cols);
}

static attn_status
check_room(const attn_batch *batch, const attn_kv_group *group,
           const slice_cut *m, const attn_batch_room *room, attn_error *err)
{
    attn_batch_size need;
    attn_status status = attn_batch_size_of(batch, group, &need, err);

    need.num_reqs = m->count;
    need.num_tokens = need.table_cols = 0;
    return status ? status : attn_room_check(room, &need, "microbatch", err);
}

attn_status
attn_microbatch(const attn_batch *batch, const attn_kv_group *group,
                const attn_batch_slice *slice, attn_batch_room *room,
                attn_batch *out, attn_kv_group *out_group, attn_error *err)
{
    slice_cut m = {0};
    attn_status status;

    if (!batch || !slice || !out || (group && !out_group))
        return attn_error_set(err, ATTN_E_ARG, "slice",
                              "microbatch: a NULL argument");
    status = attn_batch_need_host(batch, "microbatch", ATTN_UPPER_BOUND, err);
    if (!status)
        status = measure(batch, slice, &m, err);
    if (!status)
        status = check_group(group, &m, err);
    if (!status)
        status = check_room(batch, group, &m, room, err);
    if (status)
        return status;
    attn_room_begin(batch, out);
    write_lengths(batch, slice, &m, room, out);
    room_source_range(room, slice->first_req, m.count);
    attn_room_gather(batch, room, out);
    attn_room_local_lens(batch, room, out);
    if (m.skipped)
        recompute_prefilling(out, room);
    if (group)
        slice_group(batch, group, slice, &m, room, out_group);
    return ATTN_OK;
}
